"""Whole episodes without an environment: their returns against exact expectations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from textgym import Episodes, Prompt, Task, Vocabulary, load_task
from textgym.arrays import BoolArray
from textgym.envs.text_gen import text_gen
from textgym.prompts import ListedPrompts
from textgym.rewards import right_token
from textgym.rollouts import random_return, rollout, target_return, write_random, write_target


@dataclass(frozen=True)
class Only:
    """A mask that leaves the same actions everywhere."""

    actions: tuple[int, ...]

    def __call__(self, episodes: Episodes) -> BoolArray:
        mask = np.zeros((len(episodes), episodes.vocabulary.size), np.bool_)
        mask[:, list(self.actions)] = True
        return mask


def masked(*actions: int) -> Task:
    prompt = Prompt(np.array([], np.int32), np.array([0], np.int32))
    return Task(Vocabulary(tuple("abcd")), ListedPrompts((prompt,)), right_token, horizon=1, mask=Only(actions))


@pytest.mark.parametrize(("eos", "past"), [("$", 2), (None, 0)])
def test_the_target_writer_writes_the_target_and_then_the_end_token_or_token_0(eos: str | None, past: int) -> None:
    task = text_gen(["ab", "b"], horizon=4, eos=eos)
    episodes = task.blank(2)
    episodes.begin(..., task.prompts.support()[0])  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    written = []
    for _ in range(4):
        written.append(write_target(task, episodes, rng).tolist())
        episodes.write(np.array(written[-1]))
    assert written == [[0, 1], [1, past], [past, past], [past, past]]


def test_the_random_writer_chooses_evenly_among_what_the_mask_leaves() -> None:
    rng = np.random.default_rng(0)
    for task, actions in ((text_gen("abcd"), (0, 1, 2, 3)), (masked(1, 3), (1, 3)), (masked(2), (2,))):
        n = 4000
        counts = np.bincount(write_random(task, task.blank(n), rng), minlength=4)
        assert {*np.flatnonzero(counts)} == {*actions}
        k = len(actions)
        assert (np.abs(counts[list(actions)] - n / k) <= 5 * np.sqrt(n * (k - 1)) / k).all()


def test_a_rollout_ends_every_row_and_returns_what_its_steps_earned() -> None:
    task = text_gen(["ab", "bcad", "c"], stop_on_error=True)
    returns, episodes = rollout(task, write_random, 200, seed=1)
    assert episodes.finished.all()
    assert len({*episodes.length.tolist()}) > 2
    for row in range(200):
        target = task.vocabulary.decode(episodes.target[row])
        written = episodes.text(row)
        right = [a == b for a, b in zip(written, target)]
        assert returns[row] == 2 * sum(right) - len(written)
        assert all(right[:-1])
        assert len(written) == len(target) or not right[-1]


def test_a_rollout_depends_on_its_seed_alone() -> None:
    task = load_task("TextGym/Copy-v0")
    (mine, first), (same, again), (_, other) = (rollout(task, write_random, 50, seed) for seed in (3, 3, 4))
    assert mine.tolist() == same.tolist()
    assert first.tokens.tolist() == again.tokens.tolist() != other.tokens.tolist()


@pytest.mark.parametrize(
    ("id", "arguments", "best"),
    [
        ("TextGen-v0", {}, 3),
        ("TextGen-v0", {"eos": "$"}, 4),
        ("TextGen-v0", {"reward": "terminal"}, 1),
        ("TextGen-v0", {"reward": "shaped", "target": ["ab", "b"]}, 1),
        ("TextGym/Copy-v0", {}, 1),
        ("TextGym/Reverse-v0", {"reward": "terminal"}, 1),
        ("TextGym/Corners-v0", {"step": 0.25}, 2),
    ],
)
def test_writing_the_target_earns_the_most_there_is(id: str, arguments: dict[str, object], best: float) -> None:
    task = load_task(id, **arguments)
    assert target_return(task) == pytest.approx(best)
    returns, episodes = rollout(task, write_target, 20)
    assert returns == pytest.approx(best)
    assert task.measure(episodes)["success"].tolist() == [1] * 20


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, -1),  # three tokens, each right once in three
        ({"reward": "terminal"}, 1 / 27),
        ({"reward": "shaped"}, (1 / 3 + 1 / 9 + 1 / 27) / 3),
        ({"target": "ab", "eos": "$"}, -1 / 3 + 2 / 3 * (-1 / 3) + 4 / 9 * (-1 / 3)),  # ended by chance, 1 in 3
        ({"stop_on_error": True}, -1 / 3 * (1 + 1 / 3 + 1 / 9)),
    ],
)
def test_random_writing_earns_what_arithmetic_says(arguments: dict[str, object], expected: float) -> None:
    mean, error = random_return(load_task("TextGen-v0", **arguments), n=20_000)
    assert mean == pytest.approx(expected, abs=4 * error)
    assert 0 < error < 0.02


def test_without_a_target_there_is_no_return_of_writing_it() -> None:
    unknown = ListedPrompts((Prompt(np.array([0], np.int32), np.array([], np.int32)),))
    assert target_return(Task(Vocabulary(("a",)), unknown, right_token, horizon=2)) is None
