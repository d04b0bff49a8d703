"""SB3VecEnv: any of Gymnasium's vector environments, as Stable-Baselines3 wants them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from textgym import ControlVectorEnv, TextGenVectorEnv
from textgym.errors import InvalidReward, InvalidSetting

from .checks import array_like
from .infos import RUNNING, no_collections, rows_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Origin:
    """What an environment was made from."""

    id: str  # registered, without the module before it
    kwargs: dict[str, Any]


class SB3VecEnv(VecEnv):
    """A `gymnasium.vector.VectorEnv` in same-step mode as an SB3 `VecEnv`.

    Rewards are float32. An ended row's info has `terminal_observation`, `TimeLimit.truncated`, `episode`
    (`r`, `l`, `t`, as `Monitor` gives them) and what the environment reported at the end; with `reward_missing`, it has
    no `episode`. The infos of rows that go on are one shared, read-only, empty dictionary, unless the environment
    reports something at every step.

    Args:
        env: the vector environment. It must be made with `autoreset_mode="SameStep"`.

    Raises:
        InvalidSetting: another auto-reset mode.
        InvalidReward: (from `step_wait`) the environment paid what is no finite number, one a row.
    """

    origin: Origin | None = None  # where `make_vec_env` made it from an id

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        if (mode := env.metadata.get("autoreset_mode")) is not AutoresetMode.SAME_STEP:
            raise InvalidSetting(
                f"this environment resets in mode {mode}; SB3 needs the next episode's first observation in the step "
                "that ends the last one. Make it with autoreset_mode='SameStep'."
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._returns = np.zeros(self.num_envs)
        self._steps = 0
        self._begins = np.zeros(self.num_envs, np.int64)  # (n,) the step before each row's first
        self._start = time.time()
        self._actions: Array | None = None
        self._owned = isinstance(
            env, (TextGenVectorEnv, ControlVectorEnv)
        )  # its observations are nobody else's; others may be live buffers

    def reset(self) -> Any:
        """Begin an episode in every row, with the seeds and options set before; return the observations."""
        seeds: Any = None if all(seed is None for seed in self._seeds) else list(self._seeds)
        observations, info = self.env.reset(seed=seeds, options=self._one_option())
        self.reset_infos = rows_of(info, np.arange(self.num_envs))
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._begins[:] = 0.0, self._steps
        return self._own(observations)

    def step_async(self, actions: Array) -> None:
        """Keep the actions, `(n,)` or as the action space has them, for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all rows; return observations, rewards `(n,)`, dones `(n,)` and one info a row."""
        observations, rewards, terminations, truncations, info = self.env.step(self._actions)
        if not self._owned:
            rewards = self._checked(rewards)
        dones: npt.NDArray[np.bool_] = terminations | truncations
        self._returns += rewards
        self._steps += 1
        infos: list[dict[str, Any]] = [RUNNING] * self.num_envs
        if np.count_nonzero(dones):
            self._finish(dones.nonzero()[0], truncations & ~terminations, info, infos)
        if not info.keys() <= _FINAL_KEYS:
            self._report(info, dones, infos)
        return self._own(observations), rewards.astype(np.float32), dones, infos

    def _checked(self, rewards: Any) -> npt.NDArray[np.float64]:
        """Return a foreign environment's rewards, `(n,)`; TextGym's own have been checked."""
        try:
            given = np.asarray(rewards)
        except ValueError:  # rows of several lengths
            given = np.empty(0)
        if given.shape != (self.num_envs,) or given.dtype.kind not in "biuf":
            raise InvalidReward(
                f"{name_of(self)} paid {rewards!r}; an agent needs one number a row, shape ({self.num_envs},)."
            )
        if not np.isfinite(given).all():
            row = int(np.flatnonzero(~np.isfinite(given))[0])
            raise InvalidReward(
                f"{name_of(self)} paid {given[row]} in row {row}, step {self._steps - self._begins[row] + 1} of its "
                "episode. A reward must be finite: one that is not would destroy an agent silently."
            )
        return given.astype(np.float64)

    def get_state(self) -> dict[str, Any]:
        """Return all that the next steps depend on, of an environment that has `get_state` itself.

        Raises:
            InvalidSetting: it has none, as other libraries' environments.
        """
        if not hasattr(self.env.unwrapped, "get_state"):
            raise InvalidSetting(
                f"{name_of(self)} has no `get_state`: it cannot be continued where it stands. Its episodes begin anew."
            )
        return {
            "env": self.env.unwrapped.get_state(),
            "returns": self._returns.copy(),
            "lengths": self._steps - self._begins,
            "seeds": [None if seed is None else int(seed) for seed in self._seeds],  # of a reset still to come
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, of as many rows of the same task.

        Raises:
            InvalidSetting, KeyError: it is the state of another environment, or none.
        """
        shape, most = (self.num_envs,), np.finfo(np.float64).max
        returns = array_like(state, "returns", shape, np.float64, -most, most)
        lengths = array_like(state, "lengths", shape, np.int64, 0, 2**62)
        seeds = state.get("seeds")
        if not isinstance(seeds, list) or not all(seed is None or (type(seed) is int and seed >= 0) for seed in seeds):
            raise InvalidSetting(f"{seeds!r} is not one seed, or None, for each of {self.num_envs} rows.")
        if len(seeds) != self.num_envs:
            raise InvalidSetting(f"{len(seeds)} seeds do not fit {self.num_envs} rows.")
        self.env.unwrapped.set_state(state.get("env", {}))  # type: ignore[attr-defined]
        self._returns, self._begins = returns, self._steps - lengths
        self._seeds = list(seeds)
        self.reset_infos = [{} for _ in range(self.num_envs)]

    def _report(self, info: dict[str, Any], dones: npt.NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        """Hand out what rows report besides their ends; of an ended row it belongs to the reset that followed."""
        reported = {key: value for key, value in info.items() if key not in _FINAL_KEYS}
        for row, found in enumerate(rows_of(reported, np.arange(self.num_envs))):
            (self.reset_infos if dones[row] else infos)[row] = found

    def _finish(
        self, rows: Array, truncated: npt.NDArray[np.bool_], info: dict[str, Any], infos: list[dict[str, Any]]
    ) -> None:
        """Put the ended rows' infos into `infos`, and start counting anew."""
        with no_collections() if len(rows) > 200 else nullcontext():
            found = self._final_infos(rows, truncated, info)
        if len(rows) == self.num_envs:
            infos[:] = found
        else:
            for row, final in zip(rows.tolist(), found):
                infos[row] = final
        if any(self.reset_infos):
            for row in rows.tolist():
                self.reset_infos[row] = {}
        self._returns[rows], self._begins[rows] = 0.0, self._steps

    def _final_infos(self, rows: Array, truncated: npt.NDArray[np.bool_], info: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what SB3 wants to know of each ended row."""
        seconds = round(time.time() - self._start, 6)
        ended = zip(
            self._returns[rows].round(6).tolist(),
            (self._steps - self._begins[rows]).tolist(),
            info["final_obs"][rows],
            truncated[rows].tolist(),
        )
        found = [
            {
                "episode": {"r": total, "l": length, "t": seconds},
                "terminal_observation": last,
                "TimeLimit.truncated": cut,
            }
            for total, length, last, cut in ended
        ]
        final = rows_of(info.get("final_info", {}), rows, found)
        if "reward_missing" in info.get("final_info", {}):
            for one in final:
                if "reward_missing" in one:  # nobody knows its return
                    del one["episode"]
        return final

    def _own(self, observations: Any) -> Any:
        return observations if self._owned else deepcopy(observations)

    def _one_option(self) -> dict[str, Any] | None:
        if any(options != self._options[0] for options in self._options):
            raise InvalidSetting("a vector environment takes the same options for all rows; set_options got several.")
        return self._options[0] or None

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute once for each row. Rows of one batch share their attributes."""
        if self._singles is None and attr_name in ("action_space", "observation_space"):
            attr_name = f"single_{attr_name}"
        owner = _owner(self.env, attr_name)
        if self._singles is None and not hasattr(owner, attr_name) and hasattr(owner, "call"):
            return self._per_row(owner.call(attr_name), indices)
        return [getattr(owner, attr_name) for owner in self._owners(attr_name, indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of rows.

        Raises:
            InvalidSetting: for some rows only, where the rows are one batch.
        """
        rows = list(self._get_indices(indices))
        if self._singles is not None:
            for row in rows:
                self._singles[row].set_wrapper_attr(attr_name, value)
        elif len(rows) < self.num_envs:
            raise InvalidSetting(f"rows of one batch share {attr_name!r}; it cannot be set for rows {rows} alone.")
        else:
            setattr(self.env.unwrapped, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Return a method's result for each row.

        Rows with environments of their own are called one by one; a batch is called once, and its result is split
        where it has one part for each row.
        """
        owners = self._owners(method_name, indices)
        if self._singles is not None:
            return [getattr(owner, method_name)(*method_args, **method_kwargs) for owner in owners]
        owner = _owner(self.env, method_name)
        if not hasattr(owner, method_name) and hasattr(owner, "call"):  # AsyncVectorEnv: rows in other processes
            return self._per_row(owner.call(method_name, *method_args, **method_kwargs), indices)
        result = getattr(owner, method_name)(*method_args, **method_kwargs)
        by_row = isinstance(result, (np.ndarray, list, tuple)) and len(result) == self.num_envs
        return self._per_row(result if by_row else [result] * self.num_envs, indices)

    @property
    def _singles(self) -> Sequence[gymnasium.Env[Any, Any]] | None:
        """The rows' own environments, where they have them, as in `SyncVectorEnv`."""
        singles: Sequence[gymnasium.Env[Any, Any]] | None = getattr(self.env.unwrapped, "envs", None)
        return singles

    def _owners(self, name: str, indices: Any) -> list[Any]:
        """Return what has an attribute, for each row: a wrapper, or what it wraps."""
        rows: Sequence[Any] = self._singles or [self.env] * self.num_envs  # type: ignore[list-item]
        return [_owner(env, name) for env in self._per_row(rows, indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return for each row whether it has a wrapper: `Monitor` always, whose work is done here."""
        counted = issubclass(Monitor, wrapper_class)
        rows: Sequence[Any] = self._singles or [None] * self.num_envs  # type: ignore[list-item]
        return self._per_row([counted or (row is not None and is_wrapped(row, wrapper_class)) for row in rows], indices)

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """Return one frame a row, where the render mode is `rgb_array`."""
        if self.render_mode != "rgb_array":
            warnings.warn(
                f"frames need render_mode='rgb_array'; this environment has {self.render_mode!r}.", stacklevel=2
            )
            return [None] * self.num_envs
        frames: Any = self.env.render()
        return list(frames)

    def _per_row(self, values: Iterable[Any], indices: Any) -> list[Any]:
        values = list(values)
        return [values[row] for row in self._get_indices(indices)]


def _owner(env: Any, name: str) -> Any:
    """Return the outermost of an environment and those that it wraps that has an attribute; else the innermost."""
    while not hasattr(env, name) and hasattr(env, "env"):
        env = env.env
    return env


def require_rows(env: Any, agent: str) -> None:
    """Raise `InvalidSetting` unless an environment is one of SB3's vectorised ones."""
    if not isinstance(env, VecEnv):
        bridged = "agents.SB3VecEnv(env)" if isinstance(env, VectorEnv) else "agents.make_vec_env(id, 8)"
        raise InvalidSetting(f"{agent} needs rows as SB3 has them: {bridged} instead of {env}.")


def bridge_of(env: Any) -> SB3VecEnv | None:
    """Return the SB3VecEnv that SB3's wrappers stand around; None where there is none."""
    while not isinstance(env, SB3VecEnv) and isinstance(env, VecEnvWrapper):
        env = env.venv
    return env if isinstance(env, SB3VecEnv) else None


def name_of(env: Any) -> str:
    """Return what an environment is called in messages: its id, where it has one."""
    bridge = bridge_of(env)
    if bridge is not None and bridge.origin is not None:
        return bridge.origin.id
    whole = env if bridge is None else bridge.env
    rows = getattr(whole.unwrapped if bridge else whole, "envs", None) or [whole]
    specs = [getattr(one, "spec", None) for one in (whole, rows[0])]
    known = next((spec.id for spec in specs if spec is not None), None)
    return str(known or type(whole if bridge is None else bridge.env.unwrapped).__name__)


_FINAL_KEYS = {"final_obs", "_final_obs", "final_info", "_final_info"}
