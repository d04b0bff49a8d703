"""TabularAgent: SB3's `learn` and `predict` around an update rule over a table of states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium import spaces
from pydantic import Field
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from textgym.chance import chance_state, restored_chance
from textgym.errors import InvalidSetting, require_positive

from ..checks import array_like, count, statistics
from ..masked import masks_of, one_hot, uniform
from ..missing import MISSING, accepting_missing
from ..settings import Count, Positive, Settings, Share
from ..vec_env import require_rows
from .states import UNKNOWN, StateTable
from .transitions import Array, Transitions, followed_by

ROUNDS = 64  # between what callbacks see as the start and the end of a rollout
WINDOW = 100  # episodes whose statistics are kept, as SB3 does


class TabularSettings(Settings):
    """What all agents with a table have; their defaults are the owner's sources'."""

    alpha: Positive = Field(0.5, description="the step size")
    gamma: Share = Field(0.95, description="the discount")
    max_states: Count = Field(1_000_000, description="the most states that the table holds")


class TabularAgent(ABC):
    """Learns on an SB3 `VecEnv` with discrete actions; a state is an observation: the prompt and what was written.

    A subclass is an update rule: `_choose` says how it acts, `_update` what it learns from a step.
    The task's mask is obeyed. Of an episode whose score could not be had, the last step is not learned from.
    Callbacks are SB3's; every 64 rounds of all rows count as a rollout.

    Args:
        env: an SB3 `VecEnv`, as `make_vec_env` makes them.
        seed: of exploration and of the environment; None for chance.
        device: unused; tables live on the CPU.
        verbose: unused, as is `tensorboard_log`.
        settings: by the names in `Settings`.

    Raises:
        UnknownName: there is no such setting.
        InvalidSetting: a setting out of its range, actions that are not discrete, observations that are no rows of
            integers.
    """

    Settings: ClassVar[type[TabularSettings]] = TabularSettings
    columns: ClassVar[dict[str, bool]] = {"values": True}  # what a state has: a number for each action, or one

    def __init__(
        self,
        env: Any,
        seed: int | None = None,
        device: str = "auto",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        **settings: Any,
    ) -> None:
        name = type(self).__name__
        require_rows(env, name)
        if not isinstance(env.action_space, spaces.Discrete) or env.action_space.start != 0:
            raise InvalidSetting(f"{name} needs Discrete actions from 0 on; this environment has {env.action_space}.")
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not np.issubdtype(space.dtype, np.integer):
            raise InvalidSetting(f"{name} needs a row of integers as observation; this environment has {space}.")
        self.env = env
        self.settings: Any = self.Settings.read(settings, name)
        self.size = int(env.action_space.n)
        self.num_timesteps = self._total_timesteps = self.missing_rewards = 0
        self.ep_info_buffer: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self.ep_success_buffer: deque[bool] = deque(maxlen=WINDOW)
        self.logger = Logger(None, [])
        self._mask = masks_of(env)
        self._rng = np.random.default_rng(seed)
        self._last_obs: Array | None = None
        self._table = StateTable(
            space.shape[0],
            {name: self.size if each else 0 for name, each in self.columns.items()},
            self.settings.max_states,
            np.int32 if space.low.min() >= -(2**31) and space.high.max() < 2**31 else np.int64,
        )
        if seed is not None:
            env.seed(seed)

    @classmethod
    def from_settings(cls, env: Any, settings: TabularSettings, **runtime: Any) -> Self:
        """Return an agent with settings that have been read."""
        return cls(env, **runtime, **settings.model_dump())

    @abstractmethod
    def _choose(self, states: Array, masks: Array, greedy: bool = False) -> Array:
        """Return an action for each of the table's rows `(n,)`, within masks `(n, size)`: `(n,)`."""

    @abstractmethod
    def _probabilities(self, states: Array, masks: Array) -> Array:
        """Return how likely `_choose` takes each action when it is not greedy, `(n, size)`, 0 outside the masks."""

    def _act(self, states: Array, masks: Array) -> Array:
        """Return the actions that learning takes, `(n,)`."""
        return self._choose(states, masks)

    @abstractmethod
    def _update(self, step: Transitions) -> None:
        """Learn from one step of all rows."""

    def _begin(self) -> None:  # noqa: B027 (most rules have nothing to forget)
        """Forget what belongs to episodes that are not continued."""

    def _underway(self) -> dict[str, Any]:
        """Return what belongs to episodes that have begun, as plain data and arrays of its own."""
        return {}

    def _go_on(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take what `_underway` returned, or raise and change nothing."""

    def get_env(self) -> Any:
        """Return the environment, as SB3's callbacks ask for it."""
        return self.env

    def get_vec_normalize_env(self) -> Any:
        """Return the `VecNormalize` around the environment, None for none, as SB3's callbacks ask for it."""
        return unwrap_vec_normalize(self.env)

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int = 1,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn from at least this many environment steps, rows counted one by one; the last round is finished.

        Args:
            total_timesteps: how many.
            callback: SB3's: a `BaseCallback`, a list of them, or a function of `locals()` and `globals()` that is
                called after each round; learning stops where it returns False.
            log_interval: unused.
            tb_log_name: unused.
            reset_num_timesteps: begin counting, the schedule of exploration, the statistics and every episode anew;
                False goes on.
            progress_bar: show one.
        """
        require_positive(total_timesteps=total_timesteps)
        if reset_num_timesteps:
            self.num_timesteps = 0
            self.ep_info_buffer.clear()
            self.ep_success_buffer.clear()
        if reset_num_timesteps or self._last_obs is None:
            self._last_obs = self.env.reset()
            self._begin()
        total_timesteps += self.num_timesteps  # the progress bar reads it
        self._total_timesteps = total_timesteps
        # SB3's own function, which makes one callback of all that it accepts
        callback = BaseAlgorithm._init_callback(self, callback, progress_bar)  # type: ignore[arg-type]
        callback.on_training_start(locals(), globals())
        with accepting_missing(self.env):
            while self.num_timesteps < self._total_timesteps and self._rollout(callback):
                pass
        callback.on_training_end()
        return self

    def _rollout(self, callback: BaseCallback) -> bool:
        """Step all rows some times; return whether to go on."""
        callback.on_rollout_start()
        assert self._last_obs is not None
        states, masks = self._table.find(self._last_obs), self._masks()
        for _ in range(ROUNDS):
            actions = self._act(states, masks)
            new_obs, rewards, dones, infos = self.env.step(actions)  # SB3's names, which callbacks read
            step_masks = self._masks()
            after, next_masks, terminated = followed_by(new_obs, step_masks, dones, infos)
            paid = np.asarray(rewards, np.float64)
            unscored = np.array([MISSING in info for info in infos], np.bool_) if np.count_nonzero(dones) else None
            found = self._table.find(after)
            self._update(Transitions(states, masks, actions, paid, found, next_masks, terminated, dones, unscored))
            self._count(infos)
            states, masks, self._last_obs = self._table.find(new_obs), step_masks, new_obs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            if self.num_timesteps >= self._total_timesteps:
                break
        callback.on_rollout_end()
        return True

    def _count(self, infos: Any) -> None:
        self.num_timesteps += len(infos)
        for info in infos:
            if MISSING in info:
                self.missing_rewards += 1
                self.logger.record("rollout/reward_missing", self.missing_rewards)
            elif info and "episode" in info:
                self.ep_info_buffer.append(info["episode"])
                if "is_success" in info:
                    self.ep_success_buffer.append(info["is_success"])

    def predict(
        self,
        observation: Array,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Array | None = None,
    ) -> tuple[Array, Any]:
        """Return actions for observations `(n, width)` or one `(width,)`, within masks `(n, size)` where given.

        They are greedy, or chosen as at the end of learning. After a prefix that was never met comes the first token,
        or any token at random.
        """
        states = self._table.look(np.atleast_2d(observation))
        masks = np.ones((len(states), self.size), np.bool_) if action_masks is None else np.atleast_2d(action_masks)
        actions = self._choose(states, masks, greedy=deterministic)
        if not deterministic:
            actions = np.where(states == UNKNOWN, self._any(masks), actions)
        return (actions if np.ndim(observation) == 2 else actions[0]), state

    def action_probabilities(self, observations: Array, action_masks: Array, deterministic: bool = False) -> Array:
        """Return how likely `predict` takes each action, `(n, size)` float64.

        Args:
            observations: `(n, width)`.
            action_masks: `(n, size)` bool.
            deterministic: as `predict` has it.
        """
        states = self._table.look(observations)
        if deterministic:
            return one_hot(self._choose(states, action_masks, greedy=True), self.size)
        unknown = (states == UNKNOWN)[:, None]
        return np.where(unknown, uniform(action_masks), self._probabilities(states, action_masks))

    def _any(self, masks: Array) -> Array:
        """Return one of each row's actions, each equally likely, `(n,)`."""
        chosen: Array = np.where(masks, self._rng.random(masks.shape), -1.0).argmax(axis=1)
        return chosen

    def _masks(self) -> Array:
        """Return the actions worth taking now, `(n, size)` bool; all, where the task has no mask."""
        return np.ones((self.env.num_envs, self.size), np.bool_) if self._mask is None else self._mask()

    def save(self, path: Any) -> None:
        """Write a run folder, as SB3's callbacks ask for it; `agents.load(path)` reads it."""
        from ..runs import save

        save(self, path, overwrite=True)

    @property
    def _progress(self) -> float:
        """The share of learning that is done."""
        return self.num_timesteps / self._total_timesteps if self._total_timesteps else 1.0

    def state_dict(self) -> dict[str, Array]:
        """Return the table: `states`, `(k, width)`, and what is learned, `(k, size)` or `(k,)` float64.

        States are int32, or int64 where an observation may be too great for that.
        """
        return self._table.state_dict()

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Replace the table by another of the same width and size.

        Raises:
            InvalidSetting: the arrays do not fit this environment. Nothing changes then.
        """
        self._table.load_state_dict(state)

    def get_state(self) -> dict[str, Any]:
        """Return what learning depends on besides the table and the environment."""
        last = self._last_obs
        return {
            "num_timesteps": self.num_timesteps,
            "total_timesteps": self._total_timesteps,
            "chance": chance_state(self._rng),
            "episodes": list(self.ep_info_buffer),
            "successes": [bool(success) for success in self.ep_success_buffer],
            "last_obs": None if last is None else last.copy(),
            **({} if last is None else self._underway()),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, once the table is there; without a last observation, with new episodes.

        Raises:
            InvalidSetting, KeyError, TypeError: it is the state of another agent, or none. Nothing changes then.
        """
        rng = restored_chance(state["chance"])
        done, total = count(state, "num_timesteps"), count(state, "total_timesteps")
        episodes, successes = statistics(state)
        last, space = state["last_obs"], self.env.observation_space
        if last is not None:
            last = array_like(state, "last_obs", (self.env.num_envs, *space.shape), space.dtype, space.low, space.high)
            self._go_on(state)
        self._rng, self.num_timesteps, self._total_timesteps, self._last_obs = rng, done, total, last
        self.ep_info_buffer = deque(episodes, maxlen=WINDOW)
        self.ep_success_buffer = deque(successes, maxlen=WINDOW)
