"""What an environment is like, from a few random episodes: the ground that defaults are chosen on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from textgym import Control, Episodes, Task
from textgym.arrays import Array
from textgym.control import Options
from textgym.errors import InvalidSetting
from textgym.rollouts import rollout, write_random

from .vec_env import bridge_of

EPISODES = 512


@dataclass(frozen=True)
class Probe:
    """An environment's size, and what random episodes of it were like."""

    n_envs: int  # rows side by side
    width: int  # columns of an observation
    episodes: int = 0  # random episodes written; 0 where the rules cannot be probed: another library's environment
    longest: int = 0  # tokens of the longest
    largest: float = 0.0  # the greatest |return|
    rewarded: float = 0.0  # the share of steps whose reward is not 0
    control: bool = False  # whether it is a control task: states and actions, told in words
    gamma: float | None = None  # the discount that potential-based shaping in it takes for the agent's

    @property
    def dense(self) -> bool:
        """Whether most steps pay: a token's reward then follows at once."""
        return self.rewarded > 0.5


def probe(env: Any, episodes: int = EPISODES, seed: int = 0) -> Probe:
    """Write random episodes of an environment's task. The environment itself is not stepped, its chance not touched.

    Args:
        env: an SB3 `VecEnv`.
        episodes: how many.
        seed: of the prompts and of the writing.
    """
    shape = env.observation_space.shape
    width = shape[0] if shape else 1
    if is_control(env):
        return Probe(env.num_envs, width, control=True, gamma=shaping_discount(env))
    task = env.get_attr("task", 0)[0] if env.has_attr("task") else None
    if not isinstance(task, Task):
        return Probe(env.num_envs, width, gamma=shaping_discount(env))
    reward, paid = task.reward, 0

    def counted(rows: Episodes) -> Array:
        nonlocal paid
        rewards = np.ma.filled(reward(rows), 0.0)  # a score that is missing tells nothing of scale or density
        paid += int(np.count_nonzero(rewards))
        return rewards

    returns, written = rollout(replace(task, reward=counted), write_random, episodes, seed)
    return Probe(
        n_envs=env.num_envs,
        width=width,
        episodes=episodes,
        longest=written.longest,
        largest=float(np.abs(returns).max()),
        rewarded=paid / int(written.length.sum()),
    )


def is_control(env: Any) -> bool:
    """Return whether an environment is a control task of TextGym's."""
    return env.has_attr("control") and isinstance(env.get_attr("control", 0)[0], Control)


def shaping_discount(env: Any) -> float | None:
    """Return the discount that an environment's potential-based shaping takes for the agent's; None where none is."""
    wrapper: Any = getattr(bridge_of(env), "env", None)
    while wrapper is not None:  # around all rows at once
        if (found := getattr(wrapper, "shaping_gamma", None)) is not None:
            return float(found)
        wrapper = getattr(wrapper, "env", None)
    wrapped = env.get_attr("shaping_gamma", 0)[0] if env.has_attr("shaping_gamma") else None  # around each row
    if wrapped is not None or not is_control(env):
        return wrapped
    options: Options = env.get_attr("options", 0)[0]
    return options.gamma if options.guidance != "none" and options.shaping == "potential" else None


def check_discount(env: Any, gamma: float | None) -> None:
    """Raise `InvalidSetting` where an agent's discount is not the one of its environment's potential-based shaping."""
    shared = shaping_discount(env)
    if shared is not None and gamma is not None and gamma != shared:
        raise InvalidSetting(
            f"gamma={gamma} is the agent's, but the environment's potential-based shaping has gamma={shared}; only "
            f"where both are one does guidance leave the best policy as it is. Give the agent gamma={shared} "
            f"(--set gamma={shared}), or the environment gamma={gamma} (--env gamma={gamma})."
        )
