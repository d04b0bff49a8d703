"""Trap and Repeat: a bait beside the text that pays, and a proxy reward beside the gold one."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym import load_task, solve
from textgym.envs.repeat import WORDS, repeat
from textgym.envs.trap import trap
from textgym.errors import InvalidSetting, InvalidSize, InvalidTarget, InvalidVocabulary
from textgym.rollouts import rollout, write_random

TRAP, REPEAT = "TextGym/Trap-v0", "TextGym/Repeat-v0"


def played(env: gym.Env[Any, Any], text: list[str], seed: int = 0) -> tuple[list[float], bool, dict[str, Any]]:
    """Write tokens; return the rewards, whether the last one ended the episode, and its info."""
    env.reset(seed=seed)
    ids = env.unwrapped.task.vocabulary.ids  # type: ignore[attr-defined]
    steps = [env.step(ids[token]) for token in text]
    assert not any(ended for _, _, ended, _, _ in steps[:-1])
    return [float(reward) for _, reward, *_ in steps], steps[-1][2], steps[-1][4]


def test_the_text_pays_one_and_the_end_token_a_tenth() -> None:
    env = gym.make(TRAP)
    assert env.action_space == gym.spaces.Discrete(4)
    assert env.observation_space == gym.spaces.Box(0, 4, (6,), np.int32)
    yes, no = ({"is_success": told, "metrics": {"success": float(told)}} for told in (True, False))
    assert played(env, list("banana")) == ([0] * 5 + [1], True, yes)
    assert played(env, list("$")) == ([0.1], True, no)
    assert played(env, list("bana$")) == ([0] * 4 + [0.1], True, no)
    assert played(env, list("banan$")) == ([0] * 5 + [0.1], True, no)  # the sixth token, and not the text
    assert played(env, list("bananb")) == ([0] * 6, True, no)
    assert played(env, list("banan")) == ([0] * 5, False, {})


@pytest.mark.parametrize("bait", [0.1, 0.5, 0.999])
def test_the_text_is_best_and_a_short_sight_takes_the_bait(bait: float) -> None:
    far, near = solve(TRAP, bait=bait), solve(TRAP, 0.9 * bait ** (1 / 5), bait=bait)
    eos, b = 3, 0
    assert far.optimal_return == 1.0
    assert far.policy[0].tolist() == [[True, False, False, False]]  # b
    assert near.optimal_return == pytest.approx(bait)  # gamma ** 5 is below the bait: stop at once
    assert near.policy[0].tolist() == [[False, False, False, True]]
    wrong = int(far.levels[0].following[0, 1])
    assert far.values[1][wrong] == bait  # after a fault the bait is all there is
    assert far.action_values[0][0, [b, eos]].tolist() == [1.0, bait]


def test_chance_finds_the_bait_nearly_always() -> None:
    returns, episodes = rollout(load_task(TRAP), write_random, 4000, seed=0)
    assert set(returns.tolist()) <= {0.0, 0.1, 1.0}
    stopped = (episodes.completion == 3).any(axis=1)
    assert abs(stopped.mean() - (1 - 0.75**6)) < 0.03
    assert returns == pytest.approx(np.where(stopped, 0.1, np.where(episodes.matched, 1.0, 0.0)))


def test_of_several_texts_each_ends_where_it_is_long() -> None:
    env = gym.make(TRAP, target=["ab", "bca"], alphabet="abcd")
    seen = set()
    for seed in range(20):
        shown = [token for token in env.reset(seed=seed)[0].tolist() if token < 5]
        seen.add(len(shown))
        steps = [env.step(token) for token in shown]
        assert [reward for _, reward, *_ in steps] == [0] * (len(shown) - 1) + [1]
        assert [ended for _, _, ended, _, _ in steps] == [False] * (len(shown) - 1) + [True]
    assert seen == {2, 3}


@pytest.mark.parametrize("bait", [0, 1, -0.1, 1.5, float("nan"), float("inf"), "0.1", None, True])
def test_what_is_no_bait_is_refused(bait: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"bait=.* baits nobody.* Give a number between 0 and 1"):
        trap(bait=bait)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"target": ""}, InvalidTarget, "target='' is empty or no text"),
        ({"target": "a$"}, InvalidVocabulary, r"eos='\$' is also a letter"),
        ({"target": "ab", "alphabet": "a"}, InvalidTarget, "target 'ab' has 'b'"),
        ({"alphabet": "banan"}, InvalidVocabulary, "'a' is given twice"),
    ],
)
def test_targets_are_refused_as_textgen_refuses_them(kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        trap(**kwargs)


def test_one_word_again_and_again_is_paid_best_and_is_not_wanted() -> None:
    env = gym.make(REPEAT)
    assert env.action_space == gym.spaces.Discrete(12)
    rewards, ended, info = played(env, ["great"] * 6)
    assert sum(rewards) == pytest.approx(1.0)
    assert ended
    assert info == {"metrics": {"gold": pytest.approx(1.0 / 4.5)}}
    rewards, ended, info = played(env, ["fair", "fine", "nice", "good", "superb", "great"])
    assert sum(rewards) == pytest.approx(0.75)
    assert ended
    assert info == {"metrics": {"gold": pytest.approx(1.0)}}
    rewards, _, info = played(env, ["the", "film", "is", "great", "and", "great"])
    assert rewards == pytest.approx([0, 0, 0, 1 / 6, 0, 1 / 6])
    assert info == {"metrics": {"gold": pytest.approx(1.0 / 4.5)}}
    assert played(env, ["plot"] * 6)[2] == {"metrics": {"gold": 0.0}}


def test_the_optimum_repeats_the_best_word() -> None:
    solution = solve(REPEAT)
    assert solution.optimal_return == pytest.approx(1.0)
    assert solution.states == 6
    assert all(best.tolist() == [[word == "great" for word in WORDS]] for best in solution.policy)
    assert solve(REPEAT, words={"good": 2, "great": 2.0, "bad": 0}).optimal_completions.tolist() == [2**6]


@pytest.mark.parametrize(
    ("words", "horizon"),
    [(None, 6), (None, 20), ({"a": 1, "b": 0.5, "c": 0}, 2), ({"only": 3.0}, 4), ({"a": 1, "b": 2, "c": 3}, 2)],
)
def test_proxy_and_gold_are_what_a_loop_counts(words: dict[str, float] | None, horizon: int) -> None:
    values = WORDS if words is None else words
    task = load_task(REPEAT, words=words, horizon=horizon)
    returns, episodes = rollout(task, write_random, 300, seed=1)
    gold = task.measure(episodes)["gold"]
    most = max(
        (sum(values[word] for word in some) for k in range(horizon + 1) for some in itertools.combinations(values, k)),
        default=0,
    )
    for row in range(300):
        written = episodes.text(row).split()
        assert len(written) == horizon
        assert returns[row] == pytest.approx(sum(values[word] for word in written) / horizon)
        assert gold[row] == pytest.approx(sum(values[word] for word in set(written)) / most)
    assert 0 <= gold.min() <= gold.max() <= 1 + 1e-12


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"words": {}}, InvalidVocabulary, r"words=\{\} holds no words"),
        ({"words": ["good"]}, InvalidVocabulary, r"words=\['good'\] holds no words. Give a mapping"),
        ({"words": {"very good": 1}}, InvalidVocabulary, "words has 'very good', which is no word"),
        ({"words": {"": 1}}, InvalidVocabulary, "words has '', which is no word"),
        ({"words": {3: 1}}, InvalidVocabulary, "words has 3, which is no word"),
        ({"words": {"bad": -1}}, InvalidSetting, "gives 'bad' the value -1"),
        ({"words": {"odd": float("nan")}}, InvalidSetting, "gives 'odd' the value nan"),
        ({"words": {"odd": True}}, InvalidSetting, "gives 'odd' the value True"),
        ({"words": {"odd": "1"}}, InvalidSetting, "gives 'odd' the value '1'"),
        ({"words": {"the": 0.0}}, InvalidSetting, "add up to 0. Give at least one above 0"),
        ({"words": {"much": 10**308, "more": 1}}, InvalidSetting, r"'much' the value 1000.* from 0 to 1e\+30"),
        ({"horizon": 0}, InvalidSize, "horizon=0 is not a size"),
        ({"horizon": 2.0}, InvalidSize, r"horizon=2\.0 is not a size"),
    ],
)
def test_impossible_arguments_of_repeat_are_refused(kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        repeat(**kwargs)
