"""What is remembered changes nothing: cached and plain reading agree, whatever the rows do."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents import CachedTransformerPolicy, TransformerExtractor, make_vec_env
from agents.cache import Caches, PrefixCache
from agents.transformer import CausalTransformer
from textgym.space import TokenBox

PAD, PROMPT, HORIZON = 10, 6, 20
Rng = np.random.Generator


def fresh(rng: Rng) -> Any:
    """Return a row that has just begun: a prompt of any length, right-aligned."""
    row = np.full(PROMPT + HORIZON, PAD)
    length = rng.integers(PROMPT + 1)
    row[PROMPT - length : PROMPT] = rng.integers(PAD, size=length)
    return row


def wander(rows: Any, lengths: Any, rng: Rng) -> None:
    """Let each row begin anew, stay, or go on by one or several tokens, in place."""
    for row in range(len(rows)):
        chance, grown = rng.random(), 1 if rng.random() < 0.8 else int(rng.integers(2, 5))
        if chance < 0.1 or lengths[row] + grown > HORIZON:
            rows[row], lengths[row] = fresh(rng), 0
        elif chance > 0.2:
            start = PROMPT + lengths[row]
            rows[row, start : start + grown] = rng.integers(PAD, size=grown)
            lengths[row] += grown


def extractor(use_cache: bool = True) -> TransformerExtractor:
    torch.manual_seed(0)
    return TransformerExtractor(TokenBox(PAD, PROMPT, HORIZON), 32, 2, 4, use_cache=use_cache).eval()


def largest_difference(read: TransformerExtractor, rows: Any) -> float:
    with torch.no_grad():
        plain = read.transformer.newest(torch.as_tensor(rows)) * read.scale
        return float((read(torch.as_tensor(rows)) - plain).abs().max())


@pytest.mark.parametrize("n", [1, 3, 8])
def test_thousands_of_ragged_steps_agree_with_plain_reading(n: int) -> None:
    read, rng = extractor(), np.random.default_rng(n)
    rows, lengths = np.stack([fresh(rng) for _ in range(n)]), np.zeros(n, np.int64)
    other = np.stack([fresh(rng) for _ in range(5)])
    for step in range(1000):
        wander(rows, lengths, rng)
        assert largest_difference(read, rows) < 1e-6, step
        if step % 7 == 0:  # an evaluation of another size, and a batch of one, in between
            wander(other, np.zeros(5, np.int64), rng)
            assert largest_difference(read, other) < 1e-6
            assert largest_difference(read, rows[:1]) < 1e-6
        if step % 50 == 0:
            with torch.no_grad():
                for parameter in read.parameters():
                    parameter.add_(0.01)
            assert largest_difference(read, rows) < 1e-6


def test_rows_that_grow_by_one_cost_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    embed = PrefixCache._embed

    def counted(self: PrefixCache, ids: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(ids.shape))
        return embed(self, ids, *more)

    monkeypatch.setattr(PrefixCache, "_embed", counted)
    read, rng = extractor(), np.random.default_rng(0)
    rows = np.full((4, PROMPT + HORIZON), PAD)
    for column in range(PROMPT, PROMPT + 10):
        rows[:, column] = rng.integers(PAD, size=4)
        largest_difference(read, rows)
    assert seen == [(4,)] * 10


def test_an_evaluation_of_any_size_does_not_evict_what_training_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    build = PrefixCache.__init__

    def counted(self: PrefixCache, transformer: CausalTransformer, rows: int) -> None:
        made.append(rows)
        build(self, transformer, rows)

    monkeypatch.setattr(PrefixCache, "__init__", counted)
    read, rng = extractor(), np.random.default_rng(0)
    rows, other = (np.stack([fresh(rng) for _ in range(n)]) for n in (4, 9))
    rows[:, PROMPT - 1] = other[:, PROMPT - 1] = 0
    for column in range(PROMPT, PROMPT + 15):
        for part in (rows, other):
            largest_difference(read, part)
            part[:, column] = rng.integers(PAD, size=len(part))
    assert made == [4, 9]


def test_writing_through_data_is_noticed_at_the_next_switch() -> None:
    read, rng = extractor(), np.random.default_rng(0)
    rows = np.stack([fresh(rng) for _ in range(4)])
    largest_difference(read, rows)
    for parameter in read.parameters():
        parameter.data.add_(0.1)  # no version counter moves
    assert largest_difference(read, rows) > 1e-3  # the negative control: what is stale shows
    read.train()
    read.eval()
    assert largest_difference(read, rows) < 1e-6


def test_loading_parameters_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    read, rng = extractor(), np.random.default_rng(0)
    rows = np.stack([fresh(rng) for _ in range(4)])
    largest_difference(read, rows)
    state = {name: value + 0.1 for name, value in read.state_dict().items()}
    read.load_state_dict(state)
    assert largest_difference(read, rows) < 1e-6


def test_a_gather_off_by_one_would_be_seen() -> None:
    read, rng = extractor(), np.random.default_rng(0)
    rows, lengths = np.stack([fresh(rng) for _ in range(8)]), np.zeros(8, np.int64)
    for _ in range(20):
        wander(rows, lengths, rng)
        largest_difference(read, rows)
    (cache,) = read._caches._held
    for block in cache._blocks:
        block.values = block.values.roll(1, dims=2)
    rows[np.arange(8), PROMPT + lengths] = 3
    assert largest_difference(read, rows) > 1e-4


def test_it_is_no_part_of_the_state_and_never_pickled() -> None:
    model = PPO(CachedTransformerPolicy, make_vec_env("TextGen-v0", 4), n_steps=4, batch_size=16, device="cpu").learn(
        16
    )
    model.predict(np.zeros((4, 3), np.int32))
    read = model.policy.features_extractor
    assert isinstance(read, TransformerExtractor)
    assert read._caches._held
    assert not any("cache" in name for name in model.policy.state_dict())
    for twin in (copy.deepcopy(read), pickle.loads(pickle.dumps(read))):
        assert isinstance(twin._caches, Caches)
        assert twin._caches._held == []
        assert read._caches._held


def test_without_it_every_row_is_read_from_its_beginning() -> None:
    read, rng = extractor(use_cache=False), np.random.default_rng(0)
    largest_difference(read, np.stack([fresh(rng) for _ in range(4)]))
    assert read._caches._held == []
