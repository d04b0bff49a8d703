"""TextGenVectorEnv: n rows of a task as a Gymnasium vector environment."""

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
from textgym.env import named, observation_space
from textgym.episodes import Rows
from textgym.errors import InvalidReward, InvalidSetting, require_flag, require_positive
from textgym.registration import TaskFactory, build_task
from textgym.rendering import METADATA, check_render_mode, render
from textgym.task import Task


class TextGenVectorEnv(VectorEnv[IntArray, IntArray, Array]):
    """n episodes of a task side by side: Gymnasium's calling convention and auto-reset, and no rule of its own.

    Row i of an environment seeded s is a `TextGenEnv` seeded s + i: the same observations, rewards, ends and infos,
    in each of Gymnasium's auto-reset modes, as `SyncVectorEnv` would collect them.

    Args:
        task: a `Task`, its factory, or where that is, as `"package.module:function"`.
        num_envs: rows.
        autoreset_mode: `"NextStep"`, `"SameStep"`, `"Disabled"` or Gymnasium's `AutoresetMode`.
        render_mode: `"ansi"`, `"human"`, `"rgb_array"` or None; `render()` then gives one frame a row.
        task_kwargs: arguments of the factory.

    Raises:
        InvalidAction: (from `step`) what is no integer in `[0, size)`, in any row, also in one that begins anew in
            next-step mode and whose action is ignored. No row changes then.
        InvalidPrompt: (from `reset` and `step`) the prompt generator gave what does not fit.
        ResetNeeded: (from `step`) nothing has begun, or, with auto-reset disabled, a row has ended.
        InvalidReward: (from `step`) the task's reward is not finite. No row changes then.
        MissingReward: (from `step`) a score could not be had, and nobody said that this is accepted. Likewise.
    """

    def __init__(
        self,
        task: Task | TaskFactory | str,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **task_kwargs: Any,
    ) -> None:
        require_positive(num_envs=num_envs)
        self.task = build_task(task, **task_kwargs)
        self.num_envs = num_envs
        self.autoreset_mode = autoreset_mode_of(autoreset_mode)
        self.render_mode = check_render_mode(render_mode)
        self.metadata = {**METADATA, "autoreset_mode": self.autoreset_mode}
        self.episodes = self.task.blank(num_envs)
        self.single_observation_space = observation_space(self.task)
        self.single_action_space = gymnasium.spaces.Discrete(self.task.size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator] = []  # one a row; empty before the first reset
        self.accepts_missing_rewards = False  # whether a score that could not be had is reported, not raised

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
        mask = reset_mask_of(options, self.num_envs)
        if mask is not None and not self._rngs:
            raise ResetNeeded("no row has begun. Call reset() without a reset_mask first.")
        seeds = seeds_of(seed, self.num_envs)
        rows: Rows = ... if mask is None else mask.nonzero()[0]
        rngs = dict(enumerate(self._rngs))
        for row in range(self.num_envs) if rows is ... else rows.tolist():
            if seeds[row] is not None or row not in rngs:
                rngs[row] = seeding.np_random(seeds[row])[0]
        self._rngs = list(rngs.values())
        self._begin(rows)
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
        over = self._rows_that_are_over()
        going: Rows = ... if over is None else (~over).nonzero()[0]
        rewards, info = self._write(actions, going)
        if over is not None:
            self._begin(over.nonzero()[0])
        terminations = self.episodes.finished.copy()
        if info and self.autoreset_mode is AutoresetMode.SAME_STEP:
            self._show()
            self._begin(... if terminations.all() else terminations.nonzero()[0])
        self._show()
        return self.episodes.tokens.copy(), rewards, terminations, np.zeros(self.num_envs, np.bool_), info

    def action_masks(self) -> BoolArray:
        """Return the actions worth taking now, `(n, size)` bool."""
        return self.task.action_mask(self.episodes)

    def accept_missing_rewards(self, accept: bool = True) -> None:
        """Let steps whose score could not be had pay 0.0 with `info["reward_missing"]`, as in `TextGenEnv`."""
        require_flag(accept=accept)
        self.accepts_missing_rewards = bool(accept)

    def get_state(self) -> dict[str, Any]:
        """Return all that the next steps depend on: arrays and plain data, copies all."""
        return {"episodes": self.episodes.get_state(), "chance": [chance_state(rng) for rng in self._rngs]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, of as many rows of the same task.

        Raises:
            InvalidSetting: it is the state of another task or number of rows, or none. Nothing changes then.
        """
        chance = state.get("chance")
        if not isinstance(chance, list) or len(chance) not in (0, self.num_envs):
            raise InvalidSetting(f"'chance' must be a list of one generator's state a row, {self.num_envs} in all.")
        rngs = [restored_chance(row) for row in chance]
        self.episodes.set_state(state.get("episodes", {}))
        self._rngs = rngs

    def render(self) -> tuple[Any, ...] | None:
        """Return each row as text (`ansi`) or as a frame (`rgb_array`); `human` prints by itself at every step."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render mode: gym.make_vec(id, ..., render_mode='ansi').")
        if self.render_mode in (None, "human"):
            return None
        return tuple(render(self.episodes, row, self.render_mode) for row in range(self.num_envs))

    def _rows_that_are_over(self) -> BoolArray | None:
        """Return which rows ended a step ago and begin anew in this one, their actions ignored; None for none."""
        if not np.count_nonzero(self.episodes.finished):
            return None
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            raise ResetNeeded("a row has ended and could not begin anew: drawing its prompt failed. Call reset().")
        if self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeeded(
                f"rows {np.flatnonzero(self.episodes.finished).tolist()} have ended and auto-reset is disabled. Call "
                'reset(options={"reset_mask": terminations}) first.'
            )
        return self.episodes.finished.copy()

    def _write(self, actions: IntArray, going: Rows) -> tuple[FloatArray, dict[str, Any]]:
        """Write one token in the rows that go on; return all rows' rewards and what those report that end now."""
        episodes, n = self.episodes, self.num_envs
        missing = np.zeros(n, np.bool_) if self.accepts_missing_rewards else None
        try:
            if going is ...:
                rewards = self.task.step(episodes, actions, missing=missing)
                ended = episodes.finished
            else:
                rewards = np.zeros(n)
                part = None if missing is None else missing[going]
                rewards[going] = self.task.step(episodes, actions[going], going, part) if going.size else 0.0
                if missing is not None and part is not None:
                    missing[going] = part
                ended = np.zeros(n, np.bool_)
                ended[going] = episodes.finished[going]
            if not np.count_nonzero(ended):
                return rewards, {}
            try:
                return rewards, self._report(ended.copy(), missing)
            except BaseException:
                episodes.erase(going)
                raise
        except InvalidReward as error:
            raise named(error, self) from error

    def _report(self, ended: BoolArray, missing: BoolArray | None) -> dict[str, Any]:
        """Return the info of a step in which rows end, laid out as `SyncVectorEnv` does."""
        rows = ended.nonzero()[0]
        last = self.episodes if len(rows) == self.num_envs else self.episodes.take(rows)
        info: dict[str, Any] = {}
        if missing is not None and missing.any():
            info |= masked("reward_missing", missing, missing)
        metrics: dict[str, Any] = {}
        for name, values in self.task.measure(last, rows, self.accepts_missing_rewards).items():
            has = ended
            if self.accepts_missing_rewards and (lacking := np.isnan(values)).any():
                values, has = np.where(lacking, 0.0, values), ended.copy()
                has[rows[lacking]] = False
            if has.any():
                metrics |= masked(name, self._spread(values, rows), has)
        if "success" in metrics:
            info |= masked("is_success", metrics["success"].astype(np.bool_), metrics["_success"])
        if self.task.metrics:
            info |= masked("metrics", metrics, ended)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return info
        observations = np.fromiter(last.tokens.copy(), dtype=object)
        if len(rows) < self.num_envs:
            spread = np.full(self.num_envs, None, dtype=object)
            spread[rows] = observations
            observations = spread
        return masked("final_obs", observations, ended) | masked("final_info", info, ended)

    def _spread(self, values: FloatArray, rows: IntArray) -> FloatArray:
        """Return the rows' values among zeros for all others, `(n,)`."""
        if len(rows) == self.num_envs:
            return values
        spread = np.zeros(self.num_envs)
        spread[rows] = values
        return spread

    def _begin(self, rows: Rows) -> None:
        rngs = self._rngs if rows is ... else [self._rngs[row] for row in rows]
        self.episodes.begin(rows, self.task.draw(rngs))

    def _show(self) -> None:
        if self.render_mode == "human":
            for row in range(self.num_envs):
                render(self.episodes, row, "human")
