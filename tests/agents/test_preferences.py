"""Preferences: what a file may hold, what is refused and where, and that no text stands in two parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.preferences import (
    Labelled,
    Preference,
    given_records,
    read_labelled,
    read_preferences,
    require_apart,
    split,
    write_records,
)
from textgym.errors import InvalidSetting

PAIR = {"prompt": "这家", "chosen": "很好", "rejected": "很差"}


def test_pairs_and_rankings_stand_in_one_file_and_survive_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [PAIR, {"prompt": "x", "ranking": ["a", "b", ""]}, {**PAIR, "margin": 0.5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    records = read_preferences(path)
    assert records == [
        Preference("这家", ("很好", "很差"), None, f"{path}, line 1"),
        Preference("x", ("a", "b", ""), None, f"{path}, line 2"),
        Preference("这家", ("很好", "很差"), 0.5, f"{path}, line 3"),
    ]
    assert records[0].texts == ("这家很好", "这家很差")
    assert [record.to_dict() for record in records] == lines
    write_records(tmp_path / "b.jsonl", records)
    assert [record.ranking for record in read_preferences(tmp_path / "b.jsonl")] == [r.ranking for r in records]
    with pytest.raises(InvalidSetting, match=r"b\.jsonl is there already\. .*overwrite=True"):
        write_records(tmp_path / "b.jsonl", records)


def test_labels_are_numbers_or_truth_values(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": "", "completion": "a", "label": true}\n{"prompt": "p", "completion": "", "label": -2.5}\n'
    )
    assert [(r.prompt, r.completion, r.label) for r in read_labelled(path)] == [("", "a", 1.0), ("p", "", -2.5)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chosen", r", is no JSON .*Write \{\"prompt\""),
        ("", ", is no JSON"),
        ("[1]", r", is \[1\]\. Write"),
        ('{"chosen": "a", "rejected": "b"}', r', lacks prompt\. .*Where there is no prompt, write ""'),
        ('{"prompt": "", "chosen": "a"}', ", lacks rejected. Write"),
        ('{"prompt": "", "ranking": ["a", "b"], "chosen": "a"}', ", has chosen besides. Write"),
        ('{"prompt": "", "ranking": ["a", "b"], "margin": 1}', ", has margin besides"),
        ('{"prompt": "", "chosen": "a", "rejected": "b", "id": 7}', ", has id besides"),
        (
            '{"prompt": "", "chosen": "a", "rejected": "a"}',
            ": chosen and rejected are both 'a', so that nothing is",
        ),
        ('{"prompt": "", "ranking": ["a", "b", "a"]}', ": two of the ranking are both 'a'"),
        ('{"prompt": "", "ranking": ["a"]}', "is no list of at least two completions"),
        ('{"prompt": "", "ranking": "ab"}', "ranking='ab' is no list"),
        ('{"prompt": 5, "chosen": "a", "rejected": "b"}', ": 5 is no text"),
        ('{"prompt": "", "chosen": "a", "rejected": null}', ": None is no text"),
        ('{"prompt": "", "chosen": "a", "rejected": ""}', "prompt and completion are both empty"),
        ('{"prompt": "", "chosen": "a", "rejected": "\\ud800"}', "holds half of a character"),
        ('{"prompt": "", "chosen": "a", "rejected": "b", "margin": -1}', "margin=-1 of 2 completions"),
        ('{"prompt": "", "chosen": "a", "rejected": "b", "margin": NaN}', "margin=nan"),
        ('{"prompt": "", "chosen": "a", "rejected": "b", "margin": true}', "margin=True"),
    ],
)
def test_a_line_that_is_no_preference_is_refused_with_its_number(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(PAIR) + f"\n{line}\n" + json.dumps(PAIR))
    with pytest.raises(InvalidSetting, match=rf"a\.jsonl, line 2.*{message}"):
        read_preferences(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "", "completion": "a"}', ", lacks label"),
        ('{"prompt": "", "completion": "a", "label": "good"}', "label='good' is no finite number"),
        ('{"prompt": "", "completion": "a", "label": Infinity}', "label=inf is no finite number"),
        ('{"prompt": "", "completion": "", "label": 1}', "both empty"),
        (json.dumps(PAIR), ", lacks completion, label and has chosen, rejected besides"),
    ],
)
def test_a_line_that_is_no_labelled_text_is_refused_with_its_number(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(InvalidSetting, match=rf"a\.jsonl, line 1.*{message}"):
        read_labelled(path)


def test_a_file_that_is_empty_or_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(FileNotFoundError):
        read_preferences(path)
    path.write_bytes(b"")
    with pytest.raises(InvalidSetting, match=r"a\.jsonl is empty\. Write \{\"prompt\""):
        read_preferences(path)
    path.write_bytes(json.dumps(PAIR).encode() + b"\n\xff\n")
    with pytest.raises(InvalidSetting, match=r"a\.jsonl, line 2, is not UTF-8"):
        read_preferences(path)


def test_records_may_be_given_as_mappings() -> None:
    assert given_records([PAIR], Preference)[0].place == "record 1"
    own = Preference("", ("a", "b"))
    assert given_records([own], Preference) == [own]
    wrong: list[tuple[Any, str]] = [
        ([], "no record"),
        ("a.jsonl", "Read a file with read_preferences"),
        (7, "no list of records"),
        ([PAIR, ("a", "b")], r"record 2 is \('a', 'b'\)\. Give"),
        ([Labelled("", "a", 1.0)], "record 1 is Labelled"),
        ([{"prompt": ""}], "record 1, lacks chosen, rejected"),
    ]
    for records, message in wrong:
        with pytest.raises(InvalidSetting, match=message):
            given_records(records, Preference)


@pytest.mark.parametrize("seed", range(5))
def test_no_text_stands_in_two_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(60):  # some share a text; "ab" + "c" and "a" + "bc" are one
        prompt, pool = rng.choice(["a", "ab"]), [f"{i:03d}" for i in rng.integers(0, 150, 3)]
        pool += ["c"] if prompt == "ab" else ["bc"]
        ranking = tuple(dict.fromkeys(rng.permutation(pool)[: rng.integers(2, 4)].tolist()))
        if len(ranking) > 1:
            records.append(Preference(str(prompt), ranking))
    learned, held_out = split(records, 0.2, seed)
    assert sorted(learned + held_out, key=repr) == sorted(records, key=repr)
    assert 1 <= len(held_out) <= round(0.2 * len(records))
    assert not {t for r in learned for t in r.texts} & {t for r in held_out for t in r.texts}
    assert split(records, 0.2, seed) == (learned, held_out)


def test_a_split_holds_out_its_share_and_at_least_one() -> None:
    records = [Labelled("", str(i), 0.0) for i in range(50)]
    assert [len(part) for part in split(records, 0.3, 0)] == [35, 15]
    assert split(records, 0.3, 0) != split(records, 0.3, 1)
    for share, sizes in ((1e-6, [1, 1]), (1 - 1e-6, [1, 1])):
        assert [len(part) for part in split(records[:2], share, 0)] == sizes
    pairs = [
        Preference("", (f"{i}a", f"{j}b")) for group in (0, 10) for i in (group, group + 1) for j in (group, group + 1)
    ]
    assert [len(part) for part in split(pairs, 0.1, 0)] == [4, 4]  # a group is larger than the share


def test_records_that_all_share_texts_cannot_be_split() -> None:
    chain = [Preference("", (str(i), str(i + 1))) for i in range(9)]
    with pytest.raises(InvalidSetting, match=r"the 9 records share their texts.*held_out_records=\.\.\."):
        split(chain, 0.5, 0)
    for share in (0, 1, -0.1, float("nan"), True, "a"):
        with pytest.raises(InvalidSetting, match="no share above 0 and below 1"):
            split(chain, share, 0)  # type: ignore[arg-type]


def test_two_parts_that_share_a_text_are_refused_with_both_places() -> None:
    learned = [Preference("a", ("b", "c"), place="x, line 1")]
    require_apart(learned, [Labelled("a", "d", 1.0)])
    with pytest.raises(InvalidSetting, match="y, line 7: 'ac' is held out, and learned from too, in x, line 1"):
        require_apart(learned, [Preference("", ("ac", "q"), place="y, line 7")])
