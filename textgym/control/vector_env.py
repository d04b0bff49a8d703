"""ControlVectorEnv: n rows of a control task as a Gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.actions import check_actions
from textgym.arrays import Array, BoolArray, FloatArray, IntArray
from textgym.batching import autoreset_mode_of, masked, reset_mask_of, seeds_of
from textgym.chance import chance_state, restored_chance
from textgym.control.building import ControlFactory, build_control
from textgym.control.drawing import render
from textgym.control.rows import ControlRows, Step
from textgym.control.rules import Control
from textgym.errors import InvalidSetting, require_positive
from textgym.rendering import METADATA, check_render_mode


class ControlVectorEnv(VectorEnv[Any, IntArray, Array]):
    """n episodes of a control task side by side: Gymnasium's calling convention and auto-reset, no rule of its own.

    Row i of an environment seeded s is a `ControlEnv` seeded s + i: the same observations, rewards, ends and infos, in
    each of Gymnasium's auto-reset modes, as `SyncVectorEnv` would collect them.

    Args:
        control: a `Control`, its factory, or where that is, as `"package.module:function"`.
        num_envs: rows.
        autoreset_mode: `"NextStep"`, `"SameStep"`, `"Disabled"` or Gymnasium's `AutoresetMode`.
        render_mode: `"ansi"`, `"human"`, `"rgb_array"` or None; `render()` then gives one frame a row.
        kwargs: arguments of the factory, and those of `Options`.

    Raises:
        InvalidAction: (from `step`) what is no integer in `[0, actions)`, in any row, also in one that begins anew in
            next-step mode and whose action is ignored. No row changes then.
        ResetNeeded: (from `step`) nothing has begun, or, with auto-reset disabled, a row has ended.
    """

    def __init__(
        self,
        control: Control | ControlFactory | str,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        require_positive(num_envs=num_envs)
        self.control, self.options = build_control(control, **kwargs)
        self.num_envs = num_envs
        self.autoreset_mode = autoreset_mode_of(autoreset_mode)
        self.render_mode = check_render_mode(render_mode)
        self.metadata = {**METADATA, "autoreset_mode": self.autoreset_mode}
        self.rows = ControlRows(self.control, self.options, num_envs)
        self.single_observation_space = self.rows.view.space
        self.single_action_space = gymnasium.spaces.Discrete(self.control.actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator] = []  # one a row; empty before the first reset

    @property
    def counts(self) -> dict[str, int]:
        """How often the adviser was asked, and failed: see `textgym.advising.Consultation`; empty without one."""
        return self.rows.counts

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every row, or in those of `options["reset_mask"]`.

        Args:
            seed: row i gets `seed + i`, or the i-th of a list; None goes on with the row's own chance.
            options: `{"reset_mask": (n,) bool}` begins anew only where it is True, at least in one row.

        Raises:
            ValueError: a list of seeds or a mask of the wrong length, or a mask without True.
            TypeError: a mask that is no array of bool.
            ResetNeeded: a mask before the first whole reset.
        """
        mask = reset_mask_of(options, self.num_envs)
        if mask is not None and not self._rngs:
            raise ResetNeeded("no row has begun. Call reset() without a reset_mask first.")
        seeds = seeds_of(seed, self.num_envs)
        rows = np.arange(self.num_envs) if mask is None else mask.nonzero()[0]
        rngs = dict(enumerate(self._rngs))
        for row in rows.tolist():
            if seeds[row] is not None or row not in rngs:
                rngs[row] = seeding.np_random(seeds[row])[0]
        self._rngs = list(rngs.values())
        self.rows.begin(
            rows, self._of(rows), np.array([row for row in rows.tolist() if seeds[row] is not None], np.int64)
        )
        self._show()
        return self.rows.observations(), {}

    def step(self, actions: Any) -> tuple[Any, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Act in every row; rows that ended begin anew as the auto-reset mode says."""
        actions = check_actions(actions, self.num_envs, self.control.actions)
        if not self._rngs:
            raise ResetNeeded("no episode has begun. Call reset() before step().")
        over = self.rows.finished.copy()
        if over.any() and self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise ResetNeeded(
                f"rows {np.flatnonzero(over).tolist()} have ended. Call reset(options="
                '{"reset_mask": terminations | truncations}) first.'
            )
        going = (~over).nonzero()[0]
        rewards, ends = np.zeros(self.num_envs), np.zeros((2, self.num_envs), np.bool_)
        info: dict[str, Any] = {}
        if going.size:
            step = self.rows.step(going, actions[going], self._of(going))
            rewards[going], ends[0, going], ends[1, going] = step.rewards, step.terminated, step.truncated
            info = self._report(going, step)
        self._begin(over.nonzero()[0])
        ended: BoolArray = ends[0] | ends[1]
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            self._show()
            self._begin(ended.nonzero()[0])
        self._show()
        return self.rows.observations(), rewards, ends[0], ends[1], info

    def _report(self, going: IntArray, step: Step) -> dict[str, Any]:
        """Return the info of a step, laid out as `SyncVectorEnv` does."""
        ended = np.zeros(self.num_envs, np.bool_)
        ended[going] = step.terminated | step.truncated
        stepped = np.zeros(self.num_envs, np.bool_)
        stepped[going] = True
        paid = np.zeros(self.num_envs)
        paid[going] = step.true_rewards
        same = self.autoreset_mode is AutoresetMode.SAME_STEP
        shown = stepped & ~ended if same else stepped  # in the same-step mode an ended row's info belongs to its reset
        info = masked("true_reward", np.where(shown, paid, 0.0), shown) if shown.any() else {}
        if not ended.any():
            return info
        rows = ended.nonzero()[0]
        metrics = {name: self._spread(values, rows) for name, values in self.rows.measure(rows).items()}
        parts = [masked(name, values, ended) for name, values in metrics.items()]
        report = masked("is_success", metrics["success"].astype(np.bool_), ended)
        report |= masked("metrics", {key: value for part in parts for key, value in part.items()}, ended)
        if not same:
            return info | report
        last = self.rows.observations()
        observations = np.full(self.num_envs, None, dtype=object)
        for row in rows.tolist():
            observations[row] = self.rows.view.row(last, row)
        report = masked("true_reward", np.where(ended, paid, 0.0), ended) | report
        return info | masked("final_obs", observations, ended) | masked("final_info", report, ended)

    def _spread(self, values: FloatArray, rows: IntArray) -> FloatArray:
        """Return the rows' values among zeros for all others, `(n,)`."""
        spread = np.zeros(self.num_envs)
        spread[rows] = values
        return spread

    def get_state(self) -> dict[str, Any]:
        """Return all that the next steps depend on: arrays and plain data, copies all."""
        return {"rows": self.rows.get_state(), "chance": [chance_state(rng) for rng in self._rngs]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, of as many rows of the same task.

        Raises:
            InvalidSetting: it is the state of another task or number of rows, or none. Nothing changes then.
        """
        chance = state.get("chance")
        if not isinstance(chance, list) or len(chance) not in (0, self.num_envs):
            raise InvalidSetting(f"'chance' must be a list of one generator's state a row, {self.num_envs} in all.")
        rngs = [restored_chance(row) for row in chance]
        self.rows.set_state(state.get("rows", {}))
        self._rngs = rngs

    def render(self) -> tuple[Any, ...] | None:
        """Return each row as text (`ansi`) or as a frame (`rgb_array`); `human` prints by itself at every step."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render mode: gym.make_vec(id, ..., render_mode='ansi').")
        if self.render_mode in (None, "human"):
            return None
        return tuple(render(self.rows, row, self.render_mode) for row in range(self.num_envs))

    def _of(self, rows: IntArray) -> list[np.random.Generator]:
        return [self._rngs[row] for row in rows.tolist()]

    def _begin(self, rows: IntArray) -> None:
        self.rows.begin(rows, self._of(rows))

    def _show(self) -> None:
        if self.render_mode == "human":
            for row in range(self.num_envs):
                render(self.rows, row, "human")
