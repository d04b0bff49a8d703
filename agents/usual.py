"""What `textgym train` does where nothing is said, on environments for which an agent's own defaults will not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from textgym import control_ids

from .layers import merged, nested
from .recipe import Recipe
from .settings import DeepSettings


@dataclass(frozen=True)
class Usual:
    """What a run has, of what is left open.

    Args:
        agent: the agent's name.
        fields: of `Config`, whatever the agent.
        init: the run that agents with a transformer begin from, unless a language model is named.
        shared: settings, of every agent that has them.
        own: settings of this agent alone.
    """

    agent: str = "ppo"
    fields: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    shared: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)


CONTROL = Usual(fields={"steps": 200_000, "n_envs": 16})
"""On a control task: episodes are long, and states are many."""

USUAL: Mapping[str, Usual] = {
    "TextGym/RewardModel-v0": Usual(
        agent="rloo",
        fields={"steps": 120_000, "n_envs": 64},
        init="textgym:reviewer",
        shared={"kl_coefficient": 0.07, "kl_target": 6.0, "kl_gain": 0.3, "reward_scale": 1.0},
        own={"learning_rate": 1e-3, "learning_rate_schedule": "linear", "ent_coef": 0.0},
    )
}
"""By id."""


def usual(id: str | None, given: Mapping[str, Any]) -> tuple[Usual, dict[str, Any]]:
    """Return what a run on an environment usually has, and the fields of its configuration with that filled in."""
    found = CONTROL if id in control_ids() else USUAL.get(id or "", Usual())
    return found, {"agent": found.agent, **found.fields, **given}


def usual_settings(found: Usual, agent: str, maker: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent's settings, with the usual ones for what is left open."""
    if not isinstance(maker, Recipe):
        return dict(settings)
    chosen = {**found.shared, **(found.own if agent == found.agent else {})}
    if settings.get("kl_coefficient") == 0:  # nothing to be adapted to a target
        chosen.pop("kl_target", None)
    return merged(
        nested({name: value for name, value in chosen.items() if name in maker.settings.model_fields}), settings
    )


def usual_init(found: Usual, maker: Callable[..., Any], settings: Mapping[str, Any]) -> str | None:
    """Return the run that an agent begins from where none is named; None for none."""
    deep = isinstance(maker, Recipe) and issubclass(maker.settings, DeepSettings)
    policy = settings.get("policy")
    named = isinstance(policy, Mapping) and "model" in policy
    return found.init if deep and not named else None
