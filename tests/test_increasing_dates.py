"""IncreasingNumbers and Dates, RL4LMs' synthetic tasks: against RL4LMs' own formula and Python's calendar."""

from __future__ import annotations

import datetime
import itertools
import math
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym import Task, TextGenEnv, load_task, solve
from textgym.envs.dates import dates
from textgym.envs.increasing_numbers import increasing_numbers
from textgym.errors import InvalidSetting, InvalidSize
from textgym.rollouts import likely_actions, random_return, rollout, write_random
from textgym.solving import Solution

NUMBERS, DATES = "TextGym/IncreasingNumbers-v0", "TextGym/Dates-v0"
CHARACTERS = "0123456789-"


def played(env: gym.Env[Any, Any], text: str | list[str]) -> tuple[list[float], bool, dict[str, Any]]:
    """Write tokens; return the rewards, whether the last one ended the episode, and its info."""
    env.reset(seed=0)
    ids = env.unwrapped.task.vocabulary.ids  # type: ignore[attr-defined]
    steps = [env.step(ids[token]) for token in text]
    assert not any(ended for _, _, ended, _, _ in steps[:-1])
    return [float(reward) for _, reward, *_ in steps], steps[-1][2], steps[-1][4]


def in_order(text: str, min_tokens: int) -> float:
    """RL4LMs' reward of a text."""
    numbers = [float(token) for token in text.split()]
    count = 1
    for before, after in itertools.pairwise(numbers):
        if after <= before:
            break
        count += 1
    return count / max(len(numbers), min_tokens / 2)


@pytest.mark.parametrize(
    ("text", "counted"),
    [("012345", 6), ("034789", 6), ("456789", 6), ("011234", 2), ("543210", 1), ("900000", 1), ("123450", 5)],
)
def test_numbers_before_the_first_fault_count(text: str, counted: int) -> None:
    rewards, ended, info = played(gym.make(NUMBERS), text)
    assert rewards == [0] * 5 + [pytest.approx(counted / 6)]
    assert ended
    assert info == {"is_success": counted == 6, "metrics": {"success": float(counted == 6)}}


def test_numbers_are_words() -> None:
    env = gym.make(NUMBERS, largest=12, horizon=3)
    assert env.action_space == gym.spaces.Discrete(13)
    assert env.observation_space == gym.spaces.Box(0, 13, (3,), np.int32)
    assert played(env, ["8", "10", "12"])[0] == [0, 0, 1]  # as numbers, not as text
    assert load_task(NUMBERS, largest=12).vocabulary.decode([8, 10, 12]) == "8 10 12"


@pytest.mark.parametrize(("largest", "horizon"), [(9, 6), (2, 3), (30, 20), (1, 1), (5, 2)])
def test_rewards_are_rl4lms(largest: int, horizon: int) -> None:
    task = load_task(NUMBERS, largest=largest, horizon=horizon)
    paid = set()
    for writer in (write_random, likely_actions):
        returns, episodes = rollout(task, writer, 400, seed=0)
        for row in range(400):
            assert returns[row] == pytest.approx(in_order(episodes.text(row), horizon))
            paid.add(float(returns[row]))
        assert task.measure(episodes)["success"].tolist() == (returns == 1).tolist()
    assert 1.0 in paid


@pytest.mark.parametrize(("largest", "horizon"), [(9, 6), (9, 10), (3, 2), (40, 30)])
def test_every_choice_of_numbers_has_one_right_order(largest: int, horizon: int) -> None:
    solution = solve(NUMBERS, largest=largest, horizon=horizon)
    assert solution.optimal_return == 1
    assert solution.optimal_completions.tolist() == [math.comb(largest + 1, horizon)]
    assert solution.states <= 1 + horizon * (largest + 1 + horizon)


def test_what_can_still_be_counted_is_what_a_state_is_worth() -> None:
    solution = solve(NUMBERS)
    for first in range(10):
        after = solution.levels[0].following[0, first]
        assert solution.values[1][after] == pytest.approx(min(10 - first, 6) / 6)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"largest": 0}, InvalidSize, "largest=0 is not a size"),
        ({"largest": 9.0}, InvalidSize, r"largest=9\.0 is not a size"),
        ({"largest": True}, InvalidSize, "largest=True is not a size"),
        ({"horizon": 0}, InvalidSize, "horizon=0 is not a size"),
        ({"horizon": "6"}, InvalidSize, "horizon='6' is not a size"),
        ({"horizon": 11}, InvalidSetting, "horizon=11 is more than the 10 numbers from 0 to 9 .* Give at most 10"),
        ({"largest": 4}, InvalidSetting, "horizon=6 is more than the 5 numbers from 0 to 4"),
    ],
)
def test_impossible_numbers_are_refused(kwargs: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        increasing_numbers(**kwargs)


def is_date(text: str) -> bool:
    """Python's own reading of the whole text."""
    try:
        datetime.date(int(text[:4]), int(text[5:7]), int(text[8:]))
    except ValueError:
        return False
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII) is not None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("2024-02-29", True),
        ("2023-02-29", False),
        ("1900-02-29", False),
        ("2000-02-29", True),
        ("0400-02-29", True),
        ("0000-02-28", False),  # there is no year 0000
        ("0001-01-01", True),
        ("9999-12-31", True),
        ("2024-04-31", False),
        ("2024-13-01", False),
        ("2024-00-10", False),
        ("2024-10-00", False),
        ("20240-1-01", False),
        ("2024--1-01", False),
        ("2024-01-1-", False),
        ("2024001001", False),
        ("----------", False),
    ],
)
def test_dates_of_the_calendar_are_paid(text: str, right: bool) -> None:
    rewards, ended, info = played(gym.make(DATES), text)
    assert rewards == [0] * 9 + [float(right)]
    assert ended
    assert info == {"is_success": right, "metrics": {"success": float(right)}}
    assert right == is_date(text)


def rewards_of(texts: list[str], task: Task) -> list[float]:
    """Write all texts side by side; return what each one's last token earns."""
    episodes = task.blank(len(texts))
    episodes.begin(..., [task.prompts(np.random.default_rng(0))] * len(texts))
    ids = np.array([[CHARACTERS.index(one) for one in text] for text in texts])
    for column in range(9):
        assert not task.step(episodes, ids[:, column]).any()
    return [float(reward) for reward in task.step(episodes, ids[:, 9])]


YEARS = ["0000", "0001", "0004", "0100", "0400", "1582", "1900", "1999", "2000", "2023", "2024", "2100", "9996", "9999"]


def test_every_month_and_day_of_many_years_is_what_python_says() -> None:
    task = dates()
    texts = [f"{year}-{month:02}-{day:02}" for year in YEARS for month in range(100) for day in range(100)]
    assert rewards_of(texts, task) == [float(is_date(text)) for text in texts]


def test_every_year_has_a_leap_day_where_python_says() -> None:
    texts = [f"{year:04}-02-29" for year in range(10_000)]
    assert rewards_of(texts, dates()) == [float(is_date(text)) for text in texts]
    assert sum(rewards_of(texts, dates())) == 2424


def test_random_texts_are_what_python_says() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(5000):
        text = list("2024-02-29")
        for place in rng.integers(10, size=rng.integers(4)):
            text[place] = CHARACTERS[rng.integers(11)]
        texts.append("".join(text))
    assert rewards_of(texts, dates()) == [float(is_date(text)) for text in texts]


def state_of(solution: Solution, text: str) -> int:
    """Return the state that a beginning leads to, in the level of its length."""
    state = 0
    for level, one in zip(solution.levels, text):
        state = int(level.following[state, CHARACTERS.index(one)])
    return state


@pytest.mark.parametrize("text", [year + "-02-" for year in YEARS] + ["2024-04-", "2024-13-", "2024-00-", "20-24-01"])
def test_a_beginning_is_worth_the_best_of_its_ends_played_through_the_environment(text: str) -> None:
    env, solution = gym.make(DATES, mask=False), solve(DATES, 0.9, mask=False)
    ends = ["".join(end) for end in itertools.product(CHARACTERS, repeat=10 - len(text))]
    earned = [played(env, text + end)[0][-1] for end in ends]
    assert earned == [float(is_date(text + end)) for end in ends]
    worth = solution.values[len(text)][state_of(solution, text)]
    assert worth == pytest.approx(0.9 ** (9 - len(text)) * max(earned))


def test_all_the_calendars_days_are_optimal_and_the_mask_loses_none() -> None:
    masked, free = solve(DATES), solve(DATES, mask=False)
    assert masked.optimal_return == free.optimal_return == 1.0
    assert masked.optimal_completions.tolist() == free.optimal_completions.tolist() == [3_652_059]
    assert datetime.date.max.toordinal() == 3_652_059
    assert solve(DATES, 0.9).optimal_return == solve(DATES, 0.9, mask=False).optimal_return == pytest.approx(0.9**9)


def test_what_the_mask_bars_is_worth_nothing() -> None:
    masked, free = solve(DATES), solve(DATES, mask=False)
    queue, seen = [(0, 0)], set()
    for depth, (level, q) in enumerate(zip(masked.levels, free.action_values)):
        following = []
        for mine, theirs in queue:
            assert (q[theirs][~level.allowed[mine]] == 0).all()
            pairs = zip(level.following[mine], free.levels[depth].following[theirs])
            following += [(int(a), int(b)) for a, b in pairs if a >= 0]
        queue = sorted(set(following))
        seen.add(len(queue))
    assert max(seen) > 40


def test_the_mask_leaves_what_the_form_allows() -> None:
    env = gym.make(DATES).unwrapped
    assert isinstance(env, TextGenEnv)
    assert env.action_masks().any()  # before the first reset, too
    for text in ("2024-02-29", "99-9999999", "----------"):  # the environment accepts what the mask bars
        env.reset(seed=0)
        for place, one in zip("YYYY-MM-DD", text):
            allowed = "".join(np.array(list(CHARACTERS))[env.action_masks()])
            assert allowed == ("-" if place == "-" else "0123456789")
            env.step(CHARACTERS.index(one))
    free = gym.make(DATES, mask=False).unwrapped
    assert isinstance(free, TextGenEnv)
    free.reset(seed=0)
    assert free.action_masks().all()


def test_chance_within_the_mask_writes_a_date_as_often_as_the_page_says() -> None:
    mean, error = random_return(dates(), n=20_000)
    assert abs(mean - 3_652_059 / 10**8) < 4 * error
    assert round(11**10 / 3_652_059) == 7102


def test_states_are_merged_by_what_is_to_come() -> None:
    solution = solve(DATES, mask=False)
    assert solution.states < 250
    for one, other, alike in (
        ("2004", "2024", True),
        ("1900", "2023", True),
        ("2000", "1900", False),
        ("0000", "2000", False),
        ("2004-0", "2008-0", True),
        ("200", "240", True),
        ("000", "040", False),
    ):
        assert (state_of(solution, one) == state_of(solution, other)) is alike


@pytest.mark.parametrize("mask", [1, 0, "True", None, "form"])
def test_a_mask_that_is_no_truth_value_is_refused(mask: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"mask={mask!r} is neither True nor False"):
        dates(mask=mask)
