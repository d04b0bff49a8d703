"""Best: the parameters with which an agent was worth most, of all that were evaluated while it learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback

from textgym.control import Control, Options

from .control import evaluate_control
from .state import parameters, set_parameters
from .trees import as_array

EVALUATIONS = 20  # of a whole run
EPISODES = 100
SEED = 1_000_000  # of the first states, far from those that learning and `textgym eval` begin with


class Best(BaseCallback):
    """Evaluates an agent on a control task some 20 times in a run, and keeps the best parameters.

    A policy of a control task may lose in one update what it could: what is kept at the end is what earned most of the
    environment's own reward in 100 greedy episodes; the later one of two that earned alike.

    Args:
        control: the rules.
        options: what is observed.
        total: the run's steps.
    """

    def __init__(self, control: Control, options: Options, total: int) -> None:
        super().__init__()
        self.control, self.options = control, options
        self.every = max(1, -(-total // EVALUATIONS))
        self.mean_return = -np.inf  # of the best
        self.step = 0  # at which it was the best
        self._kept: dict[str, npt.NDArray[Any]] = {}
        self._evaluated = 0

    def _on_training_start(self) -> None:
        self._evaluated = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps - self._evaluated >= self.every:
            self.evaluate(self.model)

    def evaluate(self, agent: Any) -> None:
        """Evaluate an agent now, and keep its parameters where it is worth as much as any before."""
        self._evaluated = agent.num_timesteps
        found = evaluate_control(agent, self.control, self.options, EPISODES, seed=SEED, samples=0).mean_return
        if found >= self.mean_return:
            self.mean_return, self.step = found, agent.num_timesteps
            self._kept = {name: np.array(as_array(value, name)) for name, value in parameters(agent).items()}

    def restore(self, agent: Any) -> bool:
        """Give an agent the best parameters, the last ones among them; return whether they are not its newest."""
        if self._evaluated != agent.num_timesteps or not self._kept:
            self.evaluate(agent)
        if self.step == agent.num_timesteps:
            return False
        set_parameters(agent, self._kept)
        return True
