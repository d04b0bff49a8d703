"""Makes `unifont.npz`, the packed glyphs that `textgym.font` reads.

    python make_unifont.py path/to/unifont.hex[.gz] [unifont.npz]

The source is `unifont.hex` of the GNU Unifont 15.0.01 release (unifoundry.com), which Linux
distributions also ship: Debian's package `unifont` holds it as `share/unifont/unifont.hex`.
Each of its lines is `CODE:BITS` in hexadecimal, 16 rows of 8 or 16 pixels, top row first.
The same source gives the same bytes each time (with the same numpy and zlib).
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

HANGUL = range(0xAC00, 0xD7A4)
# CJK extension A is rare and would add a quarter to the file; the others have no characters.
LEFT_OUT = (range(0x3400, 0x4DC0), range(0xFDD0, 0xFDF0), range(0xD800, 0xF900))


def read_hex(lines: Iterable[str]) -> dict[int, bytes]:
    """Reads the `.hex` lines to code point -> 16 (narrow) or 32 (wide) bytes."""
    pairs = (line.strip().split(":") for line in lines)
    return {int(code, 16): bytes.fromhex(bits) for code, bits in pairs}


def is_placeholder(bits: bytes) -> bool:
    """Tells the box of hexadecimal digits that Unifont gives to an unassigned code point."""
    bar, blank = b"\x7f\xfe", b"\0\0"
    framed = bits.startswith(blank + bar) and bits.endswith(bar + blank) and bits[14:18] == bar * 2
    # U+2B1B, a plain black square, has the same frame, and no digits in it.
    return framed and bits[4:6] != bar


def keep(code: int, bits: bytes) -> bool:
    """Tells whether a glyph goes into the file."""
    return not is_placeholder(bits) and not any(code in left_out for left_out in LEFT_OUT)


def pack(glyphs: dict[int, bytes]) -> dict[str, npt.NDArray[np.uint8]]:
    """Lays the glyphs out in the order in which they compress best.

    Args:
        glyphs: code point -> 16 or 32 bytes, all of the Hangul syllables among them.

    Returns:
        uint8 arrays: `cells` (65536,) is each code point's width in 8-pixel cells, 0 where it is
        absent; `narrow` (n, 16) and `wide` (m, 2, 16), in the order of their code points, are rows
        of packed bits, a wide glyph's left half before its right half; `hangul` (2, 16, 11172)
        is the syllables' rows, which repeat along the alphabet.
    """
    cells = np.zeros(0x10000, np.uint8)
    for code, bits in glyphs.items():
        cells[code] = len(bits) // 16

    def rows(codes: Iterable[int]) -> npt.NDArray[np.uint8]:
        return np.frombuffer(b"".join(glyphs[code] for code in codes), np.uint8)

    narrow = np.flatnonzero(cells == 1).tolist()
    wide = [code for code in np.flatnonzero(cells == 2).tolist() if code not in HANGUL]
    return {
        "cells": cells,
        "narrow": rows(narrow).reshape(-1, 16),
        "wide": rows(wide).reshape(-1, 16, 2).transpose(0, 2, 1),
        # A mere transposed view would be stored in the old order, marked as Fortran's.
        "hangul": np.ascontiguousarray(rows(HANGUL).reshape(-1, 16, 2).transpose(2, 1, 0)),
    }


def main() -> None:
    """Reads the source named on the command line and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="unifont.hex or unifont.hex.gz")
    parser.add_argument("target", type=Path, nargs="?", default=Path(__file__).with_name("unifont.npz"))
    arguments = parser.parse_args()
    source: Path = arguments.source
    data = source.read_bytes()
    text = gzip.decompress(data) if source.suffix == ".gz" else data
    glyphs = read_hex(text.decode("ascii").splitlines())
    kept = {code: bits for code, bits in glyphs.items() if keep(code, bits)}
    np.savez_compressed(arguments.target, allow_pickle=False, **pack(kept))
    print(f"{arguments.target}: {len(kept)} glyphs, {arguments.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
