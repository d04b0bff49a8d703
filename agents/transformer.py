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
        self.blocks = nn.ModuleList([Block(d_model, n_heads) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(d_model)
        for weight in (self.begin, *[m.weight for m in self.modules() if isinstance(m, nn.Embedding)]):
            nn.init.normal_(weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden vectors of all prefixes.

        Args:
            tokens: ids, `(B, L)` int64.

        Returns:
            `(B, L + 1, d_model)`: column 0 for the empty prefix, column j for the prefix that ends in column j - 1;
            where that is a pad, the vector means nothing.
        """
        real = tokens != self.pad  # (B, L)
        order = real.cumsum(dim=1) * real  # (B, L): 1 for a row's first token; 0 at pads
        x = self.token(tokens.masked_fill(~real, 0)) + self.position(order)  # (B, L, d)
        if self.column is not None:
            x = x + self.column.weight[: tokens.shape[1]]
        begin = (self.begin + self.position.weight[0]).expand(len(x), 1, -1)  # (B, 1, d)
        x = torch.cat([begin, x], dim=1)  # (B, L + 1, d)
        seen = nn.functional.pad(real, (1, 0), value=True)  # (B, L + 1)
        causal = torch.ones(seen.shape[1], seen.shape[1], dtype=torch.bool, device=seen.device).tril()
        mask = causal & seen[:, None, None, :]  # (B, 1, L + 1, L + 1): query x key
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out

    def newest(self, tokens: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(B, d_model)`."""
        real = tokens != self.pad  # (B, L)
        columns = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        last = (columns * real).amax(dim=1) if tokens.shape[1] else tokens.new_zeros(len(tokens))  # (B,)
        width = int(last.max()) if len(last) else 0  # columns past every row's newest token are not computed
        hidden: Tensor = self(tokens[:, :width])
        return hidden[torch.arange(len(tokens), device=tokens.device), last]


class Block(nn.Module):
    """Attention, then a feed-forward network, each normalised before and a tenth of it added (Xiong et al., 2020).

    A tenth, since reinforcement learning never stops stirring: PPO normalises advantages that are mere noise once a
    task is solved, and Adam makes full steps of them. What a block adds then moves by its whole size within an update,
    prefixes become indistinguishable, and a policy that was right is lost. It may still grow as large as it needs to.
    """

    share = 0.1

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.attention = CausalSelfAttention(d_model, n_heads)
        self.norm_attention = nn.LayerNorm(d_model)
        self.norm_feed_forward = nn.LayerNorm(d_model)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return `(B, L, d_model)`."""
        x = x + self.share * self.attention(self.norm_attention(x), mask)
        out: Tensor = x + self.share * self.feed_forward(self.norm_feed_forward(x))
        return out


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention, softmax(Q K^T / sqrt(d_k)) V per head (Vaswani et al., 2017, equation 1)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend.

        Args:
            x: `(B, L, d_model)`.
            mask: bool, `(B, 1, L, L)`; False where a query must not see a key.

        Returns:
            `(B, L, d_model)`.
        """
        q, k, v = (self._heads(project(x)) for project in (self.query, self.key, self.value))  # (B, h, L, d_k)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])  # (B, h, L, L)
        weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)  # (B, L, d_model), heads side by side
        out: Tensor = self.output(mixed)
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)  # (B, L, d) -> (B, h, L, d_k)
