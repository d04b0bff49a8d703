"""What a run's manifest says besides its files: what it was trained on, and with which versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

from textgym import Task
from textgym.control import ControlRows
from textgym.errors import InvalidSetting

from .config import Config
from .state import base_model_of, env_of

PACKAGES = ("textgym", "gymnasium", "stable-baselines3", "torch", "transformers", "numpy", "safetensors")


def about(config: Config, agent: Any) -> dict[str, Any]:
    """Return what a manifest says of an agent's run."""
    return {
        "versions": versions(),
        "env": config.env,
        "env_kwargs": config.env_kwargs,
        "seed": config.seed,
        "steps": getattr(agent, "num_timesteps", 0),
        **_teacher(config),
        **base_model(agent),
        **environment(env_of(agent)),
        **scored_by(env_of(agent)),
    }


def _teacher(config: Config) -> dict[str, Any]:
    """Return which run a policy was distilled from, where it was."""
    return {} if config.distillation is None else {"distilled_from": config.distillation.get("teacher")}


def base_model(agent: Any) -> dict[str, Any]:
    """Return which pretrained model an agent's policy began as, where it began as one."""
    base = base_model_of(agent)
    return {} if base is None else {"base_model": {"sha256": base.sha256, "revision": base.revision}}


def scored_by(env: Any) -> dict[str, Any]:
    """Return which learned weights an environment's reward and metrics are scores of; nothing where there are none."""
    task = env.get_attr("task", 0)[0] if hasattr(env, "has_attr") and env.has_attr("task") else None
    sources = (task.reward, *task.metrics.values()) if isinstance(task, Task) else ()
    found = [one for source in sources for one in getattr(source, "fingerprints", ())]
    return {"reward_models": [one for i, one in enumerate(found) if one not in found[:i]]} if found else {}


def check_scored_by(folder: Path, manifest: Mapping[str, Any], env: Any) -> None:
    """Raise `InvalidSetting` where a run's environment, made again, is scored by other weights than the run's was.

    A policy that has learned nothing from scores yet, fitted to text alone, belongs to none.
    """
    if not manifest.get("steps"):
        return
    now, then = scored_by(env).get("reward_models", []), manifest.get("reward_models", [])
    if now != then:
        raise InvalidSetting(
            f"{folder} was trained on scores of {short(then)}; this environment's are of {short(now)}. Put the reward "
            "model back, or begin a new run from this one: --init."
        )


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
