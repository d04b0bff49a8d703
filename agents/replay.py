"""EpisodeReplayBuffer: a memory of episodes, each token once, for updates that read each episode once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from textgym.errors import InvalidSetting, MissingReward

from .categorical import packed, unpacked
from .missing import missing_rows
from .prefixes import Prefixes, extends, lengths, require_tokens

Array = npt.NDArray[Any]
NONE = -1  # no segment


class EpisodeReplayBuffer(ReplayBuffer):
    """SB3's replay buffer whose minibatches are whole segments: the steps of one episode that are still remembered.

    Segments are drawn uniformly, each with all its steps, so that each transition is equally likely; as many as have
    `batch_size` transitions on average. All observations of an episode are prefixes of one row, which is kept once. A
    new segment begins where an observation does not extend the one before it; in an environment whose observations
    never do, every step is one. Episodes whose score could not be had are never drawn.

    Args:
        buffer_size: the transitions remembered, of all rows together.
        observation_space: a row of tokens, as `TransformerExtractor` reads it.
        action_space: discrete.
        device: of the minibatches.
        n_envs: rows, n.
        optimize_memory_usage: must be False; nothing is kept twice anyway.
        handle_timeout_termination: whether what follows a time limit counts, as in SB3.

    Raises:
        InvalidSetting: other observations; `optimize_memory_usage`.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
    ) -> None:
        require_tokens(observation_space, type(self).__name__)
        if optimize_memory_usage:
            raise InvalidSetting("EpisodeReplayBuffer keeps each token once already: leave optimize_memory_usage out.")
        nothing = spaces.Box(0, 1, (0,))  # observations are kept below instead
        super().__init__(buffer_size, nothing, action_space, device, n_envs, False, handle_timeout_termination)
        self.observation_space, self.obs_shape = observation_space, observation_space.shape or ()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        shape = self.buffer_size, self.n_envs
        self.segment = np.full(shape, NONE, np.int64)  # of each transition
        self.begins = np.zeros(shape, np.bool_)  # whether a transition is its segment's first that is remembered
        self.length = np.zeros(shape, np.int64)  # tokens of the observation
        self.next_length = np.zeros(shape, np.int64)  # tokens of the one after it
        self.next_masks: Array | None = None  # (buffer_size, n_envs, ceil(size / 8)) uint8, where actions are masked
        capacity = 2 * self.n_envs
        self.tokens = np.zeros((capacity, *self.obs_shape), np.int32)  # (capacity, L) the longest row of each segment
        self.last = np.zeros_like(self.tokens)  # the observation after a segment, where it does not extend the row
        self.grown = np.ones(capacity, np.bool_)  # whether it does
        self.steps = np.zeros(capacity, np.int64)  # transitions remembered of each segment
        self.left_out = np.zeros(capacity, np.bool_)  # segments of episodes without a score
        self.open = np.full(self.n_envs, NONE, np.int64)  # the segment that each row's next step belongs to
        self._free = list(range(capacity))

    def add(
        self,
        obs: Array,
        next_obs: Array,
        action: Array,
        reward: Array,
        done: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        """Remember one step of all rows.

        Args:
            obs: `(n, L)`.
            next_obs: `(n, L)`, an ended row's last one.
            action: `(n,)`.
            reward: `(n,)`.
            done: `(n,)`.
            infos: one a row.
        """
        obs, next_obs = np.asarray(obs, np.int32), np.asarray(next_obs, np.int32)
        if self.full:
            self._forget()
        length, stop = lengths(obs, self.observation_space)
        grows = extends(next_obs, obs, stop)
        rows = self.open.copy()
        begins = (rows == NONE) | (self.tokens[rows] != obs).any(axis=1)
        rows[begins] = self._new(int(np.count_nonzero(begins)))
        self.tokens[rows] = np.where(grows[:, None], next_obs, obs)
        self.last[rows[~grows]] = next_obs[~grows]
        self.grown[rows] = grows
        self.steps[rows] += 1
        self.segment[self.pos], self.begins[self.pos], self.length[self.pos] = rows, begins, length
        self.next_length[self.pos] = lengths(next_obs, self.observation_space)[0]
        self.open = np.where(grows & ~np.asarray(done, np.bool_), rows, NONE)
        nothing = np.zeros((self.n_envs, 0))
        super().add(nothing, nothing, action, reward, done, infos)
        for row in missing_rows(np.arange(self.n_envs), infos).tolist():
            self._leave_out(row)

    def restrict(self, next_masks: Array) -> None:
        """Say which actions may be taken after the step that was added last, `(n, size)` bool; all, if never called."""
        if self.next_masks is None:
            self.next_masks = np.full((*self.segment.shape, -(-next_masks.shape[1] // 8)), 255, np.uint8)
        self.next_masks[self.pos - 1] = packed(next_masks)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Return whole segments with `batch_size` transitions on average.

        Raises:
            InvalidSetting: nothing is remembered yet.
        """
        first = np.flatnonzero(self.begins)  # in the order of the memory, whatever rows of tokens they have
        if not len(first):
            raise InvalidSetting("nothing is remembered yet: there is nothing to learn from.")
        first = first[~self.left_out[self.segment.flat[first]]]
        if not len(first):
            raise MissingReward("no episode that is remembered has a score: see why scores are missing.")
        transitions = self.steps[self.segment.flat[first]].sum()
        # rounded up or down by chance, so that there are `batch_size` transitions on average
        many = max(1, int(batch_size * len(first) / transitions + np.random.rand()))  # noqa: NPY002
        chosen = first[np.random.randint(len(first), size=many)]  # noqa: NPY002 (SB3's buffers draw from it)
        segments = self.segment.flat[chosen]
        steps = self.steps[segments]
        local = np.repeat(np.arange(many), steps)  # (N,) which of the chosen ones
        later = np.arange(len(local)) - np.repeat(steps.cumsum() - steps, steps)  # (N,) steps after its first
        at = (chosen[local] + later * self.n_envs) % self.segment.size  # (N,) step * n_envs + row
        follows, rows = local, self.tokens[segments]
        odd = np.flatnonzero(~self.grown[segments])  # what comes after these is a row of its own
        if len(odd):
            last = steps.cumsum()[odd] - 1
            follows = local.copy()
            follows[last] = many + np.arange(len(odd))
        next_rows = np.concatenate([rows, self.last[segments[odd]]])
        masks = None
        if self.next_masks is not None:
            bits = self.next_masks.reshape(-1, self.next_masks.shape[-1])[at]
            masks = unpacked(bits, int(self.action_space.n), self.device)  # type: ignore[attr-defined]
        dones = self.dones.flat[at]
        if self.handle_timeout_termination:
            dones = dones * (1 - self.timeouts.flat[at])
        return ReplayBufferSamples(
            observations=self._prefixes(rows, local, self.length.flat[at]),  # type: ignore[arg-type]
            actions=self.to_torch(self.actions.reshape(-1, self.action_dim)[at]),
            next_observations=self._prefixes(next_rows, follows, self.next_length.flat[at], masks),  # type: ignore[arg-type]
            dones=self.to_torch(dones.reshape(-1, 1)),
            rewards=self.to_torch(self._normalize_reward(self.rewards.flat[at].reshape(-1, 1), env)),
        )

    def _prefixes(self, tokens: Array, segment: Array, length: Array, masks: Any = None) -> Prefixes:
        def tensor(array: Array) -> torch.Tensor:
            return torch.as_tensor(array, dtype=torch.long, device=self.device)

        return Prefixes(tensor(tokens), tensor(segment), tensor(length), masks)

    def _leave_out(self, row: int) -> None:
        """Leave out the episode that a row's step, which was added last, has ended."""
        back = (self.pos - 1 - np.arange(self.size())) % self.buffer_size  # the newest step first
        earlier = np.flatnonzero(self.dones[back[1:], row])
        self.left_out[self.segment[back[: earlier[0] + 1 if len(earlier) else None], row]] = True

    def _forget(self) -> None:
        """Forget the step that is overwritten next: the first of its segments, which begin one step later now."""
        old = self.segment[self.pos]
        self.steps[old] -= 1
        alive = self.steps[old] > 0
        self.begins[(self.pos + 1) % self.buffer_size] |= alive
        gone = old[~alive]
        self.open[np.isin(self.open, gone)] = NONE
        self._free += gone.tolist()

    def _new(self, many: int) -> list[int]:
        """Return segments that hold nothing."""
        while len(self._free) < many:
            capacity = len(self.tokens)
            for name in ("tokens", "last", "grown", "steps", "left_out"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
            self._free += range(capacity, 2 * capacity)
        kept = len(self._free) - many
        taken = self._free[kept:]
        del self._free[kept:]
        self.left_out[taken] = False
        return taken

    def fill(self, begins: Array, segment: Array, tokens: Array, grown: Array, last: Array, left_out: Array) -> None:
        """Hold other segments: those of the first k steps, `(k, n)`, numbered from 0 to s - 1.

        Args:
            begins: `(k, n)` bool.
            segment: `(k, n)` int64.
            tokens: `(s, L)`.
            grown: `(s,)` bool.
            last: `(s', L)` of those that are not grown.
            left_out: `(s,)` bool.
        """
        self.begins[:], self.segment[:] = False, NONE
        self.begins[: len(begins)], self.segment[: len(segment)] = begins, segment
        self._free = []
        self._new(max(0, len(tokens) - len(self.tokens)))
        used = len(tokens)
        self.tokens[:used], self.grown[:used], self.steps[:] = tokens, grown, 0
        self.left_out[:], self.left_out[:used] = False, left_out
        self.last[np.flatnonzero(~grown)] = last
        self.steps[:used] = np.bincount(segment.ravel(), minlength=used)
        self._free = list(range(used, len(self.tokens)))
