"""A memory of episodes holds what SB3's memory of transitions would, and draws whole segments of it fairly."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from token_envs import environment

from agents import TransformerExtractor, make_vec_env
from agents.prefixes import Prefixes
from agents.replay import EpisodeReplayBuffer
from agents.replay_state import get_replay, set_replay
from textgym.errors import InvalidSetting

Array = npt.NDArray[Any]
NAMES = ["TextGym/Copy-v0", "TextGen-v0", "truncated", "scribble", "insert"]


class Walk:
    """Random steps of an environment, each reward another number, and buffers that remember them."""

    def __init__(self, name: str, n: int = 3, size: int = 10**4) -> None:
        self.env = environment(name, n)
        self.env.seed(n)
        self.observations: Array = np.asarray(self.env.reset())
        self.rng = np.random.default_rng(0)
        spaces = self.env.observation_space, self.env.action_space
        self.pad = int(spaces[0].high.flat[0])  # type: ignore[attr-defined]
        self.many = int(spaces[1].n)  # type: ignore[attr-defined]
        self.ours = EpisodeReplayBuffer(size * n, *spaces, "cpu", n)
        self.plain = ReplayBuffer(size * n, *spaces, "cpu", n)
        self.steps = 0
        self.segments: list[list[list[int]]] = [[] for _ in range(n)]  # of each row: the rewards that belong together
        self._goes_on = [False] * n

    def go(self, steps: int, *others: ReplayBuffer) -> Walk:
        for _ in range(steps):
            n = self.env.num_envs
            actions = self.rng.integers(self.many, size=n)
            after, _, dones, infos = self.env.step(actions)
            following = np.array(after)
            for row in np.flatnonzero(dones):
                following[row] = infos[row]["terminal_observation"]
            rewards = (self.steps * n + np.arange(n)).astype(np.float32)
            for buffer in (self.ours, self.plain, *others):
                buffer.add(self.observations, following, actions, rewards, dones, infos)
            for row in range(n):
                if not self._goes_on[row]:
                    self.segments[row].append([])
                self.segments[row][-1].append(int(rewards[row]))
                columns = np.flatnonzero(self.observations[row] != self.pad)
                stop = columns[-1] + 1 if len(columns) else 0
                grows = (self.observations[row, :stop] == following[row, :stop]).all()
                self._goes_on[row] = bool(grows) and not dones[row]
            self.observations, self.steps = np.asarray(after), self.steps + 1
        return self

    def remembered(self) -> set[tuple[int, ...]]:
        """The rewards of each segment that are still remembered."""
        first = max(0, self.steps - self.ours.buffer_size) * self.env.num_envs
        cut = ((tuple(r for r in segment if r >= first)) for row in self.segments for segment in row)
        return {segment for segment in cut if segment}

    def drawn(self, batch_size: int) -> list[tuple[int, ...]]:
        """The rewards of each segment of a minibatch."""
        batch = self.ours.sample(batch_size)
        local = batch.observations.segment  # type: ignore[attr-defined]
        assert local.diff().ge(0).all()
        return [tuple(batch.rewards[local == i].flatten().int().tolist()) for i in range(int(local[-1]) + 1)]


def seen(prefixes: Any, pad: int) -> Array:
    """Return what each transition observed, `(N, L)`."""
    assert isinstance(prefixes, Prefixes)
    rows = prefixes.tokens[prefixes.segment]
    later = (rows != pad).cumsum(dim=1) > prefixes.length[:, None]
    return rows.masked_fill(later, pad).numpy()


def everything(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """Return all transitions of ours, from a draw in which each segment's turn comes once."""
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "randint", lambda high, size: np.arange(high) if size == high else pytest.fail("many"))
        batch = walk.ours.sample(walk.ours.size() * walk.env.num_envs)
    before, after = seen(batch.observations, walk.pad), seen(batch.next_observations, walk.pad)
    return sorted(map(tuple, np.hstack([before, after, batch.actions, batch.rewards, batch.dones]).tolist()))


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
    assert len(odd.remembered()) == np.count_nonzero(odd.ours.begins) > 30


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
        spaces = env.observation_space, env.action_space
        ours, plain = (kind(1024, *spaces, "cpu", 4) for kind in (EpisodeReplayBuffer, ReplayBuffer))
        row = np.full((4, length), 2)
        for step in range(3 * 256):
            before = row.copy()
            before[:, step % length :] = 2
            row[:, : step % length + 1] = 1
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


def masks(walk: Walk) -> Array:
    return walk.rng.random((walk.env.num_envs, walk.many)) < 0.8


def another(walk: Walk) -> EpisodeReplayBuffer:
    """Return a buffer made alike, which holds other things."""
    other = Walk("scribble", walk.env.num_envs, 7).go(20).ours
    other.restrict(np.ones((other.n_envs, 3), np.bool_))
    ours = walk.ours
    size = ours.buffer_size * ours.n_envs
    twin = EpisodeReplayBuffer(size, ours.observation_space, ours.action_space, "cpu", ours.n_envs)
    Walk.go(fresh := Walk.__new__(Walk), 0) if False else None  # noqa: B018, F841
    return twin


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 1, 5, 17, 34, 40])
def test_what_was_saved_draws_and_goes_on_the_same(name: str, steps: int) -> None:
    walk = Walk(name, 3, 17).go(steps)
