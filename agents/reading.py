"""What an agent says after each of many prefixes: how likely each action is, or what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from textgym.arrays import BoolArray, FloatArray
from textgym.errors import InvalidSetting

from .categorical import at_once
from .likelihood import CHUNK, prefix_rows, reads_prefixes
from .prefixes import Prefixes
from .probabilities import AgentPolicy, acting, network_of, scores_of
from .q_policies import PrefixDQNPolicy


@dataclass(frozen=True)
class Reading:
    """N prefixes as an agent sees them; it says log-probabilities or action values, never both.

    Args:
        log_probabilities: `(N, size)` float64, of what is sampled from; -inf for what is never drawn.
        action_values: `(N, size)` float64; -inf outside the masks.
        values: `(N,)` float64, of the prefixes; None where the agent learns none. The best action's value, where there
            are action values.
        drawn: `(N, size)` bool, the actions that can be drawn.
    """

    log_probabilities: FloatArray | None
    action_values: FloatArray | None
    values: FloatArray | None
    drawn: BoolArray


def read(agent: Any, prefixes: Prefixes, size: int, pad: int) -> Reading:
    """Return what an agent says of prefixes, in one pass over each row where its network can.

    Args:
        agent: an agent of `agents.make`, a model of SB3's, or the user's own with `action_probabilities`, or with
            `action_values(observations) -> (n, size)`; values are read from SB3's critics and from a method
            `state_values(observations) -> (n,)`.
        prefixes: their masks are the task's.
        size: the actions.
        pad: the id of no token.

    Raises:
        InvalidSetting: it says neither.
    """
    many = at_once(CHUNK, size)
    ends = range(0, len(prefixes.segment), many)
    parts = [_read(agent, _part(prefixes, slice(first, first + many)), size, pad) for first in ends]
    columns = [[getattr(part, name) for part in parts] for name in Reading.__dataclass_fields__]
    joined = [None if any(one is None for one in column) else np.concatenate(column) for column in columns]
    return Reading(*joined)  # type: ignore[arg-type]


def reference_log_probabilities(reference: Any, prefixes: Prefixes, drawn: BoolArray, pad: int) -> FloatArray:
    """Return how likely a reference's actions are among those that can be drawn, `(N, size)` float64.

    Args:
        reference: an agent or its policy; None for uniform writing.
        prefixes: what is read.
        drawn: `(N, size)` bool, what the agent itself may draw: as KL control compares, a reference's distribution is
            taken within it.
        pad: the id of no token.
    """
    if reference is None:
        level: FloatArray = np.where(drawn, -np.log(drawn.sum(axis=1, keepdims=True)), -np.inf)
        return level
    network = network_of(reference)
    if not reads_prefixes(network):
        return _logs(AgentPolicy(reference)(prefix_rows(_on_cpu(prefixes), pad), drawn))
    with torch.no_grad(), acting(network):
        on = _on(prefixes, network.device)._replace(masks=torch.as_tensor(drawn, device=network.device))
        return _possible(network.read(on)[1], drawn)


def learns_values(agent: Any) -> bool:
    """Return whether an agent fits its critic to returns, so that what it says means something."""
    return bool(getattr(agent, "vf_coef", 1.0))


def _read(agent: Any, prefixes: Prefixes, size: int, pad: int) -> Reading:
    network = network_of(agent)
    allowed = np.ones((len(prefixes.segment), size), np.bool_)
    if prefixes.masks is not None:
        allowed = prefixes.masks.cpu().numpy()
    if reads_prefixes(network):
        with torch.no_grad(), acting(network):
            values, log_probs, drawn = network.drawn_from(_on(prefixes, network.device))
        cut = allowed if drawn is None else drawn.cpu().numpy()
        said = values[:, 0].double().cpu().numpy() if learns_values(agent) else None
        return Reading(_possible(log_probs, cut), None, said, cut)
    rows = prefix_rows(_on_cpu(prefixes), pad)
    worth = _action_values(agent, network, prefixes, rows, allowed)
    if worth is not None:
        worth = np.where(allowed, worth, -np.inf)
        return Reading(None, worth, worth.max(axis=1), allowed)
    if not hasattr(agent, "action_probabilities") and network is None:
        raise InvalidSetting(
            f"{type(agent).__name__} does not say how likely its actions are, or what they are worth: there is nothing "
            "to look at. Give it a method action_probabilities(observations, action_masks, deterministic) -> (n, "
            "size), or action_values(observations) -> (n, size)."
        )
    logs = _logs(AgentPolicy(agent)(rows, allowed))
    return Reading(logs, None, _state_values(agent, network, rows), allowed & (logs > -np.inf))


def _action_values(agent: Any, network: Any, prefixes: Prefixes, rows: Any, allowed: BoolArray) -> FloatArray | None:
    """Return what actions are worth, `(N, size)`; None where the agent does not act by that."""
    if hasattr(agent, "action_values"):
        own: FloatArray = agent.action_values(rows)
        return own
    if not isinstance(network, DQNPolicy):
        return None
    with torch.no_grad(), acting(network):
        if isinstance(network, PrefixDQNPolicy):
            worth: Tensor = network.q_net(_on(prefixes, network.device))
        else:
            worth = scores_of(network, rows, allowed)
    found: FloatArray = worth.double().cpu().numpy()
    return found


def _state_values(agent: Any, network: Any, rows: Any) -> FloatArray | None:
    """Return what an agent's critic says of observations, `(N,)`; None where it has none."""
    if hasattr(agent, "state_values"):
        own: FloatArray = agent.state_values(rows)
        return own
    if not isinstance(network, ActorCriticPolicy) or not learns_values(agent):
        return None
    with torch.no_grad(), acting(network):
        found: FloatArray = network.predict_values(network.obs_to_tensor(rows)[0])[:, 0].double().cpu().numpy()
    return found


def _possible(log_probs: Tensor, drawn: BoolArray) -> FloatArray:
    """Return log-probabilities as float64, -inf outside of what can be drawn, where networks give a finite number."""
    found: FloatArray = np.where(drawn, log_probs.double().cpu().numpy(), -np.inf)
    return found


def _logs(probabilities: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        found: FloatArray = np.log(probabilities)
    return found


def _part(prefixes: Prefixes, part: slice) -> Prefixes:
    masks = None if prefixes.masks is None else prefixes.masks[part]
    return Prefixes(prefixes.tokens, prefixes.segment[part], prefixes.length[part], masks)


def _on(prefixes: Prefixes, device: torch.device) -> Prefixes:
    masks = None if prefixes.masks is None else prefixes.masks.to(device)
    return Prefixes(prefixes.tokens.to(device), prefixes.segment.to(device), prefixes.length.to(device), masks)


def _on_cpu(prefixes: Prefixes) -> Prefixes:
    return _on(prefixes, torch.device("cpu"))
