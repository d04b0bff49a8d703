"""Task.step: write, end, score; and all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym import Episodes, Prompt, Task, Vocabulary
from textgym.arrays import Array, BoolArray
from textgym.ends import EitherEnd, reached_target_length, wrote_eos, wrote_error
from textgym.errors import InvalidReward
from textgym.prompts import ListedPrompts
from textgym.rewards import right_token

VOCABULARY = Vocabulary(("a", "b"), eos="$")
PROMPTS = ListedPrompts(
    (
        Prompt(np.array([0], np.int32), np.array([0, 2], np.int32)),
        Prompt(np.array([1], np.int32), np.array([1, 1, 2], np.int32)),
    )
)
UNKNOWN = ListedPrompts((Prompt(np.array([], np.int32), np.array([], np.int32)),))


def task_of(reward: Callable[[Episodes], Any] = right_token, **rest: Any) -> Task:
    return Task(VOCABULARY, PROMPTS, reward, horizon=4, **rest)


def begun(task: Task, n: int, ragged: bool = False) -> Episodes:
    """Return rows with the two prompts in turn; the even rows of ragged ones have written an a."""
    episodes = task.blank(n)
    episodes.begin(..., [PROMPTS.prompts[i % 2] for i in range(n)])
    if ragged:
        rows = np.arange(0, n, 2)
        episodes.write(np.zeros(len(rows), np.int64), rows)
    return episodes


def state(episodes: Episodes) -> list[Any]:
    names = ("tokens", "target", "target_length", "length", "finished", "seed")
    return [getattr(episodes, name).tolist() for name in names]


def test_a_step_writes_ends_and_scores() -> None:
    task = task_of()
    episodes = begun(task, 3)  # targets a$, bb$, a$
    assert task.step(episodes, np.array([0, 0, 1])).tolist() == [1, -1, -1]
    assert episodes.finished.tolist() == [False, False, False]
    assert task.step(episodes, np.array([2, 1, 2])).tolist() == [1, 1, 1]
    assert episodes.finished.tolist() == [True, False, True]
    rows = np.array([1])
    assert task.step(episodes, np.array([0]), rows).tolist() == [-1]
    assert task.step(episodes, np.array([0]), rows).tolist() == [-1]
    assert episodes.finished.tolist() == [True, True, True]  # a full completion always ends
    assert [episodes.text(row) for row in range(3)] == ["a", "abaa", "b"]


@given(st.lists(st.integers(0, 2), min_size=5, max_size=5), st.permutations(range(5)), st.integers(1, 5), st.booleans())
def test_some_rows_step_as_they_would_alone(actions: list[int], order: list[int], k: int, ragged: bool) -> None:
    task, rows = task_of(), np.array(order[:k])
    episodes = begun(task, 5, ragged)
    rewards = task.step(episodes, np.array([actions[row] for row in rows]), rows)
    for place, row in enumerate(rows):
        alone = begun(task, 5, ragged).take(np.array([row]))
        assert task.step(alone, np.array([actions[row]])).item() == rewards[place]
        assert episodes.tokens[row].tolist() == alone.tokens[0].tolist()
        assert episodes.finished[row] == alone.finished[0]
    others = np.setdiff1d(np.arange(5), rows)
    assert episodes.tokens[others].tolist() == begun(task, 5, ragged).tokens[others].tolist()
    assert not episodes.finished[others].any()


@pytest.mark.parametrize("board", [np.zeros(2), np.ones(2, np.int8), np.full(2, -1e300)])
def test_finite_rewards_are_paid_as_float64_in_an_array_of_their_own(board: Array) -> None:
    task = task_of(lambda episodes: board)
    rewards = task.step(begun(task, 2), np.array([0, 0]))
    assert rewards.tolist() == board.tolist()
    assert rewards.dtype == np.float64
    assert not np.shares_memory(rewards, board)


def fails(episodes: Episodes) -> Array:
    raise LookupError("the judge is out")


BAD_REWARDS: dict[str, tuple[Callable[[Episodes], Any], type[Exception], str]] = {
    "nan": (lambda e: np.array([0.0, np.nan, 0.0]), InvalidReward, "gave nan at step . of row {1}, text"),
    "inf": (lambda e: np.array([0.0, 0.0, np.inf]), InvalidReward, "gave inf at step . of row {2}, text"),
    "-inf": (lambda e: np.array([-np.inf, np.inf, 0.0]), InvalidReward, "gave -inf at step . of row {0}, text"),
    "too few": (lambda e: np.zeros(2), InvalidReward, r"gave shape \(2,\) for 3 rows"),
    "two dimensions": (lambda e: np.zeros((3, 1)), InvalidReward, r"gave shape \(3, 1\) for 3 rows"),
    "one number": (lambda e: 1.0, InvalidReward, r"gave shape \(\) for 3 rows.*rowwise"),
    "None": (lambda e: None, InvalidReward, "must give (numbers|one number)"),
    "words": (lambda e: ["good", "bad", "bad"], InvalidReward, "must give numbers"),
    "ragged": (lambda e: [[1.0], [1.0, 2.0], []], InvalidReward, "must give numbers"),
    "ends": (fails, LookupError, "the judge is out"),  # as the end rule
    "raises": (fails, LookupError, "the judge is out"),
}


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", BAD_REWARDS)
def test_a_bad_reward_changes_nothing(name: str, ragged: bool) -> None:
    reward, error, message = BAD_REWARDS[name]
    task = task_of(ends=reward) if name == "ends" else task_of(reward)
    for rows, order in ((..., [0, 1, 2]), (np.array([2, 0, 1]), [2, 0, 1])):
        episodes = begun(task, 3, ragged)
        twin = begun(task, 3, ragged)
        with pytest.raises(error, match=message.format(*order)):  # rows are called as the caller knows them
            task.step(episodes, np.array([2, 0, 1]), rows)
        assert state(episodes) == state(twin)
        good = task_of()
        assert good.step(episodes, np.array([2, 0, 1])).tolist() == good.step(twin, np.array([2, 0, 1])).tolist()
        assert state(episodes) == state(twin)


def test_end_rules_worked_by_hand() -> None:
    ends: dict[Callable[[Episodes], BoolArray], list[bool]] = {
        wrote_eos: [False, False, True],
        wrote_error: [False, True, True],
        reached_target_length: [False, False, False],
        EitherEnd((wrote_eos, wrote_error)): [False, True, True],
    }
    for rule, ended in ends.items():
        task = task_of(ends=rule)
        episodes = begun(task, 3)  # targets a$, bb$, a$
        task.step(episodes, np.array([0, 0, 2]))
        assert episodes.finished.tolist() == ended
    episodes = begun(task_of(), 2, ragged=True)  # written: a of a$, nothing of bb$
    episodes.write(np.array([0, 0]))
    assert reached_target_length(episodes).tolist() == [True, False]
    assert wrote_eos(Task(Vocabulary(("a",)), UNKNOWN, right_token, 1).blank(2)).tolist() == [False, False]


def test_metrics_are_success_where_a_target_is_known_and_else_nothing() -> None:
    episodes = begun(task_of(), 2)
    for actions in ([0, 1], [2, 2]):
        episodes.write(np.array(actions))
    assert {name: v.tolist() for name, v in task_of().measure(episodes).items()} == {"success": [1, 0]}
    assert dict(Task(VOCABULARY, UNKNOWN, right_token, horizon=2).metrics) == {}


def test_a_metric_that_is_not_finite_is_refused() -> None:
    task = task_of(metrics={"gold": BAD_REWARDS["nan"][0]})
    with pytest.raises(InvalidReward, match="gave nan at step 0 of row 1"):
        task.measure(begun(task, 3))


def test_without_a_mask_every_action_is_worth_taking() -> None:
    mask = task_of().action_mask(begun(task_of(), 2))
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[True] * 3] * 2
