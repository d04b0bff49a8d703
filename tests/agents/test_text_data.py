"""Texts to learn from: what a file may hold, what fits a task, and what is held out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.text_data import Corpus, encode
from agents.texts import Sample, given_texts, read_texts
from textgym import Task, load_task
from textgym.errors import InvalidSetting

COPY = load_task("TextGym/Copy-v0", alphabet="abc", max_length=3)  # prompts to 3 letters, horizon 4
FREE = load_task("TextGen-v0", target="我爱你", alphabet="我爱你", eos="$", horizon=6)


def texts_of(corpus: Corpus) -> list[tuple[str, str]]:
    """Prompts and completions, with end tokens by name."""
    show, pad = corpus.task.vocabulary.show, corpus.task.vocabulary.pad
    prompts = ["".join(show(i) for i in row if i != pad) for row in corpus.tokens[:, : corpus.task.max_prompt].tolist()]
    return list(zip(prompts, ["".join(map(show, row)) for row in corpus.actions.tolist()]))


def test_a_text_file_has_a_text_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff我爱你\r\n爱\u2028你\n".encode())
    assert [sample.completion for sample in read_texts(path)] == ["我爱你", "爱\u2028你"]
    assert read_texts(path)[1] == Sample("", "爱\u2028你", f"{path}, line 2")
    path.write_bytes(b"")
    assert read_texts(path) == []


def test_json_lines_have_a_completion_and_may_have_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "ab", "completion": "ab"}\n{"completion": "c"}\n')
    assert [sample[:2] for sample in read_texts(path)] == [("ab", "ab"), ("", "c")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ab", "is no JSON"),
        ("", "is no JSON"),
        ("[1]", r"is \[1\]\. Write"),
        ('{"prompt": "a"}', r'is \{"prompt": "a"\}\. Write \{"prompt": "\.\.\.", "completion": "\.\.\."\}'),
        ('{"completion": 5}', "both of them text"),
        ('{"completion": "a", "weight": 1}', "both of them text"),
        ('{"completion": null}', "both of them text"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_line_that_is_no_pair_is_refused_with_its_number(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"completion": "a"}}\n{line}\n')
    with pytest.raises(InvalidSetting, match=rf"a\.jsonl, line 2, .*{message}"):
        read_texts(path)


def test_what_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("我\n".encode() + "爱".encode("gbk"))
    with pytest.raises(InvalidSetting, match=r"a\.txt, line 2, is not UTF-8"):
        read_texts(path)


@pytest.mark.parametrize("text", [5, ("a",), ("a", "b", "c"), ("a", 5), None])
def test_given_texts_are_strings_or_pairs(text: object) -> None:
    assert given_texts(["a", ("b", "c")]) == [Sample("", "a", "text 1"), Sample("b", "c", "text 2")]
    with pytest.raises(InvalidSetting, match=r"text 2 is .* Give a string, or a pair"):
        given_texts(["a", text])  # type: ignore[list-item]


def test_a_completion_gets_the_end_token_and_duplicates_are_counted_once() -> None:
    corpus = encode(given_texts([("ab", "ab"), ("ab", "ba"), ("ab", "ab"), "ab"]), COPY)
    assert texts_of(corpus) == [("ab", "ab$"), ("ab", "ba$"), ("", "ab$")]
    assert (corpus.duplicates, corpus.skipped, corpus.count) == (1, 0, 9)


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        (
            FREE,
            "我恨你",
            "does not fit the environment: text '我恨你' has '恨', which is not in the vocabulary",
        ),
        (FREE, "我爱你我爱你", r"it has 7 tokens with the end token, and the horizon is 6\."),
        (FREE, "", "its completion is empty"),
        (FREE, "我$", r"it holds the end token '\$', which is added by itself"),
        (FREE, ("我", "爱"), "its prompt has 1 tokens, and the environment's prompts 0 at most"),
        (COPY, ("abca", "abc"), "its prompt has 4 tokens, and the environment's prompts 3 at most"),
        (COPY, ("x", "a"), "has 'x', which is not in the vocabulary"),
        (load_task("TextGym/Corners-v0"), "↗", "'↗' stands in prompts only"),
        (load_task("TextGym/Brackets-v0"), ("(", "]$"), "it holds the end token"),
        (load_task("TextGym/Brackets-v0"), ("(", "]"), "the environment's mask bars token 1"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_or_skipped(task: Task, text: str, message: str) -> None:
    fitting = {FREE: "我", COPY: "a"}.get(task)
    with pytest.raises(InvalidSetting, match=f"text 1: .*{message}") as error:
        encode(given_texts([text]), task)
    assert "--skip" in str(error.value)
    if fitting is None:
        with pytest.raises(InvalidSetting, match="no text is left to learn from; 1 did not fit"):
            encode(given_texts([text]), task, skip=True)
        return
    corpus = encode(given_texts([text, fitting, text, fitting]), task, skip=True)
    assert (len(corpus), corpus.skipped, corpus.duplicates) == (1, 2, 1)


def test_without_an_end_token_nothing_is_added() -> None:
    task = load_task("TextGen-v0", target="ab", horizon=3)
    corpus = encode(given_texts(["aba", "b"]), task)
    assert texts_of(corpus) == [("", "aba"), ("", "b")]
    assert corpus.length.tolist() == [3, 1]


def test_a_text_that_the_task_would_end_earlier_is_refused() -> None:
    task = replace(load_task("TextGen-v0", target="ab", horizon=3), ends=lambda rows: rows.newest == 1)
    with pytest.raises(InvalidSetting, match="the environment ends it after 1 tokens of 2"):
        encode(given_texts(["ba"]), task)
    assert len(encode(given_texts(["ab", "aab"]), task)) == 2


def test_what_a_policy_reads_before_each_token_is_what_the_environment_shows() -> None:
    task = load_task("TextGym/Brackets-v0", max_prompt=3)
    pairs = [("(", ")"), ("[(", ")]"), ("", "[]()"), ("([", "]")]
    with pytest.raises(InvalidSetting, match="no text"):
        encode([], task)
    corpus = encode(given_texts(pairs), task)
    prefixes, actions = corpus.batch(torch.device("cpu"))
    seen, allowed = [], []
    for prompt, completion in pairs:
        rows = task.blank(1)
        rows.tokens[0, task.max_prompt - len(prompt) : task.max_prompt] = task.vocabulary.encode(prompt)
        rows.finished[:] = False
        for token in [*task.vocabulary.encode(completion).tolist(), task.vocabulary.eos_id]:
            seen.append((rows.tokens[0].tolist(), token))
            allowed.append(task.action_mask(rows)[0].tolist())
            rows.write(np.array([token]))
    from agents.likelihood import prefix_rows

    found = prefix_rows(prefixes, task.vocabulary.pad).tolist()
    assert list(zip(found, actions.tolist())) == seen
    assert prefixes.masks is not None
    assert prefixes.masks.tolist() == allowed
    assert [len(row) - row.count(task.vocabulary.pad) for row in found] == prefixes.length.tolist()


def test_a_split_is_of_all_texts_and_depends_on_its_seed_alone() -> None:
    texts = [f"{a}{b}{c}" for a in "abc" for b in "abc" for c in "abc"]
    corpus = encode(given_texts(texts * 2), COPY)
    learned, held_out = corpus.split(0.25, 3)
    assert (len(learned), len(held_out)) == (20, 7)
    assert sorted(texts_of(learned) + texts_of(held_out)) == sorted(("", f"{text}$") for text in texts)
    assert not {*texts_of(learned)} & {*texts_of(held_out)}
    assert texts_of(corpus.split(0.25, 3)[1]) == texts_of(held_out) != texts_of(corpus.split(0.25, 4)[1])
    two = encode(given_texts(["a", "b"]), COPY)
    for share in (1e-9, 1 - 1e-9):
        assert [len(part) for part in two.split(share, 0)] == [1, 1]
    with pytest.raises(InvalidSetting, match="1 text is left to learn from, once duplicates are removed"):
        encode(given_texts(["a", "a"]), COPY).split(0.5, 0)


def test_masks_are_split_with_their_texts() -> None:
    task = load_task("TextGym/Brackets-v0", max_prompt=1, kinds=2)
    corpus = encode(given_texts([("(", ")"), ("[", "]")]), task)
    for part in corpus.split(0.5, 0):
        prefixes, actions = part.batch(torch.device("cpu"))
        assert prefixes.masks is not None
        assert prefixes.masks[torch.arange(len(actions)), actions].all()


def test_json_and_text_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab\nc\n")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"completion": text}) + "\n" for text in ("ab", "c")))
    plain, pairs = (encode(read_texts(tmp_path / name), COPY) for name in ("a.txt", "a.jsonl"))
    np.testing.assert_array_equal(plain.tokens, pairs.tokens)
    np.testing.assert_array_equal(plain.actions, pairs.actions)
