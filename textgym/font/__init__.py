"""Text drawn with GNU Unifont's bitmap glyphs, 8x16 or 16x16 pixels each.

The glyphs (`unifont.npz`, made by `make_unifont.py`) cover the Basic Multilingual Plane but for
CJK extension A and the private use area, and stand under the licence in `LICENSE-OFL.txt`.
They are read when the first character is drawn. There is no shaping: each code point, a combining
mark too, is drawn as its own glyph, from left to right.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources

import numpy as np
import numpy.typing as npt

__all__ = ["Colour", "cells", "draw", "glyph"]

Colour = tuple[int, int, int]

_REPLACEMENT = 0xFFFD
_HANGUL = slice(0xAC00, 0xD7A4)


@functools.cache
def _font() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Reads the font once.

    Returns:
        uint8 arrays over the code points: widths in cells (65536,), 0 where there is no glyph, and
        packed rows of pixels (65536, 16, 2), the second byte 0 in a narrow glyph.
    """
    path = resources.files(__name__) / "unifont.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as packed:
        widths: npt.NDArray[np.uint8] = packed["cells"]
        rows = np.zeros((widths.size, 16, 2), np.uint8)
        rows[widths == 1, :, 0] = packed["narrow"]
        wide = widths == 2
        # The syllables are stored apart: in their own order of axes they take a fifth of the space.
        wide[_HANGUL] = False
        rows[wide] = packed["wide"].transpose(0, 2, 1)
        rows[_HANGUL] = packed["hangul"].transpose(2, 1, 0)
    return widths, rows


@functools.cache
def glyph(character: str) -> npt.NDArray[np.bool_]:
    """Gives a character's pixels.

    Args:
        character: one code point; one that the font lacks gives the glyph of U+FFFD.

    Returns:
        A read-only bool array, (16, 8) or (16, 16), True where there is ink.
    """
    widths, rows = _font()
    code = ord(character)
    if code >= widths.size or not widths[code]:
        code = _REPLACEMENT
    bits = np.unpackbits(rows[code, :, : widths[code]], axis=1).astype(np.bool_)
    bits.setflags(write=False)  # callers share it through the cache
    return bits


def cells(text: str) -> int:
    """Gives a text's width in cells of 8 pixels: one or two for each code point."""
    pixels: int = sum(glyph(character).shape[1] for character in text)
    return pixels // 8


def draw(
    lines: Sequence[Sequence[tuple[str, Colour]]],
    columns: int,
    scale: int = 1,
    background: Colour = (16, 16, 16),
) -> npt.NDArray[np.uint8]:
    """Draws lines of coloured text, with no padding around them.

    Args:
        lines: each line is spans of (text, colour), drawn one after another from the left.
        columns: the frame's width in cells of 8 pixels; what goes past it is cut off.
        scale: how many pixels wide and high each of the font's pixels is drawn.
        background: the colour where there is no ink.

    Returns:
        A uint8 RGB frame, (16 * len(lines) * scale, 8 * columns * scale, 3).
    """
    frame = np.empty((16 * len(lines), 8 * columns, 3), np.uint8)
    frame[:] = background
    for row, line in enumerate(lines):
        _draw_line(frame[16 * row : 16 * row + 16], line)
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def _draw_line(band: npt.NDArray[np.uint8], spans: Sequence[tuple[str, Colour]]) -> None:
    """Draws spans from the left into a (16, width, 3) uint8 view, up to its right edge."""
    inked = [(glyph(character), colour) for text, colour in spans for character in text]
    if not inked:
        return
    glyphs, colours = zip(*inked, strict=True)
    width = band.shape[1]
    mask = np.concatenate(glyphs, axis=1)[:, :width]
    paint = np.repeat(np.array(colours, np.uint8), [bits.shape[1] for bits in glyphs], axis=0)
    np.copyto(band[:, : mask.shape[1]], paint[:width], where=mask[:, :, np.newaxis])
