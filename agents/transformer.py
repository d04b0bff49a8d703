"""A causal transformer in plain torch: token ids in, a hidden vector for each prefix out. It knows no SB3, no gym."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class CausalTransformer(nn.Module):
    """Pre-norm causal transformer over rows of tokens that touch (pads before, pads after, none between).

    A row begins with one learned vector, so that an empty row has a hidden state too. Positions count from there,
    so left padding changes nothing; no real position ever sees a pad. Where rows are anchored, a token's column is
    embedded too: it then says how far the token stands from the end of the prompt, on which side.

    Args:
        n_tokens: ids `0 .. n_tokens - 1` are tokens; `n_tokens` is the pad.
        max_length: columns of the widest row.
        anchored: whether a column means something by itself, as where every prompt ends in the same one.
        d_model: width of a hidden vector.
        n_layers: blocks.
        n_heads: attention heads; divides `d_model`.
        residual_scale: what of a block's output is added to what it read, see `Block`.

    Raises:
        ValueError: a size below 1, or `n_heads` does not divide `d_model`.
    """

    def __init__(
        self,
        n_tokens: int,
        max_length: int,
        d_model: int = 64,
        n_layers: int = 2,
        n_heads: int = 4,
        anchored: bool = False,
        residual_scale: float = 0.1,
    ) -> None:
        super().__init__()
        if min(d_model, n_layers, n_heads) < 1:
            raise ValueError(f"d_model={d_model}, n_layers={n_layers}, n_heads={n_heads}: each must be at least 1.")
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}. Give a d_model that is a multiple.")
        self.pad = n_tokens
        self.token = nn.Embedding(n_tokens, d_model)
        self.position = nn.Embedding(max_length + 1, d_model)
        self.column = nn.Embedding(max_length, d_model) if anchored else None
        self.begin = nn.Parameter(torch.zeros(d_model))
        self.blocks = nn.ModuleList([Block(d_model, n_heads, residual_scale) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        for weight in (self.begin, *[m.weight for m in self.modules() if isinstance(m, nn.Embedding)]):
            nn.init.normal_(weight)

    def forward(self, tokens: Tensor, fused: bool = False) -> Tensor:
        """Return the hidden vectors of all prefixes.

        Args:
            tokens: ids, `(B, L)` int64.
            fused: use torch's own kernel for attention: faster, but it cannot be differentiated twice.

        Returns:
            `(B, W + 1, d_model)`, W the tokens of the longest row: at j the vector of a row's first j tokens; where the
            row has fewer, it means nothing.
        """
        ids, columns = self.align(tokens)
        rows, width = ids.shape
        places = self.position.weight[1 : 1 + width]  # (W, d)
        if self.column is not None:
            places = places + (self.column.weight[:width] if columns is None else self.column(columns))
        x = torch.cat([self.first().expand(rows, 1, -1), self.token(ids) + places], dim=1)  # (B, W + 1, d)
        x = x.flatten(0, 1)  # a matrix from here on: of a small network, what views cost shows
        for block in self.blocks:
            x = block(x, rows, fused)
        out: Tensor = self.norm(x).view(rows, width + 1, x.shape[1])
        return out

    def newest(self, tokens: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(B, d_model)`."""
        hidden: Tensor = self(tokens)
        return hidden[torch.arange(len(tokens), device=tokens.device), (tokens != self.pad).sum(dim=1)]

    def first(self) -> Tensor:
        """Return what a row begins with, `(d_model,)`."""
        begin: Tensor = self.begin + self.position.weight[0]
        return begin

    @property
    def touching(self) -> bool:
        """Whether a row's tokens always touch: where columns mean something, no pad stands between them."""
        return self.column is not None

    def align(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Move each row's tokens to the left; see `align`."""
        return align(tokens, self.pad, self.touching)


def align(tokens: Tensor, pad: int, touching: bool = False) -> tuple[Tensor, Tensor | None]:
    """Move each row's tokens to the left, so that no pad stands before one: causal attention then sees no pad.

    Args:
        tokens: ids, `(B, L)`.
        pad: the id that is no token.
        touching: whether no pad can stand between tokens.

    Returns:
        ids `(B, W)` of W columns, as many as the longest row has tokens; 0 behind a row's newest token. The columns
        that they had, `(B, W)`; None where no row was moved.
    """
    real = tokens != pad  # (B, L)
    count = real.sum(dim=1)  # (B,)
    shortest, width = (int(most) for most in count.aminmax()) if len(tokens) else (0, 0)
    if shortest == width and real[:, :width].all():
        return tokens[:, :width], None  # as where all texts have one length
    start = real.int().argmax(dim=1) if width else count  # (B,)
    columns = None
    ids, behind = tokens[:, :width], ~real[:, :width]
    if start.any():
        columns = start[:, None] + torch.arange(width, device=tokens.device)  # (B, W)
        columns = columns.clamp(max=max(tokens.shape[1] - 1, 0))
        ids = tokens.gather(1, columns)
        behind = ids == pad
    if not touching and (behind[:, :-1] & ~behind[:, 1:]).any():  # somebody else's rows: pads between tokens
        columns = real.logical_not().sort(dim=1, stable=True).indices[:, :width]
        ids = tokens.gather(1, columns)
        behind = ids == pad
    return ids.masked_fill(behind, 0), columns


class Block(nn.Module):
    """Attention, then a feed-forward network, each normalised before and a part of it added (Xiong et al., 2020).

    By default a tenth, since reinforcement learning never stops stirring: PPO normalises advantages that are mere noise
    once a task is solved, and Adam makes full steps of them. What a block adds then moves by its whole size within an
    update, prefixes become indistinguishable, and a policy that was right is lost. It may still grow as large as it
    needs to. Where what stands before the newest token says as much as that one does, as the numbers of a state do, a
    tenth learns of it ten times as slowly, and more is better.
    """

    def __init__(self, d_model: int, n_heads: int, residual_scale: float) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.attention = CausalSelfAttention(d_model, n_heads)
        self.norm_attention = nn.LayerNorm(d_model)
        self.norm_feed_forward = nn.LayerNorm(d_model)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x: Tensor, rows: int, fused: bool = False) -> Tensor:
        """Return `(B * L, d_model)` of the same, B rows behind one another."""
        x = torch.add(x, self.attention(self.norm_attention(x), rows, fused), alpha=self.residual_scale)
        return torch.add(x, self.feed_forward(self.norm_feed_forward(x)), alpha=self.residual_scale)


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention, softmax(Q K^T / sqrt(d_k)) V per head (Vaswani et al., 2017, equation 1)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project = nn.Linear(d_model, 3 * d_model)  # queries, keys and values, side by side: one product, not three
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, rows: int, fused: bool = False) -> Tensor:
        """Return `(B * L, d_model)` of the same, B rows behind one another; no position sees a later one of its row."""
        q, k, v = self.heads(x, rows)
        kernel = nn.functional.scaled_dot_product_attention
        mixed = kernel(q, k, v, is_causal=True) if fused else self.weights(q, k) @ v  # (B, h, L, d_k)
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(x.shape))  # heads side by side
        return out

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Return how much each position looks at each, `(B, h, L, L)`, query x key; nothing looks ahead."""
        causal = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])
        return scores.masked_fill(~causal, float("-inf")).softmax(dim=-1)

    def heads(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each `(B, h, L, d_k)`, of `(B * L, d_model)`, B rows behind one another."""
        length, d_k = len(x) // max(rows, 1), x.shape[1] // self.n_heads
        split = self.project(x).view(rows, length, 3 * self.n_heads, d_k)
        q, k, v = split.transpose(1, 2).chunk(3, dim=1)
        return q, k, v
