"""Inspection: all that can be said of one completion, token by token; table, JSON and page are views of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from textgym import Vocabulary
from textgym.arrays import FloatArray, IntArray
from textgym.rendering import escape

Scale: TypeAlias = Literal["share", "amount", "signed"]
"""How a column's numbers are coloured: from 0 to 1, from 0 to the greatest, or on either side of 0."""


class Column(NamedTuple):
    """One number of each token, for every view."""

    name: str
    title: str
    meaning: str
    values: FloatArray | None  # (T,), NaN for an empty cell; None where all are empty
    scale: Scale


@dataclass(frozen=True, eq=False)
class Inspection:
    """One completion of T tokens behind a prompt of P.

    All is of the distribution that is really sampled from: temperature, top-k, top-p and masks included. Values,
    advantages and action values are in the environment's rewards, whatever scale the agent learned at. NaN is a number
    that there is not.

    Args:
        about: plain data: environment, agent, steps, how the completion came about, `gamma`, `gae_lambda`.
        vocabulary: what ids mean.
        text: prompt and completion, as the environment shows them.
        prompt: `(P,)` int32 ids.
        completion: `(T,)` int32 ids.
        finished: whether the episode has ended.
        log_probabilities: `(T,)` float64, log pi(a_t | s_t), -inf where the token is never drawn; None for an agent
            that acts by action values.
        action_values: `(T,)` float64, Q(s_t, a_t); None for an agent that says probabilities.
        entropy: `(T,)` float64, of pi(. | s_t), in nats.
        values: `(T,)` float64, V(s_t) before the token; max_b Q(s_t, b) where there are action values.
        advantages: `(T,)` float64: with delta_t = r_t + gamma V(s_{t+1}) - V(s_t), sum_k (gamma lambda)^k delta_{t+k}
            (Schulman et al., 2016, equation 16), r_t less what KL control takes out of it, V = 0 after an episode's
            end; Q(s_t, a_t) - V(s_t) where there are action values.
        rewards: `(T,)` float64, the environment's.
        parts: what rewards are made of, `(T,)` each, where the task's reward says it.
        penalties: `(T,)` float64, what KL control takes out of each reward, at most 0 in the mean.
        metrics: facts of the whole completion, where it has ended.
        kl: `(T,)` float64, KL(pi(. | s_t) || ref(. | s_t)) over all actions, in nats.
        log_ratios: `(T,)` float64, log pi(a_t | s_t) - log ref(a_t | s_t).
        reference: what the policy is compared with; None for nothing.
        alternatives: `(T, k)` int32 ids, the likeliest or best first.
        alternative_scores: `(T, k)` float64, their probabilities or action values; NaN where there are fewer than k.
        attention: `(layers, T, P + T)` float64, what the policy looked at as it chose each token: the mean over heads,
            from the newest token before it, to what the row begins with (place 0), the prompt (1 to P) and what was
            written (P + 1 on). Rows sum to 1.
        notes: why a column is empty, by its name.
    """

    about: Mapping[str, Any]
    vocabulary: Vocabulary
    text: str
    prompt: IntArray
    completion: IntArray
    finished: bool
    log_probabilities: FloatArray | None
    action_values: FloatArray | None
    entropy: FloatArray | None
    values: FloatArray | None
    advantages: FloatArray | None
    rewards: FloatArray | None
    parts: Mapping[str, FloatArray]
    penalties: FloatArray | None
    metrics: Mapping[str, float]
    kl: FloatArray | None
    log_ratios: FloatArray | None
    reference: str | None
    alternatives: IntArray
    alternative_scores: FloatArray
    attention: FloatArray | None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def probabilities(self) -> FloatArray | None:
        """`(T,)` float64, pi(a_t | s_t)."""
        return None if self.log_probabilities is None else np.exp(self.log_probabilities)

    @property
    def total(self) -> dict[str, float | None]:
        """Sums over the completion: log-likelihood in nats, return, KL in nats; None for what is not known."""
        sums = {"log_likelihood": self.log_probabilities, "return": self.rewards, "kl": self.kl}
        return {name: None if values is None else float(values.sum()) for name, values in sums.items()}

    def show(self, token: int) -> str:
        """Return one id as a person may read it."""
        return escape(self.vocabulary.show(token))

    def columns(self) -> list[Column]:
        """Return the numbers of each token, in the order of the views."""
        sampled = "pi(token | all before it), as sampled"
        first = Column("probability", "probability", sampled, self.probabilities, "share")
        if self.action_values is not None:
            first = Column("action_value", "action value", "Q of the token", self.action_values, "signed")
        seen = [
            first,
            Column("entropy", "entropy", "of the distribution it was drawn from, in nats", self.entropy, "amount"),
            Column("value", "value", "what the critic expected to earn, before the token", self.values, "signed"),
            Column("advantage", "advantage", self._advantage(), self.advantages, "signed"),
            Column("reward", "reward", "what the environment paid", self.rewards, "signed"),
        ]
        for name, values in self.parts.items():
            seen.append(Column(f"part {name}", name, "a part of the reward", values, "signed"))
        if self.penalties is not None:
            seen.append(
                Column("penalty", "penalty", "what KL control took out of the reward", self.penalties, "signed")
            )
        against = f" to the reference, {self.reference}" if self.reference else ""
        return [*seen, Column("kl", "KL", f"divergence{against}, in nats", self.kl, "amount")]

    def _advantage(self) -> str:
        if self.action_values is not None:
            return "action value less the best action's"
        gamma, lam = self.about.get("gamma"), self.about.get("gae_lambda")
        return "generalised advantage estimate" + (
            "" if gamma is None or lam is None else f", gamma {gamma:g}, lambda {lam:g}"
        )

    def choices(self, place: int) -> list[tuple[str, float]]:
        """Return the alternatives at one place, the likeliest or best first."""
        pairs = zip(self.alternatives[place].tolist(), self.alternative_scores[place].tolist())
        return [(self.show(token), score) for token, score in pairs if not math.isnan(score)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; None for what is not known or not finite."""
        lists = {name: _plain(column) for name, column in self._arrays().items()}
        tokens = [
            {
                "token": self.show(token),
                "id": token,
                **{name: None if values is None else values[place] for name, values in lists.items()},
                "parts": {name: _number(values[place]) for name, values in self.parts.items()},
                "alternatives": [
                    {"token": self.show(i), "id": i, "score": score}
                    for i, score in zip(self.alternatives[place].tolist(), self.alternative_scores[place].tolist())
                    if not math.isnan(score)
                ],
            }
            for place, token in enumerate(self.completion.tolist())
        ]
        return {
            **self.about,
            "text": self.text,
            "finished": self.finished,
            "reference": self.reference,
            "total": {name: _number(value) for name, value in self.total.items()},
            "metrics": {name: _number(value) for name, value in self.metrics.items()},
            "prompt": [{"token": self.show(token), "id": token} for token in self.prompt.tolist()],
            "tokens": tokens,
            "attention": None if self.attention is None else np.round(self.attention, 5).tolist(),
            "notes": dict(self.notes),
        }

    def _arrays(self) -> dict[str, FloatArray | None]:
        return {
            "probability": self.probabilities,
            "log_probability": self.log_probabilities,
            "action_value": self.action_values,
            "entropy": self.entropy,
            "value": self.values,
            "advantage": self.advantages,
            "reward": self.rewards,
            "penalty": self.penalties,
            "kl": self.kl,
            "log_ratio": self.log_ratios,
        }


def shown(value: float | None) -> str:
    """Return a number in a cell of a view: empty for none, three decimals, and what those do not hold as 1.0e-05."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if 1e-12 < abs(value) < 5e-4 or abs(value) >= 1e6:
        return f"{value:.1e}"
    return f"{value:.3f}".replace("-0.000", "0.000")


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _plain(values: FloatArray | None) -> list[float | None] | None:
    return None if values is None else [_number(value) for value in values.tolist()]
