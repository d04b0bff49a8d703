"""All that an SB3 agent's next steps depend on besides its parameters, as plain data and arrays."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from textgym.chance import chance_state, restored_chance
from textgym.errors import InvalidSetting

from .checks import array_like, count, statistics
from .replay_state import bounds, get_replay, set_replay

COUNTERS = ("num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_n_updates", "_episode_num")
KEYS = 624  # of a Mersenne twister
ADAM = {"step", "exp_avg", "exp_avg_sq"}


def get_sb3_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Return counters, schedules, the last observation, the replay buffer and episode statistics.

    It is whole between an update and the next rollout: where callbacks see `on_rollout_start`, and after `learn`.
    """
    last = model._last_obs
    state: dict[str, Any] = {
        "counters": {name: int(getattr(model, name)) for name in COUNTERS},
        "progress_remaining": float(model._current_progress_remaining),
        "last_obs": None if last is None else np.array(last),
        "last_episode_starts": None if last is None else np.array(model._last_episode_starts),
        "episodes": list(model.ep_info_buffer or ()),
        "successes": [bool(success) for success in model.ep_success_buffer or ()],
        "action_chance": chance_state(model.action_space.np_random),
    }
    if isinstance(model, OffPolicyAlgorithm):
        state["calls"] = int(getattr(model, "_n_calls", 0))
        state["exploration_rate"] = float(getattr(model, "exploration_rate", 0.0))
        assert model.replay_buffer is not None
        state["replay"] = get_replay(model.replay_buffer)
    return state


def set_sb3_state(model: BaseAlgorithm, state: Mapping[str, Any], continue_env: bool = True) -> None:
    """Go on from what `get_sb3_state` returned, of a model made alike.

    Args:
        model: whose parameters are set.
        state: of it.
        continue_env: whether its environment goes on too; else its episodes begin anew, and in an environment of other
            rows what it remembers too.

    Raises:
        InvalidSetting, KeyError, TypeError: it is the state of another model, or none.
    """
    for name in COUNTERS:
        setattr(model, name, count(state["counters"], name))
    model._current_progress_remaining = _number(state, "progress_remaining")
    if continue_env and state["last_obs"] is not None:
        assert model.env is not None
        n, space = model.env.num_envs, model.observation_space
        model._last_obs = array_like(state, "last_obs", (n, *(space.shape or ())), space.dtype, *bounds(space))
        model._last_episode_starts = array_like(state, "last_episode_starts", (n,), np.bool_, False, True)
    episodes, successes = statistics(state)
    model.ep_info_buffer = deque(episodes, maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(successes, maxlen=model._stats_window_size)
    model.action_space._np_random = restored_chance(state["action_chance"])
    if isinstance(model, OffPolicyAlgorithm):
        model._n_calls = count(state, "calls")  # type: ignore[attr-defined]
        model.exploration_rate = _number(state, "exploration_rate", 0.0)  # type: ignore[attr-defined]
        assert model.replay_buffer is not None
        if continue_env or np.shape(state["replay"]["rewards"])[1:] == (model.replay_buffer.n_envs,):
            set_replay(model.replay_buffer, state["replay"])


def _number(state: Mapping[str, Any], name: str, least: float = -sys.float_info.max) -> float:
    value = state[name]
    if not isinstance(value, (int, float)) or not least <= value <= 1:  # what remains is below 0 past the last step
        raise InvalidSetting(f"{name}={value!r} is no share.")
    return float(value)


def get_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what an optimiser remembers of each parameter, by the parameter's number. Its settings are the agent's."""
    remembered: Mapping[int, Any] = optimizer.state_dict()["state"]
    return {str(number): dict(values) for number, values in remembered.items()}


def set_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Go on from what `get_optimizer_state` returned.

    Raises:
        InvalidSetting: it belongs to other parameters, or another optimiser.
    """
    whole = optimizer.state_dict()
    parameters = {str(i): p for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    for number, values in state.items():
        if number not in parameters:
            raise InvalidSetting(f"the optimiser remembers parameter {number!r}; there are {len(parameters)}.")
        if isinstance(optimizer, torch.optim.Adam) and values.keys() != ADAM:
            raise InvalidSetting(f"Adam remembers {sorted(values)} of parameter {number}, not {sorted(ADAM)}.")
        for name, value in values.items():
            wanted = torch.empty(()) if name == "step" else parameters[number]
            if not isinstance(value, torch.Tensor) or (value.shape, value.dtype) != (wanted.shape, wanted.dtype):
                raise InvalidSetting(
                    f"the optimiser's {name!r} of parameter {number} is not {wanted.dtype} {tuple(wanted.shape)}."
                )
            if not value.isfinite().all() or (name in ("step", "exp_avg_sq") and (value < 0).any()):
                raise InvalidSetting(f"the optimiser's {name!r} of parameter {number} is not finite, or negative.")
    optimizer.load_state_dict({**whole, "state": {int(number): dict(values) for number, values in state.items()}})


def get_global_chance() -> dict[str, Any]:
    """Return the states of the generators that SB3 draws from: Python's, NumPy's and torch's own."""
    chance: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 (SB3 draws from it)
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        chance["cuda"] = torch.cuda.get_rng_state_all()
    return chance


def set_global_chance(chance: Mapping[str, Any]) -> None:
    """Set the generators to what `get_global_chance` returned.

    Raises:
        InvalidSetting, KeyError, TypeError, ValueError, RuntimeError: it is no such state.
    """
    (version, _, gauss), twister = chance["python"], chance["numpy"]["state"]
    for number in (0.0 if gauss is None else gauss, chance["numpy"]["gauss"]):
        if version != 3 or not isinstance(number, float) or not np.isfinite(number):
            raise InvalidSetting(f"{number!r} is no number to come of a generator of version {version!r}.")
    array_like(twister, "key", (KEYS,), np.uint32, 0, 2**32 - 1)
    if count(twister, "pos") > KEYS:  # NumPy would read past the end
        raise InvalidSetting(f"a Mersenne twister stands at {twister['pos']}; it has {KEYS} numbers.")
    np.random.set_state(chance["numpy"])  # noqa: NPY002
    random.setstate(chance["python"])
    torch.set_rng_state(chance["torch"])
    if "cuda" in chance and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(chance["cuda"])
