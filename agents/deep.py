"""What all agents with a transformer share: from settings to the arguments of SB3's algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from textgym.errors import InvalidSetting

from .buffers import EpisodeRolloutBuffer
from .joined import JoinedExtractor
from .policies import CachedTransformerPolicy
from .prefixes import holds_tokens
from .probe import Probe
from .q_policies import CachedTransformerDQNPolicy
from .replay import EpisodeReplayBuffer
from .scaled import scaled
from .settings import Choice, ControlledSettings, DeepSettings, TransformerSettings, TrunkSettings

KL = tuple(ControlledSettings.model_fields.keys() - DeepSettings.model_fields.keys())
ADAPTERS = 10  # step sizes of all parameters, "LoRA Without Regret", Thinking Machines Lab, 2025
OWN = ("policy", "reward_scale", "learning_rate_schedule", *KL)


SHARED = "the discount that the environment's potential-based shaping takes for the agent's"


@dataclass(frozen=True)
class LinearlyToZero:
    """A schedule: the step size at the share of learning that is still ahead."""

    start: float

    def __call__(self, remaining: float) -> float:
        """Return the step size; `remaining` falls from 1 to 0."""
        return self.start * remaining


def discount(seen: Probe) -> dict[str, Choice]:
    """Return the discount that shaping shares, or SB3's own where nothing can be probed; nothing for others."""
    if seen.gamma is not None:
        return {"gamma": Choice(seen.gamma, SHARED)}
    return {} if seen.episodes else {"gamma": Choice(0.99, "this environment cannot be probed: SB3's default")}


def step_size(given: DeepSettings) -> dict[str, Choice]:
    """Return the step size for a language model that is to be learned on; nothing for our own transformer.

    A step of Adam moves each weight of a head by the step size, and so a logit by at most that times the sum of |h|
    over the hidden vector h: near its width d for a language model, near sqrt(d) for our transformer, whose default it
    is.
    """
    policy: Any = given.policy
    if not isinstance(policy, TrunkSettings):
        return {}
    from .causal_loading import read_config

    width = int(read_config(policy.model, policy.revision).hidden_size)
    if policy.lora is not None:
        reason = "adapters learn as well at ten times the step size of all parameters (Schulman et al., 2025)"
        return {"learning_rate": Choice(for_width(ADAPTERS * given.learning_rate, width), reason)}
    reason = f"a logit of a language model {width} wide then moves as fast as one of the small transformer"
    return {"learning_rate": Choice(for_width(given.learning_rate, width), reason)}


def for_width(step: float, width: int) -> float:
    """Return the step size for a language model that does what this one does for our transformer."""
    return float(f"{step * TransformerSettings().d_model ** 0.5 / width:.1e}")


def on_policy_arguments(env: Any, settings: DeepSettings) -> dict[str, Any]:
    """Return the keyword arguments for PPO, A2C and their like, their environment, policy and buffer included.

    Args:
        env: an SB3 `VecEnv`. Where nothing in its observations is tokens, SB3's own network reads them.
        settings: resolved.
    """
    own = {"policy": _policy(settings, "CausalLMPolicy"), "rollout_buffer_class": EpisodeRolloutBuffer}
    return _arguments(env, settings, own)


def dqn_arguments(env: Any, settings: DeepSettings) -> dict[str, Any]:
    """Return the same for DQN."""
    own = {"policy": _policy(settings, "CausalLMDQNPolicy"), "replay_buffer_class": EpisodeReplayBuffer}
    return _arguments(env, settings, own)


def _policy(settings: DeepSettings, name: str) -> type[BasePolicy]:
    """Return the policy's class; a language model's is imported when it is asked for."""
    if not isinstance(settings.policy, TrunkSettings):
        return CachedTransformerPolicy if name == "CausalLMPolicy" else CachedTransformerDQNPolicy
    from . import causal_lm

    found: type[BasePolicy] = getattr(causal_lm, name)
    return found


def _arguments(env: Any, settings: DeepSettings, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return `own` policy and buffer with sizes, environment and settings; SB3's own for other observations."""
    space = env.observation_space
    arguments = settings.model_dump(exclude={*OWN})
    if settings.learning_rate_schedule == "linear":
        arguments["learning_rate"] = LinearlyToZero(settings.learning_rate)
    arguments["env"] = scaled(env, settings.reward_scale)
    if isinstance(settings.policy, TrunkSettings):
        if not holds_tokens(space):
            raise InvalidSetting(f"policy.model: a language model reads rows of tokens; here observations are {space}.")
        return {**arguments, **own, "policy_kwargs": settings.policy.model_dump()}
    sizes: dict[str, Any] = {"policy_kwargs": {"features_extractor_kwargs": settings.policy.model_dump()}}
    if holds_tokens(space):
        return {**arguments, **own, **sizes}
    if isinstance(space, spaces.Dict):
        if "tokens" not in space.spaces or not holds_tokens(space["tokens"]):
            return {**arguments, "policy": "MultiInputPolicy"}
        if len(space.spaces) > 1:
            sizes["policy_kwargs"]["features_extractor_class"] = JoinedExtractor
        return {**arguments, "policy": own["policy"], **sizes}
    return {**arguments, "policy": "MlpPolicy"}
