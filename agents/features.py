"""TransformerExtractor: rows of tokens to feature vectors, for any of SB3's policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from textgym.errors import InvalidSetting, is_finite, require_positive
from textgym.space import TokenBox

from .cache import PrefixCache
from .prefixes import Prefixes, require_tokens
from .row_cache import Caches, PrefixNetwork, RowCache
from .transformer import CausalTransformer


class PrefixExtractor(BaseFeaturesExtractor):
    """A causal network over token observations; the newest token's hidden vector, scaled, is the feature vector.

    Args:
        observation_space: tokens, or a `Dict` with them under `token_key`.
        d_model: width of the hidden vectors.
        make_cache: makes the network's cache, of it and a number of rows.
        token_key: the Dict entry that holds tokens.
        use_cache: while nothing is learned from what it reads, read only tokens that are new.
    """

    transformer: PrefixNetwork  # set by who inherits
    remembers = True  # whether the network can be read on from what is remembered

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        d_model: int,
        make_cache: Callable[[Any, int], RowCache],
        token_key: str = "tokens",
        use_cache: bool = False,
    ) -> None:
        entries = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {}
        others = {key: get_flattened_obs_dim(space) for key, space in entries.items() if key != token_key}
        super().__init__(observation_space, d_model + sum(others.values()))
        self.token_key, self._other_keys = token_key, [*others]
        # Features of norm 1, not sqrt(d_model): a step of Adam moves each of a head's weights by the learning rate, and
        # so its outputs by at most that times sqrt(d_model).
        self.scale = d_model**-0.5
        self.use_cache = use_cache
        self._caches, self._followed = Caches(make_cache), Caches(make_cache, 1)

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Return features `(B, features_dim)` of token ids `(B, L)`, which SB3 hands over as floats."""
        return self._read(observations, self._caches)

    def follow(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Return the same of rows that are being written, one call for each token.

        What is remembered for them is kept apart: whatever else is read in between changes no bit of what is returned.
        """
        return self._read(observations, self._followed)

    def look_ahead(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Return the same of what the rows being written will be next, or of other observations in between."""
        tokens = observations[self.token_key] if isinstance(observations, dict) else observations
        return self._read(observations, self._followed if self._followed.serves(len(tokens)) else self._caches)

    def _read(self, observations: Tensor | dict[str, Tensor], caches: Caches) -> Tensor:
        if isinstance(observations, dict):
            others = [observations[key].flatten(1) for key in self._other_keys]
            return torch.cat([self._read(observations[self.token_key], caches), *others], dim=1)
        ids = observations.long()
        if observations.is_floating_point():
            ids = ids.clamp(0, self.transformer.pad)
            if (ids != observations).any():
                raise InvalidSetting(
                    "these observations are no token ids any more; something normalised them. Give VecNormalize "
                    "norm_obs=False."
                )
        plain = not (self.use_cache and self.remembers) or self.training or torch.is_grad_enabled()
        hidden = self.transformer.newest(ids) if plain else caches.read(self.transformer, ids)
        features: Tensor = hidden * self.scale
        return features

    def read_prefixes(self, prefixes: Prefixes) -> Tensor:
        """Return the features of many prefixes of a few rows, `(N, features_dim)`, from one pass over each row."""
        tokens, segment, length = prefixes.tokens, prefixes.segment, prefixes.length
        if not self.use_cache:
            real = tokens != self.transformer.pad
            later = real.cumsum(dim=1)[segment] > length[:, None]  # (N, L)
            hidden = self.transformer.newest(tokens[segment].masked_fill(later, self.transformer.pad))
        else:
            rows = self.transformer(tokens, fused=True)  # (S, W + 1, d)
            hidden = rows.flatten(0, 1).index_select(0, segment * rows.shape[1] + length)  # (N, d)
        features: Tensor = hidden * self.scale
        return features

    def train(self, mode: bool = True) -> Self:
        """Switch between learning and acting; what was remembered is for other parameters then."""
        if mode != self.training:
            self.forget()
        return super().train(mode)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.forget()
        super()._load_from_state_dict(*args, **kwargs)

    def forget(self) -> None:
        """Throw away what is remembered, as when parameters were written to through `.data`."""
        self._caches.clear()
        self._followed.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was remembered: it belongs to a moment, not to the network."""
        return {**self.__dict__, "_caches": Caches(self._caches.make), "_followed": Caches(self._caches.make, 1)}


class TransformerExtractor(PrefixExtractor):
    """A causal transformer over token observations; the newest token's hidden vector is the feature vector.

    Give it to an SB3 agent as `policy_kwargs=dict(features_extractor_class=TransformerExtractor, net_arch=[],
    ortho_init=False)`; `ortho_init` (of PPO and A2C) would re-initialise the transformer's layers.

    Args:
        observation_space: an integer `Box` of one dimension whose high is the pad, as TextGym's environments have it,
            or a `Dict` with such a Box under `token_key`; its other entries are flattened and put beside the features.
        d_model: width of the hidden vectors.
        n_layers: blocks.
        n_heads: attention heads; divides `d_model`.
        token_key: the Dict entry that holds tokens.
        use_cache: while nothing is learned from what it reads, read only tokens that are new. What it then returns may
            differ in the last bits, by what was read before.
        residual_scale: what of a block's output is added to what it read, above 0: 0.1 keeps what goes on learning
            after it is solved, 1 is the usual transformer.

    Raises:
        InvalidSetting: another space, or a Dict without that key; a residual_scale that is no number above 0.
        InvalidSize: a size that is no positive integer.
        ValueError: `n_heads` does not divide `d_model`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        d_model: int = 64,
        n_layers: int = 2,
        n_heads: int = 4,
        token_key: str = "tokens",
        use_cache: bool = False,
        residual_scale: float = 0.1,
    ) -> None:
        require_positive(d_model=d_model, n_layers=n_layers, n_heads=n_heads)
        if not is_finite(residual_scale) or residual_scale <= 0:
            raise InvalidSetting(f"residual_scale={residual_scale!r} is no number above 0. Leave it out for 0.1.")
        pad = require_tokens(tokens_of(observation_space, token_key), type(self).__name__)
        super().__init__(observation_space, d_model, PrefixCache, token_key, use_cache)
        tokens = tokens_of(observation_space, token_key)
        assert tokens.shape is not None
        self.transformer = CausalTransformer(
            pad, tokens.shape[0], d_model, n_layers, n_heads, isinstance(tokens, TokenBox), residual_scale
        )


def tokens_of(space: spaces.Space[Any], token_key: str) -> spaces.Space[Any]:
    """Return the space of tokens: the space itself, or a Dict's entry.

    Raises:
        InvalidSetting: a Dict without that key.
    """
    if not isinstance(space, spaces.Dict):
        return space
    if token_key not in space.spaces:
        raise InvalidSetting(
            f"the observation has no entry {token_key!r}; it has {list(space.spaces)}. Say which "
            "one holds tokens: features_extractor_kwargs=dict(token_key=...)."
        )
    return space[token_key]
