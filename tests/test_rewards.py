"""Rewards: worked by hand, and against plain loops."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgym import Episodes, Prompt, Task, Vocabulary
from textgym.ends import reached_target_length
from textgym.errors import InvalidReward, UnknownName
from textgym.prompts import ListedPrompts
from textgym.rewards import REWARDS, Row, exact_match, faultless_prefix, right_token, rowwise

ABC = Vocabulary(("a", "b", "c"))


def spelling(reward: str, target: str, horizon: int, eos: str | None = None) -> Task:
    """Return the task of writing a target that is not shown."""
    vocabulary = Vocabulary(("a", "b", "c"), eos=eos)
    ending = [] if vocabulary.eos_id is None else [vocabulary.eos_id]
    prompt = Prompt(np.array([], np.int32), np.array([*vocabulary.encode(target), *ending], np.int32))
    return Task(vocabulary, ListedPrompts((prompt,)), REWARDS[reward], horizon)


def earned(task: Task, written: str) -> list[float]:
    """Write a text and return each step's reward."""
    episodes = task.blank(1)
    episodes.begin(..., [task.prompts(np.random.default_rng(0))])
    return [task.step(episodes, np.array([task.vocabulary.id(letter)])).item() for letter in written]


@pytest.mark.parametrize(
    ("reward", "target", "horizon", "eos", "written", "rewards"),
    [
        ("token", "abc", 3, None, "abc", [1, 1, 1]),
        ("token", "abc", 3, None, "bbc", [-1, 1, 1]),  # a wrong token costs one, the next is judged in its own place
        ("token", "abc", 3, None, "bca", [-1, -1, -1]),
        ("token", "ab", 4, None, "abab", [1, 1, -1, -1]),  # tokens past the target are wrong
        ("token", "ab", 3, "$", "ab$", [1, 1, 1]),
        ("token", "ab", 3, "$", "a$", [1, -1]),  # the end too early
        ("terminal", "abc", 3, None, "abc", [0, 0, 1]),
        ("terminal", "abc", 3, None, "abb", [0, 0, 0]),
        ("terminal", "ab", 5, "$", "ab$", [0, 0, 1]),
        ("terminal", "ab", 5, "$", "a$", [0, 0]),
        ("terminal", "ab", 3, "$", "abb", [0, 0, 0]),  # full, and no end token
        ("shaped", "abc", 3, None, "abc", [1 / 3, 1 / 3, 1 / 3]),
        ("shaped", "abca", 4, None, "abba", [0.25, 0.25, 0, 0]),  # nothing after a fault
        ("shaped", "abca", 4, None, "bbca", [0, 0, 0, 0]),
        ("shaped", "ab", 4, None, "abab", [0.5, 0.5, 0, 0]),
        ("shaped", "a", 3, "$", "a$", [0.5, 0.5]),  # the end token counts
    ],
)
def test_rewards_worked_by_hand(
    reward: str, target: str, horizon: int, eos: str | None, written: str, rewards: list[float]
) -> None:
    assert earned(spelling(reward, target, horizon, eos), written) == rewards


texts = st.lists(st.integers(0, 2), max_size=4)


@example([([0], [0], True), ([0], [0], False)])
@given(st.lists(st.tuples(texts.filter(bool), texts, st.booleans()), min_size=1, max_size=5))
def test_rewards_of_ragged_rows_agree_with_loops(rows: list[tuple[list[int], list[int], bool]]) -> None:
    episodes = Episodes.blank(ABC, len(rows), max_prompt=0, horizon=4, max_target=4)
    prompts = [Prompt(np.array([], np.int32), np.array(target, np.int32)) for _, target, _ in rows]
    episodes.begin(..., prompts)
    for i, (written, _, _) in enumerate(rows):
        for letter in written:
            episodes.write(np.array([letter]), np.array([i]))
    episodes.finished[:] = [finished for _, _, finished in rows]
    token: list[float] = []
    terminal: list[float] = []
    shaped: list[float] = []
    for written, target, finished in rows:
        place = len(written) - 1
        token.append(1.0 if place < len(target) and written[place] == target[place] else -1.0)
        terminal.append(1.0 if finished and written == target else 0.0)
        shaped.append(1 / len(target) if target and written == target[: len(written)] else 0.0)
    assert right_token(episodes).tolist() == token
    assert exact_match(episodes).tolist() == terminal
    assert faultless_prefix(episodes).tolist() == shaped


def test_a_mistyped_reward_is_told_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match=r"no reward is called 'shapde'. Did you mean 'shaped'"):
        REWARDS["shapde"]
    with pytest.raises(UnknownName, match=r"no reward is called 'xyz'. Known: .*shaped, .*terminal, text, token"):
        REWARDS["xyz"]


seen: list[Row] = []


@rowwise
def letters_a(row: Row) -> float:
    """Count the letters a, and remember what was asked."""
    seen.append(row)
    return float(row.completion.count("a"))


@rowwise
def nothing(row: Row) -> float:
    """Forget to return a number."""
    return None  # type: ignore[return-value]


def test_a_rowwise_reward_sees_each_row_as_text() -> None:
    vocabulary = Vocabulary(("a", "b"), symbols=("?",), eos="$")
    prompt = Prompt(vocabulary.encode("b?"), np.array([0, 0, 2], np.int32))
    task = Task(vocabulary, ListedPrompts((prompt,)), letters_a, horizon=3, ends=reached_target_length)
    episodes = task.blank(2)
    episodes.begin(..., [prompt, prompt])
    seen.clear()
    rewards = [task.step(episodes, np.array(actions)).tolist() for actions in ([0, 1], [1, 1], [0, 2])]
    assert rewards == [[1, 0], [1, 0], [2, 0]]
    assert seen[0] == Row(prompt="b?", completion="a", target="aa", length=1, finished=False)
    assert seen[-2:] == [Row("b?", "aba", "aa", 3, True), Row("b?", "bb", "aa", 3, True)]


def test_a_rowwise_reward_that_gives_no_number_is_refused() -> None:
    prompt = Prompt(np.array([], np.int32), np.array([0], np.int32))
    task = Task(ABC, ListedPrompts((prompt,)), nothing, horizon=1)
    episodes = task.blank(1)
    episodes.begin(..., [prompt])
    with pytest.raises(InvalidReward, match="'nothing'"):
        task.step(episodes, np.array([0]))
    assert episodes.length.item() == 0


def test_a_rowwise_reward_pickles_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(letters_a)) is letters_a
    assert letters_a.__doc__ == "Count the letters a, and remember what was asked."
