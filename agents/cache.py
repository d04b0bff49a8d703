"""PrefixCache: keys and values of rows' prefixes, so that a transformer reads only the tokens that are new."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .transformer import Block, CausalTransformer


class PrefixCache:
    """What a transformer has computed for n rows of tokens, recognised by what the rows hold.

    A row that extends the prefix remembered for it, by any number of tokens, costs the new tokens alone; any other row
    is read anew. Rows need nothing in common: prompts and completions may have all lengths. Keys and values stand in
    the order of a row's tokens, behind the learned first vector's, whatever columns the tokens have.

    It holds for the parameters that it was made with; whoever changes them throws it away. Nothing here has gradients.

    Args:
        transformer: whose.
        rows: n.
    """

    def __init__(self, transformer: CausalTransformer, rows: int) -> None:
        self.transformer = transformer
        weight = transformer.token.weight
        blocks: list[Block] = list(transformer.blocks)  # type: ignore[arg-type]
        width = transformer.position.num_embeddings - 1
        self._blocks = [_CachedBlock(block, rows, width + 1) for block in blocks]
        self._columns = torch.arange(width, device=weight.device)
        self._slots = torch.arange(width + 1, device=weight.device)
        self._rows = torch.arange(rows, device=weight.device)
        self.tokens = torch.full((rows, width), transformer.pad, device=weight.device)  # (n, L) remembered
        self.count = torch.zeros(rows, dtype=torch.long, device=weight.device)  # (n,) tokens remembered
        self.stop = torch.zeros_like(self.count)  # (n,) the column after the newest
        self.hidden = self._step(transformer.first().expand(rows, -1), 0)  # (n, d) of each row's whole prefix
        self._empty = self.hidden[:1].clone()  # (1, d) of the empty prefix

    def __len__(self) -> int:
        return len(self.count)

    def serves(self, tokens: Tensor) -> Tensor:
        """Return how many of each row's tokens are remembered, `(n,)`; 0 where the row is another one."""
        same = (tokens == self.tokens) | (self._columns >= self.stop[:, None])  # (n, L)
        return self.count * same.all(dim=1)

    def read(self, tokens: Tensor, known: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(n, d)`.

        Args:
            tokens: `(n, L)` ids, pads before and after.
            known: what `serves` returned for them.
        """
        real = tokens != self.transformer.pad
        count = real.sum(dim=1)
        stop = ((self._columns + 1) * real).amax(dim=1)  # (n,)
        new = count - known
        (least, shortest), (most, longest) = torch.stack([new, count], dim=1).aminmax(dim=0)
        if least == most == 1:  # the fast path: every row has written one token
            newest = tokens.gather(1, stop[:, None] - 1)[:, 0]  # (n,)
            x = self._embed(newest, count, stop - 1)  # (n, d)
            if shortest == longest:
                hidden = self._step(x, int(longest))
            else:
                hidden = self._extend(x[:, None], None, count, count)
        else:
            hidden = self.hidden.clone()
            hidden[count == 0] = self._empty
            for rows in ((new == 1).nonzero().flatten(), (new > 1).nonzero().flatten()):
                if len(rows):
                    hidden[rows] = self._catch_up(tokens[rows], rows, count[rows], known[rows], stop[rows])
        self.tokens.copy_(tokens)  # not kept itself: it may be somebody's buffer
        self.count, self.stop, self.hidden = count, stop, hidden
        return hidden

    def _catch_up(self, tokens: Tensor, rows: Tensor, count: Tensor, known: Tensor, stop: Tensor) -> Tensor:
        """Read tokens `known` to `count` of some rows, `(r, d)`; a row's block may end in tokens that mean nothing."""
        new = torch.arange(1, int((count - known).max()) + 1, device=tokens.device)
        order = (known[:, None] + new).clamp(max=len(self._columns))  # (r, m) 1 for a row's first token
        place = ((stop - count)[:, None] + order - 1).clamp(max=len(self._columns) - 1)
        ids = tokens.gather(1, place)
        ids = ids.masked_fill(ids == self.transformer.pad, 0)
        return self._extend(self._embed(ids, order, place), rows, known + 1, count)

    def _embed(self, ids: Tensor, order: Tensor, columns: Tensor) -> Tensor:
        """Return `(..., d)` of tokens `(...)` that stand at these places of their rows."""
        x = self.transformer.token(ids) + self.transformer.position(order)
        out: Tensor = x if self.transformer.column is None else x + self.transformer.column(columns)
        return out

    def _step(self, x: Tensor, slot: int) -> Tensor:
        """Read one new token of each row, `(n, d)`, all in one slot; return their hidden vectors, `(n, d)`."""
        for block in self._blocks:
            x = block.step(x, slot)
        out: Tensor = self.transformer.norm(x)
        return out

    def _extend(self, x: Tensor, rows: Tensor | None, first: Tensor, last: Tensor) -> Tensor:
        """Read new tokens behind the prefixes that are remembered.

        Args:
            x: `(r, m, d)` embedded tokens.
            rows: `(r,)` which rows; None for all.
            first: `(r,)` the slot of each row's first new token.
            last: `(r,)` the slot of its newest one.

        Returns:
            `(r, d)` the hidden vectors of the newest tokens.
        """
        slots = first[:, None] + torch.arange(x.shape[1], device=x.device)  # (r, m)
        slots = slots.clamp(max=len(self._slots) - 1)
        end = int(slots.max()) + 1
        unseen = self._slots[:end] > slots[:, None, :, None]  # (r, 1, m, end)
        at = self._rows if rows is None else rows
        for block in self._blocks:
            x = block.extend(x, at, slots, unseen, whole=rows is None)
        out: Tensor = self.transformer.norm(x[torch.arange(len(x), device=x.device), last - first])
        return out


class Caches:
    """The caches used last, chosen by what their rows hold, so that an evaluation in between costs nothing.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int = 2) -> None:
        self.most = most
        self._held: list[PrefixCache] = []  # the one used last comes last
        self._of: CausalTransformer | None = None
        self._owners: list[tuple[Any, str]] = []  # of its parameters: walking its modules costs more
        self._print: tuple[int, ...] = ()

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._of = None

    def serves(self, n: int) -> bool:
        """Return whether n rows are remembered."""
        return any(len(cache) == n for cache in self._held)

    def read(self, transformer: CausalTransformer, tokens: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(n, d)`, reading as little as possible."""
        if not len(tokens) or transformer.begin.is_inference() or _has_holes(transformer, tokens):
            return transformer.newest(tokens)
        with torch.inference_mode(False), torch.no_grad():  # what is kept must serve outside of inference, too
            return self._read(transformer, tokens)

    def _read(self, transformer: CausalTransformer, tokens: Tensor) -> Tensor:
        if self._of is not transformer:
            self._of = transformer
            self._owners = _owners(transformer)
        found = _fingerprint(self._owners)
        if found != self._print:
            self._held.clear()
            self._print = found
        served = [(cache, cache.serves(tokens)) for cache in self._held if len(cache) == len(tokens)]
        best = max(served, key=lambda pair: int(pair[1].sum()), default=None)
        if best is None or not best[1].any():  # nothing known: take the place of the one not used for longest
            best = self._fresh(transformer, tokens, served)
        cache, known = best
        self._held = [*(other for other in self._held if other is not cache), cache][-self.most :]
        return cache.read(tokens, known)

    def _fresh(
        self, transformer: CausalTransformer, tokens: Tensor, served: list[tuple[PrefixCache, Tensor]]
    ) -> tuple[PrefixCache, Tensor]:
        if len(self._held) == self.most and len(served) and served[0][0] is self._held[0]:
            return served[0]  # of the same size: its memory serves again
        cache = PrefixCache(transformer, len(tokens))
        return cache, torch.zeros_like(cache.count)


def _owners(transformer: CausalTransformer) -> list[tuple[Any, str]]:
    """Return where a transformer's parameters are kept."""
    return [(m._parameters, name) for m in transformer.modules() for name, p in m._parameters.items() if p is not None]


def _fingerprint(owners: list[tuple[Any, str]]) -> tuple[int, ...]:
    """Return what changes where parameters are written to, replaced or moved; but not by a write through `.data`."""
    parameters = [owner[name] for owner, name in owners]
    return sum([parameter._version for parameter in parameters]), *[parameter.data_ptr() for parameter in parameters]


def _has_holes(transformer: CausalTransformer, tokens: Tensor) -> bool:
    """Return whether pads stand between tokens, as they may in rows that are not TextGym's."""
    if transformer.column is not None or not tokens.shape[1]:
        return False
    real = tokens != transformer.pad
    begins = (real[:, 1:] & ~real[:, :-1]).sum(dim=1) + real[:, 0].long()  # runs of tokens
    return bool((begins > 1).any())


class _CachedBlock:
    """One block over new tokens, with the keys and values of all before them."""

    def __init__(self, block: Block, rows: int, slots: int) -> None:
        up, self.activation, down = block.feed_forward
        assert isinstance(up, nn.Linear)
        assert isinstance(down, nn.Linear)
        self.attention, self.up, self.down = block.attention, up, down
        self.norms = block.norm_attention, block.norm_feed_forward
        self.share = block.share
        width, heads = self.attention.output.in_features, self.attention.n_heads
        self.split = 3, heads, width // heads
        self.scale = 1 / math.sqrt(width // heads)
        self.memory = self.attention.output.weight.new_zeros(2, rows, heads, slots, width // heads)
        self.keys, self.values = self.memory  # each (n, h, L + 1, d_k)

    def step(self, x: Tensor, slot: int) -> Tensor:
        """Return `(n, d)` of one token `(n, d)` for each row, all in one slot."""
        new = self._project(x).view(len(x), *self.split).permute(1, 0, 2, 3)  # (3, n, h, d_k)
        self.memory[:, :, :, slot] = new[1:]
        keys, values = self.memory[:, :, :, : slot + 1]  # (n, h, slot + 1, d_k)
        scores = (new[0] * self.scale)[:, :, None] @ keys.transpose(-2, -1)  # (n, h, 1, slot + 1)
        return self._finish(x, (scores.softmax(dim=-1) @ values).flatten(1))

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
        return linear(normal(x, self.norms[0]), self.attention.project)

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Return `(..., d)`: what was attended to, `(..., d)`, and the feed-forward network, added."""
        x = torch.add(x, linear(mixed, self.attention.output), alpha=self.share)
        inner = self.activation(linear(normal(x, self.norms[1]), self.up))
        return torch.add(x, linear(inner, self.down), alpha=self.share)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return what a layer does, without what a module's call costs: for one token a row, that shows."""
    return nn.functional.linear(x, layer.weight, layer.bias)


def normal(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    """Return the same of a normalisation."""
    return nn.functional.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)
