"""What all agents with a transformer share: from settings to the arguments of SB3's algorithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gymnasium import spaces

from .features import TransformerExtractor, holds_tokens
from .probe import Probe
from .scaled import scaled
from .settings import Choice, DeepSettings

OWN = ("policy", "reward_scale", "learning_rate_schedule")


@dataclass(frozen=True)
class LinearlyToZero:
    """A schedule: the step size at the share of learning that is still ahead."""

    start: float

    def __call__(self, remaining: float) -> float:
        """Return the step size; `remaining` falls from 1 to 0."""
        return self.start * remaining


def discount(seen: Probe) -> dict[str, Choice]:
    """Return SB3's own discount for an environment that cannot be probed; nothing for others."""
    return {} if seen.episodes else {"gamma": Choice(0.99, "this environment cannot be probed: SB3's default")}


def deep_arguments(env: Any, settings: DeepSettings, **policy_kwargs: Any) -> dict[str, Any]:
    """Return the keyword arguments for an algorithm of SB3's, its environment and transformer included.

    Args:
        env: an SB3 `VecEnv`.
        settings: resolved.
        policy_kwargs: for the policy, besides the transformer.
    """
    space = env.observation_space
    tokens = holds_tokens(space) or (isinstance(space, spaces.Dict) and any(map(holds_tokens, space.values())))
    arguments = settings.model_dump(exclude={*OWN})
    if settings.learning_rate_schedule == "linear":
        arguments["learning_rate"] = LinearlyToZero(settings.learning_rate)
    policy_kwargs |= {
        "features_extractor_class": TransformerExtractor,
        "features_extractor_kwargs": settings.policy.model_dump(),
        "net_arch": [],
    }
    return {
        "policy": "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy",
        "env": scaled(env, settings.reward_scale),
        "policy_kwargs": policy_kwargs if tokens else {},  # SB3's own network for other observations
        **arguments,
    }
