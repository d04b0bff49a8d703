"""A memory of episodes holds what SB3's memory of transitions would, and draws whole segments of it fairly."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from token_envs import Walk, seen

from agents import TransformerExtractor, make_vec_env
from agents.replay import EpisodeReplayBuffer
from agents.replay_state import get_replay, set_replay
from textgym.errors import InvalidSetting

Array = npt.NDArray[Any]
NAMES = ["TextGym/Copy-v0", "TextGen-v0", "truncated", "scribble", "insert"]


def everything(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """Return all transitions of ours, from a draw in which each segment's turn comes once."""
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "randint", lambda high, size: np.arange(high) if size == high else pytest.fail("many"))
        batch = walk.ours.sample(walk.ours.size() * walk.env.num_envs)
    before, after = seen(batch.observations, walk.pad), seen(batch.next_observations, walk.pad)
    return sorted(map(tuple, torch.hstack([before, after, batch.actions, batch.rewards, batch.dones]).tolist()))


def those_of_sb3(walk: Walk) -> list[tuple[float, ...]]:
    plain, k = walk.plain, walk.plain.size()
    dones = plain.dones * (1 - plain.timeouts)
    parts = plain.observations, plain.next_observations, plain.actions, plain.rewards, dones
    return sorted(map(tuple, np.hstack([part[:k].reshape(k * plain.n_envs, -1) for part in parts]).tolist()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 4, 17])
def test_it_holds_the_transitions_of_sb3s_buffer_and_no_other(
    name: str, n: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(name, n, size)
    for steps in [1] * (size + 8) + [7] * 3 + [1] * 5:
        walk.go(steps)
        assert everything(walk, monkeypatch) == those_of_sb3(walk), walk.steps


def test_observations_that_grow_share_a_row_and_others_do_not() -> None:
    grown, odd = Walk("TextGen-v0", 4).go(9), Walk("scribble", 4).go(9)
    assert len(grown.remembered()) == np.count_nonzero(grown.ours.begins) == 12
    assert len(odd.remembered()) == np.count_nonzero(odd.ours.begins) > 25


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [4, 17, 50])
def test_a_draw_has_whole_segments(name: str, size: int) -> None:
    walk = Walk(name, 3, size)
    for _ in range(3):
        walk.go(19)
        whole, met = walk.remembered(), set[tuple[int, ...]]()
        for _ in range(60):
            drawn = set(walk.drawn(20))
            assert drawn <= whole
            met |= drawn
        assert size > 17 or met == whole  # each comes up


@pytest.mark.parametrize("name", ["TextGym/Copy-v0", "insert"])
def test_every_transition_is_equally_likely(name: str) -> None:
    walk = Walk(name, 3, 40).go(100)
    np.random.seed(0)  # noqa: NPY002 (SB3's buffers draw from it)
    counts = dict.fromkeys([r for segment in walk.remembered() for r in segment], 0)
    segments = sorted(walk.remembered())
    for _ in range(400):
        for segment in walk.drawn(60):
            for transition in segment:
                counts[transition] += 1
    assert all(len({counts[transition] for transition in segment}) == 1 for segment in segments)
    observed = np.array([counts[segment[0]] for segment in segments])
    assert len({len(segment) for segment in segments}) > 3  # ragged, so that drawing by length would show
    chi_square = ((observed - observed.mean()) ** 2 / observed.mean()).sum()
    assert chi_square < len(segments) + 4 * np.sqrt(2 * len(segments))
    assert observed.min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_minibatch_has_its_size_on_average(name: str) -> None:
    walk = Walk(name, 3, 40).go(70)
    sizes = [len(walk.ours.sample(64).actions) for _ in range(500)]
    segments = walk.remembered()
    rounded = sum(map(len, segments)) / len(segments) / 2  # as many segments as come nearest
    assert abs(np.mean(sizes) - 64) < rounded + 4 * np.std(sizes) / np.sqrt(len(sizes))


def test_memory_grows_with_the_transitions_not_with_the_texts_length() -> None:
    kept = {}
    for length in (16, 128):
        env = make_vec_env("TextGen-v0", 4, target="a" * length, alphabet="ab")
        of = env.observation_space, env.action_space
        ours, plain = (kind(1024, *of, "cpu", 4) for kind in (EpisodeReplayBuffer, ReplayBuffer))
        row = np.full((4, length), 2)
        for step in range(3 * 256):
            before = row.copy()
            before[:, step % length :] = row[:, step % length :] = 2
            row[:, step % length] = 1
            done = np.full(4, step % length == length - 1)
            ours.add(before, row.copy(), np.zeros(4), np.zeros(4), done, [{}] * 4)
        kept[length] = [sum(a.nbytes for a in vars(b).values() if isinstance(a, np.ndarray)) for b in (ours, plain)]
    assert kept[128][0] < 1.1 * kept[16][0]
    assert kept[128][1] > 10 * kept[128][0]


def test_what_was_reset_holds_nothing_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk("TextGym/Copy-v0", 3, 10).go(14)
    walk.ours.reset()
    walk.plain.reset()
    walk.go(4)
    assert everything(walk, monkeypatch) == those_of_sb3(walk)


def test_optimize_memory_usage_is_refused_with_its_reason() -> None:
    env = make_vec_env("TextGen-v0", 1)
    with pytest.raises(InvalidSetting, match=r"keeps each token once already: leave optimize_memory_usage out"):
        EpisodeReplayBuffer(10, env.observation_space, env.action_space, optimize_memory_usage=True)


def draws(buffer: ReplayBuffer, many: int = 5) -> list[Any]:
    """Return some minibatches as plain data."""
    np.random.seed(0)  # noqa: NPY002 (SB3's buffers draw from it)
    found = [buffer.sample(20) for _ in range(many)]

    def plain(part: Any) -> Any:
        return part.tolist() if isinstance(part, torch.Tensor) else part and [plain(one) for one in part]

    return [[plain(part) for part in batch] for batch in found]


def restricted(walk: Walk, steps: int) -> Walk:
    """Step on with masks of chance after each step."""
    for _ in range(steps):
        walk.go(1)
        masks = walk.rng.random((walk.ours.n_envs, walk.many)) < 0.8
        masks[:, -1] |= ~masks.any(axis=1)  # something may always be done
        walk.ours.restrict(masks)
    return walk


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 5, 17, 34, 40])
def test_what_was_saved_draws_and_goes_on_the_same(name: str, steps: int) -> None:
    walk, other = restricted(Walk(name, 3, 17), steps), restricted(Walk(name, 3, 17, seed=1), 29)
    state = get_replay(walk.ours)
    kept = copy.deepcopy(state)
    twin = other.ours  # what it held before is gone
    set_replay(twin, state)
    assert draws(twin) == draws(walk.ours)
    for more in (1, 6, 23):
        walk.go(more, twin)
        assert draws(twin) == draws(walk.ours)
    np.testing.assert_equal(state, kept)  # neither buffer writes into it


def test_an_empty_memory_comes_back_empty() -> None:
    walk, other = Walk("TextGym/Copy-v0"), Walk("TextGym/Copy-v0").go(9)
    set_replay(other.ours, get_replay(walk.ours))
    assert other.ours.size() == 0
    walk.go(5, other.ours)
    assert draws(other.ours) == draws(walk.ours)


def changed(state: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return a state in which somebody has changed one thing."""
    state = copy.deepcopy(state)
    name = str(rng.choice(list(state)))
    value = state[name]
    if not isinstance(value, np.ndarray) or rng.random() < 0.1:
        hostile: list[Any] = [None, True, -1, 3, 10**9, "yes", 0.5, [], np.zeros(3)]
        state[name] = hostile[rng.integers(len(hostile))]
    elif rng.random() < 0.3:
        shapes = [value[:-1], value[None], value.ravel(), value.T, np.concatenate([value, value]), value[..., None]]
        others = [value.astype(dtype) for dtype in ("i1", "i8", "f8", "f4", "?")]
        state[name] = [*shapes, *others][rng.integers(len(shapes) + len(others))]
    elif value.size and rng.random() < 0.5:  # some numbers
        at = rng.integers(value.size, size=rng.integers(1, 4))
        value.flat[at] = rng.integers(-1, 12, size=len(at)).astype(value.dtype)
    elif value.size:  # others in their order
        value[...] = rng.permutation(value.ravel()).reshape(value.shape) if rng.random() < 0.5 else np.flip(value)
    else:
        del state[name]
    return state


@pytest.mark.parametrize("name", ["TextGym/Copy-v0", "insert", "scribble", "truncated"])
@pytest.mark.parametrize("steps", [9, 40])
def test_a_hostile_state_is_refused_whole_or_can_be_learned_from(name: str, steps: int) -> None:
    rng, refused = np.random.default_rng(steps), 0
    good = get_replay(restricted(Walk(name, 2, 17), steps).ours)
    walk = restricted(Walk(name, 2, 17, seed=1), 20)
    read = TransformerExtractor(walk.env.observation_space, 4, 1, 1, use_cache=True)
    for _ in range(100):
        before = get_replay(walk.ours)
        try:
            set_replay(walk.ours, changed(good, rng))
        except (InvalidSetting, KeyError, TypeError):
            refused += 1
            np.testing.assert_equal(get_replay(walk.ours), before)
        for _ in range(2):
            batch: Any = walk.ours.sample(30)
            for prefixes in (batch.observations, batch.next_observations):
                assert torch.isfinite(read.read_prefixes(prefixes)).all()
            walk.go(1)
    assert 30 < refused < 100


def test_a_row_that_was_broken_off_is_never_gone_on_with() -> None:
    space = Walk("scribble", 1).env.observation_space
    ours, zero = EpisodeReplayBuffer(10, space, spaces.Discrete(3), "cpu"), np.zeros(1)
    one, longer, other = (np.array([row]) for row in ([1, 9, 9, 9, 9], [1, 2, 9, 9, 9], [2, 3, 4, 5, 6]))
    ours.add(one, other, zero, zero, zero, [{}])  # the next observation does not extend this one
    with contextlib.suppress(InvalidSetting):
        set_replay(ours, {**get_replay(ours), "open": np.array([True])})
    ours.add(one, longer, zero, zero, zero, [{}])
    read, batch = TransformerExtractor(space, 4, 1, 1, use_cache=True), ours.sample(10)
    assert torch.isfinite(read.read_prefixes(batch.next_observations)).all()  # type: ignore[arg-type]
    assert ours.begins.sum() == 2


@pytest.mark.parametrize("name", ["length", "next_length", "begins"])
def test_steps_that_do_not_fit_their_rows_are_refused(name: str) -> None:
    walk = Walk("TextGym/Copy-v0", 2, 17).go(9)
    state, width = get_replay(walk.ours), walk.observations.shape[1]
    if name == "begins":
        state[name] = np.roll(state[name], 1, axis=0)  # the first steps belong to nothing
    else:
        state[name][0] = width
    with pytest.raises(InvalidSetting, match="rows of tokens do not fit its steps"):
        set_replay(walk.ours, state)


def test_an_end_is_an_end_where_the_next_episode_begins_with_the_same_row() -> None:
    ours = EpisodeReplayBuffer(10, Walk("scribble", 1).env.observation_space, spaces.Discrete(3), "cpu")
    row, zero = np.array([[1, 9, 9, 9, 9]]), np.zeros(1)
    for done in (0, 0, 1, 0):
        ours.add(row, row, zero, zero, np.array([done]), [{}])
    assert np.flatnonzero(ours.begins).tolist() == [0, 3]
