"""Lock and Recall: what they pay, what they ask, and the optimum, each found another way."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from brute_force import assert_solved_as_played

from textgym import load_task, solve
from textgym.envs.lock import lock
from textgym.envs.recall import recall
from textgym.errors import InvalidSetting, InvalidSize, InvalidVocabulary

LOCK, RECALL = "TextGym/Lock-v0", "TextGym/Recall-v0"


def secret_of(**arguments: Any) -> list[int]:
    """Return the token ids that open a lock."""
    target: list[int] = lock(**arguments).prompts(np.random.default_rng(0)).target.tolist()
    return target


def test_the_defaults_spaces() -> None:
    assert gym.make(LOCK).action_space == gym.spaces.Discrete(10)
    assert gym.make(LOCK).observation_space == gym.spaces.Box(0, 10, (3,), np.int32)
    assert gym.make(RECALL).action_space == gym.spaces.Discrete(4)
    assert gym.make(RECALL).observation_space == gym.spaces.Box(0, 10, (9,), np.int32)
    assert load_task(RECALL).vocabulary.pieces == tuple("0123abcd.?")


@pytest.mark.parametrize("end_on_error", [False, True])
def test_only_the_whole_secret_pays(end_on_error: bool) -> None:
    arguments: dict[str, Any] = {"alphabet": "abc", "length": 4, "code": 5, "end_on_error": end_on_error}
    env, secret = gym.make(LOCK, **arguments), secret_of(**arguments)
    opened = 0
    for text in itertools.product(range(3), repeat=4):
        assert env.reset()[0].tolist() == [3] * 4  # nothing is shown
        ended, written = False, 0
        while not ended:
            _, reward, ended, truncated, info = env.step(text[written])
            written += 1
            right = list(text[:written]) == secret[:written]
            assert ended == (written == 4 or (end_on_error and not right))
            assert reward == float(written == 4 and right)
            assert not truncated
        opened += info["is_success"] is True
        assert info["is_success"] == (list(text) == secret)
    assert opened == 1  # of 3**4: uniform writing succeeds with probability 3**-4


def test_a_code_is_a_lock_and_another_code_another_one() -> None:
    state = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002 (read to see it is not used)
    secrets = [secret_of(length=12, code=code) for code in (*range(20), 10**30)]
    assert len({*map(tuple, secrets)}) == 21
    assert secrets == [secret_of(length=12, code=code) for code in (*range(20), 10**30)]
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == state  # noqa: NPY002
    assert secret_of(code=0) == np.random.default_rng(0).integers(10, size=3).tolist()
    env = gym.make(LOCK)
    env.reset(seed=4)
    assert [env.step(token)[1] for token in secret_of()] == [0, 0, 1]  # the environment's seed does not matter


def test_every_secret_is_equally_likely() -> None:
    counts = Counter(tuple(secret_of(alphabet="abc", length=2, code=code)) for code in range(900))
    assert len(counts) == 9
    assert all(abs(count - 100) < 50 for count in counts.values())


def answer_to(prompt: str) -> str:
    """Return what the facts of a prompt say about its key."""
    facts, _, key = prompt.partition("?")
    values: dict[str, str] = dict(re.findall(r"([a-z])([0-9])", facts))
    return values[key]


CASES: list[dict[str, Any]] = [
    {},
    {"gap": 3},
    {"keys": "abcdefghij", "values": "0123456789", "facts": 10},
    {"keys": "a", "values": "01", "facts": 1},
]


@pytest.mark.parametrize("arguments", CASES)
def test_the_right_value_pays_and_no_other(arguments: dict[str, Any]) -> None:
    env, task = gym.make(RECALL, **arguments), load_task(RECALL, **arguments)
    rng, seen = np.random.default_rng(0), set()
    for seed in range(60):
        observation, _ = env.reset(seed=seed)
        prompt = task.vocabulary.decode(observation[:-1])
        facts, gap = arguments.get("facts", 3), arguments.get("gap", 0)
        assert re.fullmatch(rf"([a-j][0-9]){{{facts}}}\.{{{gap}}}\?[a-j]", prompt)
        assert len(set(re.findall("[a-j]", prompt))) == facts  # each key once, and the one asked for among them
        token = int(rng.integers(task.size))
        _, reward, terminated, truncated, info = env.step(token)
        right = task.vocabulary.tokens[token] == answer_to(prompt)
        assert (reward, terminated, truncated) == (float(right), True, False)
        assert info == {"is_success": right, "metrics": {"success": float(right)}}
        seen.add(right)
    assert seen == {True, False}


def test_recall_by_hand() -> None:
    task = recall(gap=2)
    prompts, _ = task.prompts.support()  # type: ignore[attr-defined]
    targets = {task.vocabulary.decode(prompt.tokens): task.vocabulary.decode(prompt.target) for prompt in prompts}
    assert targets["a1c0b3..?c"] == "0"
    assert targets["a1c0b3..?a"] == "1"
    assert targets["d2b2a0..?b"] == "2"
    assert "a1c0b3..?d" not in targets
    assert "a1a0b3..?a" not in targets


def test_the_support_of_facts_is_what_is_drawn_equally_often() -> None:
    task, rng = recall(keys="abc", values="01", facts=2, gap=1), np.random.default_rng(0)
    prompts, probabilities = task.prompts.support()  # type: ignore[attr-defined]
    listed = {task.vocabulary.decode(prompt.tokens): prompt.target.tolist() for prompt in prompts}
    assert len(prompts) == len(listed) == 3 * 2 * 2**2 * 2
    assert probabilities.tolist() == [1 / 48] * 48
    drawn = [task.prompts(rng) for _ in range(4800)]
    counts = Counter(task.vocabulary.decode(prompt.tokens) for prompt in drawn)
    assert set(counts) == set(listed)
    assert all(abs(count - 100) < 50 for count in counts.values())
    assert all(listed[task.vocabulary.decode(prompt.tokens)] == prompt.target.tolist() for prompt in drawn)


def test_more_than_a_million_facts_are_not_listed() -> None:
    with pytest.raises(InvalidSetting, match=r"16,134,720 prompts are more than the 1,000,000 .* prompts="):
        solve(RECALL, keys="abcdefgh", values="0123456", facts=4)  # 8 * 7 * 6 * 5 * 7**4 * 4


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize(
    ("id", "arguments"),
    [
        (LOCK, {"alphabet": "ab", "length": 4}),
        (LOCK, {"alphabet": "abc", "length": 3, "code": 7, "end_on_error": True}),
        (RECALL, {"keys": "abc", "values": "01", "facts": 2}),
        (RECALL, {"keys": "ab", "values": "012", "facts": 2, "gap": 2}),
    ],
)
def test_the_optimum_is_that_of_playing_every_text(id: str, arguments: dict[str, Any], gamma: float) -> None:
    solution = assert_solved_as_played(id, gamma, **arguments)
    assert solution.optimal_return == pytest.approx(gamma ** (arguments.get("length", 1) - 1))
    assert set(solution.optimal_completions.tolist()) == {1}


@pytest.mark.parametrize("end_on_error", [False, True])
def test_the_default_lock_has_two_states_a_place_or_one(end_on_error: bool) -> None:
    solution = solve(LOCK, end_on_error=end_on_error)
    assert solution.states == (3 if end_on_error else 5)
    assert solution.optimal_return == 1.0


def test_the_default_recall_is_solved_exactly() -> None:
    solution = solve(RECALL)
    assert solution.states == 24 * 64 * 3
    assert solution.optimal_return == pytest.approx(1.0)
    assert set(solution.optimal_completions.tolist()) == {1}


@pytest.mark.parametrize(
    ("factory", "arguments", "error", "message"),
    [
        (lock, {"alphabet": ""}, InvalidVocabulary, "alphabet='' has no letter"),
        (lock, {"alphabet": 10}, InvalidVocabulary, "alphabet=10 has no letter"),
        (lock, {"alphabet": "010"}, InvalidVocabulary, "'0' is given twice"),
        (lock, {"length": 0}, InvalidSize, "length=0 is not a size"),
        (lock, {"length": float("nan")}, InvalidSize, "length=nan is not a size"),
        (lock, {"code": -1}, InvalidSetting, "code=-1 is no natural number. Give an integer of at least 0"),
        (lock, {"code": None}, InvalidSetting, "code=None is no natural number"),
        (lock, {"code": True}, InvalidSetting, "code=True is no natural number"),
        (lock, {"end_on_error": 1}, InvalidSetting, "end_on_error=1 is neither True nor False"),
        (recall, {"keys": ""}, InvalidVocabulary, "keys='' has no letter"),
        (recall, {"values": []}, InvalidVocabulary, r"values=\[\] has no letter"),
        (recall, {"keys": "abca"}, InvalidVocabulary, "'a' is given twice"),
        (recall, {"values": "00"}, InvalidVocabulary, "'0' is given twice"),
        (recall, {"values": "01a"}, InvalidVocabulary, "'a' is given twice"),
        (recall, {"keys": "abc?"}, InvalidVocabulary, r"'\?' is given twice"),
        (recall, {"values": "01."}, InvalidVocabulary, r"'\.' is given twice"),
        (recall, {"facts": 0}, InvalidSize, "facts=0 is not a size"),
        (recall, {"facts": 5}, InvalidSetting, "facts=5 needs as many keys; there are 4"),
        (recall, {"gap": -1}, InvalidSetting, "gap=-1 is no natural number"),
        (recall, {"gap": 1.0}, InvalidSetting, r"gap=1\.0 is no natural number"),
    ],
)
def test_impossible_arguments_are_refused_by_name(
    factory: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        factory(**arguments)
