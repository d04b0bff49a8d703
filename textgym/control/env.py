"""ControlEnv: one row of a control task as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Env, logger, spaces
from gymnasium.error import ResetNeeded

from textgym.actions import check_action
from textgym.chance import chance_state, restored_chance
from textgym.control.building import ControlFactory, build_control
from textgym.control.drawing import render
from textgym.control.rows import ControlRows
from textgym.control.rules import Control
from textgym.rendering import METADATA, check_render_mode

ROW = np.zeros(1, np.int64)


class ControlEnv(Env[Any, np.int64]):
    """One episode of a control task: Gymnasium's calling convention, and no rule of its own.

    The observation is the described state's tokens by default. An episode ends by termination, or is truncated after
    the task's own `max_steps`. Every step's info has `true_reward`, the reward without guidance; the last one's
    `metrics` (`success`, `true_return`) and `is_success`.

    Args:
        control: a `Control`, its factory, or where that is, as `"package.module:function"`.
        render_mode: `"ansi"`, `"human"`, `"rgb_array"` or None.
        kwargs: arguments of the factory, and those of `Options`.

    Raises:
        InvalidAction: (from `step`) what is no integer in `[0, actions)`. Nothing changes then.
        ResetNeeded: (from `step`) the episode has ended, or none has begun.
    """

    metadata = METADATA

    def __init__(self, control: Control | ControlFactory | str, render_mode: str | None = None, **kwargs: Any) -> None:
        self.control, self.options = build_control(control, **kwargs)
        self.render_mode = check_render_mode(render_mode)
        self.rows = ControlRows(self.control, self.options, 1)
        self.observation_space: spaces.Space[Any] = self.rows.view.space
        self.action_space = spaces.Discrete(self.control.actions)

    @property
    def counts(self) -> dict[str, int]:
        """How often the adviser was asked, and failed: see `textgym.advising.Consultation`; empty without one."""
        return self.rows.counts

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin; the same seed gives the same episodes from here on."""
        super().reset(seed=seed)
        self.rows.begin(ROW, [self.np_random], None if seed is None else ROW)
        self._show()
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act."""
        chosen = check_action(action, self.control.actions)
        if self.rows.finished.item():
            raise ResetNeeded("the episode has ended, or none has begun. Call reset() before step().")
        step = self.rows.step(ROW, np.array([chosen]), [self.np_random])
        info: dict[str, Any] = {"true_reward": step.true_rewards.item()}
        if self.rows.finished.item():
            metrics = {name: values.item() for name, values in self.rows.measure(ROW).items()}
            info |= {"is_success": bool(metrics["success"]), "metrics": metrics}
        self._show()
        return self._observation(), step.rewards.item(), step.terminated.item(), step.truncated.item(), info

    def _observation(self) -> Any:
        return self.rows.view.row(self.rows.observations(), 0)

    def get_state(self) -> dict[str, Any]:
        """Return all that the next steps depend on: arrays and plain data, copies all."""
        chance = None if self._np_random is None else chance_state(self._np_random)
        return {"rows": self.rows.get_state(), "chance": chance}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, of an environment of the same task.

        Raises:
            InvalidSetting: it is the state of another task, or none. Nothing changes then.
        """
        chance = None if state.get("chance") is None else restored_chance(state["chance"])
        self.rows.set_state(state.get("rows", {}))
        self._np_random, self._np_random_seed = chance, None if chance is None else -1  # -1: Gymnasium's "unknown"

    def render(self) -> Any:
        """Return the state as text (`ansi`) or as a frame (`rgb_array`); `human` prints by itself at every step."""
        if self.render_mode is None:
            logger.warn("render() needs a render mode: gym.make(id, render_mode='ansi').")
        return None if self.render_mode in (None, "human") else render(self.rows, 0, self.render_mode)

    def _show(self) -> None:
        if self.render_mode == "human":
            render(self.rows, 0, "human")
