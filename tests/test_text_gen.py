"""TextGen: one target, several, an end token, a tokenizer's tokens, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from transformers import GPT2Tokenizer

from textgym import Vocabulary, check_task
from textgym.envs.text_gen import text_gen
from textgym.errors import InvalidSetting, InvalidSize, InvalidTarget, InvalidVocabulary, UnknownName
from textgym.rendering import ansi

EOT = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a byte-level BPE tokenizer: 256 bytes, a few merges, an end token."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("æ", "Ī")]  # the last: two of the three bytes of 我
    tokens = [*letters, *["".join(merge) for merge in merges], EOT]
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    vocab = {token: i for i, token in enumerate(tokens)}
    GPT2Tokenizer(vocab=vocab, merges=merges).save_pretrained(folder)  # type: ignore[arg-type]  # its hint is too narrow
    return folder


def play(env: gym.Env[Any, Any], *tokens: int, seed: int = 0) -> tuple[list[float], bool, dict[str, Any]]:
    """Write tokens; return the rewards, whether the last of them ended the episode, and its info."""
    env.reset(seed=seed)
    steps = [env.step(token) for token in tokens]
    assert not any(terminated or truncated for _, _, terminated, truncated, _ in steps[:-1])
    return [float(reward) for _, reward, *_ in steps], steps[-1][2], steps[-1][4]


def test_the_default_is_three_characters_over_their_own_alphabet() -> None:
    env = gym.make("TextGen-v0")
    assert env.action_space == gym.spaces.Discrete(3)
    assert env.observation_space == gym.spaces.Box(0, 3, (3,), np.int32)
    assert env.reset(seed=0)[0].tolist() == [3, 3, 3]
    assert play(env, 0, 1, 2) == ([1, 1, 1], True, {"is_success": True, "metrics": {"success": 1.0}})
    assert play(env, 0, 0, 2) == ([1, -1, 1], True, {"is_success": False, "metrics": {"success": 0.0}})


def test_an_alphabet_and_an_end_token_widen_the_action_space() -> None:
    env = gym.make("TextGen-v0", target="hello", alphabet="abcdefghijklmnopqrstuvwxyz", eos="$", reward="terminal")
    assert env.action_space == gym.spaces.Discrete(27)
    assert env.observation_space == gym.spaces.Box(0, 27, (6,), np.int32)
    assert play(env, 7, 4, 11, 11, 14, 26)[0] == [0, 0, 0, 0, 0, 1]
    assert play(env, 7, 26) == ([0, 0], True, {"is_success": False, "metrics": {"success": 0.0}})


def test_a_token_of_several_characters_is_one_action() -> None:
    task = text_gen(target="abba", alphabet=["ab", "ba", "a"])
    assert task.prompts(np.random.default_rng(0)).target.tolist() == [0, 1]
    assert task.horizon == 2


def test_a_longer_horizon_counts_tokens_past_the_target_as_wrong() -> None:
    env = gym.make("TextGen-v0", target="ab", horizon=4)
    assert play(env, 0, 1, 0, 1) == ([1, 1, -1, -1], True, {"is_success": False, "metrics": {"success": 0.0}})
    env = gym.make("TextGen-v0", target="ab", horizon=4, eos="$")
    assert play(env, 0, 1, 2) == ([1, 1, 1], True, {"is_success": True, "metrics": {"success": 1.0}})


def test_stopping_on_an_error_ends_with_the_first_wrong_token() -> None:
    env = gym.make("TextGen-v0", stop_on_error=True)
    assert play(env, 0, 2)[:2] == ([1, -1], True)
    assert play(env, 0, 1, 2)[2]["is_success"]
    assert play(gym.make("TextGen-v0", target="ab", horizon=4, stop_on_error=True), 0, 1, 0)[:2] == ([1, 1, -1], True)


def test_of_several_targets_one_is_the_prompt_and_ends_at_its_own_length() -> None:
    env = gym.make("TextGen-v0", target=["ab", "bcad", "c"], horizon=6)
    assert env.action_space == gym.spaces.Discrete(4)
    assert env.observation_space == gym.spaces.Box(0, 4, (10,), np.int32)
    goals = set()
    for seed in range(20):
        goal = [token for token in env.reset(seed=seed)[0][:4].tolist() if token != 4]
        goals.add("".join("abcd"[token] for token in goal))
        rewards, terminated, info = play(env, *goal, seed=seed)
        assert (rewards, terminated, info["is_success"]) == ([1] * len(goal), True, True)
        wrong = [*goal[:-1], (goal[-1] + 1) % 4]
        assert play(env, *wrong, seed=seed)[1:] == (True, {"is_success": False, "metrics": {"success": 0.0}})
    assert goals == {"ab", "bcad", "c"}


def test_with_an_end_token_several_targets_end_by_it() -> None:
    env = gym.make("TextGen-v0", target=["a", "bb"], eos="$")
    assert env.observation_space == gym.spaces.Box(0, 3, (2 + 3,), np.int32)
    goal = [token for token in env.reset(seed=0)[0][:2].tolist() if token != 3]
    assert play(env, *goal, 2)[2]["is_success"]
    assert not play(env, 2)[2]["is_success"]
    assert play(env, 0, 0, 0)[1]


def test_a_tokenizer_gives_the_actions_and_its_end_token_is_off_unless_asked_for(tokenizer: str) -> None:
    task = text_gen(target="hello 我", tokenizer=tokenizer)
    assert (task.size, task.vocabulary.pad, task.vocabulary.eos) == (261, 261, None)
    assert [task.vocabulary.tokens[i] for i in task.vocabulary.encode("hello我")] == ["hell", "o", "æĪ", "ĳ"]
    assert task.horizon == 5  # hell, o, a blank, 我 in two pieces
    ended = text_gen(target="hello", tokenizer=tokenizer, eos=EOT)
    assert ended.vocabulary.eos_id == 260
    assert ended.prompts(np.random.default_rng(0)).target.tolist()[-1] == 260
    assert ended.horizon == 3
    assert Vocabulary.from_pretrained(tokenizer).eos == EOT


def test_pieces_of_a_character_decode_together_and_show_as_incomplete_alone(tokenizer: str) -> None:
    task = text_gen(target="我", tokenizer=tokenizer)
    head, tail = task.prompts(np.random.default_rng(0)).target.tolist()
    assert task.vocabulary.decode([head, tail]) == "我"
    episodes = task.blank(1)
    episodes.begin(..., [task.prompts(np.random.default_rng(0))])
    task.step(episodes, np.array([head]))
    assert ansi(episodes, 0) == "\N{REPLACEMENT CHARACTER}"
    task.step(episodes, np.array([tail]))
    assert ansi(episodes, 0) == "我"


def test_every_piece_decodes_to_something(tokenizer: str) -> None:
    vocabulary = Vocabulary.from_pretrained(tokenizer, symbols=("<question>",))
    rng = np.random.default_rng(0)
    for token in range(vocabulary.pad + 1):
        assert isinstance(vocabulary.decode([token]), str)
        assert vocabulary.show(token) or token == vocabulary.pad
    for _ in range(50):
        assert isinstance(vocabulary.decode(rng.integers(vocabulary.pad + 1, size=9)), str)
    assert vocabulary.decode([vocabulary.id("<question>"), *vocabulary.encode("hello")]) == "<question>hello"


def test_a_task_with_a_tokenizer_keeps_the_laws_and_pickles(tokenizer: str) -> None:
    task = text_gen(target=["hello", "我"], tokenizer=tokenizer, eos=EOT, reward="shaped")
    assert "batch_equals_singles" in check_task(task)
    assert pickle.loads(pickle.dumps(task)).vocabulary.encode("我").tolist() == task.vocabulary.encode("我").tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": ""}, InvalidTarget, "target='' is empty"),
        ({"target": []}, InvalidTarget, r"target=\[\] is empty"),
        ({"target": ["a", ""]}, InvalidTarget, "is empty or no text"),
        ({"target": ["a", 3]}, InvalidTarget, "is empty or no text"),
        ({"target": 3}, InvalidTarget, "target=3 is empty or no text"),
        ({"target": None}, InvalidTarget, "target=None is empty or no text"),
        ({"target": "爱!", "alphabet": "我爱"}, InvalidTarget, "'爱!' has '!', which is not in the alphabet '我爱'"),
        ({"target": "abx", "alphabet": ["ab", "c"]}, InvalidTarget, "'abx' has 'x'"),
        ({"target": "ab", "eos": "ab"}, InvalidTarget, "holds the end token 'ab'"),
        ({"target": "a", "alphabet": ""}, InvalidVocabulary, "at least one token"),
        ({"target": "a", "alphabet": "aba"}, InvalidVocabulary, "'a' is given twice"),
        ({"target": "a$", "eos": "$"}, InvalidVocabulary, r"eos='\$' is also a letter"),
        ({"target": "a", "eos": ""}, InvalidVocabulary, "'' is not a string"),
        ({"horizon": 2}, InvalidSetting, "horizon=2 is shorter than the longest target, 3 tokens.*horizon=3"),
        ({"horizon": 3, "eos": "$"}, InvalidSetting, "horizon=3 is shorter than the longest target, 4 tokens"),
        ({"horizon": 0}, InvalidSize, "horizon=0 is not a size"),
        ({"horizon": -3}, InvalidSize, "horizon=-3 is not a size"),
        ({"horizon": 3.0}, InvalidSize, r"horizon=3\.0 is not a size"),
        ({"horizon": True}, InvalidSize, "horizon=True is not a size"),
        ({"horizon": 4, "reward": "terminal"}, InvalidSetting, "could never be paid"),
        ({"reward": "tokens"}, UnknownName, r"no reward is called 'tokens'\. Did you mean 'token'\?"),
        ({"reward": None}, UnknownName, "no reward is called None"),
        ({"tokenizer": "gpt2", "alphabet": "ab"}, InvalidSetting, "alphabet='ab' and tokenizer='gpt2' both"),
        ({"tokenizer": "/no/such/folder"}, InvalidVocabulary, "'/no/such/folder' could not be loaded"),
    ],
)
def test_impossible_arguments_are_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        text_gen(**arguments)
    with pytest.raises(error, match=message):
        gym.make("TextGen-v0", **arguments)


def test_what_a_tokenizer_cannot_do_is_refused(tokenizer: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidVocabulary, match=r"eos='<end>' is no token of tokenizer=.*its own end token is"):
        text_gen("hello", tokenizer=tokenizer, eos="<end>")
    with pytest.raises(InvalidTarget, match="holds the end token"):
        text_gen(f"hello{EOT}", tokenizer=tokenizer, eos=EOT)
    with pytest.raises(InvalidVocabulary, match="could not be loaded"):
        text_gen("hello", tokenizer=str(tmp_path))
