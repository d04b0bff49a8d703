"""PrefixCache: keys and values of rows' prefixes, so that a transformer reads only the tokens that are new."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .row_cache import RowCache
from .transformer import Block, CausalTransformer


class PrefixCache(RowCache):
    """A `RowCache` of a `CausalTransformer`.

    Args:
        transformer: whose.
        rows: n.
    """

    def __init__(self, transformer: CausalTransformer, rows: int) -> None:
        self.transformer = transformer
        blocks: list[Block] = list(transformer.blocks)  # type: ignore[arg-type]
        width = transformer.position.num_embeddings - 1
        self._blocks = [_CachedBlock(block, rows, width + 1) for block in blocks]
        super().__init__(transformer, rows, width)

    def _embed(self, ids: Tensor, order: Tensor, columns: Tensor) -> Tensor:
        """Return `(..., d)` of tokens `(...)` that stand at these places of their rows."""
        tables = self.transformer.token, self.transformer.position, self.transformer.column
        rows = [nn.functional.embedding(at, t.weight) for t, at in zip(tables, (ids, order, columns)) if t is not None]
        return sum(rows[1:], start=rows[0])

    def _step(self, x: Tensor, slot: int) -> Tensor:
        """Read one new token of each row, `(n, d)`, all in one slot; return their hidden vectors, `(n, d)`."""
        for block in self._blocks:
            x = block.step(x, slot)
        out: Tensor = self.transformer.norm(x)
        return out

    def _read_block(self, x: Tensor, rows: Tensor | None, slots: Tensor, unseen: Tensor) -> Tensor:
        """Return the hidden vectors `(r, m, d)` of new tokens."""
        at = self._rows if rows is None else rows
        for block in self._blocks:
            x = block.extend(x, at, slots, unseen, whole=rows is None)
        out: Tensor = self.transformer.norm(x)
        return out


class _CachedBlock:
    """One block over new tokens, with the keys and values of all before them."""

    def __init__(self, block: Block, rows: int, slots: int) -> None:
        up, self.activation, down = block.feed_forward
        attention = block.attention
        self.project, self.output, self.up, self.down = map(_product, (attention.project, attention.output, up, down))
        self.norms = block.norm_attention, block.norm_feed_forward
        self.residual_scale = block.residual_scale
        width, heads = attention.output.in_features, attention.n_heads
        self.split = 3, heads, width // heads
        self.scale = 1 / math.sqrt(width // heads)
        self.memory = self.norms[0].weight.new_zeros(2, rows, heads, slots, width // heads)
        self.keys, self.values = self.memory  # each (n, h, L + 1, d_k)

    def step(self, x: Tensor, slot: int) -> Tensor:
        """Return `(n, d)` of one token `(n, d)` for each row, all in one slot."""
        new = self._project(x).view(len(x), *self.split)  # (n, 3, h, d_k)
        self.memory.select(3, slot).copy_(new[:, 1:].transpose(0, 1))
        keys, values = self.memory.narrow(3, 0, slot + 1).flatten(1, 2)  # (n h, slot + 1, d_k)
        q = new[:, 0].reshape(-1, 1, keys.shape[2])  # (n h, 1, d_k)
        nothing = q[:, :, :1]  # times 0
        scores = torch.baddbmm(nothing, q, keys.transpose(1, 2), beta=0, alpha=self.scale)  # (n h, 1, slot + 1)
        return self._finish(x, torch.bmm(scores.softmax(dim=-1), values).view(x.shape))

    def extend(self, x: Tensor, rows: Tensor, slots: Tensor, unseen: Tensor, whole: bool) -> Tensor:
        """Return `(r, m, d)`.

        Args:
            x: `(r, m, d)`.
            rows: `(r,)` whose keys and values.
            slots: `(r, m)` where the new ones go.
            unseen: `(r, 1, m, end)`, True where a token must not look.
            whole: whether the rows are all rows, in order.
        """
        q, k, v = self._project(x).view(*x.shape[:2], *self.split).unbind(2)  # (r, m, h, d_k)
        self.keys[rows[:, None], :, slots] = k
        self.values[rows[:, None], :, slots] = v
        end = unseen.shape[-1]
        keys, values = self.keys[:, :, :end], self.values[:, :, :end]  # (n, h, end, d_k)
        if not whole:
            keys, values = keys[rows], values[rows]
        scores = (q * self.scale).transpose(1, 2) @ keys.transpose(-2, -1)  # (r, h, m, end)
        weights = scores.masked_fill_(unseen, float("-inf")).softmax(dim=-1)
        return self._finish(x, (weights @ values).transpose(1, 2).flatten(2))

    def _project(self, x: Tensor) -> Tensor:
        """Return `(..., 3 d)` queries, keys and values, side by side."""
        return self.project(normal(x, self.norms[0]))

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Return `(..., d)`: what was attended to, `(..., d)`, and the feed-forward network, added."""
        x = torch.add(x, self.output(mixed), alpha=self.residual_scale)
        inner = self.activation(self.up(normal(x, self.norms[1])))
        return torch.add(x, self.down(inner), alpha=self.residual_scale)


def _product(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what a layer does, with its weights laid out for many calls with few rows: there, that shows."""
    if type(layer) is not nn.Linear:
        return layer  # in int8
    weight, bias = layer.weight.detach().t().contiguous(), layer.bias.detach()
    return lambda x: torch.addmm(bias, x, weight) if x.ndim == 2 else nn.functional.linear(x, weight.t(), bias)


def normal(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    """Return what a normalisation does, without what a module's call costs."""
    return torch.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)
