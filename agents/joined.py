"""JoinedExtractor: tokens through a transformer and numbers through an MLP, side by side."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from textgym.errors import InvalidSetting, require_positive

from .features import TransformerExtractor


class JoinedExtractor(TransformerExtractor):
    """A `TransformerExtractor` of a Dict observation whose other entries an MLP of two layers reads.

    The observation of control tasks with `observation="both"`: the tokens' hidden vector and the MLP's stand side by
    side in the feature vector.

    Args:
        observation_space: a `Dict` with tokens under `token_key`, and at least one other entry.
        hidden: width of the MLP's layers.
        kwargs: as `TransformerExtractor` has them.

    Raises:
        InvalidSetting: another space, or a Dict of tokens alone.
        InvalidSize: a size that is no positive integer.
    """

    def __init__(self, observation_space: spaces.Space[Any], hidden: int = 64, **kwargs: Any) -> None:
        require_positive(hidden=hidden)
        super().__init__(observation_space, **kwargs)
        d_model = round(self.scale**-2)
        if not self._other_keys:
            raise InvalidSetting(
                f"{observation_space} has nothing besides tokens to join. TransformerExtractor reads it."
            )
        self.mlp = nn.Sequential(
            nn.Linear(self.features_dim - d_model, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
        )
        self._features_dim = d_model + hidden

    def _read(self, observations: Tensor | dict[str, Tensor], caches: Any) -> Tensor:
        if not isinstance(observations, dict):
            return super()._read(observations, caches)
        others = torch.cat([observations[key].flatten(1) for key in self._other_keys], dim=1).float()
        return torch.cat([super()._read(observations[self.token_key], caches), self.mlp(others)], dim=1)
