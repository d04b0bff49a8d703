"""RLOO: REINFORCE with the other completions of a prompt as the baseline."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .group_relative import GroupRelative, GroupSettings, choose, group_arguments
from .kl_control import controlled
from .recipe import Recipe
from .settings import Count, Positive


class RLOOSettings(GroupSettings):
    """RLOO's settings."""

    learning_rate: Positive = Field(3e-3, description="the step size of Adam")
    episodes: Count = Field(2, description="the completions of each row in a rollout")


class RLOO(GroupRelative):
    """REINFORCE leave-one-out (Kool, van Hoof & Welling, 2019, "Buy 4 REINFORCE samples, get a baseline for free!").

    theta += alpha sum_i (R_i - mean of the others' R) grad ln pi(y_i | x), averaged over completions, as Ahmadian et
    al. (2024, arXiv:2402.14740, section 3.2) use it for language models. With the defaults, one epoch and
    `length_normalisation="none"`, a step before which the policy has not moved follows an unbiased estimate of the
    gradient of the expected return, whatever lengths completions have; further minibatches and epochs are clipped.

    Args:
        settings: as in `RLOOSettings`, and `OnPolicyAlgorithm`'s arguments.
    """

    leave_one_out = True
    settings = RLOOSettings


def build(env: Any, settings: RLOOSettings, **runtime: Any) -> Any:
    """Return RLOO with a `TransformerExtractor`."""
    return controlled(RLOO(**group_arguments(env, settings), **runtime), settings)


make = Recipe("rloo", RLOOSettings, build, choose)
