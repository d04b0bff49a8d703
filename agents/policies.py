"""CachedTransformerPolicy: SB3's actor-critic policy that reads each token once."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from .buffers import Prefixes
from .features import TransformerExtractor


class CachedTransformerPolicy(ActorCriticPolicy):
    """An `ActorCriticPolicy` over a `TransformerExtractor`, as `PPO(CachedTransformerPolicy, env)`.

    While acting, each row costs its newest token (see `TransformerExtractor`). In an update with
    `rollout_buffer_class=EpisodeRolloutBuffer`, each episode costs one causal pass, from which the log-probabilities,
    values and entropies of all its steps are read; with SB3's own buffer, each step costs its prefix.

    What is remembered changes the last bits of what is returned, so that an evaluation in the middle of a rollout does,
    too; with `use_cache=False` nothing does.

    Args:
        args: as `ActorCriticPolicy` has them.
        kwargs: likewise; the extractor's sizes go into `features_extractor_kwargs`, `use_cache=False` among them for
            the plain path with the same parameters. Heads are linear and weights as torch makes them by default.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        sizes = {"use_cache": True, **(kwargs.pop("features_extractor_kwargs", None) or {})}
        own = {"features_extractor_class": TransformerExtractor, "features_extractor_kwargs": sizes}
        super().__init__(*args, **{"net_arch": [], "ortho_init": False, **own, **kwargs})

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values `(N, 1)`, log-probabilities `(N,)` and entropies `(N,)` of actions `(N,)`.

        Args:
            obs: observations `(N, L)`, or the `Prefixes` of whole segments.
            actions: one for each.
        """
        if not isinstance(obs, Prefixes):
            return super().evaluate_actions(obs, actions)
        assert isinstance(self.features_extractor, TransformerExtractor)
        features = self.features_extractor.read_prefixes(*obs)
        latent_pi, latent_vf = self.mlp_extractor(features)
        distribution = self._get_action_dist_from_latent(latent_pi)
        return self.value_net(latent_vf), distribution.log_prob(actions), distribution.entropy()
