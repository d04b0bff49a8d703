"""TextGenVectorEnv: n rows of a task as a Gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.actions import check_actions
from textgym.arrays import Array, BoolArray, FloatArray, IntArray
from textgym.env import named, observation_space
from textgym.episodes import Rows
from textgym.errors import InvalidReward, InvalidSetting, require_positive
from textgym.registration import build_task
from textgym.rendering import METADATA, check_render_mode, render
from textgym.task import Task


class TextGenVectorEnv(VectorEnv[IntArray, IntArray, Array]):
    """n episodes of a task side by side: Gymnasium's calling convention and auto-reset, and no rule of its own.

    Row i of an environment seeded s is a `TextGenEnv` seeded s + i: the same observations, rewards, ends and infos,
    in each of Gymnasium's auto-reset modes, as `SyncVectorEnv` would collect them.

    Args:
        task: a `Task`, or where its factory is, as `"package.module:function"`.
        num_envs: rows.
        autoreset_mode: `"NextStep"`, `"SameStep"`, `"Disabled"` or Gymnasium's `AutoresetMode`.
        render_mode: `"ansi"`, `"human"`, `"rgb_array"` or None; `render()` then gives one frame a row.
        task_kwargs: arguments of the factory.

    Raises:
        InvalidAction: (from `step`) what is no integer in `[0, size)`, in any row. No row changes then.
        ResetNeeded: (from `step`) nothing has begun, or, with auto-reset disabled, a row has ended.
        InvalidReward: (from `step`) the task's reward is not finite. No row changes then.
    """

    def __init__(
        self,
        task: Task | str,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **task_kwargs: Any,
    ) -> None:
        require_positive(num_envs=num_envs)
        self.task = build_task(task, **task_kwargs)
        self.num_envs = num_envs
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.render_mode = check_render_mode(render_mode)
        self.metadata = {**METADATA, "autoreset_mode": self.autoreset_mode}
        self.episodes = self.task.blank(num_envs)
        self.single_observation_space = observation_space(self.task)
        self.single_action_space = gymnasium.spaces.Discrete(self.task.size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator] = []  # one a row; empty before the first reset

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[IntArray, dict[str, Any]]:
        """Begin an episode in every row, or in those of `options["reset_mask"]`.

        Args:
            seed: row i gets `seed + i`, or the i-th of a list; None goes on with the row's own chance.
            options: `{"reset_mask": (n,) bool}` begins anew only where it is True, at least in one row.

        Returns:
            Observations `(n, max_prompt + horizon)` int32, and an empty info.

        Raises:
            ValueError: a list of seeds or a mask of the wrong length, or a mask without True.
            TypeError: a mask that is no array of bool.
            ResetNeeded: a mask before the first whole reset.
        """
        mask = _reset_mask(options, self.num_envs)
        if mask is not None and not self._rngs:
            raise ResetNeeded("no row has begun. Call reset() without a reset_mask first.")
        seeds = _seeds(seed, self.num_envs)
        chosen = range(self.num_envs) if mask is None else np.flatnonzero(mask).tolist()
        rngs = self._rngs or [seeding.np_random(s)[0] for s in seeds]
        if self._rngs:
            rngs = [*self._rngs]
            for row in chosen:
                if seeds[row] is not None:
                    rngs[row] = seeding.np_random(seeds[row])[0]
        self._rngs = rngs
        self._begin(... if mask is None else np.flatnonzero(mask))
        self._show()
        return self.episodes.tokens.copy(), {}

    def step(self, actions: Any) -> tuple[IntArray, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Write one token in every row; rows that ended begin anew as the auto-reset mode says.

        Returns:
            Observations `(n, max_prompt + horizon)` int32, rewards `(n,)` float64, terminations and truncations
            `(n,)` bool, and the info of the rows that ended, as `SyncVectorEnv` lays it out.
        """
        actions = check_actions(actions, self.num_envs, self.task.size)
        if not self._rngs:
            raise ResetNeeded("no episode has begun. Call reset() before step().")
        episodes = self.episodes
        resting = np.count_nonzero(episodes.finished) if self.autoreset_mode is not AutoresetMode.SAME_STEP else 0
        try:
            rewards = self._step_the_rest(actions) if resting else self.task.step(episodes, actions)
        except InvalidReward as error:
            raise named(error, self) from error
        terminations = episodes.finished.copy()
        info: dict[str, Any] = {}
        if ended := np.count_nonzero(terminations):
            info = self._final_info(terminations)
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                rows: Rows = ... if ended == self.num_envs else np.flatnonzero(terminations)
                info = self._final(rows, terminations, info)
                self._begin(rows)
        self._show()
        return episodes.tokens.copy(), rewards, terminations, np.zeros(self.num_envs, np.bool_), info

    def action_masks(self) -> BoolArray:
        """Return the actions worth taking now, `(n, size)` bool."""
        return self.task.action_mask(self.episodes)

    def render(self) -> tuple[Any, ...] | None:
        """Return each row as text (`ansi`) or as a frame (`rgb_array`); `human` prints by itself at every step."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render mode: gym.make_vec(id, ..., render_mode='ansi').")
        if self.render_mode in (None, "human"):
            return None
        return tuple(render(self.episodes, row, self.render_mode) for row in range(self.num_envs))

    def _step_the_rest(self, actions: IntArray) -> FloatArray:
        """Step the rows that go on and begin those that ended one step ago; the latter's actions are ignored."""
        ended = self.episodes.finished.copy()
        if self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeeded(
                f"rows {np.flatnonzero(ended).tolist()} have ended and auto-reset is disabled. Call "
                'reset(options={"reset_mask": terminations}) first.'
            )
        rewards = np.zeros(self.num_envs)
        if (rows := np.flatnonzero(~ended)).size:
            rewards[rows] = self.task.step(self.episodes, actions[rows], rows)
        self._begin(np.flatnonzero(ended))
        return rewards

    def _begin(self, rows: Rows) -> None:
        rngs = self._rngs if rows is ... else [self._rngs[row] for row in rows]
        self.episodes.begin(rows, self.task.draw(rngs))

    def _final_info(self, ended: BoolArray) -> dict[str, Any]:
        """Return what the ended rows report: values `(n,)`, zero elsewhere, each with its mask `_name`."""
        if not self.task.metrics:
            return {}
        metrics: dict[str, Any] = {}
        for name, values in self.task.measure(self.episodes).items():
            metrics[name], metrics[f"_{name}"] = np.where(ended, values, 0.0), ended.copy()
        info: dict[str, Any] = {}
        if "success" in metrics:
            info["is_success"], info["_is_success"] = metrics["success"].astype(np.bool_), ended.copy()
        info["metrics"], info["_metrics"] = metrics, ended.copy()
        return info

    def _final(self, rows: Rows, ended: BoolArray, final_info: dict[str, Any]) -> dict[str, Any]:
        """Return the info of a step after which rows begin anew: their last observations, and what they report."""
        last = np.full(self.num_envs, None, dtype=object)
        last[rows] = np.fromiter(self.episodes.tokens[rows].copy(), dtype=object)
        return {
            "final_obs": last,
            "_final_obs": ended.copy(),
            "final_info": final_info,
            "_final_info": ended.copy(),
        }

    def _show(self) -> None:
        if self.render_mode == "human":
            for row in range(self.num_envs):
                render(self.episodes, row, "human")


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        names = [m.value for m in AutoresetMode]
        raise InvalidSetting(f"autoreset_mode={mode!r} does not exist. Give one of {names}.") from error


def _seeds(seed: int | Sequence[int | None] | None, n: int) -> list[int | None]:
    if seed is None or isinstance(seed, (int, np.integer)):
        return [None if seed is None else int(seed) + row for row in range(n)]
    if len(seed) != n:
        raise ValueError(f"{len(seed)} seeds for {n} rows. Give one number, or one a row.")
    return list(seed)


def _reset_mask(options: dict[str, Any] | None, n: int) -> BoolArray | None:
    if options is None or "reset_mask" not in options:
        return None
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask']={mask!r} is no array of bool. Give np.array([...], dtype=bool).")
    if mask.shape != (n,) or not mask.any():
        raise ValueError(f"options['reset_mask'] has shape {mask.shape}, {mask}; give ({n},), at least one True.")
    return mask
