"""EpisodeRolloutBuffer: a rollout kept as whole episodes, each token once, for updates that read each episode once."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from .categorical import packed, unpacked
from .prefixes import Prefixes, extends, lengths, require_tokens

Array = npt.NDArray[Any]


class EpisodeRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer whose minibatches are whole segments: the steps of one episode that fell into a rollout.

    All observations of an episode are prefixes of one row, so the row is kept once, and memory grows with the tokens
    written, not with their square. Where an observation does not extend the one before it, a new segment begins; in an
    environment whose observations never do, every step is one, and nothing is gained or lost.

    The size of a minibatch is counted in transitions; it comes as near to `batch_size` as whole segments allow.
    Episodes whose score could not be had are left out of all minibatches, as if they had not been written.
    """

    def reset(self) -> None:
        """Forget everything."""
        require_tokens(self.observation_space, type(self).__name__)
        shape, self.obs_shape = self.obs_shape, (0,)  # rows are kept below instead
        super().reset()
        self.obs_shape = shape
        self.segment = np.zeros((self.buffer_size, self.n_envs), np.int64)
        self.length = np.zeros((self.buffer_size, self.n_envs), np.int64)
        self.tokens = np.zeros((2 * self.n_envs, *shape), np.int32)  # (capacity, L); the first `segments` are used
        self.segments = 0
        self.masks: Array | None = None  # (buffer_size, n_envs, ceil(size / 8)) uint8, where actions are masked
        self.left_out = np.zeros((self.buffer_size, self.n_envs), np.bool_)  # transitions of episodes without a score
        self._stop = np.zeros(self.n_envs, np.int64)  # (n,) the column after each row's newest token

    def add(
        self,
        obs: Array,
        action: Array,
        reward: Array,
        episode_start: Array,
        value: Tensor,
        log_prob: Tensor,
        masks: Array | None = None,
    ) -> None:
        """Add one step of all rows.

        Args:
            obs: `(n, L)`.
            action: `(n, 1)`.
            reward: `(n,)`.
            episode_start: `(n,)`, whether this is an episode's first step.
            value: `(n, 1)`.
            log_prob: `(n,)`.
            masks: `(n, size)` bool, the actions that could be taken; None for all.
        """
        obs = np.asarray(obs, np.int32)
        length, stop = lengths(obs, self.observation_space)
        if self.pos:
            rows = self.segment[self.pos - 1].copy()
            begins = episode_start.astype(np.bool_) | ~extends(obs, self.tokens[rows], self._stop)
        else:
            rows, begins = np.zeros(self.n_envs, np.int64), np.ones(self.n_envs, np.bool_)
        if fresh := int(np.count_nonzero(begins)):
            rows[begins] = self.segments + np.arange(fresh)
            self.segments += fresh
            if self.segments > len(self.tokens):
                self.tokens = np.concatenate([self.tokens, np.zeros_like(self.tokens)])
        self.tokens[rows] = obs
        self.segment[self.pos], self.length[self.pos], self._stop = rows, length, stop
        if masks is not None:
            if self.masks is None:
                self.masks = np.full((self.buffer_size, self.n_envs, -(-masks.shape[1] // 8)), 255, np.uint8)
            self.masks[self.pos] = packed(masks)
        super().add(np.zeros((self.n_envs, 0)), action, reward, episode_start, value, log_prob)

    def leave_out(self, rows: Array) -> None:
        """Leave out the episodes of which the step that was added last was, in these rows, the end."""
        for row in rows.tolist():
            begun = np.flatnonzero(self.episode_starts[: self.pos, row])
            self.left_out[begun[-1] if len(begun) else 0 : self.pos, row] = True

    def counted(self) -> Array:
        """Return the segments that are not left out, `(s,)`."""
        counts = np.ones(self.segments, np.bool_)
        counts[self.segment[self.left_out]] = False
        return np.flatnonzero(counts)

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield minibatches of whole segments in random order; None for one of all."""
        assert self.full, "a rollout is read when it is full"
        order = np.random.permutation(self.counted())  # noqa: NPY002 (SB3's buffers draw from it)
        for _, samples in self.minibatches(order, batch_size):
            yield samples

    def minibatches(self, order: Array, batch_size: int | None = None) -> Iterator[tuple[Array, RolloutBufferSamples]]:
        """Yield minibatches of whole segments in this order, each behind its transitions' numbers.

        Args:
            order: `(s,)`, each segment that is read once.
            batch_size: as `get` has it.

        Returns:
            Numbers `(N,)`, `step * n_envs + row`, and the samples of those transitions.
        """
        place = np.full(self.segments, len(order))
        place[order] = np.arange(len(order))  # segment -> its place in the order; behind all, where it is in none
        places = place[self.segment.reshape(-1)]  # (N,) of each transition
        transitions = np.argsort(places, kind="stable")
        ends = np.bincount(places, minlength=len(order))[: len(order)].cumsum()  # (s,) transitions up to each place
        read = ends[-1] if len(ends) else 0
        minibatches = 1 if batch_size is None else max(1, round(read / batch_size))
        middles = ends - np.diff(ends, prepend=0) / 2
        cuts = np.searchsorted(middles, np.arange(1, minibatches) * read / minibatches)
        # picked at once, so that a minibatch, which is a part of them, takes few operations
        chosen = transitions[:read]  # (N,)
        tokens = self.to_torch(self.tokens[order].astype(np.int64))  # (s, L)
        wholes = self.to_torch(np.stack([places, self.length.ravel()])[:, chosen])  # (2, N)
        columns = self.values, self.log_probs, self.advantages, self.returns
        numbers = self.to_torch(np.stack([column.ravel() for column in columns])[:, chosen])  # (4, N)
        actions = self.to_torch(self._actions(chosen))
        for first, last in zip([0, *cuts], [*cuts, len(order)]):
            if first < last:
                part = slice(ends[first - 1] if first else 0, ends[last - 1])
                segment, length = wholes[:, part]
                prefixes: Any = Prefixes(tokens[first:last], segment - first, length, self._masks(chosen[part]))
                yield chosen[part], RolloutBufferSamples(prefixes, actions[part], *numbers[:, part])

    def _actions(self, transitions: Array) -> Array:
        """Return the actions `(N, action_dim)` of transitions, as SB3 has them."""
        actions = self.actions.reshape(-1, self.action_dim)[transitions]
        return actions if isinstance(self.action_space, spaces.Discrete) else actions.astype(np.float32)

    def _masks(self, transitions: Array) -> Tensor | None:
        """Return what could be drawn, `(N, size)`, at transitions; None for all."""
        if self.masks is None:
            return None
        bits = self.masks.reshape(-1, self.masks.shape[-1])[transitions]
        return unpacked(bits, int(self.action_space.n), self.device)  # type: ignore[attr-defined]

    def _get_samples(self, batch_inds: Array, env: VecNormalize | None = None) -> RolloutBufferSamples:
        raise NotImplementedError("whole episodes are read by get()")
