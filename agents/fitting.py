"""Whether a run's parameters fit: its environment, the size of its network, the pretrained model that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

from textgym.errors import InvalidSetting

from .about import base_model, environment
from .config import Config
from .layers import nested
from .settings import TransformerSettings
from .table import AGENTS
from .vec_env import name_of

LAYERS = 1024  # of a language model


def check_env(folder: Path, config: Config, manifest: Mapping[str, Any], env: Any) -> None:
    """Refuse an environment in which the parameters would mean something else."""
    for name, value in environment(env).items():
        if manifest.get(name) != value:
            raise InvalidSetting(
                f"{folder} was trained on {short(config.env or 'a Task')} with {name}={short(manifest.get(name))}; "
                f"this environment, {name_of(env)}, has {name}={value!r}. Give the one that it was trained on."
            )


def check_size(folder: Path, config: Config, env: Any, learned: Mapping[str, Any]) -> None:
    """Refuse settings of a transformer with more parameters than the run holds, before memory is asked for them."""
    shape = nested(config.settings).get("policy")
    held = sum(array.size for array in learned.values())
    if config.agent in AGENTS and isinstance(shape, dict) and "model" in shape:
        from .causal_loading import read_config

        model = read_config(shape["model"], shape.get("revision"))
        layers, width = getattr(model, "num_hidden_layers", 0), model.hidden_size
        if layers > LAYERS or layers * width**2 + model.vocab_size * width > held:
            raise InvalidSetting(f"{folder}: a model of {short(shape)} has more than the {held} parameters there.")
    elif config.agent in AGENTS and isinstance(shape, dict):
        policy = TransformerSettings.read(shape, f"{folder}: policy")
        asked = 12 * policy.n_layers * policy.d_model**2 + env.observation_space.shape[0] * policy.d_model
        if asked > held:
            raise InvalidSetting(f"{folder}: a policy of {short(shape)} has more than the {held} parameters there.")


def check_base(folder: Path, manifest: Mapping[str, Any], made: Any) -> None:
    """Refuse another pretrained model than the run began with, though its folder or name is the same."""
    found = base_model(made).get("base_model", {})
    kept = manifest.get("base_model")
    kept = kept if isinstance(kept, dict) else {}
    if found.get("sha256") != kept.get("sha256"):
        source = short(made.made.settings["policy"].get("model"))
        raise InvalidSetting(
            f"{folder} began with a model whose sha256 was {kept.get('sha256')}; what is at {source} now has "
            f"{found.get('sha256')}. Put the model there that the run began with."
        )
