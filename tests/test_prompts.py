"""Prompt generators, and the prompts that episodes refuse."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym import Episodes, Prompt, Vocabulary
from textgym.arrays import IntArray
from textgym.errors import InvalidPrompt, InvalidSetting, InvalidSize
from textgym.prompts import ListedPrompts, RandomStrings, listed, split


def prompt(tokens: list[int], target: list[int]) -> Prompt:
    return Prompt(np.array(tokens, np.int32), np.array(target, np.int32))


def backwards(string: IntArray) -> IntArray:
    return string[::-1]


def first_letter(string: IntArray) -> IntArray:
    return string[:1]


def nothing(string: IntArray) -> IntArray:
    return string[:0]


THREE = ListedPrompts((prompt([0], [1, 2]), prompt([], [0, 1, 2]), prompt([0, 1], [])))


def test_a_list_announces_its_longest_prompt_and_target() -> None:
    assert THREE.max_length == 2
    assert THREE.max_target == 3


def test_a_list_of_one_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    one = ListedPrompts(THREE.prompts[:1])
    assert one(rng) is one.prompts[0]
    assert rng.bit_generator.state == state


def test_each_prompt_of_a_list_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    counts = Counter(len(THREE(rng).target) for _ in range(3000))
    assert sorted(counts) == [0, 2, 3]
    assert all(abs(count - 1000) < 5 * np.sqrt(3000 * 2 / 9) for count in counts.values())


def test_the_support_of_a_list_is_the_list() -> None:
    prompts, probabilities = THREE.support()
    assert prompts == THREE.prompts
    assert probabilities.tolist() == [1 / 3] * 3


@given(st.integers(1, 5), st.integers(0, 5), st.sampled_from(["ab$", "a$b", "ab"]), st.integers(0, 2**32))
def test_a_random_string_is_letters_and_its_answer_ends(low: int, more: int, tokens: str, seed: int) -> None:
    vocabulary = Vocabulary(tuple(tokens), symbols=("?",), eos="$" if "$" in tokens else None)
    prompts = RandomStrings(vocabulary, low, low + more, backwards)
    string, target, chance = prompts(np.random.default_rng(seed))
    text = vocabulary.decode(string)
    assert low <= len(string) <= low + more == prompts.max_length
    assert set(text) <= {"a", "b"}
    assert target.tolist() == [*vocabulary.encode(text[::-1]), *([tokens.index("$")] if "$" in tokens else [])]
    assert len(target) <= prompts.max_target == low + more + ("$" in tokens)
    assert chance == 0


def test_lengths_and_letters_of_random_strings_are_equally_likely() -> None:
    rng = np.random.default_rng(1)
    prompts = RandomStrings(Vocabulary(tuple("abc$"), eos="$"), 2, 5, backwards)
    strings = [prompts(rng).tokens.tolist() for _ in range(4000)]
    lengths = Counter(map(len, strings))
    letters = Counter(letter for string in strings for letter in string)
    assert sorted(lengths) == [2, 3, 4, 5]
    assert all(abs(count - 1000) < 5 * np.sqrt(4000 * 3 / 16) for count in lengths.values())
    assert sorted(letters) == [0, 1, 2]
    assert all(abs(count / letters.total() - 1 / 3) < 0.03 for count in letters.values())


def test_the_same_rng_draws_the_same_strings() -> None:
    prompts = RandomStrings(Vocabulary(tuple("abc")), 1, 9, backwards)
    mine, theirs = (np.random.default_rng(7) for _ in range(2))
    drawn = [prompts(mine).tokens.tolist() for _ in range(20)]
    assert drawn == [pickle.loads(pickle.dumps(prompts))(theirs).tokens.tolist() for _ in range(20)]
    assert len({*map(tuple, drawn)}) > 10


@pytest.mark.parametrize(
    ("low", "high", "many"),
    [(20, 20, "1,048,576"), (1, 19, "1,048,574"), (1, 5000, r"about 10\*\*1505")],  # 2**5001 - 2
)
def test_more_than_a_million_strings_are_not_listed(low: int, high: int, many: str) -> None:
    strings = RandomStrings(Vocabulary(tuple("ab$"), eos="$"), low, high, backwards)
    with pytest.raises(InvalidSetting, match=rf"{many} prompts are more than the 1,000,000 .* prompts=\[\.\.\.\]"):
        strings.support()
    assert low <= len(strings(np.random.default_rng(0)).tokens) <= high  # they can still be drawn


def test_up_to_a_million_prompts_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "MOST_LISTED", 14)
    assert len(RandomStrings(Vocabulary(("a", "b")), 1, 3, backwards).support()[0]) == 14
    with pytest.raises(InvalidSetting, match="16 prompts are more than the 14"):
        RandomStrings(Vocabulary(("a", "b")), 4, 4, backwards).support()


@pytest.mark.parametrize("answer", [first_letter, nothing])
def test_an_answer_may_be_shorter_than_the_string(answer: Callable[[IntArray], IntArray]) -> None:
    prompts = RandomStrings(Vocabulary(tuple("abc$"), eos="$"), 3, 4, answer)
    string, target, _ = prompts(np.random.default_rng(0))
    assert target.tolist() == [*answer(string).tolist(), 3]


@pytest.mark.parametrize("length", [0, -1, 1.0, True, "2", None])
def test_a_length_that_is_no_size_is_refused(length: int) -> None:
    vocabulary = Vocabulary(("a",))
    with pytest.raises(InvalidSize, match=f"min_length={length!r} is not a size"):
        RandomStrings(vocabulary, length, 3, backwards)
    with pytest.raises(InvalidSize, match=f"max_length={length!r} is not a size"):
        RandomStrings(vocabulary, 1, length, backwards)


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="min_length=4 is above max_length=3"):
        RandomStrings(Vocabulary(("a",)), 4, 3, backwards)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (prompt([0, 1, 2], []), r"a prompt has 3 tokens, \[0, 1, 2\], but .* at most 2"),
        (prompt([], [0, 1, 2, 0]), r"a target has 4 tokens, \[0, 1, 2, 0\], but .* at most 3"),
        (prompt([5], []), r"a prompt holds \[5\]; its ids must be integers from 0 to 4"),  # pad
        (prompt([-1], []), r"a prompt holds \[-1\]"),
        (prompt([], [4]), r"a target holds \[4\]; its ids must be integers from 0 to 3"),  # a symbol is not written
        (Prompt(np.array([0.0]), np.array([1])), "a prompt holds float64"),
        (Prompt(np.array([0]), np.array([1]), seed=-1), "seed"),
        (Prompt(np.array([0]), np.array([1]), seed=2**64), "seed"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused_and_no_row_changes(bad: Prompt, message: str) -> None:
    vocabulary = Vocabulary(("a", "b", "c"), symbols=("?",), eos="$")  # 4 actions, a symbol, pad 5
    episodes = Episodes.blank(vocabulary, 2, max_prompt=2, horizon=3, max_target=3)
    episodes.begin(..., [prompt([0], [1]), prompt([1], [0])])
    episodes.write(np.array([1, 2]))
    names = ("tokens", "target", "target_length", "length", "finished", "seed")
    before = [getattr(episodes, name).tolist() for name in names]
    with pytest.raises(InvalidPrompt, match=message):
        episodes.begin(..., [prompt([2], [2]), bad])
    assert [getattr(episodes, name).tolist() for name in names] == before


def test_a_prompt_may_be_empty_beside_one_that_is_not() -> None:
    episodes = Episodes.blank(Vocabulary(("a", "b")), 2, max_prompt=1, horizon=1, max_target=1)
    episodes.begin(..., [Prompt(np.array([]), np.array([1])), prompt([1], [])])  # NumPy's empty array is one of floats
    assert episodes.prompt.tolist() == [[2], [1]]


@pytest.mark.parametrize("wrong", [np.nan, "0.5", None, True, -0.5, 1.5, np.inf], ids=repr)
def test_probabilities_are_numbers_from_0_to_1(wrong: Any) -> None:
    two = (Prompt(np.array([0]), np.array([0])), Prompt(np.array([1]), np.array([1])))
    with pytest.raises(InvalidSetting, match=r"probability=.* is no number from 0 to 1"):
        ListedPrompts(two, (0.5, wrong))
    with pytest.raises(InvalidSetting, match=r"share=.* is no number from 0 to 1"):
        split(two, np.full(2, 0.5), wrong)


def test_a_split_needs_a_seed_and_something_likely_on_both_sides() -> None:
    two = (Prompt(np.array([0]), np.array([0])), Prompt(np.array([1]), np.array([1])))
    with pytest.raises(InvalidSetting, match="seed=-1 is no natural number"):
        split(two, np.full(2, 0.5), seed=-1)
    with pytest.raises(InvalidSetting, match="all 1 prompts of a part have probability 0"):
        split(two, np.array([1.0, 0.0]))
