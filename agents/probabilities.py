"""An agent as the exact methods read it: the probability of each action after each text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from textgym.actions import check_actions
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidSetting, require_flag

from .categorical import log_probabilities, masked
from .masked import one_hot, uniform
from .policies import PrefixPolicy

CHUNK = 4096  # texts that a network reads at once


@dataclass(frozen=True)
class AgentPolicy:
    """What an agent does, as a policy for `textgym.evaluate` and `textgym.solve(reference=...)`.

    Args:
        agent: an agent of `agents.make`, a model of SB3 or sb3-contrib, one of their policies; a torch module from
            token ids `(n, width)` int64 to logits `(n, size)`; or anything with a method
            `action_probabilities(observations, action_masks, deterministic)`. Of an agent with `predict` alone only
            what it does deterministically can be known.
        deterministic: what `predict(deterministic=True)` does; else what it does while it samples, exploration
            included.

    Raises:
        InvalidSetting: the agent does not say how likely its actions are.
    """

    agent: Any
    deterministic: bool = False
    takes_masks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_flag(deterministic=self.deterministic)
        if not self.says_all and not (self.deterministic and hasattr(self.agent, "predict")):
            raise InvalidSetting(
                f"{type(self.agent).__name__} does not say how likely its actions are. Give it a method "
                "action_probabilities(observations, action_masks, deterministic) -> (n, size), or ask for what it does "
                "with deterministic=True."
            )

    @property
    def says_all(self) -> bool:
        """Whether the agent says how likely its actions are; else all that is known is what `predict` does."""
        return hasattr(self.agent, "action_probabilities") or network_of(self.agent) is not None

    def __call__(self, observations: IntArray, action_masks: BoolArray) -> FloatArray:
        """Return probabilities `(n, size)` float64 of actions after `observations`, `(n, width)`, within the masks."""
        if hasattr(self.agent, "action_probabilities"):
            own: FloatArray = self.agent.action_probabilities(observations, action_masks, self.deterministic)
            return own
        parts = [slice(first, first + CHUNK) for first in range(0, len(observations), CHUNK)]
        read = self._read if network_of(self.agent) is not None else self._predicted
        return np.concatenate([read(observations[part], action_masks[part]) for part in parts])

    def _read(self, observations: IntArray, action_masks: BoolArray) -> FloatArray:
        network = network_of(self.agent)
        with torch.no_grad(), acting(network):
            scores = scores_of(network, observations, action_masks)
            explored = 0.0 if self.deterministic else getattr(self.agent, "exploration_rate", 0.0)
            if self.deterministic or isinstance(network, DQNPolicy):
                best = one_hot(scores.argmax(dim=1).cpu().numpy(), action_masks.shape[1])
                return (1 - explored) * best + explored * uniform(action_masks)
            found: FloatArray = log_probabilities(scores.double()).exp().cpu().numpy()
            return found

    def _predicted(self, observations: IntArray, action_masks: BoolArray) -> FloatArray:
        predict = self.agent.predict
        masks = {"action_masks": action_masks} if "action_masks" in inspect.signature(predict).parameters else {}
        actions, state = predict(observations, deterministic=True, **masks)
        if state is not None:
            raise _remembers(self.agent)
        return one_hot(check_actions(actions, len(observations), size := action_masks.shape[1]), size)


def network_of(agent: Any) -> Any:
    """Return the torch policy of an agent, or what is one; None where there is none.

    Raises:
        InvalidSetting: it remembers what it saw before, so that what it does is no function of the text.
    """
    network = agent if isinstance(agent, nn.Module) else getattr(agent, "policy", None)
    if not isinstance(network, nn.Module):
        return None
    if hasattr(network, "lstm_actor"):
        raise _remembers(network)
    if isinstance(network, BasePolicy) and not hasattr(network, "get_distribution"):
        return network if isinstance(network, DQNPolicy) else None
    return network


def _remembers(agent: Any) -> InvalidSetting:
    return InvalidSetting(
        f"{type(agent).__name__} remembers what it saw before: what it does is no function of the text alone. "
        "Sample episodes instead: textgym eval, agents.evaluation.evaluate."
    )


def scores_of(network: Any, observations: IntArray, action_masks: BoolArray | None = None) -> Tensor:
    """Return logits, or action values of a DQN policy, `(n, size)`, the least finite number outside the masks.

    Gradients flow through them.

    Raises:
        InvalidSetting: the network is for other observations or actions.
    """
    if isinstance(network, BasePolicy):
        _check_spaces(network, observations.shape[1], None if action_masks is None else action_masks.shape[1])
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    tokens = torch.as_tensor(observations, device=device).long()
    masks = None if action_masks is None else torch.as_tensor(action_masks, device=device)
    if isinstance(network, DQNPolicy):
        scores = network.q_net(tokens)
    elif isinstance(network, PrefixPolicy) and isinstance(network.action_space, spaces.Discrete):
        scores = network.scores(tokens, masks)
    elif isinstance(network, BasePolicy):  # SB3's actor-critic policy, or sb3-contrib's with masks
        scores = network.get_distribution(tokens).distribution.logits  # type: ignore[operator]
    else:
        scores = _logits(network, tokens)
    wanted = (len(observations),) if action_masks is None else action_masks.shape
    right = isinstance(scores, Tensor) and scores.is_floating_point() and scores.ndim == 2
    if not right or scores.shape[: len(wanted)] != wanted:
        given = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise InvalidSetting(
            f"{type(network).__name__} gave {given} for {tuple(observations.shape)} token ids; it must give one logit "
            f"an action, {wanted}, a float each."
        )
    return masked(scores, masks)


def _logits(network: Any, tokens: Tensor) -> Any:
    try:
        return network(tokens)
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        raise InvalidSetting(
            f"{type(network).__name__} cannot read token ids {tuple(tokens.shape)}, from 0 to {int(tokens.max())}: "
            f"{error}. Give the task that it was made for."
        ) from error


def _check_spaces(network: BasePolicy, width: int, size: int | None) -> None:
    """Raise `InvalidSetting` where a policy of SB3 reads rows of another width, or does something else than write."""
    space, actions = network.observation_space, network.action_space
    many = int(actions.n) if isinstance(actions, spaces.Discrete) else None
    if space.shape != (width,) or many is None or size not in (None, many):
        raise InvalidSetting(
            f"{type(network).__name__} reads {space} and does {actions}; this task shows rows of {width} tokens"
            f"{'' if size is None else f' and has Discrete({size}) actions'}. Give the task that it was made for."
        )


class acting:
    """Within it, a module is in evaluation mode; after it, each part of it is in the mode that it was in."""

    def __init__(self, network: Any) -> None:
        self._were: dict[nn.Module, bool] = {part: part.training for part in network.modules()}
        self._set: Callable[[bool], Any] = getattr(network, "set_training_mode", network.train)

    def __enter__(self) -> None:
        if any(self._were.values()):
            self._set(False)

    def __exit__(self, *error: object) -> None:
        for part, was in self._were.items():
            part.training = was
