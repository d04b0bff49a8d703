"""Vocabulary: ids, texts, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym import Vocabulary
from textgym.errors import InvalidTarget, InvalidVocabulary
from textgym.vocabulary import CHARACTERS, WORDS


def test_ids_run_through_tokens_then_symbols_then_pad() -> None:
    vocabulary = Vocabulary(("a", "b"), symbols=("?", "!"), eos="$")
    assert vocabulary.tokens == ("a", "b", "$")
    assert [vocabulary.id(piece) for piece in "ab$?!"] == [0, 1, 2, 3, 4]
    assert vocabulary.size == 3  # symbols are no actions
    assert vocabulary.pad == 5
    assert vocabulary.eos_id == 2


def test_an_end_token_among_the_tokens_keeps_its_place() -> None:
    vocabulary = Vocabulary(("a", "$", "b"), eos="$")
    assert vocabulary.tokens == ("a", "$", "b")
    assert vocabulary.eos_id == 1


def test_without_an_end_token_there_is_no_end_id() -> None:
    assert Vocabulary(("a",)).eos_id is None


def test_characters_are_taken_once_in_order_of_first_appearance() -> None:
    assert Vocabulary.from_characters("我爱我你").tokens == ("我", "爱", "你")
    assert Vocabulary.from_characters("abba", eos="$", symbols="?!").pieces == ("a", "b", "$", "?", "!")


def test_words_are_taken_once_and_joined_by_one_blank() -> None:
    vocabulary = Vocabulary.from_words("to be  or not\nto be", eos="<end>")
    assert vocabulary.tokens == ("to", "be", "or", "not", "<end>")
    assert vocabulary.encode(" not   to be ").tolist() == [3, 0, 1]
    assert vocabulary.decode([3, 0, 1]) == "not to be"
    assert Vocabulary.from_words(["New York", "New York", "Rome"]).tokens == ("New York", "Rome")


def test_ids_are_int32() -> None:
    for text in ("ab", ""):
        assert Vocabulary(("a", "b")).encode(text).dtype == np.int32


def test_text_is_cut_into_the_longest_tokens_that_fit() -> None:
    vocabulary = Vocabulary(("a", "b", "ab", "abba"))
    assert vocabulary.encode("abbaabba").tolist() == [3, 3]
    assert vocabulary.encode("abaab").tolist() == [2, 0, 2]
    assert vocabulary.encode("abb").tolist() == [2, 1]


def test_symbols_can_be_read_in_text() -> None:
    vocabulary = Vocabulary(("a", "b"), symbols=("|",), eos="$")
    assert vocabulary.encode("a|b").tolist() == [0, 3, 1]
    assert vocabulary.decode([0, 3, 1]) == "a|b"


def test_decoding_leaves_out_pads_and_end_tokens() -> None:
    vocabulary = Vocabulary(("a", "b"), eos="$")
    assert vocabulary.decode(np.array([3, 3, 0, 1, 2, 3], np.int32)) == "ab"
    assert vocabulary.decode([]) == ""


def test_shown_tokens_name_the_end_and_hide_the_pad() -> None:
    vocabulary = Vocabulary(("a", "b"), symbols=("↗",), eos="$")
    assert [vocabulary.show(i) for i in range(vocabulary.pad + 1)] == ["a", "b", "$", "↗", ""]


@given(st.text(alphabet="ab我爱\n😀", max_size=20))
def test_characters_survive_encoding_and_decoding(text: str) -> None:
    vocabulary = Vocabulary.from_characters("ab我爱\n😀", eos="$")
    ids = vocabulary.encode(text)
    assert ids.tolist() == ["ab我爱\n😀".index(letter) for letter in text]
    assert vocabulary.decode(ids) == text


@given(st.lists(st.sampled_from(["to", "be", "or", "爱"]), max_size=10))
def test_words_survive_encoding_and_decoding(words: list[str]) -> None:
    vocabulary = Vocabulary.from_words("to be or 爱")
    ids = vocabulary.encode(" ".join(words))
    assert len(ids) == len(words)
    assert vocabulary.decode(ids) == " ".join(words)


@given(st.sets(st.text("ab", min_size=1, max_size=3), min_size=1), st.text("ab", max_size=12))
def test_whatever_can_be_encoded_decodes_to_itself(tokens: set[str], text: str) -> None:
    vocabulary = Vocabulary(tuple(sorted(tokens)))
    try:
        ids = vocabulary.encode(text)
    except InvalidTarget:
        return
    assert vocabulary.decode(ids) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": ()}, "at least one token"),
        ({"tokens": (), "eos": "$"}, "at least one token"),
        ({"tokens": ("a", "b", "a")}, "'a' is given twice"),
        ({"tokens": ("a",), "symbols": ("a",)}, "'a' is given twice"),
        ({"tokens": ("a",), "symbols": ("$",), "eos": "$"}, r"'\$' is given twice"),
        ({"tokens": ("a", "")}, "'' is not a string"),
        ({"tokens": ("a",), "eos": ""}, "'' is not a string"),
        ({"tokens": ("a", 7)}, "7 is not a string"),
        ({"tokens": ("a", None)}, "None is not a string"),
    ],
)
def test_an_impossible_vocabulary_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidVocabulary, match=message):
        Vocabulary(**arguments)


def test_a_foreign_letter_is_named_with_its_text_and_the_alphabet() -> None:
    with pytest.raises(InvalidTarget, match="'我!' has '!', which is not in the vocabulary '我爱'"):
        Vocabulary.from_characters("我爱").encode("我!")


def test_a_foreign_word_is_named() -> None:
    with pytest.raises(InvalidTarget, match="'to bee' has 'bee'"):
        Vocabulary.from_words("to be").encode("to bee")


def test_errors_are_value_errors() -> None:
    assert issubclass(InvalidVocabulary, ValueError)
    assert issubclass(InvalidTarget, ValueError)


@pytest.mark.parametrize("codec", [CHARACTERS, WORDS])
def test_vocabularies_pickle_to_equals(codec: Any) -> None:
    vocabulary = Vocabulary(("a", "b"), symbols=("?",), eos="$", codec=codec)
    vocabulary.encode("a")  # its caches are filled by now
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
    assert hash(vocabulary) == hash(Vocabulary(("a", "b", "$"), ("?",), "$", codec))
