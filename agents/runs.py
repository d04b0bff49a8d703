"""Run folders: what was trained, on what, and the learned parameters. Nothing in them is ever executed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from textgym import Task, load_task
from textgym.errors import InvalidSetting

from .device import check_device
from .table import Agent, make
from .vec_env import make_vec_env

FORMAT = 1
CONFIG, POLICY = "config.json", "policy.safetensors"


@dataclass(frozen=True)
class Config:
    """Enough to train again: plain data, no object and no place of code but an agent's name."""

    env: str  # a registered id
    agent: str  # a name in AGENTS, or the user's own "package.module:make"
    seed: int
    steps: int
    n_envs: int
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def task(self) -> Task:
        """Return the task that the run is about."""
        return load_task(self.env, **self.env_kwargs)


def check_free(folder: Path) -> None:
    """Raise `InvalidSetting` where a folder holds a run already."""
    if folder.exists() and not folder.is_dir():
        raise InvalidSetting(f"{folder} is a file. Choose another folder.")
    if (folder / CONFIG).exists():
        raise InvalidSetting(f"{folder} holds a run already. Choose another folder, or pass --overwrite to replace it.")


def save(agent: Agent, folder: str | Path, config: Config) -> None:
    """Write a run: `config.json` and `policy.safetensors`, each whole or not at all.

    Raises:
        InvalidSetting: the agent has no parameters to save (`state_dict`, or SB3's `policy`).
        TypeError: the configuration is no plain data.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    parameters = to_bytes({name: _array(value) for name, value in _parameters(agent).items()})
    settings = (json.dumps(asdict(config), indent=2, ensure_ascii=False) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / POLICY, parameters)
    _write(folder / CONFIG, settings)


def load(folder: str | Path, agent: str | None = None, device: str = "auto") -> tuple[Agent, Config]:
    """Read a run and make its agent again. Nothing is unpickled, and no module is imported by a name in the folder.

    Args:
        folder: what `save` wrote.
        agent: must be given again, as `"package.module:make"`, where the run's agent is the user's own.
        device: where torch puts the policy.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: the files are damaged, of a newer format, or the agent's own code was not named again; or the
            device is not here.
        UnknownName: the environment or the agent is not registered here.
    """
    folder = Path(folder)
    config = _read_config(folder)
    if ":" in config.agent and config.agent != agent:
        raise InvalidSetting(
            f"{folder} was trained by {config.agent!r}, which is not TextGym's. If you trust that code, name it again: "
            f"--agent {config.agent}."
        )
    config.task()  # refuses an id that is not registered here, before Gymnasium sees it
    if agent is not None and agent != config.agent:
        raise InvalidSetting(f"{folder} was trained by {config.agent!r}, not by {agent!r}. Leave --agent out.")
    env = make_vec_env(config.env, config.n_envs, **config.env_kwargs)
    loaded = make(config.agent, env, seed=config.seed, device=check_device(device), **config.overrides)
    try:
        _restore(loaded, load_file(folder / POLICY))
    except (SafetensorError, RuntimeError, KeyError, ValueError, OSError) as error:
        raise InvalidSetting(f"{folder / POLICY} does not hold this agent's parameters: {error}") from error
    return loaded, config


def _read_config(folder: Path) -> Config:
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} holds no run: there is no {CONFIG}. Train one with `textgym train ID --out DIR`."
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("format", 0) > FORMAT:
            raise InvalidSetting(f"{path} has format {data['format']}; this TextGym reads up to {FORMAT}. Upgrade it.")
        config = Config(**data)
        for name, kind in (("env", str), ("agent", str), ("n_envs", int), ("env_kwargs", dict), ("overrides", dict)):
            if not isinstance(getattr(config, name), kind):
                raise TypeError(f"{name!r} is {getattr(config, name)!r}, no {kind.__name__}")
        if "task" in config.env_kwargs or ":" in config.env:
            raise ValueError("it names code to import; a run says its environment by a registered id alone")
        return config
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidSetting(f"{path} is no run's configuration: {error}") from error


def check_saveable(agent: Agent) -> None:
    """Raise `InvalidSetting` where an agent has no parameters to save, before it has learned anything."""
    _parameters(agent)


def _parameters(agent: Any) -> Mapping[str, Any]:
    owner = agent if hasattr(agent, "state_dict") else getattr(agent, "policy", None)
    if owner is None:
        raise InvalidSetting(f"{type(agent).__name__} has neither `state_dict` nor `policy`; it cannot be saved.")
    parameters: Mapping[str, Any] = owner.state_dict()
    return parameters


def _restore(agent: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    if hasattr(agent, "load_state_dict"):
        agent.load_state_dict(arrays)
        return
    import torch

    agent.policy.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def _array(value: Any) -> npt.NDArray[Any]:
    """Return a tensor or array as one that safetensors takes."""
    return np.ascontiguousarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _write(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
