"""Texts as they are given: a text a line of a file, a JSON object a line, or Python's own strings and pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textgym.errors import InvalidSetting

PAIRS = (".jsonl", ".ndjson", ".json")
"""Endings of files that hold a JSON object a line; any other holds a text a line."""


LINE = '{"prompt": "...", "completion": "..."}'


class Sample(NamedTuple):
    """One text, and what it is a completion of."""

    prompt: str
    completion: str
    place: str  # where it stands, for errors


class Line(NamedTuple):
    """A line of a file, and where it stands, for errors."""

    text: str
    place: str


def read_texts(path: Path) -> list[Sample]:
    """Return a file's texts: one a line, or in a `.jsonl` file an object `{"prompt": ..., "completion": ...}` a line.

    Raises:
        FileNotFoundError: it is not there.
        InvalidSetting: it is not UTF-8; a line is no such object.
    """
    if path.suffix.lower() in PAIRS:
        return [_pair(line) for line in read_lines(path)]
    return [Sample("", *line) for line in read_lines(path)]


def read_lines(path: Path) -> list[Line]:
    """Return a file's lines.

    Raises:
        FileNotFoundError: it is not there.
        InvalidSetting: it is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InvalidSetting(f"{path}, line {line}, is not UTF-8: {error.reason}. Save it as UTF-8.") from error
    lines = text.removesuffix("\n").split("\n") if text else []
    return [Line(line.removesuffix("\r"), f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def read_object(line: Line, shape: str) -> dict[str, Any]:
    """Return a line's JSON object.

    Args:
        line: of a file.
        shape: what to write instead, for errors.

    Raises:
        InvalidSetting: it is none.
    """
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"{line.place}, is no JSON ({error}). Write {shape}.") from error
    if not isinstance(found, dict):
        raise InvalidSetting(f"{line.place}, is {shown(line.text)}. Write {shape}.")
    return found


def shown(text: str, most: int = 100) -> str:
    """Return the beginning of a text, for errors."""
    return text if len(text) < most else f"{text[:most]} ..."


def given_texts(texts: Iterable[str | tuple[str, str]]) -> list[Sample]:
    """Return texts, or pairs of a prompt and a completion, as samples.

    Raises:
        InvalidSetting: one is neither.
    """
    samples = []
    for number, text in enumerate(texts, 1):
        pair = ("", text) if isinstance(text, str) else text
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise InvalidSetting(f"text {number} is {text!r}. Give a string, or a pair of strings: prompt, completion.")
        samples.append(Sample(*pair, f"text {number}"))
    return samples


def _pair(line: Line) -> Sample:
    found = read_object(line, LINE)
    if not {"completion"} <= found.keys() <= {"prompt", "completion"} or not all(
        isinstance(part, str) for part in found.values()
    ):
        raise InvalidSetting(
            f"{line.place}, is {shown(line.text)}. Write {LINE}, both of them text; the prompt may be left out."
        )
    return Sample(found.get("prompt", ""), found["completion"], line.place)
