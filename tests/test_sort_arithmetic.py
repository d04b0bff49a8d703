"""Sort and Arithmetic: answers, rewards, prompts and the optimum, each found another way."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from brute_force import assert_solved_as_played
from hypothesis import given
from hypothesis import strategies as st

from textgym import load_task, solve
from textgym.env import TextGenEnv
from textgym.envs.arithmetic import arithmetic
from textgym.envs.sort import sort
from textgym.errors import InvalidSetting, InvalidSize, InvalidVocabulary, UnknownName
from textgym.prompts import ListedPrompts

SORT, ARITHMETIC = "TextGym/Sort-v0", "TextGym/Arithmetic-v0"


def answer_to(prompt: str, alphabet: str = "abcdef", base: int = 10, order: str = "forward") -> str:
    """Return what is to be written, by Python's own sorting and adding."""
    if "=" not in prompt:
        return "".join(sorted(prompt, key=alphabet.index)) + "$"
    total = sum(int(number, base) for number in prompt[:-1].split("+"))
    numeral = ""
    while total or not numeral:
        numeral = str(total % base) + numeral
        total //= base
    return (numeral if order == "forward" else numeral[::-1]) + "$"


def played(id: str, text: str, prompt: str, **arguments: Any) -> list[tuple[float, bool, dict[str, Any]]]:
    """Return reward, end and info of each token of a text that is written after a prompt."""
    task = load_task(id, **arguments)
    prompts, _ = task.prompts.support()  # type: ignore[attr-defined]
    asked = next(one for one in prompts if task.vocabulary.decode(one.tokens) == prompt)
    env = TextGenEnv(replace(task, prompts=ListedPrompts((asked,))))
    env.reset(seed=0)
    steps = [env.step(task.vocabulary.tokens.index(token)) for token in text]
    return [(reward, terminated, info) for _, reward, terminated, _, info in steps]


RIGHT, WRONG = ({"is_success": good, "metrics": {"success": float(good)}} for good in (True, False))


def test_an_episode_of_sorting_by_hand() -> None:
    assert played(SORT, "aab$", "aba", alphabet="ab") == [
        (0.25, False, {}),
        (0.25, False, {}),
        (0.25, False, {}),
        (0.25, True, RIGHT),
    ]
    steps = played(SORT, "abb$", "aba", alphabet="ab", reward="token")  # the third place wants b, and gets it
    assert [reward for reward, *_ in steps] == [1, -1, 1, 1]
    assert steps[-1] == (1, True, WRONG)


def test_letters_are_sorted_in_the_order_of_the_alphabet_given() -> None:
    assert [reward for reward, *_ in played(SORT, "bba$", "bab", alphabet="ba", reward="terminal")] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "prompt", "text"),
    [
        ({}, "17+5=", "22$"),
        ({"order": "reversed"}, "62+55=", "711$"),
        ({"digits": 1}, "0+0=", "0$"),
        ({"digits": 1}, "9+9=", "18$"),
        ({"digits": 1, "order": "reversed"}, "5+5=", "01$"),
        ({"digits": 2, "base": 2}, "11+1=", "100$"),
        ({"digits": 1, "base": 2}, "1+0=", "1$"),
    ],
)
def test_sums_by_hand(arguments: dict[str, Any], prompt: str, text: str) -> None:
    steps = played(ARITHMETIC, text, prompt, **arguments)
    assert [reward for reward, *_ in steps] == [1 / len(text)] * len(text)
    assert [ended for _, ended, _ in steps] == [False] * (len(text) - 1) + [True]
    assert steps[-1][2] == RIGHT


def test_a_wrong_digit_earns_nothing_and_nothing_comes_after_it() -> None:
    steps = played(ARITHMETIC, "12$", "17+5=")
    assert [reward for reward, *_ in steps] == [0, 0, 0]
    assert steps[-1][2] == WRONG
    assert [ended for _, ended, _ in played(ARITHMETIC, "2222", "17+5=")] == [False] * 3 + [True]  # a full one ends


def test_the_defaults_spaces() -> None:
    assert gym.make(SORT).action_space == gym.spaces.Discrete(7)
    assert gym.make(SORT).observation_space == gym.spaces.Box(0, 7, (9,), np.int32)
    assert gym.make(ARITHMETIC).action_space == gym.spaces.Discrete(11)
    assert gym.make(ARITHMETIC).observation_space == gym.spaces.Box(0, 13, (10,), np.int32)
    assert load_task(ARITHMETIC).vocabulary.pieces == tuple("0123456789$+=")


CASES: list[tuple[str, dict[str, Any]]] = [
    (SORT, {}),
    (SORT, {"alphabet": "fab", "min_length": 3, "max_length": 7}),
    (ARITHMETIC, {}),
    (ARITHMETIC, {"digits": 3, "base": 2, "order": "reversed"}),
    (ARITHMETIC, {"digits": 25, "base": 7}),  # beyond 64 bits
]


@pytest.mark.parametrize(("id", "arguments"), CASES)
@pytest.mark.parametrize("reward", ["shaped", "token", "terminal"])
def test_rewards_of_random_episodes_agree_with_a_loop(id: str, arguments: dict[str, Any], reward: str) -> None:
    env, task = gym.make(id, reward=reward, **arguments), load_task(id, **arguments)
    known = {name: value for name, value in arguments.items() if name in ("alphabet", "base", "order")}
    rng = np.random.default_rng(0)
    for seed in range(30):
        prompt = task.vocabulary.decode(env.reset(seed=seed)[0][: task.max_prompt])
        target, written, ended = answer_to(prompt, **known), "", False
        while not ended:
            place = min(len(written), len(target) - 1)
            token = target[place] if rng.random() < 0.8 else str(rng.choice(list(task.vocabulary.tokens)))
            written += token
            _, paid, ended, truncated, info = env.step(task.vocabulary.tokens.index(token))
            right = written[-1] == target[len(written) - 1 : len(written)]
            assert ended == (token == "$" or len(written) == task.horizon)
            assert not truncated
            assert (
                paid
                == {
                    "shaped": 1 / len(target) if target.startswith(written) else 0.0,
                    "token": 1.0 if right else -1.0,
                    "terminal": float(ended and written == target),
                }[reward]
            )
        assert info["is_success"] == (written == target)


@given(st.integers(1, 30), st.integers(2, 10), st.sampled_from(["forward", "reversed"]), st.integers(0, 2**32))
def test_drawn_sums_are_right_and_have_no_leading_zeros(digits: int, base: int, order: str, seed: int) -> None:
    task = arithmetic(digits, base, order)
    asked, target, chance = task.prompts(np.random.default_rng(seed))
    text = task.vocabulary.decode(asked)
    for number in text[:-1].split("+"):
        assert len(number) <= digits
        assert number == "0" or number[0] != "0"
    assert text.endswith("=")
    assert "".join(task.vocabulary.tokens[token] for token in target) == answer_to(text, base=base, order=order)
    assert len(asked) <= task.prompts.max_length == 2 * digits + 2
    assert len(target) <= task.prompts.max_target == task.horizon
    assert chance == 0


def test_both_numbers_are_uniform_and_independent() -> None:
    task, rng = arithmetic(digits=2, base=3), np.random.default_rng(0)
    pairs = Counter(task.vocabulary.decode(task.prompts(rng).tokens) for _ in range(8100))
    assert len(pairs) == 81
    assert all(abs(count - 100) < 5 * np.sqrt(100) for count in pairs.values())


def test_the_support_of_additions_is_all_that_is_drawn() -> None:
    task, rng = arithmetic(digits=1, base=3), np.random.default_rng(0)
    prompts, probabilities = task.prompts.support()  # type: ignore[attr-defined]
    listed = {task.vocabulary.decode(prompt.tokens): prompt.target.tolist() for prompt in prompts}
    assert list(listed) == ["0+0=", "0+1=", "0+2=", "1+0=", "1+1=", "1+2=", "2+0=", "2+1=", "2+2="]
    assert probabilities.tolist() == [1 / 9] * 9
    drawn = [task.prompts(rng) for _ in range(200)]
    assert {task.vocabulary.decode(prompt.tokens): prompt.target.tolist() for prompt in drawn} == listed


def test_more_than_a_million_sums_are_not_listed() -> None:
    with pytest.raises(InvalidSetting, match=r"100,000,000 prompts are more than the 1,000,000 .* prompts="):
        solve(ARITHMETIC, digits=4)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize(
    ("id", "arguments"),
    [
        (SORT, {"alphabet": "ba", "max_length": 2}),
        (SORT, {"alphabet": "ab", "min_length": 3, "max_length": 3, "reward": "token"}),
        (ARITHMETIC, {"digits": 1, "base": 2}),
        (ARITHMETIC, {"digits": 1, "base": 3, "order": "reversed", "reward": "token"}),
        (ARITHMETIC, {"digits": 2, "base": 2, "reward": "terminal"}),
    ],
)
def test_the_optimum_is_that_of_playing_every_text(id: str, arguments: dict[str, Any], gamma: float) -> None:
    assert_solved_as_played(id, gamma, **arguments)


@pytest.mark.parametrize(("id", "prompts"), [(SORT, 6 + 6**2 + 6**3 + 6**4), (ARITHMETIC, 100**2)])
def test_the_defaults_are_solved_exactly(id: str, prompts: int) -> None:
    solution = solve(id)
    assert len(solution.levels[0].prompt) == prompts
    assert solution.optimal_return == pytest.approx(1.0)
    assert set(solution.optimal_completions.tolist()) == {1}  # the answer alone


@pytest.mark.parametrize(
    ("factory", "arguments", "error", "message"),
    [
        (sort, {"alphabet": ""}, InvalidVocabulary, "alphabet='' has no letter"),
        (sort, {"alphabet": 3}, InvalidVocabulary, "alphabet=3 has no letter"),
        (sort, {"alphabet": "aab"}, InvalidVocabulary, "'a' is given twice"),
        (sort, {"alphabet": "ab$"}, InvalidVocabulary, r"'\$' is given twice"),
        (sort, {"min_length": 0}, InvalidSize, "min_length=0 is not a size"),
        (sort, {"max_length": True}, InvalidSize, "max_length=True is not a size"),
        (sort, {"min_length": 5}, InvalidSetting, "min_length=5 is above max_length=4"),
        (sort, {"reward": "shape"}, UnknownName, r"no reward is called 'shape'. Did you mean 'shaped'\?"),
        (arithmetic, {"digits": 0}, InvalidSize, "digits=0 is not a size"),
        (arithmetic, {"digits": 2.0}, InvalidSize, r"digits=2\.0 is not a size"),
        (arithmetic, {"digits": True}, InvalidSize, "digits=True is not a size"),
        (arithmetic, {"base": 1}, InvalidSetting, "base=1 is out of range. Give an integer from 2 to 10"),
        (arithmetic, {"base": 11}, InvalidSetting, "base=11 is out of range"),
        (arithmetic, {"base": float("nan")}, InvalidSetting, "base=nan is out of range"),
        (arithmetic, {"base": "10"}, InvalidSetting, "base='10' is out of range"),
        (arithmetic, {"order": "backward"}, UnknownName, "no order is called 'backward'.*forward, reversed"),
        (arithmetic, {"order": None}, UnknownName, "no order is called None"),
        (arithmetic, {"reward": "sum"}, UnknownName, "no reward is called 'sum'"),
    ],
)
def test_impossible_arguments_are_refused_by_name(
    factory: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        factory(**arguments)
