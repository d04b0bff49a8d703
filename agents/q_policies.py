"""DQN's policies that read each token once."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor

from .categorical import masked
from .features import PrefixExtractor
from .masked import MaskedPredictions
from .policies import prepared, with_transformer
from .prefixes import Prefixes


class CachedQNetwork(QNetwork):
    """SB3's Q-network over a `PrefixExtractor`, which reads `Prefixes` too."""

    def forward(self, obs: Any) -> Tensor:
        """Return action values `(N, size)` of observations or `Prefixes`; masked ones are the least finite number."""
        if isinstance(obs, Prefixes):
            values: Tensor = self.q_net(self._extractor().read_prefixes(obs))
            return masked(values, obs.masks)
        q_values: Tensor = self.q_net(self._extractor()(prepared(obs, self.observation_space)))
        return q_values

    def follow(self, obs: Any) -> Tensor:
        """Return action values `(n, size)` of rows that are being written, one call for each token."""
        q_values: Tensor = self.q_net(self._extractor().follow(prepared(obs, self.observation_space)))
        return q_values

    def _extractor(self) -> PrefixExtractor:
        assert isinstance(self.features_extractor, PrefixExtractor)
        return self.features_extractor


class PrefixDQNPolicy(MaskedPredictions, DQNPolicy):
    """A `DQNPolicy` over a `PrefixExtractor`.

    In an update with `replay_buffer_class=EpisodeReplayBuffer`, the temporal-difference targets of all steps of an
    episode come from one causal pass each of the online and the target network.
    """

    q_net: CachedQNetwork

    def make_q_net(self) -> CachedQNetwork:
        """Return a network of its own; SB3 asks for the online and the target one."""
        return CachedQNetwork(**self._update_features_extractor(self.net_args, features_extractor=None)).to(self.device)

    def set_training_mode(self, mode: bool) -> None:
        """Switch between learning and acting, the target network too, so that it forgets what it read before a copy."""
        super().set_training_mode(mode)
        self.q_net_target.set_training_mode(mode)

    def follow(self, obs: Any, action_masks: Any = None) -> Any:
        """Return the best actions `(n,)` of rows that are being written, one call for each token, within masks."""
        masks = None if action_masks is None else torch.as_tensor(action_masks, device=self.device)
        with torch.no_grad():
            values = self.q_net.follow(self.obs_to_tensor(obs)[0])
        return masked(values, masks).argmax(dim=1).cpu().numpy()

    def _choose(self, obs: Any, deterministic: bool, action_masks: Tensor) -> Tensor:
        """Return the best actions `(n,)` of observations, within masks."""
        return masked(self.q_net(obs), action_masks).argmax(dim=1)


class CachedTransformerDQNPolicy(PrefixDQNPolicy):
    """A `PrefixDQNPolicy` over a `TransformerExtractor`, as `DQN(CachedTransformerDQNPolicy, env)`.

    Args:
        args: as `DQNPolicy` has them.
        kwargs: likewise; see `CachedTransformerPolicy`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **with_transformer(kwargs))
