"""CausalTrunk: the body of a Hugging Face causal language model, read as our own transformer is, and its cache."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from .row_cache import RowCache
from .transformer import align


class CausalTrunk(nn.Module):
    """A language model without its head, over rows of an environment's tokens.

    A row begins with the model's begin token, else its end token; where it has neither, with one learned vector. Its
    tokens stand behind that, wherever pads are in the row, so that no token sees a pad and positions count from it.

    Args:
        body: of the model.
        ids: `(pad,)` the model's token for each of the environment's.
        width: the tokens of the longest row.
        begin: the token that a row begins with; None for a vector of its own.
        touching: whether a row's tokens always touch.
    """

    ids: Tensor

    def __init__(self, body: nn.Module, ids: list[int], width: int, begin: int | None, touching: bool = True) -> None:
        super().__init__()
        model: Any = body
        self.body, self.pad, self.width, self.touching = body, len(ids), width, touching
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        self.begin, config = begin, model.config
        self.d_model = int(config.hidden_size)
        if begin is None:
            self.vector = nn.Parameter(torch.randn(self.d_model) * float(getattr(config, "initializer_range", 0.02)))
        self.remembers = _remembers(model, width + 1)
        self.halved = False  # whether the blocks compute in bfloat16

    def forward(self, tokens: Tensor, fused: bool = False) -> Tensor:
        """Return the hidden vectors of all prefixes.

        Args:
            tokens: ids, `(B, L)` int64.
            fused: of no use here: the model has kernels of its own.

        Returns:
            `(B, W + 1, d_model)`, W the tokens of the longest row: at j the vector of a row's first j tokens; where the
            row has fewer, it means nothing.
        """
        # the pads are all behind a row's tokens, where causal attention does not look: no mask
        out: Tensor = self._body(inputs_embeds=self.embedded(tokens), use_cache=False)
        return out

    def embedded(self, tokens: Tensor) -> Tensor:
        """Return what the model reads of rows `(B, L)`: the begin vector and the tokens', `(B, W + 1, d_model)`."""
        ids, _ = align(tokens, self.pad, self.touching)
        return torch.cat([self.first().expand(len(ids), 1, -1), self.embed(ids)], dim=1)

    def newest(self, tokens: Tensor) -> Tensor:
        """Return the hidden vector of each row's whole prefix, `(B, d_model)`."""
        hidden: Tensor = self(tokens)
        return hidden[torch.arange(len(tokens), device=tokens.device), (tokens != self.pad).sum(dim=1)]

    def first(self) -> Tensor:
        """Return what a row begins with, `(d_model,)`."""
        if self.begin is None:
            return self.vector
        begin: Tensor = self._table()(torch.tensor(self.begin, device=self.ids.device))
        return begin

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embeddings `(..., d_model)` of the environment's tokens `(...)`."""
        out: Tensor = self._table()(self.ids[tokens])
        return out

    def read_on(self, x: Tensor, memory: Memory, unseen: Tensor, positions: Tensor) -> Tensor:
        """Return the hidden vectors `(r, m, d)` of embedded tokens behind what is remembered.

        Args:
            x: `(r, m, d)`.
            memory: keys and values, which says where the new ones go.
            unseen: `(r, 1, m, end)`, or broadcast to it, True where a token must not look.
            positions: `(r, m)` their places in their rows.
        """
        dtype = torch.bfloat16 if self.halved else x.dtype
        mask = torch.zeros(unseen.shape, dtype=dtype, device=x.device)
        mask = mask.masked_fill(unseen, torch.finfo(dtype).min)
        return self._body(
            inputs_embeds=x, attention_mask=mask, position_ids=positions, past_key_values=memory, use_cache=True
        )

    def _table(self) -> nn.Module:
        found: nn.Module = self.body.get_input_embeddings()  # type: ignore[operator]
        return found

    def _body(self, **arguments: Any) -> Tensor:
        with self.precision():
            hidden: Tensor = self.body(**arguments).last_hidden_state
        return hidden.float()

    def precision(self) -> AbstractContextManager[Any]:
        """Return a context in which the body computes as it does for the policy."""
        return torch.autocast(self.ids.device.type, torch.bfloat16) if self.halved else nullcontext()


def _remembers(body: Any, slots: int) -> bool:
    """Return whether a body's attention looks at all tokens before, so that keys and values can stand in any slots."""
    config, known = body.config, inspect.signature(body.forward).parameters
    kinds = {*(getattr(config, "layer_types", None) or ["full_attention"])}
    window = getattr(config, "sliding_window", None)
    near = isinstance(window, int) and window < slots
    return (
        {"position_ids", "past_key_values"} <= {*known}
        and kinds <= {"full_attention", "sliding_attention"}
        and not near
    )


class Memory(Cache):
    """Keys and values of n rows, each row's in the slots of its own tokens; Hugging Face's layers write through it.

    Args:
        rows: n.
        slots: the tokens of the longest row, and one that begins it.
        dtype: of what is kept; None for what is computed.
    """

    def __init__(self, rows: int, slots: int, dtype: torch.dtype | None = None) -> None:
        super().__init__(layers=[])
        self.shape, self.dtype = (rows, slots), dtype
        self.held: list[tuple[Tensor, Tensor]] = []  # keys and values (n, h, slots, d_k) of each layer
        self.rows: Tensor | None = None  # (r,) which rows are read; None for all
        self.at: Tensor | int = 0  # (r, m) the slots of their new tokens, or the one slot of all of them
        self.end = 1  # the slots that are looked at

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Put new keys and values `(r, h, m, d_k)` in their slots; return those looked at, `(r, h, end, d_k)`."""
        if layer_idx == len(self.held):
            self.held.append((self._nothing(key_states), self._nothing(value_states)))
        found = []
        for held, new in zip(self.held[layer_idx], (key_states, value_states)):
            if isinstance(self.at, int):
                held[:, :, self.at] = new[:, :, 0]
            else:
                rows = torch.arange(len(held), device=held.device) if self.rows is None else self.rows
                held[rows[:, None], :, self.at] = new.transpose(1, 2).to(held)
            seen = held[:, :, : self.end]
            found.append(seen if self.rows is None else seen[self.rows])
        return found[0], found[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: what is remembered differs from row to row, and positions are given."""
        return 0

    def _nothing(self, states: Tensor) -> Tensor:
        rows, slots = self.shape
        return states.new_zeros(rows, states.shape[1], slots, states.shape[3], dtype=self.dtype)


class TrunkCache(RowCache):
    """A `RowCache` of a `CausalTrunk`.

    Args:
        trunk: whose.
        rows: n.
    """

    def __init__(self, trunk: CausalTrunk, rows: int) -> None:
        dtype = torch.bfloat16 if trunk.halved else None
        self.trunk, self.memory = trunk, Memory(rows, trunk.width + 1, dtype)
        super().__init__(trunk, rows, trunk.width)

    def _embed(self, ids: Tensor, order: Tensor, columns: Tensor) -> Tensor:
        """Return `(..., d)` of tokens `(...)`; the body adds their positions."""
        return self.trunk.embed(ids)

    def _step(self, x: Tensor, slot: int) -> Tensor:
        """Return the hidden vectors `(n, d)` of one new token of each row, all in one slot."""
        self.memory.rows, self.memory.at, self.memory.end = None, slot, slot + 1
        unseen = torch.zeros(1, 1, 1, slot + 1, dtype=torch.bool, device=x.device)
        positions = torch.full((len(x), 1), slot, device=x.device)
        return self.trunk.read_on(x[:, None], self.memory, unseen, positions)[:, 0]

    def _read_block(self, x: Tensor, rows: Tensor | None, slots: Tensor, unseen: Tensor) -> Tensor:
        """Return the hidden vectors `(r, m, d)` of new tokens."""
        self.memory.rows, self.memory.at, self.memory.end = rows, slots, unseen.shape[-1]
        return self.trunk.read_on(x, self.memory, unseen, slots)
