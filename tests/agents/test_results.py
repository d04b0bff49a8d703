"""A file of results survives cuts, odd characters and hands that edit it, and says where it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.results import FIGURES, add, begin, line_of, read
from textgym.errors import InvalidSetting

RECORD: dict[str, Any] = {
    **{"experiment": "word", "setting": 0, "agent": "ppo", "seed": 0, "steps": 9, "settings": {}},
    **dict.fromkeys(FIGURES, 0.5),
    **{"score": 1.0, "curve": [[9, 3.0]]},
}
FAILED: dict[str, Any] = {**RECORD, "score": None, "error": "ValueError: one line\u2028another \x85 \ud800 我爱你"}


def test_what_is_added_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    assert read(path) == []
    begin(path)
    assert read(path) == []
    for record in (FAILED, RECORD):
        add(path, record)
    assert read(path) == [FAILED, RECORD]


@pytest.mark.parametrize("cut", [b"{", b'{"agent": "\xe6\x88', line_of(RECORD).encode()[:-2]])
def test_a_cut_last_line_is_left_out_and_gone_before_more_is_added(tmp_path: Path, cut: bytes) -> None:
    path = tmp_path / "results.jsonl"
    content = line_of(RECORD).encode() + cut
    path.write_bytes(content)
    assert read(path) == [RECORD]
    assert path.read_bytes() == content  # reading changes nothing: another process may be writing
    begin(path)
    add(path, FAILED)
    assert read(path) == [RECORD, FAILED]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(line_of(FAILED) + line_of(RECORD).rstrip())
    assert read(path) == [FAILED, RECORD]
    begin(path)
    add(path, RECORD)
    assert read(path) == [FAILED, RECORD, RECORD]


def test_a_file_with_the_line_ends_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes((line_of(RECORD) * 2).encode().replace(b"\n", b"\r\n"))
    assert read(path) == [RECORD, RECORD]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": None}, "line 2: this is no record of the suite: it lacks 'error'"),
        ({"score": "high"}, "its score, 'high', is no number"),
        ({"optimal_return": True}, "its optimal_return, True, is no number"),
        ({"curve": None}, "its settings or its curve"),
        ({"settings": 7}, "its settings or its curve"),
        ({"experiment": "wrod"}, "Did you mean 'word'"),
        ({"setting": True}, "is no run of the suite"),
    ],
)
def test_a_line_that_was_edited_into_none_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(line_of(RECORD) + line_of({**RECORD, **changes}))
    with pytest.raises(InvalidSetting, match=message):
        read(path)


@pytest.mark.parametrize(("line", "message"), [("", "line 1: Expecting value"), ("NaN", "line 1: NaN is no JSON")])
def test_what_is_no_json_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line}\n{line_of(RECORD)}")
    with pytest.raises(InvalidSetting, match=message):
        read(path)


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        add(tmp_path / "results.jsonl", {**RECORD, "score": float("nan")})
