"""Speech: what a language calls the actions of an environment, and what a text advises and thinks of a state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from textgym.errors import InvalidSetting

NOT = re.compile(r"(?:\b(?:not|never|avoid|without|rather than|instead of)|n't|n’t)\s+(?:\w+\s+){0,3}$")  # noqa: RUF001
NOT_ZH = re.compile(r"(?:不要|不能|不应|不可|不是|不|别|勿|避免|而非)\w{0,2}$")
POINTS = re.compile(
    r"(?<![\d.,-])(\d+(?:\.\d+)?)\s*(?:/|of|out of|分\s*/)\s*10(?!\d|\.\d)|满分十分[得打](\d+(?:\.\d+)?)分"
)
JUDGED = (
    (1.0, ("excellent", "perfect", "极好", "完美")),
    (0.75, ("good", "safe", "好", "安全")),
    (0.5, ("fair", "so-so", "一般", "尚可")),
    (0.25, ("bad", "risky", "差", "危险")),
    (0.0, ("terrible", "hopeless", "极差", "无望")),
)


@dataclass(frozen=True)
class Speech:
    """How actions are named in one language, and how an adviser who speaks it puts things.

    Args:
        actions: for each action its names, first the one that is spoken, last a short one that may stand for it; no
            name belongs to two actions.
        advice: what is said of an action and of a state, with `{action}` and `{points}` (0 to 10) in it.
        happened: what is said of an action that was taken, with `{action}` in it.

    Raises:
        InvalidSetting: an action without a name, or a name that two have.

    Example:
        >>> speech = Speech((("left", "左"), ("right", "右")))
        >>> speech.say(0, 0.7), speech.advised("Don't push left, push right!"), speech.advised("left or right?")
        ('left. The state is worth 7 of 10.', 1, None)
    """

    actions: tuple[tuple[str, ...], ...]
    advice: str = "{action}. The state is worth {points} of 10."
    happened: str = "{action}."

    def __post_init__(self) -> None:
        names = [name for names in self.actions for name in names]
        if not all(self.actions) or any(not isinstance(name, str) or not name.strip() for name in names):
            raise InvalidSetting(
                f"actions={self.actions!r}: every action needs a name, such as (('left',), ('right',))."
            )
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidSetting(f"{twice[0]!r} is the name of two actions; advice must name one.")

    @property
    def words(self) -> tuple[str, ...]:
        """The short name of each action, for whoever is to answer with one word."""
        return tuple(names[-1] for names in self.actions)

    def say(self, action: int, worth: float) -> str:
        """Return an advice in words.

        Args:
            action: the one advised.
            worth: of the state, from 0 to 1.
        """
        return self.advice.format(action=self.actions[action][0], points=round(10 * worth))

    def tell(self, action: int) -> str:
        """Return in words that an action was taken."""
        return self.happened.format(action=self.actions[action][0])

    @cached_property
    def _names(self) -> dict[str, int]:
        return {name.lower(): action for action, names in enumerate(self.actions) for name in names}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest = sorted(self._names, key=len, reverse=True)  # so that "pick up" is not taken for "up"
        parts = [rf"\b{re.escape(name)}\b" if name.isascii() else re.escape(name) for name in longest]
        return re.compile("|".join(parts))

    def advised(self, text: str) -> int | None:
        """Return the action that a text advises; None where it names none, or several.

        Letters' case does not matter; an action after a negation ("don't push left", "不要向左") is not advised.
        """
        text = text.lower()
        named = {
            self._names[found.group()]
            for found in self._pattern.finditer(text)
            if not NOT.search(text[: found.start()]) and not NOT_ZH.search(text[: found.start()])
        }
        return named.pop() if len(named) == 1 else None


def rated(text: str) -> float | None:
    """Return how good a text finds a state, from 0 to 1; None where it does not say.

    Points of ten count ("7 of 10", "7/10", "满分十分得7分"); where there are none, words from excellent to hopeless.
    """
    if found := POINTS.search(text):
        return min(1.0, float(found.group(1) or found.group(2)) / 10)
    folded = text.lower()
    for worth, words in (JUDGED[0], JUDGED[4], *JUDGED[1:4]):  # 极好 holds 好, and so before it
        if any(re.search(rf"\b{word}\b" if word.isascii() else word, folded) for word in words):
            return worth
    return None
