"""Guidance: from what an adviser says to extra reward, by name; the only code that turns words into numbers paid."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from textgym.advising.asking import Consultation
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidReward, InvalidSetting, Names, is_finite, require_natural, require_share
from textgym.speech import Speech, rated
from textgym.states import array_like

MOST = 2**53  # steps that a float64 counts


@dataclass(frozen=True)
class Weight:
    """How much guidance counts after some steps of a row: from `start` to `end`, evenly, over `steps`; then `end`.

    Raises:
        InvalidSetting: a weight is no finite number, or `steps` no natural one.
    """

    start: float = 1.0
    end: float = 1.0
    steps: int = 0

    def __post_init__(self) -> None:
        if not is_finite(self.start) or not is_finite(self.end):
            raise InvalidSetting(f"weight={(self.start, self.end)} must be finite numbers.")
        require_natural(steps=self.steps)

    def __call__(self, count: IntArray) -> FloatArray:
        """Return the weight after `count` steps, `(n,)`."""
        share = np.minimum(count / self.steps, 1.0) if self.steps else np.ones(len(count))
        weight: FloatArray = self.start + (self.end - self.start) * share
        return weight


def weight_of(weight: Any) -> Weight:
    """Return what `weight=` says: a number, or `(start, end, steps)`, plain data both."""
    if isinstance(weight, Weight):
        return weight
    if isinstance(weight, (list, tuple)) and len(weight) == 3:
        return Weight(*weight)
    if not is_finite(weight):
        raise InvalidSetting(
            f"weight={weight!r} is none. Give a number, or (start, end, steps) for one that is annealed."
        )
    return Weight(weight, weight)


@dataclass(frozen=True)
class Moves:
    """One step of some rows, as guidance sees it."""

    advice: Sequence[str]  # (n,) what was said of the states before
    actions: IntArray  # (n,)
    weight: FloatArray  # (n,) w(t)
    held: FloatArray  # (n,) w(t) Phi(s), as it was when the state was reached
    reached: FloatArray  # (n,) w(t + 1) Phi(s'), 0 where the episode has terminated
    gamma: float
    speech: Speech


class GuidanceReward(Protocol):
    """From a step to what guidance pays for it."""

    def __call__(self, moves: Moves) -> FloatArray:
        """Return the extra reward of each row, `(n,)` float64."""


def agreement(moves: Moves) -> FloatArray:
    """Return w(t) where the action is the advised one, -w(t) where it is another, 0 where none was advised.

    The naive way: where the adviser is wrong, what it pays for is wrong, and the best policy changes.
    """
    advised = [moves.speech.advised(text) for text in moves.advice]
    signs = [0.0 if a is None else 1.0 if a == b else -1.0 for a, b in zip(advised, moves.actions.tolist())]
    paid: FloatArray = moves.weight * np.array(signs)
    return paid


def similarity(moves: Moves) -> FloatArray:
    """Return w(t) times how alike the advice and a description of what happened are, from 0 to 1.

    Alike is the cosine between the words of both (letters' case and numbers left out), between characters of Chinese.
    """
    told = [moves.speech.tell(action) for action in moves.actions.tolist()]
    paid: FloatArray = moves.weight * np.array([cosine(text, other) for text, other in zip(moves.advice, told)])
    return paid


def potential(moves: Moves) -> FloatArray:
    """Return gamma w(t + 1) Phi(s') - w(t) Phi(s), Phi being how good the adviser finds a state.

    With a constant weight this is Ng, Harada & Russell (1999), "Policy invariance under reward transformations", with
    an annealed one Devlin & Kudenko (2012), "Dynamic potential-based reward shaping": the best policy stays the best
    whatever the adviser says. Phi is a function of the state alone; it is 0 where an episode has terminated, and not
    where a time limit has cut it off.
    """
    return moves.gamma * moves.reached - moves.held


GUIDANCE_REWARDS: Names[GuidanceReward] = Names(
    "guidance reward", agreement=agreement, similarity=similarity, potential=potential
)
"""Ways to turn words into reward, by name."""


def cosine(text: str, other: str) -> float:
    """Return the cosine between two texts' counts of words, 0 where one has none."""
    a, b = (Counter(re.findall(r"[a-z']+|[\u3400-\u9fff]", one.lower())) for one in (text, other))
    norm = math.sqrt(sum(k * k for k in a.values()) * sum(k * k for k in b.values()))
    return sum(a[word] * b[word] for word in a) / norm if norm else 0.0


@dataclass(frozen=True)
class OwnReward:
    """A function of the user's: from the advice and the action to a number."""

    function: Callable[[str, int], float]

    def __call__(self, moves: Moves) -> FloatArray:
        """Return w(t) times the function's numbers; raises `InvalidReward` where it gives none."""
        paid = [self.function(text, action) for text, action in zip(moves.advice, moves.actions.tolist())]
        for number in paid:
            if not is_finite(number):
                raise InvalidReward(f"the guidance reward paid {number!r}, which is no finite number.")
        return moves.weight * np.array(paid, np.float64)


@dataclass(frozen=True)
class Understood:
    """Whether a reward has a use for an advice: that names an action for `agreement`, a worth for `potential`."""

    reward: GuidanceReward
    speech: Speech

    def __call__(self, advice: str) -> bool:
        """Return whether it has."""
        if self.reward is agreement:
            return self.speech.advised(advice) is not None
        return self.reward is not potential or rated(advice) is not None


def guidance_to_reward(reward: str | Callable[[str, int], float]) -> GuidanceReward:
    """Return a way to turn words into reward.

    Args:
        reward: a name in `GUIDANCE_REWARDS`, or a function from the advice and the action taken to a number.

    Raises:
        UnknownName: there is no such name.
    """
    if callable(reward):
        return OwnReward(reward)
    return GUIDANCE_REWARDS[reward]


@dataclass(frozen=True)
class Guidance:
    """How words become reward: who is asked, how it pays, and how much it counts.

    Args:
        consultation: asks the adviser.
        speech: how advice names actions.
        reward: see `guidance_to_reward`.
        weight: see `weight_of`.
        gamma: the agent's discount, which potential-based shaping must share.

    Raises:
        InvalidSetting: gamma is no number from 0 to 1.
    """

    consultation: Consultation
    speech: Speech
    reward: GuidanceReward
    weight: Weight = Weight()
    gamma: float = 0.99

    def __post_init__(self) -> None:
        require_share(gamma=self.gamma)

    @property
    def shapes(self) -> bool:
        """Whether the reward is potential-based."""
        return self.reward is potential


class GuidedRows:
    """What guidance remembers of n rows: what was last said to each, and how good its state was found.

    Args:
        guidance: the rules.
        n: rows.
    """

    def __init__(self, guidance: Guidance, n: int) -> None:
        self.guidance = guidance
        self.advice = [""] * n
        self.held = np.zeros(n)  # (n,) w(t) Phi(s)
        self.count = np.zeros(n, np.int64)  # (n,) the steps of each row since it was seeded

    def restart(self, rows: IntArray) -> None:
        """Begin to anneal the weight anew in some rows, as where they are seeded: a seed decides all that follows."""
        self.count[rows] = 0

    def begin(self, rows: IntArray, texts: Sequence[str]) -> None:
        """Ask about the first states of new episodes, `(m,)` texts for rows `(m,)`."""
        self._hear(rows, self.guidance.consultation(texts))

    def _hear(self, rows: IntArray, advice: Sequence[str]) -> None:
        for row, text in zip(rows.tolist(), advice):
            self.advice[row] = text
        self.held[rows] = self._potential(rows, advice)

    def _potential(self, rows: IntArray, advice: Sequence[str]) -> FloatArray:
        """Return w(t) Phi of rows' states; a state that was not rated has Phi = 0."""
        if not self.guidance.shapes:
            return np.zeros(len(rows))
        found: FloatArray = self.guidance.weight(self.count[rows]) * np.array([rated(text) or 0.0 for text in advice])
        return found

    def pay(self, rows: IntArray, actions: IntArray, texts: Sequence[str], terminated: BoolArray) -> FloatArray:
        """Return what guidance pays for a step, `(m,)`, and hear what is said of the states reached.

        Args:
            rows: `(m,)`, those that made the step.
            actions: `(m,)`.
            texts: `(m,)`, descriptions of the states reached.
            terminated: `(m,)`; of a state that nobody acts in any more nothing is asked.
        """
        before, held = [self.advice[row] for row in rows.tolist()], self.held[rows]
        weight = self.guidance.weight(self.count[rows])
        self.count[rows] += 1
        going = np.flatnonzero(~terminated)
        advice = np.full(len(rows), "", dtype=object)
        advice[going] = self.guidance.consultation([texts[i] for i in going.tolist()])
        self._hear(rows, advice.tolist())
        reached = np.where(terminated, 0.0, self.held[rows])
        return self.guidance.reward(
            Moves(before, actions, weight, held, reached, self.guidance.gamma, self.guidance.speech)
        )

    def get_state(self) -> dict[str, Any]:
        """Return copies of all of it."""
        return {"advice": list(self.advice), "held": self.held.copy(), "count": self.count.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take what `get_state` returned; raises `InvalidSetting` where it is none of as many rows."""
        n, advice = len(self.advice), state.get("advice")
        most = np.finfo(np.float64).max
        held = array_like(state, "held", (n,), np.float64, -most, most)
        count = array_like(state, "count", (n,), np.int64, 0, MOST)
        if not isinstance(advice, list) or len(advice) != n or not all(isinstance(text, str) for text in advice):
            raise InvalidSetting(f"'advice' must be a list of {n} texts.")
        self.advice, self.held, self.count = list(advice), held, count
