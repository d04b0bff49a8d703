"""Agents that learn to write: Stable-Baselines3's with a causal transformer, and tabular ones.

Importing it loads neither torch nor SB3; its names are loaded when they are first used. Agents are named in `AGENTS`:
`agents.make("ppo", env)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .table import AGENTS, Agent, load_agent, make

if TYPE_CHECKING:
    from . import exact
    from .buffers import EpisodeRolloutBuffer
    from .causal_lm import CausalLMDQNPolicy, CausalLMPolicy
    from .comparing import compare
    from .config import Config
    from .distilling import distill
    from .exact import evaluate
    from .features import TransformerExtractor
    from .guard import FiniteGuard
    from .initialising import initialise
    from .int8 import quantise
    from .looking import inspect_completion, inspect_completions
    from .making import make_vec_env
    from .policies import CachedTransformerPolicy
    from .pretraining import pretrain
    from .probabilities import AgentPolicy
    from .q_policies import CachedTransformerDQNPolicy
    from .replay import EpisodeReplayBuffer
    from .reward_folder import save_reward_model
    from .reward_hacking import RewardHackingCallback
    from .reward_model import load_reward_model
    from .reward_training import train_reward_model
    from .runs import load, save
    from .sb3_zip import import_sb3_zip
    from .vec_env import SB3VecEnv

_LATER = {
    "AgentPolicy": ".probabilities",
    "CachedTransformerDQNPolicy": ".q_policies",
    "CachedTransformerPolicy": ".policies",
    "CausalLMDQNPolicy": ".causal_lm",
    "CausalLMPolicy": ".causal_lm",
    "EpisodeReplayBuffer": ".replay",
    "EpisodeRolloutBuffer": ".buffers",
    "FiniteGuard": ".guard",
    "RewardHackingCallback": ".reward_hacking",
    "SB3VecEnv": ".vec_env",
    "TransformerExtractor": ".features",
    "Config": ".config",
    "compare": ".comparing",
    "distill": ".distilling",
    "evaluate": ".exact",
    "import_sb3_zip": ".sb3_zip",
    "initialise": ".initialising",
    "inspect_completion": ".looking",
    "inspect_completions": ".looking",
    "load": ".runs",
    "load_reward_model": ".reward_model",
    "make_vec_env": ".making",
    "pretrain": ".pretraining",
    "quantise": ".int8",
    "save": ".runs",
    "save_reward_model": ".reward_folder",
    "train_reward_model": ".reward_training",
}

__all__ = [
    "AGENTS",
    "Agent",
    "AgentPolicy",
    "CachedTransformerDQNPolicy",
    "CachedTransformerPolicy",
    "CausalLMDQNPolicy",
    "CausalLMPolicy",
    "Config",
    "EpisodeReplayBuffer",
    "EpisodeRolloutBuffer",
    "FiniteGuard",
    "RewardHackingCallback",
    "SB3VecEnv",
    "TransformerExtractor",
    "compare",
    "distill",
    "evaluate",
    "exact",
    "import_sb3_zip",
    "initialise",
    "inspect_completion",
    "inspect_completions",
    "load",
    "load_agent",
    "load_reward_model",
    "make",
    "make_vec_env",
    "pretrain",
    "quantise",
    "save",
    "save_reward_model",
    "train_reward_model",
]


def __getattr__(name: str) -> Any:
    if name not in (*_LATER, "exact"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        if name == "exact":  # a module, which its own import makes an attribute of this one
            return importlib.import_module(".exact", __name__)
        return getattr(importlib.import_module(_LATER[name], __name__), name)
    except ModuleNotFoundError as error:
        raise ImportError(f'agents.{name} needs {error.name}: pip install "textgym[agents]".') from error
