"""Groups: several completions of one prompt, written side by side by rows that were reset with one seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from textgym.errors import InvalidSetting

from .buffers import EpisodeRolloutBuffer
from .kl_control import Controlled
from .masked import MaskedAgent, masks_of

Array = npt.NDArray[Any]

BY_STEP = ("actions", "rewards", "values", "log_probs", "advantages", "returns", "episode_starts", "segment", "length")


class GroupRolloutBuffer(EpisodeRolloutBuffer):
    """A rollout of whole completions: as long as it takes to write them."""

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add one step of all rows, as `EpisodeRolloutBuffer` does; there is always room."""
        if self.pos == self.buffer_size:
            for name in (*BY_STEP, "observations", *([] if self.masks is None else ["masks"])):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
            self.buffer_size *= 2
        super().add(*args, **kwargs)

    def keep(self, number: Array, episodes: int) -> None:
        """Keep each row's first completions alone, and let the rollout be read.

        Args:
            number: `(steps, n)`, of which of its row's completions each transition that was added is a part.
            episodes: how many of each row are kept. Transitions are numbered anew, in their order, and stand in one
                column: `(N, 1)`.

        Raises:
            InvalidSetting: observations of one completion do not extend each other.
        """
        where = (number < episodes).ravel()
        self.completion = (number * self.n_envs + np.arange(self.n_envs)).ravel()[where]  # (N,) rows side by side
        for name in (*BY_STEP, *([] if self.masks is None else ["masks"])):
            column = getattr(self, name)[: self.pos]
            setattr(self, name, column.reshape(-1, 1, *column.shape[2:])[where])
        used, renamed = np.unique(self.segment, return_inverse=True)
        self.tokens, self.segments = self.tokens[used], len(used)
        self.segment = renamed.reshape(self.segment.shape)
        self.full = True
        if len(used) != episodes * self.n_envs:
            raise InvalidSetting(
                f"{episodes * self.n_envs} episodes are {len(used)} rows of tokens: observations of one episode do not "
                "extend each other, so that they are no completion of one prompt. Use ppo."
            )

    def table(self, values: Array) -> tuple[Array, tuple[Array, Array]]:
        """Return numbers `(N, 1)` of transitions by completion and step.

        Returns:
            `(C, T)`, 0 beyond a completion's end; C counts the rows' first completions, then their second ones. And
            where in it each transition stands, two arrays `(N,)`.
        """
        order = np.argsort(self.completion, kind="stable")
        lengths = np.bincount(self.completion)
        step = np.empty_like(order)
        step[order] = np.arange(len(order)) - np.repeat(lengths.cumsum() - lengths, lengths)
        spread = np.zeros((len(lengths), lengths.max()))
        spread[self.completion, step] = values[:, 0]
        return spread, (self.completion, step)


class GroupCollecting(Controlled, MaskedAgent):
    """Mixed into an on-policy algorithm: its rollouts are groups of completions of one prompt.

    At the start of a rollout all rows begin anew, and the `group_size` rows of a group with one seed. An environment's
    seed decides all its prompts (the k-th of a row is the same in all rows of a group, however long their completions
    are), so that nobody waits for anybody: each row writes on until all have written `episodes` completions. Those
    beyond that number are left out; which are used never depends on what was written in them, as it would if a rollout
    were cut after some steps.

    Rows need an environment whose prompts come of its seed alone, as TextGym's and SB3's `VecEnv`s of them are; others
    are found out by what they show.
    """

    group_size: int
    episodes: int  # of each row in a rollout

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Fill the buffer with `episodes` completions of each row; return False where a callback ended it early."""
        assert isinstance(rollout_buffer, GroupRolloutBuffer)
        policy: Any = self.policy
        policy.set_training_mode(False)
        if hasattr(policy, "forget"):
            policy.forget()
        rollout_buffer.reset()
        mask = masks_of(env)
        callback.on_rollout_start()
        obs = self._begin_groups(env)
        prompts = np.zeros((self.episodes, *obs.shape), obs.dtype)
        prompts[0] = obs
        ended = np.zeros(env.num_envs, np.int64)  # (n,) completions of each row
        before: list[Array] = []  # at each step, how many of each row had ended
        while (ended < self.episodes).any():
            masks = None if mask is None else mask()
            with torch.no_grad():
                allowed = None if masks is None else torch.as_tensor(masks, device=self.device)
                tokens = torch.as_tensor(obs, device=self.device)
                actions, values, log_probs = policy(tokens, action_masks=allowed)
            if getattr(policy, "cuts", False):  # an update must know what was drawn from
                masks = policy.drawn_within.cpu().numpy()
            actions = actions.cpu().numpy()
            new_obs, rewards, dones, infos = env.step(actions)
            assert isinstance(new_obs, np.ndarray)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            over = np.flatnonzero(dones)
            self._update_info_buffer([infos[row] for row in over.tolist()], dones[over])
            starts = self._last_episode_starts
            assert starts is not None
            rollout_buffer.add(obs, actions.reshape(-1, 1), rewards, starts, values, log_probs, masks)
            before.append(ended.copy())
            ended[over] += 1
            next_rows = over[ended[over] < self.episodes]
            prompts[ended[next_rows], next_rows] = new_obs[next_rows]
            self._last_obs, self._last_episode_starts = new_obs, dones
            obs = new_obs
        self._check_alike(prompts)
        rollout_buffer.keep(np.stack(before), self.episodes)
        self._observe(rollout_buffer)
        self._weigh(rollout_buffer)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _begin_groups(self, env: VecEnv) -> Array:
        """Begin an episode in every row, with one seed for each group; return the observations `(n, L)`."""
        seeds = np.random.randint(2**31, size=env.num_envs // self.group_size)  # noqa: NPY002 (as SB3 draws)
        env.unwrapped._seeds = [*np.repeat(seeds, self.group_size).tolist()]  # `VecEnv.seed` cannot repeat one
        obs = env.reset()
        assert isinstance(obs, np.ndarray)
        self._last_obs, self._last_episode_starts = obs, np.ones(env.num_envs, np.bool_)
        return obs

    def _check_alike(self, prompts: Array) -> None:
        """Raise `InvalidSetting` where rows of a group saw different prompts, `(episodes, n, L)`."""
        groups = prompts.reshape(self.episodes, -1, self.group_size, prompts.shape[-1])
        if (differing := (groups != groups[:, :, :1]).any(axis=(2, 3))).any():
            k, group = np.argwhere(differing)[0].tolist()
            raise InvalidSetting(
                f"the rows of group {group} were reset with one seed, and their episodes number {k + 1} begin with "
                f"different prompts: {groups[k, group, :2].tolist()}. This environment draws prompts from something "
                "else than the seed of its reset; completions of different prompts cannot be compared. Use ppo."
            )

    def _weigh(self, buffer: GroupRolloutBuffer) -> None:
        """Compute the advantages of what was kept."""
        raise NotImplementedError


def check_groups(n: int, group_size: int, agent: str) -> None:
    """Raise `InvalidSetting` unless n rows make whole groups."""
    if group_size < 2 or n % group_size:
        near = max(group_size, 2) * max(1, round(n / max(group_size, 2)))
        sizes = [size for size in range(2, n + 1) if n % size == 0]
        fitting = f", or group_size={min(sizes, key=lambda size: abs(size - group_size))}" if sizes else ""
        raise InvalidSetting(
            f"{agent}: {n} rows do not make groups of group_size={group_size}: the completions of a prompt are written "
            f"side by side, at least 2 of them. Give n_envs={near}{fitting}."
        )
