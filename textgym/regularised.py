"""The KL-regularised optimum: the best policy that stays near a reference, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textgym.arrays import FloatArray
from textgym.errors import InvalidSetting, is_finite
from textgym.frontier import Level
from textgym.policies import Policy, divergence, within


@dataclass(frozen=True)
class RegularisedSolution:
    """The policy that maximises E[sum_t gamma^t (r_t - beta KL(pi(.|s_t) || pi_ref(.|s_t)))], and what it comes to.

    Args:
        levels: all states that can be reached, numbered within the tokens written.
        policy: pi*(a|s) of each level, `(N, size)`, proportional to pi_ref(a|s) exp(Q(s,a) / beta).
        action_values: Q(s, a) = r + gamma V(s') of each level, `(N, size)`; -inf where an action is barred.
        values: V(s) = beta log sum_a pi_ref(a|s) exp(Q(s,a) / beta) of each level, `(N,)`.
        reference: pi_ref(a|s) of each level, `(N, size)`, within the mask.
        kl_coefficient: beta.
        gamma: the discount, of rewards and of divergences.
        probabilities: of the prompts, `(k,)`.
    """

    levels: tuple[Level, ...]
    policy: tuple[FloatArray, ...]
    action_values: tuple[FloatArray, ...]
    values: tuple[FloatArray, ...]
    reference: tuple[FloatArray, ...]
    kl_coefficient: float
    gamma: float
    probabilities: FloatArray

    @property
    def optimal_value(self) -> float:
        """The expected return less beta times the divergence, over the prompts."""
        return float(self.probabilities @ self.values[0])

    @cached_property
    def occupancy(self) -> tuple[FloatArray, ...]:
        """How likely an episode comes to each state, `(N,)` of each level."""
        mass: FloatArray = self.probabilities
        masses = []
        for level, chosen in zip(self.levels, self.policy):
            masses.append(mass)
            mass = level.passed_on(mass[:, None] * chosen)
        return tuple(masses)

    @property
    def expected_return(self) -> float:
        """The discounted return of the policy."""
        return self._expected([(p * level.rewards).sum(axis=1) for p, level in zip(self.policy, self.levels)])

    @property
    def kl(self) -> float:
        """The divergence from the reference of a whole text in nats, discounted like rewards."""
        return self._expected([divergence(p, q) for p, q in zip(self.policy, self.reference)])

    def _expected(self, at_states: Sequence[FloatArray]) -> float:
        return sum(self.gamma**t * float(mass @ x) for t, (mass, x) in enumerate(zip(self.occupancy, at_states)))


def regularise(
    levels: Sequence[Level], gamma: float, probabilities: FloatArray, reference: Policy | None, kl_coefficient: float
) -> RegularisedSolution:
    """Return the regularised optimum, by soft backward induction (Levine, 2018, section 2.3, with a reference).

    Args:
        levels: all states.
        gamma: the discount.
        probabilities: of the prompts, `(k,)`.
        reference: what to stay near to; None for uniform writing. Within the mask its probabilities are scaled to 1.
        kl_coefficient: beta, above 0.

    Raises:
        InvalidSetting: the coefficient is not above 0; the reference gave no probabilities.
    """
    if not is_finite(kl_coefficient) or kl_coefficient <= 0:
        raise InvalidSetting(f"kl_coefficient={kl_coefficient!r} must be a number above 0; solve() without it is 0.")
    beta, after = float(kl_coefficient), np.zeros(0)
    found: list[tuple[FloatArray, ...]] = []
    for level in levels[::-1]:
        near = within(reference, level.episodes.tokens, level.allowed)
        q = np.where(level.allowed, level.backed(gamma, after), -np.inf)
        with np.errstate(divide="ignore"):  # the logarithm of what the reference never does
            scores = np.log(near) + q / beta
        most = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - most)
        total = weights.sum(axis=1, keepdims=True)
        after = beta * (most + np.log(total))[:, 0]
        found.append((weights / total, q, after, near))
    policy, action_values, values, near_of = (tuple(part[::-1]) for part in zip(*found))
    return RegularisedSolution(tuple(levels), policy, action_values, values, near_of, beta, gamma, probabilities)
