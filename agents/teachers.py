"""Teachers: agents as others learn from them, the log-probability of every action after every text; and their texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from textgym import Episodes, Task
from textgym.arrays import BoolArray, IntArray
from textgym.errors import InvalidSetting, is_finite

from .categorical import draw, log_probabilities, packed
from .evaluation import write
from .likelihood import prefix_rows, reads_prefixes
from .prefixes import Prefixes
from .probabilities import AgentPolicy, acting, network_of, scores_of
from .q_policies import CachedQNetwork
from .sb3_state import get_global_chance, set_global_chance
from .text_data import Corpus

SHARP = 0.01  # the temperature of action values in Rusu et al. (2016)


class Teacher:
    """An agent that says how likely it takes each action: with probability proportional to exp(score / tau).

    Scores are the log-probabilities of what the agent samples from, or a DQN's action values, in the rewards that it
    learned from.

    Args:
        agent: what `AgentPolicy` takes: an agent, a policy, or anything with `action_probabilities`.
        task: what it writes.
        tau: the temperature, above 0; None for 1, of a DQN 0.01 (Rusu et al., 2016).

    Raises:
        InvalidSetting: the agent has neither probabilities nor action values; tau is no number above 0.
    """

    def __init__(self, agent: Any, task: Task, tau: float | None = None) -> None:
        self.agent, self.task, self.network = agent, task, network_of(agent)
        self.has_values = isinstance(self.network, DQNPolicy)  # whether scores are action values
        if tau is not None and (not is_finite(tau) or tau <= 0):
            raise InvalidSetting(f"tau={tau!r} is no temperature. Give a number above 0.")
        self.tau = (SHARP if self.has_values else 1.0) if tau is None else tau
        if self.network is None and not hasattr(agent, "action_probabilities"):
            made = getattr(agent, "made", None)
            raise InvalidSetting(
                f"{made.agent if made else type(agent).__name__} says neither how likely its actions are nor what they "
                "are worth, and nothing else can be compared. Give a run of ppo, a2c, reinforce, rloo, grpo or dqn, or "
                "an agent with a method action_probabilities(observations, action_masks, deterministic) -> (n, size)."
            )

    @torch.no_grad()
    def every(self, prefixes: Prefixes) -> Tensor:
        """Return the log-probabilities of all actions, `(N, size)`, where the prefixes are; each row is read once."""
        device, network = prefixes.tokens.device, self.network
        if not reads_prefixes(network) and not isinstance(getattr(network, "q_net", None), CachedQNetwork):
            own = _moved(prefixes, torch.device("cpu"))
            masks = None if own.masks is None else own.masks.numpy()
            return self.newest(prefix_rows(own, self.task.vocabulary.pad), masks).to(device)
        own = _moved(prefixes, network.device)
        with acting(network):
            scores = network.q_net(own) if self.has_values else network.read(own)[1]
        return log_probabilities(scores / self.tau, own.masks).to(device)

    @torch.no_grad()
    def newest(self, observations: IntArray, masks: BoolArray | None = None) -> Tensor:
        """Return the log-probabilities of all actions after observations `(n, width)`, `(n, size)`, within masks."""
        if hasattr(self.agent, "action_probabilities"):
            masks = np.ones((len(observations), self.task.size), np.bool_) if masks is None else masks
            scores = torch.as_tensor(AgentPolicy(self.agent)(observations, masks), dtype=torch.float32).log()
        else:
            with acting(self.network):
                scores = scores_of(self.network, observations, masks)
        allowed = None if masks is None else torch.as_tensor(masks, device=scores.device)
        return log_probabilities(scores / self.tau, allowed)

    def predict(
        self,
        observation: IntArray,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: BoolArray | None = None,
    ) -> tuple[Any, Any]:
        """Return actions `(n,)` drawn from those probabilities, or the likeliest, and the state as it was given."""
        return draw(self.newest(observation, action_masks), deterministic).cpu().numpy(), state


def _moved(prefixes: Prefixes, device: torch.device) -> Prefixes:
    """Return prefixes on another device."""
    masks = None if prefixes.masks is None else prefixes.masks.to(device)
    return Prefixes(prefixes.tokens.to(device), prefixes.segment.to(device), prefixes.length.to(device), masks)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let Python, NumPy and torch draw from a seed; afterwards they go on from where they were."""
    chance = get_global_chance()
    try:
        set_random_seed(seed)
        yield
    finally:
        set_global_chance(chance)


def texts(writer: Teacher, episodes: int, seed: int) -> Corpus:
    """Let a teacher, or a student as one, write episodes, drawing each token, and return all that it wrote.

    Args:
        writer: who.
        episodes: how many.
        seed: of prompts and draws, at most 32 bits.
    """
    with seeded(seed):
        rows, _ = write(writer, writer.task, episodes, deterministic=False, seed=seed)  # type: ignore[arg-type]
    return corpus_of(writer.task, rows)


def corpus_of(task: Task, rows: Episodes) -> Corpus:
    """Return finished episodes as texts, with the masks that their actions were taken within."""
    tokens = rows.tokens.copy()
    tokens[np.arange(len(rows)), task.max_prompt + rows.length - 1] = task.vocabulary.pad  # nothing follows the last
    corpus = Corpus(task, tokens, rows.completion.copy(), rows.length.copy())
    return corpus if task.mask is None else replace(corpus, masks=_masks(task, rows))


def _masks(task: Task, rows: Episodes) -> npt.NDArray[np.uint8]:
    """Return the masks of each step of finished episodes, `(n, horizon, ceil(size / 8))`, from the last step back."""
    masks = np.full((len(rows), task.horizon, -(-task.size // 8)), 255, np.uint8)
    before = rows.take(np.arange(len(rows)))
    while len(going := np.flatnonzero(before.length)):
        before.erase(going)
        masks[going, before.length[going]] = packed(task.action_mask(before.take(going)))
    return masks
