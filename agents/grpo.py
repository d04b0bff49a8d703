"""GRPO: PPO with the completions of a prompt in the place of a critic."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .group_relative import GroupRelative, GroupSettings, Normalisation, choose, group_arguments
from .kl_control import controlled
from .recipe import Recipe
from .settings import Count


class GRPOSettings(GroupSettings):
    """GRPO's settings."""

    n_epochs: Count = Field(4, description="how often an update reads the rollout")
    length_normalisation: Normalisation = Field(
        "episode", description="what tokens are averaged over: each completion, all tokens, or none, for a sum"
    )
    normalise_std: bool = Field(True, description="whether advantages are divided by their group's deviation")


class GRPO(GroupRelative):
    """Group relative policy optimisation (Shao et al., 2024, arXiv:2402.03300, equations 3 and 21).

    The advantage of each token is its completion's return, less the mean of the prompt's group, over its deviation.
    Two biases are known (Liu et al., 2025, arXiv:2503.20783, "Dr. GRPO"), and can be left out: `normalise_std=False`,
    after which advantages are (g - 1) / g of RLOO's, and `length_normalisation="none"`.

    With `per_token`, returns from a token on take the place of whole ones, compared at the same place of each
    completion; the process supervision of the paper's section 4.1.3 instead normalises single rewards by those of all
    places.

    Args:
        settings: as in `GRPOSettings`, and `OnPolicyAlgorithm`'s arguments.
    """

    leave_one_out = False
    settings = GRPOSettings


def build(env: Any, settings: GRPOSettings, **runtime: Any) -> Any:
    """Return GRPO with a `TransformerExtractor`."""
    return controlled(GRPO(**group_arguments(env, settings), **runtime), settings)


make = Recipe("grpo", GRPOSettings, build, choose)
