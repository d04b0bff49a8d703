"""Collecting: rollouts of on-policy agents, with action masks, and Python work for the rows that end alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from textgym.arrays import BoolArray

from .buffers import EpisodeRolloutBuffer
from .kl_control import Controlled
from .masked import MaskedAgent, masks_of
from .missing import LeavesMissingOut, missing_rows
from .policies import PrefixPolicy


@torch.no_grad()
def act(
    policy: Any, obs: Any, mask: Callable[[], BoolArray] | None
) -> tuple[npt.NDArray[Any], Tensor, Tensor, BoolArray | None]:
    """Let a policy write one token in each row.

    Args:
        policy: an `ActorCriticPolicy`; one that is told masks takes `action_masks`.
        obs: `(n, L)`.
        mask: what returns the environment's masks; None for all actions.

    Returns:
        Actions `(n,)`, values `(n, 1)`, log-probabilities `(n,)`, and what was drawn from, `(n, size)`, None for all:
        the masks, and within them what the policy's `sampling` left. An update must know it.
    """
    masks = None if mask is None else mask()
    allowed = None if masks is None else torch.as_tensor(masks, device=policy.device)
    seen = torch.as_tensor(obs, device=policy.device)
    actions, values, log_probs = policy(seen, action_masks=allowed)
    if isinstance(policy, PrefixPolicy) and policy.cuts:
        assert policy.drawn_within is not None
        masks = policy.drawn_within.cpu().numpy()
    return actions.cpu().numpy(), values, log_probs, masks


class Collecting(LeavesMissingOut, Controlled, MaskedAgent):
    """Mixed into an on-policy algorithm of SB3's with a `PrefixPolicy` and an `EpisodeRolloutBuffer`.

    A rollout is what SB3's own `collect_rollouts` makes of it, but that actions are drawn within the environment's
    masks, and that all rows that a time limit cuts in one step are valued in one batch. With another policy, buffer or
    kind of action it is SB3's own.
    """

    @property
    def leaves_out(self) -> bool:
        """Whether rollouts are made here, by which episodes without a score are left out."""
        own = isinstance(self.policy, PrefixPolicy) and isinstance(self.rollout_buffer, EpisodeRolloutBuffer)
        return own and isinstance(self.action_space, spaces.Discrete)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Fill the buffer with `n_rollout_steps` steps of each row; return False where a callback ended it early."""
        policy = self.policy
        if not self.leaves_out:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        assert self._last_obs is not None
        assert self._last_episode_starts is not None
        assert isinstance(policy, PrefixPolicy)
        assert isinstance(rollout_buffer, EpisodeRolloutBuffer)
        policy.set_training_mode(False)
        policy.forget()
        rollout_buffer.reset()
        mask = masks_of(env)
        callback.on_rollout_start()
        for n_steps in range(n_rollout_steps):  # noqa: B007 (callbacks read it)
            actions, values, log_probs, masks = act(policy, self._last_obs, mask)
            new_obs: Any
            new_obs, rewards, dones, infos = env.step(actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            ended, unscored = np.flatnonzero(dones), np.zeros(0, np.int64)
            if len(ended):
                found = [infos[row] for row in ended.tolist()]
                self._update_info_buffer(found, dones[ended])
                rewards = self._continued(rewards, new_obs, ended, found)
                unscored = missing_rows(ended, found)
            obs: Any = self._last_obs
            rollout_buffer.add(
                obs, actions.reshape(-1, 1), rewards, self._last_episode_starts, values, log_probs, masks
            )
            rollout_buffer.leave_out(unscored)
            self._last_obs, self._last_episode_starts = new_obs, dones
        with torch.no_grad():
            values = policy.predict_values(torch.as_tensor(new_obs, device=self.device))
        self._observe(rollout_buffer)
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _continued(
        self,
        rewards: npt.NDArray[np.float32],
        new_obs: npt.NDArray[Any],
        ended: npt.NDArray[np.int64],
        infos: list[dict[str, Any]],
    ) -> npt.NDArray[np.float32]:
        """Return rewards `(n,)` with the value of what a time limit cut off (Pardo et al., 2018), discounted."""
        cut = [info.get("TimeLimit.truncated", False) and "terminal_observation" in info for info in infos]
        rows = ended[np.array(cut)]
        if not len(rows):
            return rewards
        last = new_obs.copy()  # of all rows: what the policy remembers of them serves here too
        last[rows] = [info["terminal_observation"] for info, is_cut in zip(infos, cut) if is_cut]
        with torch.no_grad():
            values = self.policy.predict_values(torch.as_tensor(last, device=self.device))[:, 0].cpu().numpy()
        rewards[rows] += self.gamma * values[rows]
        return rewards
