"""Action masks: where an environment has them, and `predict` within them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from textgym import Task

from .vec_env import bridge_of


class MaskedPredictions(BasePolicy):
    """Mixed into a policy: `predict` takes `action_masks`, as sb3-contrib's `MaskablePPO` does."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Any, Any]:
        """Return actions of observations, and the state as it was given.

        Args:
            observation: of `n` rows, or of one.
            state: of no use here.
            episode_start: likewise.
            deterministic: take the likeliest action.
            action_masks: `(n, size)` bool, or `(size,)` for one row: the actions that may be taken; None for all.
        """
        if action_masks is None:
            return super().predict(observation, state, episode_start, deterministic)
        self.set_training_mode(False)
        obs, vectorized = self.obs_to_tensor(observation)
        with torch.no_grad():
            masks = torch.as_tensor(np.atleast_2d(action_masks), dtype=torch.bool, device=self.device)
            actions = self._choose(obs, deterministic, masks).cpu().numpy()
        return (actions if vectorized else actions[0]), state

    def _choose(self, obs: Any, deterministic: bool, action_masks: Tensor) -> Tensor:
        raise NotImplementedError


class MaskedAgent(BaseAlgorithm):
    """Mixed into an algorithm of SB3's: its `predict` takes `action_masks`, for a policy with `MaskedPredictions`."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Any, Any]:
        """Return actions of observations, within masks `(n, size)` where they are given, and the state as given."""
        if action_masks is None:
            return super().predict(observation, state, episode_start, deterministic)
        policy = self.policy
        assert isinstance(policy, MaskedPredictions)
        actions = None if deterministic else self._explored(np.atleast_2d(action_masks))
        if actions is None:
            return policy.predict(observation, state, episode_start, deterministic, action_masks)
        return (actions if policy.is_vectorized_observation(observation) else actions[0]), state

    def _explored(self, masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
        """Return actions `(n,)` of an agent that sometimes tries others than its policy's; None where it does not."""
        return None


def masks_of(env: Any) -> Callable[[], npt.NDArray[np.bool_]] | None:
    """Return a function of the actions worth taking now, `(n, size)` bool; None where all of them always are."""
    task = env.get_attr("task", 0)[0] if env.has_attr("task") else None
    if isinstance(task, Task) and task.mask is None:
        return None
    bridge = bridge_of(env)
    inner = None if bridge is None else bridge.env.unwrapped
    if isinstance(inner, VectorEnv) and hasattr(inner, "action_masks"):
        whole: Callable[[], npt.NDArray[np.bool_]] = inner.action_masks
        return whole
    return (lambda: np.stack(env.env_method("action_masks"))) if env.has_attr("action_masks") else None


def uniform(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the same probability for each of the actions that masks `(n, size)` leave, `(n, size)`."""
    shared: npt.NDArray[np.float64] = masks / masks.sum(axis=1, keepdims=True)
    return shared


def one_hot(actions: npt.NDArray[np.integer[Any]], size: int) -> npt.NDArray[np.float64]:
    """Return probability 1 of each row's action `(n,)`, `(n, size)`."""
    chosen: npt.NDArray[np.float64] = np.eye(size)[actions]
    return chosen
