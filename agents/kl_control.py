"""KL control: learning that keeps a policy near a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from textgym.errors import InvalidSetting

from .buffers import EpisodeRolloutBuffer
from .categorical import at_once, divergence, entropy
from .reference import START, UNIFORM, Frozen, Reference, find_reference, restored_reference
from .settings import ControlledSettings, Estimate

CHUNK = 4096  # transitions that are measured at once, at most
MOST = 0.2  # of a relative error, by which the coefficient moves


class KLControl:
    """What keeps a policy near a reference: the divergence KL(pi || pi_ref) of whole completions costs beta a nat.

    Both are the distributions that are sampled from, at their temperatures, within the masks, and within what top-k and
    top-p leave of pi; beta counts in the environment's own rewards, so that the objective is E[R] - beta KL, whose
    optimum is `textgym.solve(..., kl_coefficient=beta)`. With r for pi_ref(a|s) / pi(a|s) of the action that was taken,
    each step pays or costs one of (Schulman, 2020, "Approximating KL divergence"; Tang & Munos, 2025, arXiv:2506.09477)

    - `k1`, -log r, out of the reward. The policy's gradient is then that of E[R] - beta KL, with all that a token does
      to later divergences: unbiased, as far as the agent's estimate is (lambda 1, or a perfect critic).
    - `exact`, sum_a pi(a|s) log(pi(a|s) / pi_ref(a|s)), as a loss. No noise of the action; but the states are taken as
      given: what a token does to the divergence of later ones is not learned from.
    - `k3`, r - 1 - log r, as a loss, as in GRPO. Its value has the mean KL(pi || pi_ref), its gradient not: that is the
      other divergence's, E[-sum_a pi_ref(a|s) grad log pi(a|s)] = grad KL(pi_ref || pi) of each state.

    With a target, beta follows it after every rollout (Ziegler et al., 2019, arXiv:1909.08593, section 2.2): with
    e = clip(KL / target - 1, -0.2, 0.2), beta becomes beta (1 + gain e).

    Args:
        settings: with a `kl_coefficient` above 0.
    """

    def __init__(self, settings: ControlledSettings) -> None:
        self.coefficient = settings.kl_coefficient
        self.name, self.target, self.gain = settings.reference, settings.kl_target, settings.kl_gain
        self.estimate: Estimate = settings.kl
        self.reference: Reference | None = None  # found when learning starts
        self.measured: float | None = None  # nats of a completion in the last rollout

    @property
    def in_loss(self) -> bool:
        """Whether it is part of the loss, not of the reward."""
        return self.estimate != "k1"

    def check(self, agent: Any) -> None:
        """Read the run that is the reference, where one is, before anything is learned or written."""
        if self.name not in (START, UNIFORM):
            self.begin(agent)

    def begin(self, agent: Any) -> None:
        """Find the reference, where that has not been done."""
        if self.reference is None:
            self.reference = find_reference(self.name, agent)

    def evaluated(self, policy: Any, prefixes: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return values `(N, 1)`, log-probabilities, entropies and what the divergence is estimated at, each `(N,)`."""
        assert self.reference is not None
        if self.estimate == "exact":
            values, every = policy.read(prefixes)
            log_prob = every.gather(1, actions.long()[:, None])[:, 0]
            return values, log_prob, entropy(every), divergence(every, self.reference.every(prefixes))
        values, log_prob, spread = policy.evaluate_actions(prefixes, actions)
        log_ratio = self.reference.chosen(prefixes, actions) - log_prob
        return values, log_prob, spread, log_ratio.exp() - 1 - log_ratio if self.in_loss else -log_ratio

    def observe(self, agent: Any, buffer: EpisodeRolloutBuffer) -> None:
        """Measure a full rollout's divergence, take it out of rewards where that is its place, and adapt."""
        if self.target is not None and self.measured is not None:
            error = min(max(self.measured / self.target - 1, -MOST), MOST)
            self.coefficient *= 1 + self.gain * error
        found = np.zeros(buffer.rewards.size, np.float32)
        chunk = at_once(CHUNK, int(agent.action_space.n))
        for numbers, batch in buffer.minibatches(buffer.counted(), chunk):
            with torch.no_grad():
                kl = self.evaluated(agent.policy, batch.observations, batch.actions[:, 0])[3]
            found[numbers] = kl.cpu().numpy()
        if not self.in_loss:
            buffer.rewards -= self.coefficient * agent.reward_scale * found.reshape(buffer.rewards.shape)
        begun = float(buffer.episode_starts[~buffer.left_out].sum())
        self.measured = float(found.sum()) / begun if begun else None
        agent.logger.record("train/kl", float(found.sum()) / max(1, int((~buffer.left_out).sum())))
        agent.logger.record("train/kl_coefficient", self.coefficient)
        if self.measured is not None:
            agent.logger.record("rollout/kl", self.measured)

    def get_state(self) -> dict[str, Any]:
        """Return what learning depends on: beta, what was measured last, and the reference's parameters."""
        kept = self.reference.get_state() if isinstance(self.reference, Frozen) else None
        return {"coefficient": self.coefficient, "measured": self.measured, "reference": kept}

    def set_state(self, state: Mapping[str, Any], policy: Any) -> None:
        """Go on from what `get_state` returned.

        Raises:
            InvalidSetting, KeyError, TypeError: it is no such state.
        """
        coefficient, measured = state["coefficient"], state["measured"]
        for number in (coefficient, 0.0 if measured is None else measured):
            if not isinstance(number, float) or not np.isfinite(number):
                raise InvalidSetting(f"{number!r} is no coefficient or divergence.")
        if coefficient <= 0:
            raise InvalidSetting(f"a coefficient of {coefficient} keeps a policy near to nothing.")
        self.coefficient, self.measured = coefficient, measured
        if state["reference"] is not None:
            self.reference = restored_reference(state["reference"], policy)


class Controlled(OnPolicyAlgorithm):
    """Mixed into an on-policy algorithm: it may be kept near a reference, and read minibatches in parts."""

    kl_control: KLControl | None = None
    micro_batch_size: int | None = None  # transitions of a part; None for whole minibatches
    reward_scale: float

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if self.kl_control is not None:
            if not isinstance(self.rollout_buffer, EpisodeRolloutBuffer) or not isinstance(
                self.action_space, spaces.Discrete
            ):
                raise InvalidSetting(
                    f"kl_coefficient={self.kl_control.coefficient:g} compares policies token by token, and needs an "
                    f"environment of tokens; this one shows {self.observation_space}. Leave kl_coefficient out."
                )
            if self.kl_control.estimate == "exact" and not hasattr(self.policy, "read"):
                raise InvalidSetting(
                    f"{type(self.policy).__name__} has no method `read` that returns all log-probabilities, as "
                    "kl='exact' needs them. Use kl='k1' or 'k3'."
                )
            self.kl_control.begin(self)
        return super()._setup_learn(*args, **kwargs)

    def _observe(self, buffer: EpisodeRolloutBuffer) -> None:
        """Take a full rollout's divergence into account, before advantages are computed."""
        if self.kl_control is not None:
            self.kl_control.observe(self, buffer)

    def _evaluated(self, batch: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return a minibatch's values `(N, 1)`, log-probabilities `(N,)`, entropies `(N,)` and penalties.

        Penalties are what divergences cost in a loss of the agent's rewards, `(N,)`; None where nothing.
        """
        discrete = isinstance(self.action_space, spaces.Discrete)
        actions = batch.actions.long().flatten() if discrete else batch.actions
        control = self.kl_control
        if control is None or not control.in_loss:
            values, log_prob, spread = self.policy.evaluate_actions(batch.observations, actions)
            assert spread is not None
            return values, log_prob, spread, None
        values, log_prob, spread, kl = control.evaluated(self.policy, batch.observations, actions)
        return values, log_prob, spread, control.coefficient * self.reward_scale * kl


def controlled(agent: Any, settings: ControlledSettings) -> Any:
    """Return an agent that is kept near a reference, and reads minibatches in parts, where settings ask for it."""
    agent.micro_batch_size = settings.micro_batch_size
    if settings.kl_coefficient:
        agent.kl_control = KLControl(settings)
    return agent
