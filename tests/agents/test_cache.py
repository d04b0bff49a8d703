"""What is remembered changes nothing: cached and plain reading agree, whatever the rows do."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.torch_layers import FlattenExtractor

from agents import (
    CachedTransformerDQNPolicy,
    CachedTransformerPolicy,
    SB3VecEnv,
    TransformerExtractor,
    make,
    make_vec_env,
)
from agents.cache import PrefixCache
from agents.prefixes import Prefixes
from agents.row_cache import Caches
from agents.transformer import CausalTransformer
from textgym.errors import InvalidSetting
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


def extractor(use_cache: bool = True, **kwargs: Any) -> TransformerExtractor:
    torch.manual_seed(0)
    return TransformerExtractor(TokenBox(PAD, PROMPT, HORIZON), 32, 2, 4, use_cache=use_cache, **kwargs).eval()


def largest_difference(read: TransformerExtractor, rows: Any) -> float:
    with torch.no_grad():
        plain = read.transformer.newest(torch.as_tensor(rows)) * read.scale
        return float((read(torch.as_tensor(rows)) - plain).abs().max())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows of all caches made since."""
    rows_of: list[int] = []
    build = PrefixCache.__init__

    def counted(self: PrefixCache, transformer: CausalTransformer, rows: int) -> None:
        rows_of.append(rows)
        build(self, transformer, rows)

    monkeypatch.setattr(PrefixCache, "__init__", counted)
    return rows_of


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


def test_the_whole_of_a_block_can_be_added() -> None:
    read, rng = extractor(residual_scale=1.0), np.random.default_rng(0)
    rows, lengths = np.stack([fresh(rng) for _ in range(4)]), np.zeros(4, np.int64)
    for step in range(100):
        wander(rows, lengths, rng)
        assert largest_difference(read, rows) < 1e-5, step


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


@pytest.mark.parametrize(
    ("column", "row"),
    [(PROMPT + 4, 1), (PROMPT + 1, 0), (0, 0)],
    ids=["two and none", "an older token", "a longer prompt"],
)
def test_as_many_changes_as_rows_are_not_one_token_each(column: int, row: int) -> None:
    read, rng = extractor(), np.random.default_rng(0)
    rows = np.full((2, PROMPT + HORIZON), PAD)
    rows[:, : PROMPT + 3] = rng.integers(PAD, size=(2, PROMPT + 3))
    rows[:, 0] = PAD
    assert largest_difference(read, rows) < 1e-6
    rows[1, PROMPT + 3] = 0  # row 1 grows by one; row 0 does not, and there is one change more
    rows[row, column] = (rows[row, column] + 1) % PAD
    assert largest_difference(read, rows) < 1e-6
    rows[:, PROMPT + 3], rows[:, PROMPT + 4] = 1, [PAD, 2]
    assert largest_difference(read, rows) < 1e-6


def test_an_evaluation_of_any_size_does_not_evict_what_training_remembers(made: list[int]) -> None:
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
    assert isinstance(cache, PrefixCache)
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


def test_a_time_limits_values_do_not_evict_the_rollouts_memory(made: list[int]) -> None:
    rows = [lambda: gymnasium.wrappers.TimeLimit(gymnasium.make("TextGym/Copy-v0"), 3)] * 4
    env = SB3VecEnv(SyncVectorEnv(rows, autoreset_mode=AutoresetMode.SAME_STEP))
    PPO(CachedTransformerPolicy, env, n_steps=32, batch_size=64, device="cpu").learn(128)
    assert made[0] == 4
    assert made.count(4) == 1  # SB3 values rows that are cut one by one


@pytest.mark.parametrize("change", ["data", "vector", "parameter", "double", "inference"])
def test_what_is_done_to_parameters_between_rollouts_is_seen(change: str) -> None:
    model = make("ppo", make_vec_env("TextGym/Copy-v0", 4, seed=0), n_steps=6, device="cpu", seed=0)
    _, callback = model._setup_learn(10**6)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 6)
    policy, observation = model.policy, model._last_obs
    policy.predict(observation)
    transformer = policy.features_extractor.transformer
    if change == "data":
        transformer.token.weight.data.add_(0.3)
    elif change == "vector":
        vector = torch.nn.utils.parameters_to_vector(policy.parameters())
        torch.nn.utils.vector_to_parameters(vector + 0.1, policy.parameters())
    elif change == "parameter":
        transformer.token.weight = torch.nn.Parameter(transformer.token.weight.detach() * 2)
    elif change == "double":
        policy.double()
        policy.predict(observation)
        policy.float()
    else:
        with torch.inference_mode():
            policy.predict(observation)
        policy.predict(observation)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 6)
    (batch,) = model.rollout_buffer.get(None)
    _, log_prob, _ = policy.evaluate_actions(batch.observations, batch.actions.flatten())
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)


def test_rows_with_pads_between_tokens_are_read_alike_everywhere() -> None:
    torch.manual_seed(0)
    read = TransformerExtractor(spaces.Box(0, PAD, (6,), np.int32), 16, 1, 2, use_cache=True).eval()
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((64, 6)) < 0.4, PAD, rng.integers(PAD, size=(64, 6)))
    assert largest_difference(read, rows) < 1e-6
    packed = np.array([[*row[row != PAD], *row[row == PAD]] for row in rows])  # what stands is what counts
    with torch.no_grad():
        torch.testing.assert_close(read(torch.as_tensor(rows)), read(torch.as_tensor(packed)), atol=1e-6, rtol=0)
    counts = torch.as_tensor((rows != PAD).sum(axis=1))
    whole = Prefixes(torch.as_tensor(rows), torch.arange(64), counts)
    torch.testing.assert_close(read.read_prefixes(whole), read(torch.as_tensor(rows)), atol=1e-6, rtol=0)


def test_the_order_of_a_dicts_keys_does_not_matter() -> None:
    space = spaces.Dict({"b": spaces.Box(0, 1, (2,)), "tokens": TokenBox(PAD, 2, 3), "a": spaces.Box(0, 1, (3,))})
    read = TransformerExtractor(space, 8, 1, 1).eval()
    sample = {key: torch.as_tensor(value)[None] for key, value in space.sample().items()}
    torch.testing.assert_close(read(sample), read(dict(reversed(sample.items()))))


@pytest.mark.parametrize(("algorithm", "policy"), [(PPO, CachedTransformerPolicy), (DQN, CachedTransformerDQNPolicy)])
def test_another_extractor_is_refused(algorithm: Any, policy: Any) -> None:
    with pytest.raises(InvalidSetting, match="FlattenExtractor is no TransformerExtractor"):
        algorithm(policy, make_vec_env("TextGen-v0", 2), policy_kwargs={"features_extractor_class": FlattenExtractor})
