"""How a row looks: one line of text, or a frame drawn with the packed bitmap font."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from textgym.episodes import Episodes
from textgym.errors import InvalidSetting
from textgym.font import Colour, cells, draw
from textgym.vocabulary import WORDS

METADATA: dict[str, Any] = {"render_modes": ["ansi", "human", "rgb_array"], "render_fps": 4}

COLUMNS = 40  # of 8 pixels each, before scaling
MAX_LINES = 12  # of each of prompt and completion; longer texts show their end
PLAIN, DIM, RIGHT, WRONG = (230, 230, 230), (140, 150, 165), (120, 210, 130), (240, 110, 110)

Span = tuple[str, Colour]


def check_render_mode(mode: str | None) -> str | None:
    """Return a render mode, or raise `InvalidSetting` for one that does not exist."""
    if mode is not None and mode not in METADATA["render_modes"]:
        raise InvalidSetting(f"render_mode={mode!r} does not exist. Give one of {METADATA['render_modes']}, or None.")
    return mode


def render(episodes: Episodes, row: int, mode: str | None) -> Any:
    """Return a row as `ansi` text or as an `rgb_array` frame; print it and return None for `human`."""
    if mode == "rgb_array":
        return frame(episodes, row)
    if mode == "human":
        print(ansi(episodes, row))
        return None
    return ansi(episodes, row)


def escape(text: str) -> str:
    """Return a text with all that does not print (control characters, lone surrogates) as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def ansi(episodes: Episodes, row: int) -> str:
    """Return a row as one line: `prompt → completion`; an incomplete character stands as U+FFFD."""
    prompt = escape(_shown(episodes, episodes.prompt[row]))
    written = escape(_shown(episodes, episodes.completion[row]))
    return f"{prompt} → {written}" if prompt else written


def frame(episodes: Episodes, row: int) -> npt.NDArray[np.uint8]:
    """Draw a row: the prompt, the completion (green where the target agrees, red where it does not), the step.

    Returns:
        `(height, width, 3)` uint8; the size depends on the task alone.
    """
    vocabulary = episodes.vocabulary
    gap = " " if vocabulary.codec == WORDS else ""
    asked = [i for i in episodes.prompt[row].tolist() if i != vocabulary.pad]
    prompt = [(escape(text) + gap, DIM) for text in vocabulary.spell(asked)]
    target = episodes.target[row].tolist()
    written: list[Span] = []
    tokens = episodes.completion[row, : episodes.length[row]].tolist()
    for place, (token, text) in enumerate(zip(tokens, vocabulary.spell(tokens))):
        wanted = target[place] if place < len(target) else vocabulary.pad
        written.append((escape(text) + gap, PLAIN if not target else RIGHT if token == wanted else WRONG))
    status = f"{episodes.length[row]}/{episodes.horizon}" + (" end" if episodes.finished[row] else "")
    widest = max(2, min(COLUMNS, max(cells(escape(piece) + gap) for piece in _sample(vocabulary.pieces))))
    lines = [
        *_wrapped(prompt, _height(episodes.max_prompt, widest)),
        *_wrapped(written, _height(episodes.horizon, widest)),
        [(status, DIM)],
    ]
    return draw(lines, COLUMNS, scale=2)


def _shown(episodes: Episodes, ids: npt.NDArray[Any]) -> str:
    """Return ids as text with the end token and symbols visible."""
    vocabulary = episodes.vocabulary
    text = vocabulary.decode(ids)
    return (
        f"{text}{' ' if text and vocabulary.codec == WORDS else ''}{vocabulary.eos}"
        if vocabulary.eos_id in ids.tolist()
        else text
    )


def _sample(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Return enough tokens to see how wide they are."""
    return tokens[:: max(1, len(tokens) // 256)]


def _height(tokens: int, widest: int) -> int:
    return min(MAX_LINES, math.ceil(tokens / (COLUMNS // widest)))


def _wrapped(spans: list[Span], height: int) -> list[list[Span]]:
    """Break spans into lines of at most COLUMNS cells; exactly `height` of them, the last ones."""
    lines: list[list[Span]] = [[]]
    used = 0
    for text, colour in spans:
        if used + cells(text) > COLUMNS and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append((text, colour))
        used += cells(text)
    lines = lines[-height:] if height else []
    return lines + [[] for _ in range(height - len(lines))]
