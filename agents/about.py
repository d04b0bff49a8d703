"""What a run's manifest says besides its files: what it was trained on, and with which versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from typing import Any

from textgym import Task
from textgym.control import ControlRows

from .config import Config
from .state import env_of

PACKAGES = ("textgym", "gymnasium", "stable-baselines3", "torch", "numpy", "safetensors")


def about(config: Config, agent: Any) -> dict[str, Any]:
    """Return what a manifest says of an agent's run."""
    return {
        "versions": versions(),
        "env": config.env,
        "env_kwargs": config.env_kwargs,
        "seed": config.seed,
        "steps": getattr(agent, "num_timesteps", 0),
        **environment(env_of(agent)),
    }


def versions() -> dict[str, str | None]:
    """Return the version of each package that learning depends on, and Python's."""
    return {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment(env: Any) -> dict[str, Any]:
    """Return what an agent's parameters depend on: the spaces, where the prompt ends, the sha256 of the tokens."""
    task = env.get_attr("task", 0)[0] if hasattr(env, "has_attr") and env.has_attr("task") else None
    vocabulary = None
    if isinstance(task, Task):
        tokens = [task.vocabulary.tokens, task.vocabulary.symbols, task.vocabulary.eos]
        vocabulary = hashlib.sha256(json.dumps(tokens).encode()).hexdigest()
    control = env.get_attr("rows", 0)[0] if hasattr(env, "has_attr") and env.has_attr("rows") else None
    if isinstance(control, ControlRows):
        vocabulary = hashlib.sha256(json.dumps(control.view.describer.vocabulary.tokens).encode()).hexdigest()
    return {
        "vocabulary": vocabulary,
        "observation": str(env.observation_space),
        "max_prompt": getattr(env.observation_space, "max_prompt", None),
        "actions": str(env.action_space),
    }
