"""What a token was worth beyond what was expected: values, penalties and advantages in the environment's rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from textgym.arrays import FloatArray

from .asking import Scored
from .beginning import Compared
from .reading import Reading


def scale_of(agent: Any) -> float:
    """Return what rewards were multiplied by before the agent saw them."""
    return float(getattr(agent, "reward_scale", 1.0))


def penalties_of(agent: Any, to: Compared | None, ratios: FloatArray | None) -> FloatArray | None:
    """Return what KL control takes out of rewards, `(T,)`; None where that is nothing, or of another reference."""
    control = getattr(agent, "kl_control", None)
    if control is None or control.in_loss or to is None or ratios is None or str(control.name) != to.name:
        return None
    found: FloatArray = -control.coefficient * ratios
    return found


def advantages_of(
    agent: Any, said: Reading, scored: Scored, penalties: FloatArray | None, about: Mapping[str, Any]
) -> tuple[FloatArray | None, FloatArray | None]:
    """Return values and advantages, `(T,)` each, in the environment's rewards; None where there are none."""
    if said.values is None:
        return None, None
    many = int(scored.rows.length[0])
    values = said.values / scale_of(agent)
    if said.action_values is not None:
        chosen = said.action_values[np.arange(many), scored.rows.completion[0, :many]] / scale_of(agent)
        return values[:many], finite(chosen - values[:many])
    gamma, gae_lambda = about["gamma"], about["gae_lambda"]
    if gamma is None or gae_lambda is None or scored.rewards is None:
        return values[:many], None
    paid = scored.rewards if penalties is None else scored.rewards + penalties
    after = np.append(values[1:many], values[many] if len(values) > many else 0.0)
    return values[:many], generalised(paid, values[:many], after, gamma, gae_lambda)


def generalised(rewards: FloatArray, values: FloatArray, after: FloatArray, gamma: float, lam: float) -> FloatArray:
    """Return generalised advantage estimates `(T,)` (Schulman et al., 2016, equation 16).

    Args:
        rewards: `(T,)`.
        values: `(T,)` V(s_t).
        after: `(T,)` V(s_{t+1}), 0 after an end.
        gamma: the discount.
        lam: lambda.
    """
    found = rewards + gamma * after - values
    for t in range(len(found) - 2, -1, -1):
        found[t] += gamma * lam * found[t + 1]
    return found


def finite(values: FloatArray) -> FloatArray:
    """Return the values, NaN where they are infinite: what stands outside a mask is worth nothing that is known."""
    found: FloatArray = np.where(np.isfinite(values), values, np.nan)
    return found
