"""What is kept of an agent of any kind: its parameters, and all else that its learning depends on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from textgym import Episodes, Task
from textgym.errors import InvalidSetting

from .scaled import ScaledRewards
from .table import AGENTS
from .vec_env import SB3VecEnv, bridge_of

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]


def parameters(agent: Any) -> Mapping[str, Any]:
    """Return an agent's parameters by name: its own `state_dict`, or its policy's; each once, by its first name.

    SB3's policies name a network that actor and critic share three times.

    Raises:
        InvalidSetting: it has neither, or no `load_state_dict` beside it.
    """
    found: Mapping[str, Any] = _owner(agent).state_dict()
    others = _other_names(found)
    return {name: value for name, value in found.items() if name not in others}


def _other_names(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the names under which a tensor stands again, each with its first one."""
    first: dict[Any, str] = {}
    others = {}
    for name, value in state.items():
        if hasattr(value, "data_ptr") and value.numel():
            here = value.device, value.data_ptr(), value.dtype, value.shape, value.stride()
            if (known := first.setdefault(here, name)) != name:
                others[name] = known
    return others


def set_parameters(agent: Any, arrays: Arrays) -> None:
    """Give an agent parameters that `parameters` returned; what has several names may be given by all of them.

    Raises:
        InvalidSetting: a name is missing or too much, a shape or dtype is another one, or a number is not finite.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidSetting(f"parameter {name} is not finite")
    others = _other_names(_owner(agent).state_dict())
    own, given = parameters(agent), {name: array for name, array in arrays.items() if name not in others}
    tensors = {name: value for name, value in own.items() if hasattr(value, "detach")}
    if not tensors:
        _owner(agent).load_state_dict(given)
        return
    import torch

    for name in sorted({*own} ^ {*given}):
        raise InvalidSetting(f"parameter {name!r} is {'missing' if name in own else 'unknown here'}")
    for name, tensor in tensors.items():
        given[name] = torch.from_numpy(given[name].copy())
        if (given[name].shape, given[name].dtype) != (tensor.shape, tensor.dtype):
            raise InvalidSetting(
                f"parameter {name!r} is {given[name].dtype} {tuple(given[name].shape)}, here {tensor.dtype} "
                f"{tuple(tensor.shape)}"
            )
    _owner(agent).load_state_dict({**given, **{name: given[known] for name, known in others.items()}})


def _owner(agent: Any) -> Any:
    """Return what has an agent's parameters: itself, or its policy."""
    owner: Any = agent if hasattr(agent, "state_dict") else getattr(agent, "policy", None)
    if not hasattr(owner, "state_dict") or not hasattr(owner, "load_state_dict"):
        raise InvalidSetting(
            f"{type(agent).__name__} cannot be saved. Give it `state_dict` and `load_state_dict`, or a `policy` that "
            "has them."
        )
    return owner


def get_state(agent: Any, exact: bool = True) -> dict[str, Any]:
    """Return what learning depends on besides parameters: the agent's, optimiser's and environment's states, chance.

    An agent of the user's own says it by `get_state`; without that, and in an environment without it, the run can be
    read but not continued exactly, and the state says None. Nothing but that is said where `exact` is False, or where
    `whole` finds that learning cannot go on from here.
    """
    broken = whole(agent) if exact else "it was interrupted"
    state: dict[str, Any] = {"exact": broken is None, "agent": None, "env": None}
    if (control := getattr(agent, "kl_control", None)) is not None:  # what to stay near to is known either way
        state["kl_control"] = control.get_state()
    if broken is not None:
        if exact:
            warnings.warn(f"{broken}: what it learned is saved, but the run cannot be resumed exactly.", stacklevel=3)
        return state
    if hasattr(agent, "get_state"):
        state["agent"] = agent.get_state()
    if _is_sb3(agent):
        from .sb3_state import get_global_chance, get_optimizer_state, get_sb3_state

        if state["agent"] is None:
            state["agent"] = get_sb3_state(agent)
        state["optimizer"] = get_optimizer_state(agent.policy.optimizer)
        state["chance"] = get_global_chance()
    bridge = _bridge(agent)
    if bridge is not None and hasattr(bridge.env.unwrapped, "get_state"):
        state["env"] = bridge.get_state()
    return state


def set_state(agent: Any, state: Mapping[str, Any], continue_env: bool = True) -> None:
    """Let an agent stand where `get_state` was taken.

    Args:
        agent: made alike, with its parameters set.
        state: what `get_state` returned.
        continue_env: whether the environment goes on too; else its next episodes begin anew.

    Raises:
        InvalidSetting, KeyError, TypeError: it is the state of another agent, or none.
    """
    if (control := getattr(agent, "kl_control", None)) is not None:
        control.set_state(state["kl_control"], agent.policy)
    if state["exact"] is not True:
        return
    own, bridge = state["agent"], _bridge(agent)
    if hasattr(agent, "set_state"):
        if not continue_env and isinstance(own, Mapping) and "last_obs" in own:
            own = {**own, "last_obs": None}
        if own is not None:
            agent.set_state(own)
        elif agent.made.agent in AGENTS:
            raise InvalidSetting("there is no state of the agent")
    elif _is_sb3(agent):
        from .sb3_state import set_sb3_state

        set_sb3_state(agent, own, continue_env)
    if _is_sb3(agent):
        from .sb3_state import set_optimizer_state

        set_optimizer_state(agent.policy.optimizer, state["optimizer"])
    if continue_env and bridge is not None:
        if state["env"] is None:
            raise InvalidSetting("there is no state of the environment")
        bridge.set_state(state["env"])
    if _is_sb3(agent):
        from .sb3_state import set_global_chance

        set_global_chance(state["chance"])


def whole(agent: Any) -> str | None:
    """Return why learning cannot go on exactly from where an agent stands, None where it can.

    SB3's agents can between an update and the next rollout: while callbacks see `on_rollout_start`, and after a `learn`
    that was not stopped.
    """
    outer, bridge = env_of(agent), _bridge(agent)
    while isinstance(outer, ScaledRewards):
        outer = outer.venv
    if bridge is not None and outer is not bridge:
        return f"the environment's wrapper {type(outer).__name__} has a state that is not kept"
    last, buffer = getattr(agent, "_last_obs", None), getattr(agent, "rollout_buffer", None)
    rows = None if bridge is None else getattr(bridge.env.unwrapped, "episodes", None)
    stands = last is None or not isinstance(rows, Episodes) or np.array_equal(last, rows.tokens)
    if not stands or (buffer is not None and buffer.pos > 0 and not buffer.full):
        return f"{type(agent).__name__} stands in the middle of a rollout"
    return None


def continues_exactly(agent: Any) -> bool:
    """Return whether a run of this agent, in its environment, goes on as if it had never stopped."""
    bridge = _bridge(agent)
    known = hasattr(agent, "get_state") or _is_sb3(agent)
    return known and bridge is not None and hasattr(bridge.env.unwrapped, "get_state")


def base_model_of(agent: Any) -> Any:
    """Return the `BaseModel` that an agent's policy began as; None where it began as none."""
    return getattr(getattr(agent, "policy", None), "base_model", None)


def env_of(agent: Any) -> Any:
    """Return an agent's environment; None where it says none."""
    return agent.get_env() if hasattr(agent, "get_env") else getattr(agent, "env", None)


def task_of(agent: Any) -> Task | None:
    """Return the task that an agent writes; None where its environment is not TextGym's."""
    env = env_of(agent)
    task = env.get_attr("task", 0)[0] if env is not None and env.has_attr("task") else None
    return task if isinstance(task, Task) else None


def _bridge(agent: Any) -> SB3VecEnv | None:
    return bridge_of(env_of(agent))


def _is_sb3(agent: Any) -> bool:
    """Return whether SB3's part of the state is known whole: no recurrent one, one optimiser, plain observations."""
    from gymnasium.spaces import Box
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.buffers import ReplayBuffer

    from .replay import EpisodeReplayBuffer

    plain = isinstance(agent, BaseAlgorithm) and not hasattr(agent, "_last_lstm_states")
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None and type(buffer) not in (ReplayBuffer, EpisodeReplayBuffer):
        return False
    plain = plain and not getattr(agent, "optimize_memory_usage", False)
    return plain and hasattr(agent.policy, "optimizer") and isinstance(agent.observation_space, Box)
