"""ControlRows: n episodes of a control task side by side; the only code that applies a control task's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from textgym.arrays import Array, BoolArray, FloatArray, IntArray
from textgym.control.options import Options
from textgym.control.rules import Control, Rngs
from textgym.errors import InvalidSetting
from textgym.guiding import GuidedRows
from textgym.states import array_like


class Step(NamedTuple):
    """What one step of some rows brought."""

    rewards: FloatArray  # (m,) with what guidance pays
    true_rewards: FloatArray  # (m,) the environment's own
    terminated: BoolArray  # (m,)
    truncated: BoolArray  # (m,)


class ControlRows:
    """The state of n rows, and the two changes of it: `begin` and `step`.

    Args:
        control: the rules.
        options: what is observed, and who guides.
        n: rows.
    """

    def __init__(self, control: Control, options: Options, n: int) -> None:
        self.control, self.options = control, options
        self.view = options.view(control)
        guides = options.guides(control)
        self.guided = None if guides is None else GuidedRows(guides[0], n)
        self._teller = None if guides is None else guides[1]
        width = len(control.physics.begin(np.random.default_rng(0)))
        self.states = np.zeros((n, width))  # (n, d) float64
        self.steps = np.zeros(n, np.int64)  # (n,)
        self.returns = np.zeros(n)  # (n,) of the environment's own rewards
        self.finished = np.ones(n, np.bool_)  # (n,) ended, or not begun
        self.terminated = np.zeros(n, np.bool_)  # (n,) ended by itself
        self.actions = np.full(n, -1, np.int64)  # (n,) the newest; -1 before the first

    @property
    def counts(self) -> dict[str, int]:
        """How often the adviser was asked, and failed: see `Consultation`. Empty where nobody advises."""
        return {} if self.guided is None else dict(self.guided.guidance.consultation.counts)

    def begin(self, rows: IntArray, rngs: Rngs, seeded: IntArray | None = None) -> None:
        """Begin an episode in some rows `(m,)`; row i draws from the i-th generator. Those seeded begin all anew."""
        if not len(rows):
            return
        if self.guided is not None and seeded is not None:
            self.guided.restart(seeded)
        self.states[rows] = [self.control.physics.begin(rng) for rng in rngs]
        self.steps[rows], self.returns[rows], self.actions[rows] = 0, 0.0, -1
        self.finished[rows], self.terminated[rows] = False, False
        if self.guided is not None and self._teller is not None:
            self.guided.begin(rows, self._teller.texts(self.seen(rows)))

    def step(self, rows: IntArray, actions: IntArray, rngs: Rngs) -> Step:
        """Act in some rows `(m,)` that have not ended; row i draws from the i-th generator."""
        states, true_rewards, terminated = self.control.physics.step(self.states[rows], actions, rngs)
        self.states[rows], self.actions[rows] = states, actions
        self.steps[rows] += 1
        self.returns[rows] += true_rewards
        truncated = self.steps[rows] >= self.control.max_steps
        self.terminated[rows], self.finished[rows] = terminated, terminated | truncated
        rewards = true_rewards.copy()
        if self.guided is not None and self._teller is not None:
            rewards += self.guided.pay(rows, actions, self._teller.texts(self.seen(rows)), terminated)
        return Step(rewards, true_rewards, terminated, truncated)

    def seen(self, rows: IntArray | slice = slice(None)) -> Array:
        """Return what Gymnasium's environment would show of rows, `(m, ...)`."""
        return self.control.physics.observe(self.states[rows])

    def observations(self) -> Any:
        """Return what is observed of all rows."""
        return self.view.of(self.seen())

    def measure(self, rows: IntArray) -> dict[str, FloatArray]:
        """Return what ended rows report: `success` and `true_return`, `(m,)` float64 each."""
        success = self.control.succeeded(self.returns[rows], self.terminated[rows])
        return {"success": success.astype(np.float64), "true_return": self.returns[rows].copy()}

    def text(self, row: int) -> str:
        """Return a row as a person may read it: its state, what was done, and what is advised."""
        scene, row_of = self.control.scene, np.array([row])
        parts = [scene.describers[self.options.language].texts(self.seen(row_of))[0]]
        if self.actions[row] >= 0:
            parts.append(f"← {scene.speeches[self.options.language].actions[self.actions[row]][0]}")
        if self.guided is not None and self.guided.advice[row]:
            parts.append(f"“{self.guided.advice[row]}”")
        return " ".join(parts)

    def get_state(self) -> dict[str, Any]:
        """Return all that the next steps depend on, but chance: arrays and plain data, copies all."""
        names = ("states", "steps", "returns", "finished", "terminated", "actions")
        state: dict[str, Any] = {name: getattr(self, name).copy() for name in names}
        return state if self.guided is None else {**state, "guided": self.guided.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take what `get_state` returned; raises `InvalidSetting`, changing nothing, where it is none of such rows."""
        n, most = len(self.steps), np.finfo(np.float64).max
        states = array_like(state, "states", self.states.shape, np.float64, -most, most)
        steps = array_like(state, "steps", (n,), np.int64, 0, self.control.max_steps)
        returns = array_like(state, "returns", (n,), np.float64, -most, most)
        finished = array_like(state, "finished", (n,), np.bool_, False, True)
        terminated = array_like(state, "terminated", (n,), np.bool_, False, True)
        actions = array_like(state, "actions", (n,), np.int64, -1, self.control.actions - 1)
        space, shown = self.control.space, self.control.physics.observe(states)
        if not all(one in space for one in shown if isinstance(one, np.integer)):
            raise InvalidSetting(f"'states' holds what is not in {space}.")
        if self.guided is not None:
            self.guided.set_state(state.get("guided", {}))
        self.states, self.steps, self.returns, self.actions = states, steps, returns, actions
        self.finished, self.terminated = finished, terminated
