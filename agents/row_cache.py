"""RowCache: what a network has computed for rows of tokens, recognised by what the rows hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class PrefixNetwork(Protocol):
    """A causal network as caches and extractors read it: `CausalTransformer`, or a pretrained model's body."""

    @property
    def pad(self) -> int:
        """The id of no token."""

    @property
    def touching(self) -> bool:
        """Whether a row's tokens always touch, as those of TextGym's environments do."""

    def __call__(self, tokens: Tensor, fused: bool = False) -> Tensor:
        """Return the hidden vectors `(B, W + 1, d)` of all prefixes of rows `(B, L)`."""

    def newest(self, tokens: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(B, d)`."""

    def first(self) -> Tensor:
        """Return what a row begins with, `(d,)`."""

    def modules(self) -> Iterator[nn.Module]:
        """Yield it and all modules in it."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield its parameters."""


class RowCache(ABC):
    """What a causal network has computed for n rows of tokens, recognised by what the rows hold.

    A row that extends the prefix remembered for it, by any number of tokens, costs the new tokens alone; any other row
    is read anew. Rows need nothing in common: prompts and completions may have all lengths. Keys and values stand in
    the order of a row's tokens, behind the first vector's, whatever columns the tokens have.

    It holds for the parameters that it was made with; whoever changes them throws it away. Nothing here has gradients.

    Args:
        network: whose.
        rows: n.
        width: the columns of a row, L.
    """

    def __init__(self, network: PrefixNetwork, rows: int, width: int) -> None:
        first = network.first()
        self.pad = network.pad
        self._columns = torch.arange(width, device=first.device)
        self._slots = torch.arange(width + 1, device=first.device)
        self._rows = torch.arange(rows, device=first.device)
        self.tokens = torch.full((rows, width), network.pad, device=first.device)  # (n, L) remembered
        self.count = torch.zeros(rows, dtype=torch.long, device=first.device)  # (n,) tokens remembered
        self.stop = torch.zeros_like(self.count)  # (n,) the column after the newest
        self._level: int | None = 0  # the tokens that each row has, where all have as many
        self._room = width  # columns behind the newest, of the row that has fewest
        self.hidden = self._step(first.expand(rows, -1), 0)  # (n, d) of each row's whole prefix
        self._empty = self.hidden[:1].clone()  # (1, d) of the empty prefix

    @abstractmethod
    def _embed(self, ids: Tensor, order: Tensor, columns: Tensor) -> Tensor:
        """Return `(..., d)` of tokens `(...)` that stand at these places of their rows."""

    @abstractmethod
    def _step(self, x: Tensor, slot: int) -> Tensor:
        """Read one new token of each row, `(n, d)`, all in one slot; return their hidden vectors, `(n, d)`."""

    @abstractmethod
    def _read_block(self, x: Tensor, rows: Tensor | None, slots: Tensor, unseen: Tensor) -> Tensor:
        """Read new tokens behind the prefixes that are remembered.

        Args:
            x: `(r, m, d)` embedded tokens.
            rows: `(r,)` which rows; None for all.
            slots: `(r, m)` where they stand.
            unseen: `(r, 1, m, end)`, True where a token must not look.

        Returns:
            `(r, m, d)` their hidden vectors.
        """

    def __len__(self) -> int:
        return len(self.count)

    def serves(self, tokens: Tensor) -> Tensor:
        """Return how many of each row's tokens are remembered, `(n,)`; 0 where the row is another one."""
        same = (tokens == self.tokens) | (self._columns >= self.stop[:, None])  # (n, L)
        return self.count * same.all(dim=1)

    def advance(self, tokens: Tensor) -> Tensor | None:
        """Return what `read` does, `(n, d)`, where each row has written one token since; None, and nothing, elsewhere.

        Args:
            tokens: `(n, L)` ids, pads before and after.
        """
        if not self._room:
            return None
        new, at = tokens != self.tokens, self.stop[:, None]
        if int(new.count_nonzero()) != len(self) or not new.gather(1, at).all():
            return None
        self._room -= 1
        self._level = None if self._level is None else self._level + 1
        return self._append(tokens, self.count + 1, self.stop + 1)

    def read(self, tokens: Tensor, known: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(n, d)`; for many rows, `advance` costs less.

        Args:
            tokens: `(n, L)` ids, pads before and after.
            known: what `serves` returned for them.
        """
        real = tokens != self.pad
        count = real.sum(dim=1)
        stop = ((self._columns + 1) * real).amax(dim=1)  # (n,)
        new = count - known
        shortest, longest = count.aminmax()
        self._level = int(longest) if shortest == longest else None
        self._room = len(self._columns) - int(stop.max())
        if (new == 1).all():
            return self._append(tokens, count, stop)
        hidden = self.hidden.clone()
        hidden[count == 0] = self._empty
        for rows in ((new == 1).nonzero().flatten(), (new > 1).nonzero().flatten()):
            if len(rows):
                hidden[rows] = self._catch_up(tokens[rows], rows, count[rows], known[rows], stop[rows])
        return self._keep(tokens, count, stop, hidden)

    def _append(self, tokens: Tensor, count: Tensor, stop: Tensor) -> Tensor:
        """Read the one token that each row has written; return `(n, d)`."""
        x = self._embed(tokens.gather(1, stop[:, None] - 1)[:, 0], count, stop - 1)  # (n, d)
        if self._level is None:
            return self._keep(tokens, count, stop, self._extend(x[:, None], None, count, count))
        return self._keep(tokens, count, stop, self._step(x, self._level))

    def _keep(self, tokens: Tensor, count: Tensor, stop: Tensor, hidden: Tensor) -> Tensor:
        self.tokens.copy_(tokens)  # not kept itself: it may be somebody's buffer
        self.count, self.stop, self.hidden = count, stop, hidden
        return hidden

    def _catch_up(self, tokens: Tensor, rows: Tensor, count: Tensor, known: Tensor, stop: Tensor) -> Tensor:
        """Read tokens `known` to `count` of some rows, `(r, d)`; a row's block may end in tokens that mean nothing."""
        new = torch.arange(1, int((count - known).max()) + 1, device=tokens.device)
        order = (known[:, None] + new).clamp(max=len(self._columns))  # (r, m) 1 for a row's first token
        place = ((stop - count)[:, None] + order - 1).clamp(max=len(self._columns) - 1)
        ids = tokens.gather(1, place)
        ids = ids.masked_fill(ids == self.pad, 0)
        return self._extend(self._embed(ids, order, place), rows, known + 1, count)

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
        hidden = self._read_block(x, rows, slots, unseen)
        return hidden[torch.arange(len(x), device=x.device), last - first]


class Caches:
    """The caches used last, chosen by what their rows hold, so that an evaluation in between costs nothing.

    Args:
        make: makes one, of a network and a number of rows.
        most: how many are kept.
    """

    def __init__(self, make: Callable[[Any, int], RowCache], most: int = 2) -> None:
        self.make, self.most = make, most
        self._held: list[RowCache] = []  # the one used last comes last
        self._of: PrefixNetwork | None = None
        self._owners: list[tuple[Any, str]] = []  # of its parameters: walking its modules costs more
        self._print: tuple[int, ...] = ()

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._of = None

    def serves(self, n: int) -> bool:
        """Return whether n rows are remembered."""
        return any(len(cache) == n for cache in self._held)

    def read(self, network: PrefixNetwork, tokens: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(n, d)`, reading as little as possible."""
        if self._of is not network:
            self._of = network
            self._owners = _owners(network)
        parameters = [owner[name] for owner, name in self._owners]
        if not len(tokens) or parameters[0].is_inference() or _has_holes(network, tokens):
            return network.newest(tokens)
        if not torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            return self._read(network, tokens, parameters)
        with torch.inference_mode(False), torch.no_grad():  # what is kept must serve outside of inference, too
            return self._read(network, tokens, parameters)

    def _read(self, network: PrefixNetwork, tokens: Tensor, parameters: list[Tensor]) -> Tensor:
        found = _fingerprint(parameters)
        if found != self._print:
            self._held.clear()
            self._print = found
        if self._held and len(self._held[-1]) == len(tokens):
            hidden = self._held[-1].advance(tokens)
            if hidden is not None:
                return hidden
        served = [(cache, cache.serves(tokens)) for cache in self._held if len(cache) == len(tokens)]
        best = max(served, key=lambda pair: int(pair[1].sum()), default=None)
        if best is None or not best[1].any():  # nothing known: take the place of the one not used for longest
            best = self._fresh(network, tokens, served)
        cache, known = best
        self._held = [*(other for other in self._held if other is not cache), cache][-self.most :]
        return cache.read(tokens, known)

    def _fresh(
        self, network: PrefixNetwork, tokens: Tensor, served: list[tuple[RowCache, Tensor]]
    ) -> tuple[RowCache, Tensor]:
        if len(self._held) == self.most and len(served) and served[0][0] is self._held[0]:
            return served[0]  # of the same size: its memory serves again
        cache = self.make(network, len(tokens))
        return cache, torch.zeros_like(cache.count)


def _owners(network: PrefixNetwork) -> list[tuple[Any, str]]:
    """Return where a network's parameters are kept."""
    return [(m._parameters, name) for m in network.modules() for name, p in m._parameters.items() if p is not None]


def _fingerprint(parameters: list[Tensor]) -> tuple[int, ...]:
    """Return what changes where parameters are written to, replaced or moved; but not by a write through `.data`."""
    return sum([parameter._version for parameter in parameters]), *[parameter.data_ptr() for parameter in parameters]


def _has_holes(network: PrefixNetwork, tokens: Tensor) -> bool:
    """Return whether pads stand between tokens, as they may in rows that are not TextGym's."""
    if network.touching or not tokens.shape[1]:
        return False
    real = tokens != network.pad
    begins = (real[:, 1:] & ~real[:, :-1]).sum(dim=1) + real[:, 0].long()  # runs of tokens
    return bool((begins > 1).any())
