"""Copy and Reverse: prompt, target, reward and end."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym import load_task
from textgym.envs.copy import copy
from textgym.envs.reverse import reverse
from textgym.errors import InvalidSetting, InvalidSize, InvalidVocabulary, UnknownName

FACTORIES = {"TextGym/Copy-v0": copy, "TextGym/Reverse-v0": reverse}
ids = pytest.mark.parametrize("id", FACTORIES)


def test_the_target_is_the_prompt_and_an_end_token_or_its_reverse() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        string, target, _ = copy().prompts(rng)
        seen.add(len(string))
        assert target.tolist() == [*string.tolist(), 8]
        string, target, _ = reverse().prompts(rng)
        assert target.tolist() == [*string.tolist()[::-1], 8]
    assert seen == {1, 2, 3, 4, 5, 6}


@ids
def test_the_defaults_are_eight_letters_and_lengths_one_to_six(id: str) -> None:
    env = gym.make(id)
    assert env.action_space == gym.spaces.Discrete(9)
    assert env.observation_space == gym.spaces.Box(0, 9, (13,), np.int32)
    assert load_task(id).vocabulary.tokens == tuple("abcdefgh$")


@ids
@given(seed=st.integers(0, 10_000))
def test_writing_the_answer_earns_one_and_succeeds(id: str, seed: int) -> None:
    env = gym.make(id)
    observation, _ = env.reset(seed=seed)
    string = [token for token in observation[:6].tolist() if token != 9]
    assert observation.tolist() == [9] * (6 - len(string)) + string + [9] * 7  # prompt to the right, blank answer
    answer = [*(string if "Copy" in id else string[::-1]), 8]
    total = 0.0
    for place, token in enumerate(answer):
        observation, reward, terminated, truncated, info = env.step(token)
        assert reward == 1 / len(answer)
        assert terminated == (place == len(string))
        assert not truncated
        total += float(reward)
    assert total == pytest.approx(1)
    assert observation[6:].tolist() == answer + [9] * (7 - len(answer))
    assert info == {"is_success": True, "metrics": {"success": 1.0}}


@ids
def test_nothing_is_earned_after_a_wrong_letter(id: str) -> None:
    env = gym.make(id, alphabet="ab", min_length=3, max_length=3)
    string = env.reset(seed=1)[0][:3]
    answer = [*(string if "Copy" in id else string[::-1]), 2]
    answer[1] = 1 - answer[1]
    steps = [env.step(token) for token in answer]
    assert [reward for _, reward, *_ in steps] == [0.25, 0, 0, 0]
    assert [terminated for _, _, terminated, _, _ in steps] == [False, False, False, True]
    assert steps[-1][4] == {"is_success": False, "metrics": {"success": 0.0}}


@ids
def test_the_end_token_ends_and_so_does_a_full_completion(id: str) -> None:
    env = gym.make(id, max_length=3)
    env.reset(seed=0)
    assert env.step(8)[2]
    env.reset(seed=0)
    assert [env.step(0)[2] for _ in range(4)] == [False, False, False, True]


@ids
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alphabet": ""}, InvalidVocabulary, "letter|token"),
        ({"alphabet": "aab"}, InvalidVocabulary, "'a' is given twice"),
        ({"alphabet": "ab$"}, InvalidVocabulary, r"'\$' is given twice"),
        ({"min_length": 0}, InvalidSize, "min_length=0 is not a size"),
        ({"max_length": -1}, InvalidSize, "max_length=-1 is not a size"),
        ({"max_length": 2.5}, InvalidSize, r"max_length=2\.5 is not a size"),
        ({"max_length": "6"}, InvalidSize, "max_length='6' is not a size"),
        ({"min_length": 4, "max_length": 3}, InvalidSetting, "min_length=4 is above max_length=3"),
        ({"reward": "shape"}, UnknownName, r"no reward is called 'shape'. Did you mean 'shaped'\?"),
    ],
)
def test_impossible_arguments_are_refused_by_name(
    id: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        FACTORIES[id](**arguments)
