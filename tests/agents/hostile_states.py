"""Hostile states of agents, networks, optimisers, memories and generators, with a manifest that agrees."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hostile import Damage, deep
from signing import change_array, change_settings, change_state, configure, write


def fill(value: float) -> Callable[[Any], Any]:
    """Return a change that sets an array's first number."""

    def change(array: Any) -> Any:
        array.reshape(-1)[:1] = value
        return array

    return change


def cast(dtype: str) -> Callable[[Any], Any]:
    return lambda array: array.astype(dtype)


def longer(array: Any) -> Any:
    return np.concatenate([array, array]) if array.ndim else np.stack([array, array])


def gone(array: Any) -> None:
    """Remove it."""


AGENT, OPTIMIZER = "/agent/", "optimizer.safetensors"


def state(*path: str | int, to: Any) -> Damage:
    return partial(change_state, path=path, to=to)


def array(name: str, change: Callable[[Any], Any], file: str = "state.safetensors") -> Damage:
    return partial(change_array, file=file, name=name, change=change)


ANY_STATE: dict[str, Damage] = {
    "empty": partial(write, name="state.json", data=b"{}"),
    "null": partial(write, name="state.json", data=b"null"),
    "an array": partial(write, name="state.json", data=b'{"optimizer": null, "$array": "x"}'),
    "deep": partial(write, name="state.json", data=b'{"optimizer": %s}' % deep("[|]", 300)),
    "deep tuples": partial(write, name="state.json", data=b'{"optimizer": %s}' % deep('{"$tuple":[|]}', 400)),
    "NaN": partial(write, name="state.json", data=b'{"optimizer": NaN}'),
    "no agent": state("agent", to=None),
    "no environment": state("env", to=None),
    "text for the agent": state("agent", to="os.system"),
    "items of nonsense": state("agent", to={"$items": ["ab"]}),
    "a reference to nothing": state("agent", "last_obs", to={"$array": "nowhere"}),
    "a reference to another": state("agent", "last_obs", to={"$array": "/env/returns"}),
    "a tensor": state("agent", "last_obs", to={"$tensor": "/agent/last_obs"}),
    "no last observation": array(AGENT + "last_obs", gone),
    "tokens that are none": array(AGENT + "last_obs", fill(99)),
    "negative tokens": array(AGENT + "last_obs", fill(-1)),
    "float tokens": array(AGENT + "last_obs", cast("f4")),
    "wide tokens": array(AGENT + "last_obs", cast("i8")),
    "observations of more rows": array(AGENT + "last_obs", longer),
    "episodes of text": state("agent", "episodes", to="abc"),
    "episodes without a return": state("agent", "episodes", to=[{"l": 3}]),
    "an episode that earned infinity": state("agent", "episodes", to=[{"r": {"$float": "inf"}, "l": 3}]),
    "successes that are none": state("agent", "successes", to=[0.5]),
    "the environment's tokens": array("/env/env/episodes/tokens", fill(99)),
    "the environment's lengths": array("/env/env/episodes/length", fill(99)),
    "the environment's rows": array("/env/env/episodes/seed", longer),
    "the environment's chance": state("env", "env", "chance", 0, "state", "state", to="x"),
    "the environment's generator": state("env", "env", "chance", 0, "bit_generator", to="MT19937"),
    "fewer generators": state("env", "env", "chance", to=[{}]),
    "more returns": array("/env/returns", longer),
}

TABLES: dict[str, Damage] = {
    "NaN": array("values", fill(np.nan), "policy.safetensors"),
    "infinity": array("values", fill(np.inf), "policy.safetensors"),
    "float32": array("values", cast("f4"), "policy.safetensors"),
    "more values": array("values", longer, "policy.safetensors"),
    "no values": array("values", gone, "policy.safetensors"),
    "no states": array("states", gone, "policy.safetensors"),
    "a state twice": array("states", lambda states: states * 0, "policy.safetensors"),
    "negative steps": state("agent", "num_timesteps", to=-1),
    "steps beyond all": state("agent", "num_timesteps", to=10**30),
    "half a step": state("agent", "total_timesteps", to=0.5),
    "no generator": state("agent", "chance", to=None),
    "another generator": state("agent", "chance", "bit_generator", to="SFC64"),
    "fewer states than there are": partial(change_settings, max_states=1),
}

WEIGHTS = "action_net.weight"

NETWORKS: dict[str, Damage] = {
    "NaN": array(WEIGHTS, fill(np.nan), "policy.safetensors"),
    "float64": array(WEIGHTS, cast("f8"), "policy.safetensors"),
    "integers": array(WEIGHTS, cast("i4"), "policy.safetensors"),
    "more weights": array(WEIGHTS, longer, "policy.safetensors"),
    "flat weights": array(WEIGHTS, np.ravel, "policy.safetensors"),
    "no weights": array(WEIGHTS, gone, "policy.safetensors"),
    "a wide transformer": partial(change_settings, policy={"d_model": 16_384, "n_layers": 1, "n_heads": 1}),
    "a deep transformer": partial(change_settings, policy={"d_model": 8, "n_layers": 1024, "n_heads": 1}),
    "a wide one by dots": partial(configure, settings={"policy.d_model": 16_384}),
    "a wide one by default": partial(change_settings, policy={"d_model": 2048}),
    "another transformer": partial(change_settings, policy={"d_model": 8, "n_layers": 1, "n_heads": 3}),
    "no rollout": partial(change_settings, n_steps=0),
    "endless rollout": partial(change_settings, n_steps=10**20),
    "true for a number": partial(change_settings, gamma=True),
    "text for a number": partial(change_settings, gamma="0.9"),
    "no discount": partial(change_settings, gamma=1.5),
    "NaN moments": array("/exp_avg", fill(np.nan), OPTIMIZER),
    "negative squares": array("/exp_avg_sq", fill(-1), OPTIMIZER),
    "moments of another shape": array("/exp_avg", longer, OPTIMIZER),
    "moments of another dtype": array("/exp_avg_sq", cast("f8"), OPTIMIZER),
    "steps of another shape": array("/step", longer, OPTIMIZER),
    "negative step": array("/step", lambda value: np.asarray(value - 100), OPTIMIZER),
    "moments of no parameter": state("optimizer", "999", to={}),
    "moments of a name": state("optimizer", "0x", to={}),
    "no moments": state("optimizer", "0", to={"step": {"$tensor": "/0/step"}}),
    "the optimiser of a table": state("optimizer", to=None),
    "negative counters": state("agent", "counters", "_n_updates", to=-1),
    "no counters": state("agent", "counters", to={}),
    "more remains than all": state("agent", "progress_remaining", to=2),
    "NaN remains": state("agent", "progress_remaining", to={"$float": "nan"}),
    "the ends of more rows": array("last_episode_starts", longer),
    "a position past the end": state("chance", "numpy", "state", "pos", to=10**6),
    "a negative position": state("chance", "numpy", "state", "pos", to=-1),
    "fewer keys": array("/chance/numpy/state/key", lambda keys: keys[:10]),
    "a cached NaN": state("chance", "numpy", "gauss", to={"$float": "nan"}),
    "Python's state": state("chance", "python", to={"$tuple": [3, {"$tuple": [1, 2]}, None]}),
    "Python's cached text": state("chance", "python", "$tuple", 2, to="x"),
    "no chance": state("chance", to=None),
    "torch's state cut": array("/chance/torch", lambda state: state[:10]),
    "torch's state of zeros": array("/chance/torch", lambda state: state * 0),
}

MEMORIES: dict[str, Damage] = {
    "past the end": state("agent", "replay", "pos", to=10**6),
    "another place": state("agent", "replay", "pos", to=1),
    "full": state("agent", "replay", "full", to=True),
    "nearly full": state("agent", "replay", "full", to="yes"),
    "no rewards": array("replay/rewards", gone),
    "NaN rewards": array("replay/rewards", fill(np.nan)),
    "unknown actions": array("replay/actions", fill(99)),
    "negative actions": array("replay/actions", fill(-1)),
    "unknown tokens": array("replay/tokens", fill(99)),
    "prefixes longer than rows": array("replay/next_length", fill(4)),
    "no beginnings": array("replay/begins", fill(False)),
    "half done": array("replay/dones", fill(-1)),
    "float64": array("replay/rewards", cast("f8")),
    "more": array("replay/tokens", longer),
    "other rows": array("replay/rewards", lambda rewards: rewards.reshape(-1, 1)),
    "a smaller buffer": partial(change_settings, buffer_size=4),
    "endless buffer": partial(change_settings, buffer_size=10**20),
    "exploration": state("agent", "exploration_rate", to=-0.5),
    "calls": state("agent", "calls", to=True),
}
