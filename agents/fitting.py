"""Whether a run's parameters fit: its environment, the size of its network, the pretrained model that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

from gymnasium import spaces

from textgym.errors import InvalidSetting

from .about import base_model, environment
from .config import Config
from .layers import nested
from .prefixes import holds_tokens
from .settings import LoRASettings, TransformerSettings
from .state import base_model_of
from .table import AGENTS
from .vec_env import name_of

LAYERS = 1024  # of a language model


def check_env(
    folder: Path, config: Config, manifest: Mapping[str, Any], env: Any, any_width: bool = False, cuts: bool = False
) -> None:
    """Refuse an environment in which the parameters would mean something else.

    Args:
        folder: the run's, for messages.
        config: the run's.
        manifest: likewise.
        env: where they are to serve.
        any_width: take prompts and horizons of other lengths where the run's policy is a language model's, whose
            parameters know nothing of them: it counts positions from a row's first token.
        cuts: likewise where the policy is a small transformer, whose parameters are then cut to them.
    """
    shape = nested(config.settings).get("policy")
    free = any_width if isinstance(shape, dict) and "model" in shape else cuts
    widths = ("observation", "max_prompt") if free else ()
    for name, value in environment(env).items():
        if name not in widths and manifest.get(name) != value:
            raise InvalidSetting(
                f"{folder} was trained on {short(config.env or 'a Task')} with {name}={short(manifest.get(name))}; "
                f"this environment, {name_of(env)}, has {name}={value!r}. Give the one that it was trained on, "
                f"whose arguments were {short(config.env_kwargs)}."
            )


def check_size(folder: Path, config: Config, env: Any, learned: Mapping[str, Any]) -> None:
    """Refuse settings of a network with more parameters than the run holds, before memory is asked for them."""
    shape = nested(config.settings).get("policy")
    if config.agent in AGENTS and isinstance(shape, dict):
        require_held(shape, env.observation_space, sum(array.size for array in learned.values()), f"{folder}: policy")


def require_held(shape: Mapping[str, Any], space: spaces.Space[Any], held: int, owner: str) -> None:
    """Refuse so large a network of so few parameters, before any is made.

    Args:
        shape: what the policy's settings are.
        space: of observations.
        held: how many parameters there are.
        owner: what is refused, for the message.

    Raises:
        InvalidSetting: it has more. Where nothing that is observed is tokens, SB3's own network is made, which these
            settings do not size.
    """
    if not holds_tokens(space.get("tokens", space) if isinstance(space, spaces.Dict) else space):
        return
    if "model" in shape and _borrows(shape):
        lora = shape.get("lora")
        too_large = isinstance(lora, Mapping) and LoRASettings.read(lora, f"{owner}.lora").r > held
    elif "model" in shape:
        from .causal_loading import read_config

        model = read_config(shape["model"], shape.get("revision"))
        layers, width = getattr(model, "num_hidden_layers", 0), model.hidden_size
        too_large = layers > LAYERS or layers * width**2 + model.vocab_size * width > held
    else:
        own = TransformerSettings.read(shape, owner)
        too_large = 12 * own.n_layers * own.d_model**2 + (space.shape or (0,))[0] * own.d_model > held
    if too_large:
        raise InvalidSetting(f"{owner}: {short(dict(shape))} has more than the {held} parameters there.")


def _borrows(shape: Mapping[str, Any]) -> bool:
    """Return whether a run holds what learned alone, the rest being in the folder of its model, whose size it has."""
    from .sharing import shares

    return not isinstance(shape["model"], Mapping) and shares(shape)


def check_base(folder: Path, manifest: Mapping[str, Any], made: Any) -> None:
    """Refuse another pretrained model than the run began with, though its folder or name is the same."""
    found = base_model(made).get("base_model", {})
    kept = manifest.get("base_model")
    kept = kept if isinstance(kept, dict) else {}
    if found.get("sha256") != kept.get("sha256"):
        source = short(getattr(base_model_of(made), "source", None))
        raise InvalidSetting(
            f"{folder} began with a model whose sha256 was {kept.get('sha256')}; what is at {source} now has "
            f"{found.get('sha256')}. Put the model there that the run began with."
        )
