"""Descriptions in another vocabulary's tokens: what stands around them, how long they are, what cannot be written."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import textgym
from textgym import TextObservation, VectorTextObservation, Vocabulary
from textgym.describing import Describer, Scale, even
from textgym.errors import InvalidSetting, InvalidTarget, InvalidVocabulary
from textgym.scenes import SCENES, cart_pole
from textgym.spelling import Frame, Spelling, longest

CART = "TextGym/CartPole-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a byte-level tokenizer, whose tokens are letters."""
    from transformers import GPT2Tokenizer

    place = tmp_path_factory.mktemp("tokenizer")
    pieces = [*map(chr, range(33, 127)), "Ġ", "Ċ", "<|endoftext|>"]  # a blank and a new line
    merges = [("t", "h"), ("Ġ", "th")]
    vocab = {piece: i for i, piece in enumerate([*pieces, "th", "Ġth"])}
    made: Any = GPT2Tokenizer
    made(vocab=vocab, merges=merges).save_pretrained(place)
    return str(place)


@pytest.mark.parametrize(
    ("instruction", "gap", "text"),
    [
        ("", " ", "S"),
        ("Act:", " ", "Act: S"),
        ("Act:", "", "Act:S"),
        ("{state}", " ", "S"),
        ("Now {state} Push", " ", "Now S Push"),
        ("{state}\n", " ", "S\n"),
    ],
)
def test_what_stands_around_a_description(instruction: str, gap: str, text: str) -> None:
    assert Frame.of(instruction, gap)("S") == text


def test_answers_follow_a_blank_where_none_is_there() -> None:
    words = ("left", "right")
    assert Frame.of("").answers(words, True) == (" left", " right")
    assert Frame.of("{state} Push").answers(words, True) == (" left", " right")
    assert Frame.of("{state} Push:\n").answers(words, True) == words
    assert Frame.of("").answers(("左", "右"), False) == ("左", "右")


@pytest.mark.parametrize("instruction", [3, None, "{state} {state}"])
def test_instructions_that_are_none_are_refused(instruction: Any) -> None:
    with pytest.raises(InvalidSetting, match="instruction="):
        Frame.of(instruction)
    with pytest.raises(InvalidSetting, match="instruction="):
        TextObservation(gymnasium.make("CartPole-v1"), instruction=instruction)
    with pytest.raises(InvalidSetting, match="instruction="):
        gymnasium.make(CART, instruction=instruction, tokenizer="none")


def test_the_longest_text_by_hand() -> None:
    describer = Describer((even("x", 0, 1, 11), Scale((0.0,), ("up", "down"))), between=", ", end=".")
    vocabulary = Vocabulary.from_characters("x0123456789updown, .!")
    assert longest(describer, vocabulary) == len("x10") + len(", down.")
    spelling = Spelling(describer, vocabulary, Frame("", " !"))
    assert spelling.width == len("x10, down. !")
    rows = spelling.tokens([[0.99, 1.0], [0.0, -1.0]])
    assert [vocabulary.decode(row) for row in rows] == ["x10, down. !", "x0, up. !"]
    assert rows.dtype == np.int32
    assert (rows[1, :3] == vocabulary.pad).all()  # right-aligned
    assert (rows[1, 3:] != vocabulary.pad).all()


@pytest.mark.parametrize("text", ["compact", "english"])
def test_states_are_told_in_a_tokenizers_tokens(text: str, folder: str) -> None:
    vocabulary, said = Vocabulary.from_pretrained(folder), cart_pole.SCENE.describers[text]
    env: Any = gymnasium.make(CART, text=text, tokenizer=folder, instruction="Push the{state} cart").unwrapped
    plain = gymnasium.make(CART, observation="state")
    seen, state = env.reset(seed=0)[0], plain.reset(seed=0)[0]
    widest = 0
    for step in range(12):
        assert seen in env.observation_space
        assert vocabulary.decode(seen) == f"Push the{said(state)} cart"
        widest = max(widest, int((seen != vocabulary.pad).sum()))
        seen, state = env.step(step % 2)[0], plain.step(step % 2)[0]
    assert widest <= env.observation_space.shape[0] == env.rows.view.describer.width
    assert env.observation_space.action_words == (" left", " right")
    assert env.observation_space.pieces == vocabulary.pieces


def test_it_is_what_the_wrapper_shows_of_gymnasiums_own(folder: str) -> None:
    mine = gymnasium.make_vec(CART, 2, text="english", tokenizer=folder, instruction="Act:")
    own = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    theirs = VectorTextObservation(own, "english", None, "Act:", Vocabulary.from_pretrained(folder))
    assert theirs.single_observation_space.action_words == (" left", " right")  # type: ignore[attr-defined]
    seen, shown = mine.reset(seed=0)[0], theirs.reset(seed=0)[0]
    for _ in range(30):
        assert np.array_equal(seen, shown)
        seen, shown = mine.step(np.ones(2, int))[0], theirs.step(np.ones(2, int))[0]


def test_advice_is_counted_in_the_width(folder: str) -> None:
    vocabulary = Vocabulary.from_pretrained(folder)
    env = TextObservation(gymnasium.make("CartPole-v1"), "compact", "expert", "Go {state} now", vocabulary)
    seen = env.reset(seed=0)[0]
    assert vocabulary.decode(seen).endswith("of 10. now")
    assert (seen == vocabulary.pad).sum() <= 3  # x9 for x15, and the like


def test_copies_and_specs_go_on_identically(folder: str) -> None:
    env = gymnasium.make(CART, text="english", tokenizer=folder)
    env.reset(seed=1)
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    seen = env.step(0)[0]
    assert all(np.array_equal(one.step(0)[0], seen) for one in copies)
    assert env.spec is not None
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space


def test_what_a_tokenizer_lacks_is_refused_at_once(folder: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"instruction='Act:' is for a language model.*tokenizer="):
        gymnasium.make(CART, instruction="Act:")
    with pytest.raises(InvalidVocabulary, match="could not be loaded"):
        gymnasium.make(CART, tokenizer=str(tmp_path / "none"))
    letters = Vocabulary.from_characters("xvaw0123456789 ")
    with pytest.raises(InvalidTarget, match="'T', which is not in the vocabulary"):
        Spelling(cart_pole.ENGLISH, letters)
    with pytest.raises(InvalidSetting, match=r"touch the state\. Put blanks around"):
        TextObservation(gymnasium.make("CartPole-v1"), instruction="State({state})")


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_every_known_environment_has_a_word_for_each_action(language: str) -> None:
    for name in SCENES:
        lake = gymnasium.make(f"{name}-v1").unwrapped if name.startswith("FrozenLake") else None
        words = SCENES[name](lake).speeches[language].words
        firsts = [word.split()[0] if language == "english" else word[0] for word in words]
        assert len({*firsts}) == len(words), f"{name}: {words}"


def test_the_ids_of_text_gym_say_what_their_actions_are_called() -> None:
    words = {id: gymnasium.make(id).observation_space.action_words for id in textgym.control_ids()}  # type: ignore[attr-defined]
    assert words == {
        CART: (" left", " right"),
        "TextGym/FrozenLake-v0": (" left", " down", " right", " up"),
        "TextGym/MountainCar-v0": (" left", " wait", " right"),
    }
