"""Q-learning over prefix states: a table that grows with the prefixes it meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from textgym.errors import InvalidSetting, require_positive

from .progress import progress

Array = npt.NDArray[Any]


class QLearning:
    """Q(s, a) += alpha (r + gamma max_b Q(s', b) - Q(s, a)) (Watkins, 1989; Sutton & Barto, 2018, equation 6.8).

    A state is an observation: the prompt and what has been written. Its values are made when it is first met, so
    memory grows with the states met, at most one a step: `8 * (size + width)` bytes each, and a dictionary's entry.
    Actions are epsilon-greedy; epsilon falls linearly over the first half of learning.

    Args:
        env: an SB3 `VecEnv` with discrete actions, as `make_vec_env` makes them.
        alpha: the step size, in (0, 1].
        gamma: the discount, in [0, 1].
        epsilon: the chance of a random action at the start and at the end.
        seed: of exploration and of the environment; None for chance.
        device: unused; tables live on the CPU.

    Raises:
        InvalidSetting: a setting out of its range, actions that are not discrete, observations that are no rows of
            integers.
    """

    def __init__(
        self,
        env: Any,
        alpha: float = 0.5,
        gamma: float = 0.95,
        epsilon: tuple[float, float] = (1.0, 0.05),
        seed: int | None = None,
        device: str = "auto",
    ) -> None:
        if not hasattr(env, "num_envs"):
            raise InvalidSetting(f"q-learning needs rows: agents.make_vec_env(id, 8) instead of {env}.")
        if not isinstance(env.action_space, spaces.Discrete):
            raise InvalidSetting(f"q-learning needs Discrete actions; this environment has {env.action_space}.")
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not np.issubdtype(space.dtype, np.integer):
            raise InvalidSetting(f"q-learning needs a row of integers as observation; this environment has {space}.")
        pair = isinstance(epsilon, (tuple, list)) and len(epsilon) == 2 and all(0 <= e <= 1 for e in epsilon)
        if not (0 < alpha <= 1 and 0 <= gamma <= 1 and pair):
            raise InvalidSetting(
                f"alpha={alpha}, gamma={gamma}, epsilon={epsilon}: alpha lies in (0, 1], gamma in [0, 1], and epsilon "
                "is a pair (at the start, at the end) in [0, 1]."
            )
        self.env = env
        self._task = env.get_attr("task", 0)[0] if env.has_attr("task") else None
        self.alpha, self.gamma, self.epsilon = alpha, gamma, epsilon
        self.size = int(env.action_space.n)
        self.num_timesteps = 0
        self._rng = np.random.default_rng(seed)
        self._row: dict[bytes, int] = {}  # observation -> row of the table
        self._values = np.zeros((1024, self.size))
        if seed is not None:
            env.seed(seed)

    def learn(
        self,
        total_timesteps: int,
        callback: Callable[[dict[str, Any], dict[str, Any]], bool | None] | None = None,
        *,
        progress_bar: bool = False,
    ) -> QLearning:
        """Learn from this many environment steps, rows counted one by one.

        Args:
            total_timesteps: at least this many steps; the last round of all rows is finished.
            callback: called after each round with `locals()` and `globals()`; learning stops where it returns False.
            progress_bar: show one.
        """
        require_positive(total_timesteps=total_timesteps)
        states = self._find(self.env.reset())  # (n,)
        masks = self._masks()
        end = self.num_timesteps + total_timesteps
        start, stop = self.epsilon
        with progress(total_timesteps, progress_bar) as advance:
            while self.num_timesteps < end:
                share = 1 - (end - self.num_timesteps) / total_timesteps
                actions = self._explore(states, masks, start + (stop - start) * min(1.0, 2 * share))
                observations, rewards, dones, infos = self.env.step(actions)
                after, masks = self._find(observations), self._masks()
                worth = masks.copy()
                # An ended row's next state is another episode's; a truncated one's is its last observation.
                goes_on = ~dones
                for row in [i for i in np.flatnonzero(dones) if infos[i].get("TimeLimit.truncated")]:
                    goes_on[row], worth[row] = True, True
                    after[row] = self._find(infos[row]["terminal_observation"][None])[0]
                bootstrap = np.where(worth, self._values[after], -np.inf).max(axis=1)  # (n,)
                bootstrap = np.where(goes_on, bootstrap, 0.0)
                for state, action, goal in zip(states, actions, rewards + self.gamma * bootstrap):
                    self._values[state, action] += self.alpha * (goal - self._values[state, action])
                states = self._find(observations)
                self.num_timesteps += len(actions)
                advance(len(actions))
                if callback is not None and callback(locals(), globals()) is False:
                    break
        return self

    def predict(
        self,
        observation: Array,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Array | None = None,
    ) -> tuple[Array, Any]:
        """Return actions for observations `(n, width)` or one `(width,)`, within masks `(n, size)` where given.

        They are greedy, or epsilon-greedy as at the end of learning. After a prefix that was never met comes token 0,
        or any token at random.
        """
        keys = _keys(np.atleast_2d(observation))
        known = np.array([self._row.get(key, -1) for key in keys])
        masks = np.ones((len(keys), self.size), np.bool_) if action_masks is None else np.atleast_2d(action_masks)
        values = np.where((known >= 0)[:, None], self._values[known], 0.0)
        actions = np.where(masks, values, -np.inf).argmax(axis=1)
        if not deterministic:
            chance = self._rng.random(len(keys)) < np.where(known >= 0, self.epsilon[1], 1.0)
            actions = np.where(chance, self._any(masks), actions)
        return (actions if np.ndim(observation) == 2 else actions[0]), state

    def state_dict(self) -> dict[str, Array]:
        """Return the table: `states` `(k, width)` int32 and `values` `(k, size)` float64."""
        width = self.env.observation_space.shape[0]
        states = np.frombuffer(b"".join(self._row), np.int64).reshape(-1, width)
        return {"states": states.astype(np.int32), "values": self._values[: len(self._row)].copy()}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Replace the table by another of the same width and size.

        Raises:
            InvalidSetting: the arrays do not fit this environment.
        """
        states, values = np.asarray(state["states"], np.int32), np.asarray(state["values"], np.float64)
        width = self.env.observation_space.shape[0]
        if states.shape != (len(values), width) or values.shape[1:] != (self.size,):
            raise InvalidSetting(
                f"a table of states {states.shape} and values {values.shape} does not fit observations of width "
                f"{width} and {self.size} actions."
            )
        self._row = {key: row for row, key in enumerate(_keys(states))}
        self._values = np.concatenate([values, np.zeros((1024, self.size))])

    def _explore(self, states: Array, masks: Array, epsilon: float) -> Array:
        greedy = np.where(masks, self._values[states], -np.inf).argmax(axis=1)
        explore = self._rng.random(len(states)) < epsilon
        return np.where(explore, self._any(masks), greedy)

    def _any(self, masks: Array) -> Array:
        """Return one of each row's actions, each equally likely, `(n,)`."""
        chosen: Array = np.where(masks, self._rng.random(masks.shape), -1.0).argmax(axis=1)
        return chosen

    def _masks(self) -> Array:
        """Return the actions worth taking now, `(n, size)` bool; all, where the task has no mask."""
        if self._task is None or self._task.mask is None:
            return np.ones((self.env.num_envs, self.size), np.bool_)
        return np.stack(self.env.env_method("action_masks"))

    def _find(self, observations: Array) -> Array:
        """Return the table's row of each observation, `(n,)`; new ones get one of zeros."""
        found = np.array([self._row.setdefault(key, len(self._row)) for key in _keys(observations)])
        while len(self._row) > len(self._values):
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        return found


def _keys(observations: Array) -> list[bytes]:
    """Return each row's key in the table, the same for integers of every width."""
    return [row.tobytes() for row in np.asarray(observations, np.int64)]


def make(env: Any, **overrides: Any) -> QLearning:
    """Return a Q-learning agent; the settings are `QLearning`'s."""
    return QLearning(env, **overrides)
