"""TextGenEnv: one row of a task as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Env, logger, spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import VectorEnv

from textgym.actions import check_action
from textgym.arrays import BoolArray, IntArray
from textgym.chance import chance_state, restored_chance
from textgym.errors import InvalidReward, require_flag
from textgym.registration import TaskFactory, build_task
from textgym.rendering import METADATA, check_render_mode, render
from textgym.space import TokenBox
from textgym.task import Task


class TextGenEnv(Env[IntArray, np.int64]):
    """One episode of a task: Gymnasium's calling convention, and no rule of its own.

    The observation is the row of tokens, `(max_prompt + horizon,)` int32: the prompt right-aligned, the completion
    left-aligned, `pad` elsewhere. The action is the next token, `Discrete(vocabulary.size)`. An episode ends by
    termination; truncation is left to an outside `TimeLimit`. The last step's info has `metrics` and, where the
    task knows success, `is_success`.

    Args:
        task: a `Task`, its factory, or where that is, as `"package.module:function"`.
        render_mode: `"ansi"`, `"human"`, `"rgb_array"` or None.
        task_kwargs: arguments of the factory.

    Raises:
        InvalidAction: (from `step`) what is no integer in `[0, size)`. Nothing changes then.
        ResetNeeded: (from `step`) the episode has ended, or none has begun.
        InvalidReward: (from `step`) the task's reward is not finite. Nothing changes then.
        MissingReward: (from `step`) a score could not be had, and nobody said that this is accepted. Likewise.
    """

    metadata = METADATA

    def __init__(self, task: Task | TaskFactory | str, render_mode: str | None = None, **task_kwargs: Any) -> None:
        self.task = build_task(task, **task_kwargs)
        self.render_mode = check_render_mode(render_mode)
        self.episodes = self.task.blank(1)
        self.observation_space: spaces.Space[Any] = observation_space(self.task)
        self.action_space = spaces.Discrete(self.task.size)
        self._action = np.zeros(1, np.int64)
        self._missing: BoolArray | None = None  # (1,) whether the step's score could not be had; None: that raises

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[IntArray, dict[str, Any]]:
        """Draw a prompt and begin; the same seed gives the same episodes from here on."""
        super().reset(seed=seed)
        self.episodes.begin(..., self.task.draw([self.np_random]))
        self._show()
        return self.episodes.tokens[0].copy(), {}

    def step(self, action: Any) -> tuple[IntArray, float, bool, bool, dict[str, Any]]:
        """Write one token."""
        self._action[0] = check_action(action, self.task.size)
        if self.episodes.finished.item():
            raise ResetNeeded("the episode has ended, or none has begun. Call reset() before step().")
        try:
            reward, info = self._write()
        except InvalidReward as error:
            raise named(error, self) from error
        self._show()
        return self.episodes.tokens[0].copy(), reward, self.episodes.finished.item(), False, info

    def _write(self) -> tuple[float, dict[str, Any]]:
        """Write the token; return its reward and, at the end, what the task reports."""
        reward = self.task.step(self.episodes, self._action, missing=self._missing).item()
        if not self.episodes.finished.item():
            return reward, {}
        info: dict[str, Any] = {"reward_missing": True} if self._missing is not None and self._missing.item() else {}
        if not self.task.metrics:
            return reward, info
        try:
            measured = self.task.measure(self.episodes, accept_missing=self._missing is not None)
        except BaseException:
            self.episodes.erase()
            raise
        metrics = {name: values.item() for name, values in measured.items() if not np.isnan(values.item())}
        success = {"is_success": bool(metrics["success"])} if "success" in metrics else {}
        return reward, {**info, **success, "metrics": metrics}

    @property
    def accepts_missing_rewards(self) -> bool:
        """Whether a score that could not be had is reported, not raised."""
        return self._missing is not None

    def accept_missing_rewards(self, accept: bool = True) -> None:
        """Let steps whose score could not be had pay 0.0 with `info["reward_missing"]`, instead of raising.

        Whoever calls it leaves those episodes out: 0.0 is no score. TextGym's agents do both while they learn.
        """
        require_flag(accept=accept)
        self._missing = np.zeros(1, np.bool_) if accept else None

    def action_masks(self) -> BoolArray:
        """Return the actions worth taking now, `(size,)` bool, as sb3-contrib's `MaskablePPO` asks for them."""
        mask: BoolArray = self.task.action_mask(self.episodes)[0]
        return mask

    def get_state(self) -> dict[str, Any]:
        """Return all that the next steps depend on: arrays and plain data, copies all."""
        chance = None if self._np_random is None else chance_state(self._np_random)
        return {"episodes": self.episodes.get_state(), "chance": chance}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, of an environment of the same task.

        Raises:
            InvalidSetting: it is the state of another task, or none. Nothing changes then.
        """
        chance = None if state.get("chance") is None else restored_chance(state["chance"])
        self.episodes.set_state(state.get("episodes", {}))
        self._np_random, self._np_random_seed = chance, None if chance is None else -1  # -1: Gymnasium's "unknown"

    def render(self) -> Any:
        """Return the row as text (`ansi`) or as a frame (`rgb_array`); `human` prints by itself at every step."""
        if self.render_mode is None:
            logger.warn("render() needs a render mode: gym.make(id, render_mode='ansi').")
        return None if self.render_mode in (None, "human") else render(self.episodes, 0, self.render_mode)

    def _show(self) -> None:
        if self.render_mode == "human":
            render(self.episodes, 0, "human")


def observation_space(task: Task) -> TokenBox:
    """Return the space of one row's tokens."""
    vocabulary = task.vocabulary
    return TokenBox(vocabulary.pad, task.max_prompt, task.horizon, vocabulary.pieces, vocabulary.eos)


def named(error: InvalidReward, env: Env[Any, Any] | VectorEnv[Any, Any, Any]) -> InvalidReward:
    """Return the error with the environment's id before its message."""
    return type(error)(f"{env.spec.id if env.spec else type(env).__name__}: {error}")
