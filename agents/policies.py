"""SB3's actor-critic policies that read each token once: PrefixPolicy, and the causal transformer's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from textgym.errors import InvalidSetting

from .candidates import Candidates
from .categorical import chosen_and_entropy, draw, masked
from .features import PrefixExtractor, TransformerExtractor
from .flat_adam import FlatAdam
from .masked import MaskedPredictions
from .prefixes import Prefixes
from .sampling import Sampling

LOGITS = 2**22  # of an update, that are there at once: 16 MiB, in each of the five or so copies that a loss takes


class PrefixPolicy(MaskedPredictions, ActorCriticPolicy):
    """An `ActorCriticPolicy` over a `PrefixExtractor`: what all policies share that read each token once.

    While acting, each row costs its newest token. In an update with `rollout_buffer_class=EpisodeRolloutBuffer`, each
    episode costs one causal pass, from which the log-probabilities, values and entropies of all its steps are read;
    with SB3's own buffer, each step costs its prefix.

    What is remembered changes the last bits of what is returned. A rollout's rows have a memory of their own, so that
    what is predicted in between does not change what is learned.
    """

    reads_prefixes = True  # `evaluate_actions` takes `Prefixes`
    sampling = Sampling()
    drawn_within: Tensor | None = None  # (n, size) bool, the actions that `forward` has drawn from last; None for all

    def forward(
        self, obs: Any, deterministic: bool = False, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return an action `(n,)`, the value `(n, 1)` and the action's log-probability `(n,)` of rows being written.

        Args:
            obs: `(n, L)`, the rows that the call before saw, or others.
            deterministic: take the likeliest action.
            action_masks: `(n, size)` bool, True where an action may be taken; None for all.
        """
        seen = prepared(obs, self.observation_space)
        latent_pi, latent_vf = self._latents(lambda extractor: extractor.follow(seen))
        values = self.value_net(latent_vf)
        if not isinstance(self.action_space, spaces.Discrete):
            distribution = self._get_action_dist_from_latent(latent_pi)
            actions = distribution.get_actions(deterministic=deterministic)
            shape = self.action_space.shape or ()
            return actions.reshape(-1, *shape), values, distribution.log_prob(actions)
        within = self._within(lambda extractor: extractor.follow(seen), action_masks)
        logits = self.action_net(latent_pi)
        self.drawn_within = self.sampling.candidates(logits, within)
        log_probs = self.sampling.log_probabilities(logits, self.drawn_within)
        actions = draw(log_probs, deterministic)
        return actions, values, log_probs.gather(1, actions[:, None])[:, 0]

    def predict_values(self, obs: Any) -> Tensor:
        """Return values `(n, 1)`; rows that are being written are read on, one token each."""
        seen = prepared(obs, self.observation_space)
        values: Tensor = self.value_net(self._latents(lambda extractor: extractor.look_ahead(seen))[1])
        return values

    def evaluate_actions(
        self, obs: Any, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values `(N, 1)`, log-probabilities `(N,)` and entropies `(N,)` of actions `(N,)`.

        Where the distribution is cut (see `Sampling`), `Prefixes` with masks bring what was drawn from; else the cut is
        that of the parameters as they are now, with the action that was taken always in it.

        Of a large vocabulary, the logits are made in parts, and made again where gradients need them.

        Args:
            obs: observations `(N, L)`, or the `Prefixes` of whole segments, which bring their masks.
            actions: one for each.
            action_masks: `(N, size)` bool; None for all.
        """
        if not isinstance(self.action_space, spaces.Discrete):
            latent_pi, latent_vf = self._seen(obs)
            distribution = self._get_action_dist_from_latent(latent_pi)
            return self.value_net(latent_vf), distribution.log_prob(actions), distribution.entropy()
        latent_pi, latent_vf = self._seen(obs)
        within, cut = self._to_draw_from(obs, action_masks)
        values, taken = self.value_net(latent_vf), actions.long()
        rows = max(1, LOGITS // int(self.action_space.n))
        if len(taken) <= rows:
            return values, *self._judged(latent_pi, taken, within, cut)
        again = partial(checkpoint, self._judged, use_reentrant=False, preserve_rng_state=False)
        judge: Callable[..., Any] = again if torch.is_grad_enabled() else self._judged
        parts = []
        for first in range(0, len(taken), rows):
            part = slice(first, first + rows)
            parts.append(judge(latent_pi[part], taken[part], None if within is None else within[part], cut))
        log_prob, spread = (torch.cat(column) for column in zip(*parts))
        return values, log_prob, spread

    def _judged(self, latent: Tensor, taken: Tensor, within: Tensor | None, cut: bool) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies, `(N,)` each, of actions that were taken after what is seen."""
        logits = self.action_net(latent)
        drawn = self.sampling.candidates(logits, within, taken) if cut else within
        return chosen_and_entropy(masked(self.sampling.tempered(logits), drawn), taken)

    def _log_probabilities(self, latent: Tensor, within: Tensor | None, cut: bool, taken: Tensor | None) -> Tensor:
        """Return the log-probabilities of all actions `(N, size)`, cut within masks or drawn from just these."""
        logits = self.action_net(latent)
        drawn = self.sampling.candidates(logits, within, taken) if cut else within
        return self.sampling.log_probabilities(logits, drawn)

    def _to_draw_from(self, obs: Any, action_masks: Tensor | None) -> tuple[Tensor | None, bool]:
        """Return masks `(N, size)`, and whether they are still to be cut: those of `Prefixes` were drawn from."""
        if isinstance(obs, Prefixes):
            if obs.masks is not None:
                return obs.masks, False
            return self._within(lambda extractor: extractor.read_prefixes(obs), action_masks), True
        seen = prepared(obs, self.observation_space)
        return self._within(lambda extractor: extractor(seen), action_masks), True

    def _within(self, read: Callable[[Any], Tensor], masks: Tensor | None) -> Tensor | None:
        """Return masks `(N, size)`, narrowed to the candidates where the policy has some."""
        return masks if self.start is None else self.start.within(read, masks)

    @property
    def start(self) -> Candidates | None:
        """What the candidates come from, where the policy has some."""
        return None  # a module of that name in who inherits

    @property
    def cuts(self) -> bool:
        """Whether an update must know what was drawn from: it is less than the environment's masks leave."""
        return self.sampling.cuts or self.start is not None

    def scores(self, obs: Any, action_masks: Tensor | None = None) -> Tensor:
        """Return the log-probabilities of all actions `(N, size)` that are drawn from, with gradients, within masks."""
        seen = prepared(obs, self.observation_space)
        latent_pi, _ = self._latents(lambda extractor: extractor(seen))
        within = self._within(lambda extractor: extractor(seen), action_masks)
        return self._log_probabilities(latent_pi, within, True, None)

    def read(self, obs: Any, action_masks: Tensor | None = None, taken: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return values `(N, 1)` and the log-probabilities of all actions, `(N, size)`; as for `evaluate_actions`.

        Args:
            obs: likewise.
            action_masks: `(N, size)` bool, within which a cut is made; `Prefixes` without masks may have them, too.
            taken: `(N,)` actions that stay in a distribution that is cut; None for none.
        """
        latent_pi, latent_vf = self._seen(obs)
        within, cut = self._to_draw_from(obs, action_masks)
        return self.value_net(latent_vf), self._log_probabilities(latent_pi, within, cut, taken)

    def get_distribution(self, obs: Any) -> Distribution:
        """Return SB3's distribution of what is drawn from."""
        if self.start is None or not isinstance(self.action_dist, CategoricalDistribution):
            return super().get_distribution(obs)
        return self.action_dist.proba_distribution(action_logits=self.scores(obs))

    def drawn_from(self, prefixes: Prefixes) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what is sampled from after each prefix.

        Args:
            prefixes: their masks, if any, are the environment's; a distribution that is cut is cut within them.

        Returns:
            Values `(N, 1)`, the log-probabilities of all actions, `(N, size)`, and which of them can be drawn,
            `(N, size)` bool, None for all; others have the least finite number.
        """
        latent_pi, latent_vf = self._seen(prefixes)
        within = self._within(lambda extractor: extractor.read_prefixes(prefixes), prefixes.masks)
        logits = self.action_net(latent_pi)
        drawn = self.sampling.candidates(logits, within)
        return self.value_net(latent_vf), self.sampling.log_probabilities(logits, drawn), drawn

    @property
    def bare(self) -> bool:
        """Whether heads are linear in the features, with no layers between."""
        return not len(self.mlp_extractor.policy_net) and not len(self.mlp_extractor.value_net)

    @property
    def sizes(self) -> dict[str, Any]:
        """What makes another like it in these spaces, as plain data."""
        return dict(self.features_extractor_kwargs)

    def forget(self) -> None:
        """Throw away what is remembered, as at the start of a rollout."""
        for module in self.modules():
            if isinstance(module, PrefixExtractor):
                module.forget()

    def _choose(self, obs: Any, deterministic: bool, action_masks: Tensor) -> Tensor:
        """Return actions `(n,)` of observations, within masks."""
        return draw(self.scores(obs, action_masks), deterministic)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        """Return SB3's distribution of what is drawn from."""
        if self.sampling == Sampling() or not isinstance(self.action_dist, CategoricalDistribution):
            return super()._get_action_dist_from_latent(latent_pi)
        logits = self.action_net(latent_pi)
        log_probs = self.sampling.log_probabilities(logits, self.sampling.candidates(logits))
        return self.action_dist.proba_distribution(action_logits=log_probs)

    def _seen(self, obs: Any) -> tuple[Tensor, Tensor]:
        """Return what actor and critic see of observations or `Prefixes`."""
        if isinstance(obs, Prefixes):
            return self._latents(lambda extractor: extractor.read_prefixes(obs))
        seen = prepared(obs, self.observation_space)
        return self._latents(lambda extractor: extractor(seen))

    def _latents(self, read: Callable[[Any], Tensor]) -> tuple[Tensor, Tensor]:
        """Return what actor and critic see, of one extractor that they share or of one each."""
        if self.share_features_extractor:
            features = read(self.features_extractor)
            latents: tuple[Tensor, Tensor] = (features, features) if self.bare else self.mlp_extractor(features)
            return latents
        actor, critic = self.mlp_extractor.forward_actor, self.mlp_extractor.forward_critic
        return actor(read(self.pi_features_extractor)), critic(read(self.vf_features_extractor))


class CachedTransformerPolicy(PrefixPolicy):
    """A `PrefixPolicy` over a `TransformerExtractor`, as `PPO(CachedTransformerPolicy, env)`.

    Args:
        args: as `ActorCriticPolicy` has them.
        kwargs: likewise; the extractor's sizes go into `features_extractor_kwargs`, `use_cache=False` among them for
            the plain path with the same parameters. Heads are linear, weights as torch makes them by default, and the
            optimiser is `FlatAdam`.

    Raises:
        InvalidSetting: `features_extractor_class` is no `TransformerExtractor`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs = with_transformer(kwargs, eps=1e-5)  # as ActorCriticPolicy sets it where it is not told
        super().__init__(*args, **{"ortho_init": False, **kwargs})


def with_transformer(policy_kwargs: dict[str, Any], **adam: Any) -> dict[str, Any]:
    """Return a policy's arguments with what the user left open: the transformer, linear heads and FlatAdam."""
    sizes = {"use_cache": True, **(policy_kwargs.get("features_extractor_kwargs") or {})}
    given = policy_kwargs.get("features_extractor_class", TransformerExtractor)
    if not issubclass(given, TransformerExtractor):
        raise InvalidSetting(
            f"features_extractor_class={given.__name__} is no TransformerExtractor: this policy remembers what a "
            "transformer has read. Leave it out, or use SB3's own policy with it."
        )
    own = {"features_extractor_class": TransformerExtractor, "features_extractor_kwargs": sizes}
    return with_flat_adam({**own, **policy_kwargs, "features_extractor_kwargs": sizes}, **adam)


def with_flat_adam(policy_kwargs: dict[str, Any], **adam: Any) -> dict[str, Any]:
    """Return a policy's arguments with linear heads and FlatAdam, where the user left them open."""
    own: dict[str, Any] = {"net_arch": []}
    if "optimizer_class" not in policy_kwargs and "optimizer_kwargs" not in policy_kwargs:
        own |= {"optimizer_class": FlatAdam, "optimizer_kwargs": adam}
    return {**own, **policy_kwargs}


def prepared(obs: Any, space: spaces.Space[Any]) -> Any:
    """Return observations as the extractor reads them: token ids as they are, a Dict as SB3 prepares it."""
    return obs if isinstance(obs, Tensor) else preprocess_obs(obs, space)
