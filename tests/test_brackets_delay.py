"""Brackets and Delay: what they pay, what the mask bars, and the optimum, each found another way."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from brute_force import assert_solved_as_played

from textgym import Task, load_task, solve
from textgym.envs.brackets import Stack, brackets
from textgym.envs.delay import delay
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting, InvalidSize, InvalidTarget, InvalidVocabulary

BRACKETS, DELAY = "TextGym/Brackets-v0", "TextGym/Delay-v0"


def reduced(word: str) -> str:
    """Return what is left of a word when pairs are struck out, the innermost first."""
    for pair in ("()", "[]", "{}", "<>"):
        if pair in word:
            return reduced(word.replace(pair, ""))
    return word


def hopeless(word: str) -> bool:
    """Whether a closing bracket is left, which nothing can mend."""
    return bool(set(reduced(word)) & set(")]}>"))


def prompts_of(task: Task) -> dict[str, str]:
    """Return all prompts of a task with their targets, as text with the end token."""
    pieces = task.vocabulary.pieces
    return {
        "".join(pieces[i] for i in prompt.tokens): "".join(pieces[i] for i in prompt.target)
        for prompt in task.prompts.support()[0]  # type: ignore[attr-defined]
    }


def test_the_defaults_spaces() -> None:
    assert gym.make(BRACKETS).action_space == gym.spaces.Discrete(5)
    assert gym.make(BRACKETS).observation_space == gym.spaces.Box(0, 5, (11,), np.int32)
    assert load_task(BRACKETS).vocabulary.pieces == tuple("()[]$")
    assert gym.make(DELAY).action_space == gym.spaces.Discrete(3)
    assert gym.make(DELAY).observation_space == gym.spaces.Box(0, 3, (8,), np.int32)


@pytest.mark.parametrize(
    ("kinds", "max_prompt", "horizon"), [(1, 1, 2), (1, 4, 3), (2, 4, 7), (2, 3, 2), (3, 3, 5), (2, 2, 1)]
)
def test_prompts_are_all_beginnings_that_can_be_completed(kinds: int, max_prompt: int, horizon: int) -> None:
    task = brackets(kinds, max_prompt, horizon)
    texts = ("".join(w) for n in range(1, max_prompt + 1) for w in itertools.product("()[]{}<>"[: 2 * kinds], repeat=n))
    expected = {word for word in texts if not hopeless(word) and len(reduced(word)) < horizon}
    targets = prompts_of(task)
    assert set(targets) == expected
    assert task.prompts.support()[1].tolist() == [1 / len(expected)] * len(expected)  # type: ignore[attr-defined]
    for word, target in targets.items():
        assert reduced(word + target[:-1]) == ""
        assert target[-1] == "$"
        assert len(target) == len(reduced(word)) + 1  # none is shorter


@pytest.mark.parametrize("kinds", [1, 2, 4])
@pytest.mark.parametrize("mask", [True, False])
def test_random_episodes_agree_with_striking_out_pairs(kinds: int, mask: bool) -> None:
    env, task = gym.make(BRACKETS, kinds=kinds, mask=mask), load_task(BRACKETS, kinds=kinds, mask=mask)
    tokens, rng, seen = task.vocabulary.tokens, np.random.default_rng(0), set()
    for seed in range(150):
        word, written, ended = task.vocabulary.decode(env.reset(seed=seed)[0][:4]), "", False
        while not ended:
            masks = env.unwrapped.action_masks()  # type: ignore[attr-defined]
            for token, allowed in zip(tokens, masks):
                fits = token not in ")]}>" or hopeless(word) or not hopeless(word + token)
                assert allowed == (fits or not mask)
            # most tokens are allowed ones; an environment takes the others, too
            token = str(rng.choice(np.array(tokens)[masks] if rng.random() < 0.8 else tokens))
            if reduced(word) == "" and rng.random() < 0.3:
                token = "$"
            _, reward, ended, truncated, info = env.step(tokens.index(token))
            written += token
            assert ended == (token == "$" or len(written) == 7)
            assert not truncated
            assert reward == float(token == "$" and reduced(word) == "")
            word += token if token != "$" else ""
        assert info == {"is_success": reward == 1, "metrics": {"success": reward}}
        seen.add((token, reward))
    assert {("$", 1.0), ("$", 0.0)} < seen


def test_an_episode_by_hand() -> None:
    env = gym.make(BRACKETS, kinds=1, max_prompt=1)  # the one prompt is "("
    assert env.reset(seed=0)[0].tolist() == [0, 3, 3, 3, 3]
    assert [env.step(token)[1:3] for token in (1, 2)] == [(0, False), (1, True)]  # ")$"
    env.reset()
    assert [env.step(token)[1:3] for token in (0, 1, 1, 2)] == [(0, False), (0, False), (0, False), (1, True)]  # "())$"
    env.reset()
    assert env.step(2)[1:3] == (0, True)  # too early
    env.reset()
    assert [env.step(token)[1:3] for token in (1, 1, 0, 2)] == [(0, False), (0, False), (0, False), (0, True)]  # broken
    env.reset()
    assert [env.step(token)[1:3] for token in (1, 0, 1, 0)] == [(0, False), (0, False), (0, False), (0, True)]  # no "$"


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_equal_stacks_have_equal_keys_and_no_others(kinds: int) -> None:
    task = brackets(kinds, max_prompt=2, horizon=4)
    rests: dict[int, str] = {}
    for prompt in task.prompts.support()[0]:  # type: ignore[attr-defined]
        texts = np.array(list(itertools.product(range(2 * kinds), repeat=3)))
        episodes = task.blank(len(texts))
        episodes.begin(..., [prompt] * len(texts))
        for column in texts.T:
            episodes.write(column)
        for row, key in enumerate(Stack(kinds)(episodes).tolist()):
            word = task.vocabulary.decode(episodes.tokens[row])
            rest = "broken" if hopeless(word) else reduced(word)
            assert rests.setdefault(key, rest) == rest
            assert (key == -1) == (rest == "broken")
            assert (key == 0) == (rest == "")
    assert len(set(rests.values())) == len(rests)


@pytest.mark.parametrize(
    "arguments", [{}, {"kinds": 1, "horizon": 4}, {"kinds": 3, "max_prompt": 2, "horizon": 6}, {"horizon": 2}]
)
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_mask_bars_nothing_that_is_best(arguments: dict[str, Any], gamma: float) -> None:
    masked, free = (solve(BRACKETS, gamma, mask=mask, **arguments) for mask in (True, False))
    targets = prompts_of(load_task(BRACKETS, **arguments)).values()
    for solution in (masked, free):
        np.testing.assert_allclose(solution.values[0], [gamma ** (len(target) - 1) for target in targets])
    assert masked.optimal_completions.tolist() == free.optimal_completions.tolist()
    assert masked.states < free.states


def completions(depth: int, tokens: int, kinds: int) -> int:
    """Count the texts of at most so many tokens that close what is open, then end."""
    if depth < 0 or tokens <= depth:
        return 0
    more = completions(depth - 1, tokens - 1, kinds) + kinds * completions(depth + 1, tokens - 1, kinds)
    return (depth == 0) + more


@pytest.mark.parametrize(
    ("arguments", "by_hand"),
    [
        ({"kinds": 1, "max_prompt": 1, "horizon": 4}, {"(": 3}),  # )$  ())$  )()$
        ({"kinds": 2, "max_prompt": 1, "horizon": 3}, {"(": 1, "[": 1}),
        ({"kinds": 2, "max_prompt": 2, "horizon": 3}, {"()": 3, "[[": 1, "(": 1}),  # $  ()$  []$
        ({}, {}),
    ],
)
def test_right_completions_are_counted(arguments: dict[str, Any], by_hand: dict[str, int]) -> None:
    task, solution = load_task(BRACKETS, **arguments), solve(BRACKETS, **arguments)
    found = dict(zip(prompts_of(task), solution.optimal_completions.tolist()))
    assert {word: found[word] for word in by_hand} == by_hand
    kinds = arguments.get("kinds", 2)
    assert found == {word: completions(len(reduced(word)), task.horizon, kinds) for word in found}
    assert solution.optimal_return == pytest.approx(1.0)


def paid(written: str, target: str, late: int) -> list[float]:
    """Return the reward of each step: the pay of every right token goes to the step at which it is due."""
    rewards = [0.0] * len(target)
    for place, (one, other) in enumerate(zip(written, target)):
        rewards[min(place + late, len(target) - 1)] += (one == other) / len(target)
    return rewards


@pytest.mark.parametrize(
    ("written", "late", "rewards"),
    [
        ("abcd", 0, [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ("abcd", 1, [0, 1 / 4, 1 / 4, 2 / 4]),
        ("abcd", 3, [0, 0, 0, 1]),
        ("bbcd", 1, [0, 0, 1 / 4, 2 / 4]),  # a first fault costs its own token and no other
        ("aacd", 2, [0, 0, 1 / 4, 2 / 4]),
        ("dddd", 2, [0, 0, 0, 1 / 4]),
    ],
)
def test_late_pay_by_hand(written: str, late: int, rewards: list[float]) -> None:
    env = gym.make(DELAY, target="abcd", delay=late)
    env.reset()
    steps = [env.step("abcd".index(token)) for token in written]
    assert [reward for _, reward, *_ in steps] == rewards == paid(written, "abcd", late)
    assert [ended for _, _, ended, _, _ in steps] == [False, False, False, True]
    assert steps[-1][4]["is_success"] == (written == "abcd")


@pytest.mark.parametrize("late", range(7))
def test_a_batch_of_ragged_rows_agrees_with_a_loop(late: int) -> None:
    target, n = "abacbca", 40
    task, rng = load_task(DELAY, target=target, alphabet="cab", delay=late), np.random.default_rng(late)
    episodes = task.blank(n)
    episodes.begin(..., task.draw([rng] * n))
    earned: list[list[float]] = [[] for _ in range(n)]
    while (rows := np.flatnonzero(~episodes.finished)).size:
        rows = rng.permutation(rows)[: 1 + 2 * len(rows) // 3]  # rows fall apart in length
        actions = rng.integers(3, size=len(rows))
        for row, reward in zip(rows.tolist(), task.step(episodes, actions, rows).tolist()):
            earned[row].append(reward)
    for row in range(n):
        assert earned[row] == pytest.approx(paid(episodes.text(row), target, late))


@pytest.mark.parametrize("late", [0, 3, 7])
def test_the_text_earns_one_whatever_the_delay(late: int) -> None:
    solution = solve(DELAY, delay=late)
    assert solution.optimal_return == pytest.approx(1.0)
    assert solution.optimal_completions.tolist() == [1]
    discounted = solve(DELAY, 0.9, delay=late)
    assert discounted.optimal_return == pytest.approx(sum(0.9 ** min(place + late, 7) for place in range(8)) / 8)
    # after t tokens: which of the last min(t, delay) were right, and if all were, whether all before were, too
    assert solution.states == sum(2 ** min(t, late) + (t > late) for t in range(8))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize(
    ("id", "arguments"),
    [
        (BRACKETS, {"kinds": 1, "max_prompt": 2, "horizon": 5}),
        (BRACKETS, {"kinds": 2, "max_prompt": 1, "horizon": 4}),
        (BRACKETS, {"kinds": 1, "max_prompt": 3, "horizon": 4, "mask": False}),
        (DELAY, {"target": "abca", "delay": 0}),
        (DELAY, {"target": "abca", "delay": 2}),
        (DELAY, {"target": "abab", "alphabet": "abc", "delay": 3}),
        (DELAY, {"target": "a", "alphabet": "ab", "delay": 0}),
    ],
)
def test_the_optimum_is_that_of_playing_every_text(id: str, arguments: dict[str, Any], gamma: float) -> None:
    assert_solved_as_played(id, gamma, **arguments)


def test_a_delay_beyond_the_bits_of_a_key_is_paid_but_not_merged() -> None:
    long = delay("ab" * 40, delay=70)
    assert long.state_key is None
    assert delay("ab" * 40, delay=61).state_key is not None
    episodes: Episodes = long.blank(1)
    episodes.begin(..., long.draw([np.random.default_rng(0)]))
    assert [float(long.step(episodes, np.array([place % 2]))[0]) for place in range(80)] == [0] * 70 + [1 / 80] * 9 + [
        71 / 80
    ]


def test_keys_of_the_longest_delay_that_has_one_do_not_overflow() -> None:
    task = delay("ab" * 40, delay=61)
    assert task.state_key is not None
    episodes = task.blank(2)
    episodes.begin(..., task.draw([np.random.default_rng(0)] * 2))
    for place in range(70):
        task.step(episodes, np.array([place % 2, place % 2 if place != 2 else 1]))
    assert task.state_key(episodes).tolist() == [2**62 - 1, 2**62 - 2]


@pytest.mark.parametrize(
    ("factory", "arguments", "error", "message"),
    [
        (brackets, {"kinds": 0}, InvalidSetting, "kinds=0 is out of range. Give an integer from 1 to 4"),
        (brackets, {"kinds": 5}, InvalidSetting, "kinds=5 is out of range"),
        (brackets, {"kinds": "()"}, InvalidSetting, r"kinds='\(\)' is out of range"),
        (brackets, {"kinds": True}, InvalidSetting, "kinds=True is out of range"),
        (brackets, {"max_prompt": 0}, InvalidSize, "max_prompt=0 is not a size"),
        (brackets, {"max_prompt": None}, InvalidSize, "max_prompt=None is not a size"),
        (brackets, {"horizon": 0}, InvalidSize, "horizon=0 is not a size"),
        (brackets, {"horizon": 7.0}, InvalidSize, r"horizon=7\.0 is not a size"),
        (brackets, {"mask": 1}, InvalidSetting, "mask=1 is neither True nor False"),
        (brackets, {"max_prompt": 1, "horizon": 1}, InvalidSetting, "horizon=1 cannot complete.*Give 2 or more"),
        (brackets, {"max_prompt": 20}, InvalidSetting, "kinds=2 and max_prompt=20 make more than the 100,000 beginn"),
        (brackets, {"horizon": 58}, InvalidSetting, "words of 62 tokens.*more than 64 bits. Give fewer tokens"),
        (brackets, {"kinds": 4, "horizon": 27}, InvalidSetting, "words of 31 tokens"),
        (delay, {"target": ""}, InvalidTarget, "target='' is empty"),
        (delay, {"target": ["ab", "ba"]}, InvalidTarget, r"target=\['ab', 'ba'\] is no text. Give one string"),
        (delay, {"target": 12}, InvalidTarget, "target=12 is no text"),
        (delay, {"target": "abd", "alphabet": "abc", "delay": 1}, InvalidTarget, "'abd' has 'd'.*alphabet 'abc'"),
        (delay, {"alphabet": "abca"}, InvalidVocabulary, "'a' is given twice"),
        (delay, {"alphabet": ""}, InvalidVocabulary, "at least one token"),
        (delay, {"alphabet": 3}, InvalidVocabulary, "alphabet=3 is no text"),
        (delay, {"delay": -1}, InvalidSetting, "delay=-1 is no natural number"),
        (delay, {"delay": 1.5}, InvalidSetting, r"delay=1\.5 is no natural number"),
        (delay, {"delay": True}, InvalidSetting, "delay=True is no natural number"),
        (delay, {"delay": 8}, InvalidSetting, "delay=8 is longer.*8 tokens.*Give at most 7"),
    ],
)
def test_impossible_arguments_are_refused_by_name(
    factory: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        factory(**arguments)


def test_words_that_are_just_short_enough_are_taken() -> None:
    assert brackets(horizon=57).horizon == 57
    assert brackets(kinds=4, max_prompt=1, horizon=29).horizon == 29
    assert brackets(kinds=1, max_prompt=2, horizon=200).horizon == 200
    task = brackets(kinds=2, max_prompt=1, horizon=60)  # the deepest stack: 61 of the last kind
    episodes = task.blank(1)
    episodes.begin(..., [task.prompts.support()[0][1]])  # type: ignore[attr-defined]
    for _ in range(59):
        task.step(episodes, np.array([2]))
    assert Stack(2)(episodes).tolist() == [2**61 - 2]
    assert task.action_mask(episodes).tolist() == [[True, False, True, True, True]]
