"""The packed Unifont glyphs and the frames drawn from them."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from importlib import resources

import numpy as np
import numpy.typing as npt
import pytest

from textgym import font
from textgym.font import make_unifont

RED = (255, 0, 0)
BLUE = (0, 0, 255)
BLACK = (0, 0, 0)

LETTER_A = """\
........
........
........
........
........
........
..####..
.#....#.
......#.
..#####.
.#....#.
.#....#.
.#...##.
..###.#.
........
........
"""

LETTER_NI = """\
....#...#.......
....#...#.......
....#...#.......
...#...########.
...#...#......#.
..##..#......#..
..##.#....#.....
.#.#......#.....
#..#...#..#.#...
...#...#..#..#..
...#..#...#..#..
...#..#...#...#.
...#.#....#...#.
...#......#.....
...#....#.#.....
...#.....#......
"""

SYLLABLE_GAG = """\
................
............#...
..#####.....#...
......#.....#...
......#.....#...
.....#......###.
....#.......#...
..##........#...
............#...
................
.....########...
............#...
............#...
............#...
............#...
................
"""

BLOCKS = {
    "Latin": "!~¡ÿĀſƀɏ",
    "IPA": "ɐʯ",
    "Greek": "ΑΩαω",
    "Cyrillic": "АЯаяё",
    "Hebrew": "את",
    "Arabic": "اي",
    "Devanagari": "अह",
    "Thai": "กฮ",
    "punctuation": "—“”…€™",
    "arrows": "←↑→↓⇒",
    "operators": "∀∑√∞≤",
    "boxes and blocks": "─│┌┘╬█▓░",
    "shapes and symbols": "■□●○★☂♞✓✗⬛⬜",
    "CJK symbols": "、。「」",
    "kana": "あんアン",
    "Bopomofo": "ㄅㄩ",
    "Hangul": "가힣",
    "fullwidth": "！｡",
}


def ink(text: str) -> npt.NDArray[np.bool_]:
    return np.array([[mark == "#" for mark in row] for row in text.splitlines()])


def is_covered(character: str) -> bool:
    return not np.array_equal(font.glyph(character), font.glyph("\ufffd"))


def test_the_packed_font_is_under_half_a_megabyte() -> None:
    assert len((resources.files(font) / "unifont.npz").read_bytes()) < 500_000


def test_the_licence_stands_beside_the_font_with_its_copyright_line() -> None:
    licence = (resources.files(font) / "LICENSE-OFL.txt").read_text("utf-8")
    assert "SIL OPEN FONT LICENSE Version 1.1" in licence
    assert "Roman Czyborra" in licence


def test_importing_the_module_does_not_read_the_font() -> None:
    code = "from textgym import font; assert font._font.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_letter_a_has_the_pixels_unifont_gives_it() -> None:
    assert np.array_equal(font.glyph("a"), ink(LETTER_A))
    assert font.glyph("a").dtype == np.bool_


def test_chinese_characters_are_sixteen_wide_distinct_and_not_empty() -> None:
    glyphs = [font.glyph(character) for character in "我爱你"]
    assert [glyph.shape for glyph in glyphs] == [(16, 16)] * 3
    assert all(glyph.any() for glyph in glyphs)
    assert len({glyph.tobytes() for glyph in glyphs}) == 3


def test_every_unified_ideograph_has_an_inked_wide_glyph_of_its_own() -> None:
    glyphs = [font.glyph(chr(code)) for code in range(0x4E00, 0xA000)]
    assert all(glyph.shape == (16, 16) and glyph.any() for glyph in glyphs)
    assert len({glyph.tobytes() for glyph in glyphs}) > 20_900  # a few look the same


def test_a_chinese_character_has_the_pixels_unifont_gives_it() -> None:
    assert np.array_equal(font.glyph("你"), ink(LETTER_NI))


def test_a_hangul_syllable_has_the_pixels_unifont_gives_it() -> None:
    assert np.array_equal(font.glyph("각"), ink(SYLLABLE_GAG))


@pytest.mark.parametrize("characters", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_block_is_covered(characters: str) -> None:
    assert all(is_covered(character) for character in characters)


def test_every_printable_character_up_to_the_end_of_cyrillic_is_covered() -> None:
    assigned = [chr(code) for code in range(0x20, 0x530) if unicodedata.category(chr(code)) != "Cn"]
    assert all(is_covered(character) for character in assigned)


@pytest.mark.parametrize("character", ["\u0378", "\ue000", "\ufdd0", "\uffff", "😀", "\U0010ffff"])
def test_an_absent_character_is_drawn_as_the_replacement_character(character: str) -> None:
    assert np.array_equal(font.glyph(character), font.glyph("\ufffd"))
    assert np.array_equal(font.draw([[(character, RED)]], columns=2), font.draw([[("\ufffd", RED)]], columns=2))


def test_the_replacement_character_has_a_glyph() -> None:
    assert font.glyph("\ufffd").any()


def test_a_glyph_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        font.glyph("a")[0, 0] = True


@pytest.mark.parametrize(("text", "width"), [("", 0), ("a b", 3), ("我爱你", 6), ("→ 你", 4)])
def test_a_text_is_as_wide_as_its_glyphs(text: str, width: int) -> None:
    assert font.cells(text) == width


def test_a_frame_is_sixteen_by_eight_pixels_a_cell_times_its_scale() -> None:
    frame = font.draw([[("a", RED)], [], [("b", RED)]], columns=5, scale=2)
    assert frame.shape == (3 * 16 * 2, 5 * 8 * 2, 3)
    assert frame.dtype == np.uint8


def test_spans_follow_one_another_in_their_own_colours() -> None:
    frame = font.draw([[], [("你", RED), ("a", BLUE)]], columns=4, background=BLACK)
    expected = np.zeros((32, 32, 3), np.uint8)
    expected[16:, :16, 0] = 255 * font.glyph("你")
    expected[16:, 16:24, 2] = 255 * ink(LETTER_A)
    assert np.array_equal(frame, expected)


def test_a_scaled_frame_repeats_each_pixel() -> None:
    lines = [[("你 a", RED)]]
    assert np.array_equal(font.draw(lines, 4, scale=3), np.kron(font.draw(lines, 4), np.ones((3, 3, 1), np.uint8)))


def test_the_background_fills_what_has_no_ink() -> None:
    assert (font.draw([[(" ", RED)]], columns=2, background=(1, 2, 3)) == (1, 2, 3)).all()


def test_what_goes_past_the_columns_is_cut_off() -> None:
    long = font.draw([[("a你", RED), ("aaaa", BLUE)], [("b", RED)]], columns=2)
    whole = font.draw([[("a你", RED)], [("b", RED)]], columns=3)
    assert np.array_equal(long, whole[:, :16])


def test_a_frame_may_have_no_lines() -> None:
    assert font.draw([], columns=3).shape == (0, 24, 3)


def test_placeholders_are_told_from_glyphs() -> None:
    lines = [
        "0378:00007FFE738E6DF66DC66DF6738E7FFE7FFE61CE7DB67BCE77B677CE7FFE0000",
        "2B1B:00007FFE7FFE7FFE7FFE7FFE7FFE7FFE7FFE7FFE7FFE7FFE7FFE7FFE7FFE0000",
        "0061:0000000000003C42023E4242463A0000",
    ]
    glyphs = make_unifont.read_hex(lines)
    kept = {code for code, bits in glyphs.items() if make_unifont.keep(code, bits)}
    assert kept == {0x2B1B, 0x61}
