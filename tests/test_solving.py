"""The optimum, against brute force through gymnasium.make, against iteration, and against the tree without merging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from brute_force import SMALL, assert_solved_as_played, brute_force, ids

from textgym import Prompt, Vocabulary, load_task
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting
from textgym.frontier import BARRED
from textgym.prompts import RandomStrings
from textgym.solving import Solution, solve


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_it_is_the_best_of_all_texts_played_through_the_environment(case: tuple[str, Any], gamma: float) -> None:
    assert_solved_as_played(case[0], gamma, **case[1])


def test_probabilities_of_prompts_are_those_that_are_drawn() -> None:
    strings = RandomStrings(Vocabulary(tuple("ab$"), eos="$"), 1, 2, np.sort)
    prompts, probabilities = strings.support()
    assert [prompt.tokens.tolist() for prompt in prompts] == [[0], [1], [0, 0], [0, 1], [1, 0], [1, 1]]
    assert [prompt.target.tolist() for prompt in prompts] == [
        [0, 2],
        [1, 2],
        [0, 0, 2],
        [0, 1, 2],
        [0, 1, 2],
        [1, 1, 2],
    ]
    np.testing.assert_allclose(probabilities, [1 / 4] * 2 + [1 / 8] * 4)


def iterated(solution: Solution, sweeps: int) -> list[FloatArray]:
    """Value iteration over the levels as one table, from zeros."""
    values = [np.zeros(len(level.prompt)) for level in solution.levels]
    for _ in range(sweeps):
        after = [*values[1:], np.zeros(0)]
        values = []
        for level, following in zip(solution.levels, after):
            worth = np.append(following, 0.0)[np.maximum(level.following, -1)]
            q = np.where(level.following == BARRED, -np.inf, level.rewards + solution.gamma * worth)
            values.append(q.max(axis=1))
    return values


@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_value_iteration_comes_to_the_same(case: tuple[str, Any]) -> None:
    solution = solve(case[0], 0.9, **case[1])
    for mine, theirs in zip(solution.values, iterated(solution, load_task(case[0], **case[1]).horizon)):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_policy_iteration_comes_to_the_same(case: tuple[str, Any]) -> None:
    solution = solve(case[0], 0.9, **case[1])
    policy = [level.allowed.argmax(axis=1) for level in solution.levels]
    for _ in range(100):
        after, q = np.zeros(0), []
        for level, chosen in zip(solution.levels[::-1], policy[::-1]):
            worth = np.append(after, 0.0)[np.maximum(level.following, -1)]
            q.append(np.where(level.allowed, level.rewards + 0.9 * worth, -np.inf))
            after = q[-1][np.arange(len(chosen)), chosen]
        better = [table.argmax(axis=1) for table in q[::-1]]
        if all((one == other).all() for one, other in zip(policy, better)):
            break
        policy = better
    np.testing.assert_allclose(after, solution.values[0], atol=1e-12)


@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_merged_states_have_the_values_of_the_whole_tree(case: tuple[str, Any]) -> None:
    task = load_task(case[0], **case[1])
    assert task.state_key is not None
    merged, tree = solve(task), solve(replace(task, state_key=None))
    np.testing.assert_allclose(merged.values[0], tree.values[0], atol=1e-12)
    assert merged.optimal_completions.tolist() == tree.optimal_completions.tolist()
    assert merged.states <= tree.states


def never_twice(episodes: Episodes) -> BoolArray:
    """The token written last may not be written again."""
    allowed = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    if episodes.longest:
        allowed[np.arange(len(episodes)), episodes.newest] = False
    return allowed


def newest(episodes: Episodes) -> IntArray:
    return episodes.newest.astype(np.int64) * 2 + episodes.faultless


def test_what_the_mask_bars_is_not_done() -> None:
    task = replace(load_task("TextGen-v0", target="aab", alphabet="abc"), mask=never_twice, state_key=newest)
    solution = solve(task)
    assert solution.optimal_return == 1.0  # a, then anything but a, then b: two right and one wrong
    assert brute_force(task, task.prompts.constant, 1.0) == (1.0, int(solution.optimal_completions[0]))  # type: ignore[attr-defined]
    assert all((q[~level.allowed] == -np.inf).all() for q, level in zip(solution.action_values, solution.levels))
    assert solve(replace(task, state_key=None)).optimal_return == 1.0


def lucky(episodes: Episodes) -> FloatArray:
    """1 for an a; chance adds or takes 1."""
    sign = np.where(episodes.seed % np.uint64(2) == 0, 1.0, -1.0)
    paid: FloatArray = (episodes.newest == 0) + sign
    return paid


def mean_lucky(episodes: Episodes) -> FloatArray:
    paid: FloatArray = (episodes.newest == 0).astype(np.float64)
    return paid


def test_where_reward_depends_on_chance_its_mean_is_what_counts() -> None:
    task = replace(load_task("TextGen-v0"), reward=lucky, mean_reward=mean_lucky, state_key=None)
    assert solve(task).optimal_return == 3.0


def test_all_ties_are_kept() -> None:
    assert solve("TextGen-v0", target="ab", alphabet="abc").policy[0].tolist() == [[True, False, False]]
    free = solve(replace(load_task("TextGen-v0"), reward=nothing))
    assert all(best.all() for best in free.policy)
    assert free.optimal_completions.tolist() == [27]


def nothing(episodes: Episodes) -> FloatArray:
    return np.zeros(len(episodes))


def test_completions_are_counted_beyond_64_bits() -> None:
    free = replace(load_task("TextGen-v0", target="a" * 80, alphabet="abc"), reward=nothing)
    assert solve(free).optimal_completions.tolist() == [3**80]


def test_sixteen_tokens_of_a_hundred_have_two_states_a_place() -> None:
    alphabet = "".join(chr(ord("一") + i) for i in range(100))
    solution = solve("TextGen-v0", target=alphabet[:16], alphabet=alphabet)
    assert solution.optimal_return == 16.0
    assert solution.states == 1 + 2 * 15


def test_a_list_of_prompts_stands_for_all() -> None:
    task = load_task("TextGym/Copy-v0")
    prompts = [task.prompts(np.random.default_rng(seed)) for seed in range(5)]
    solution = solve(task, prompts=prompts)
    assert solution.optimal_return == pytest.approx(1.0)
    assert len(solution.levels[0].prompt) == 5


class Unlisted:
    """Prompts that cannot be listed."""

    max_length, max_target = 1, 1

    def __call__(self, rng: np.random.Generator) -> Prompt:
        return Prompt(np.array([0]), np.array([0]))


@pytest.mark.parametrize(
    ("task", "kwargs", "match"),
    [
        ("TextGym/Copy-v0", {"max_length": 3, "limit": 9_000}, r"9,000 pairs .* 584 prompts and 9 actions.*prompts="),
        (replace(load_task("TextGen-v0"), state_key=None), {"limit": 20}, r"declares no state_key"),
        (replace(load_task("TextGen-v0"), prompts=Unlisted()), {}, r"Unlisted cannot list its prompts.*prompts="),
        ("TextGen-v0", {"gamma": 1.5}, r"gamma=1\.5 is no number from 0 to 1"),
        ("TextGen-v0", {"prompts": []}, r"prompts=\[\] is no prompt"),
        (
            "TextGen-v0",
            {"prompts": [Prompt(np.array([], np.int32), np.array([i], np.int32)) for i in (0, 1)]},
            r"comes with several targets",
        ),
    ],
)
def test_what_cannot_be_solved_is_refused(task: Any, kwargs: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidSetting, match=match):
        solve(task, **kwargs)


@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_the_optimal_policy_earns_the_optimum_when_it_is_played(case: tuple[str, Any]) -> None:
    solution = solve(case[0], **case[1])
    envs = gymnasium.make_vec(case[0], num_envs=50, vectorization_mode="vector_entry_point", **case[1])
    envs.reset(seed=0)
    prompts: Sequence[Prompt] = load_task(case[0], **case[1]).prompts.support()[0]  # type: ignore[attr-defined]
    which = {tuple(np.asarray(prompt.tokens).tolist()): k for k, prompt in enumerate(prompts)}
    episodes = envs.unwrapped.episodes  # type: ignore[attr-defined]
    pad = episodes.vocabulary.pad
    state = np.array([which[tuple(row[row != pad].tolist())] for row in episodes.prompt])
    expected, totals, going = solution.values[0][state], np.zeros(50), np.ones(50, np.bool_)
    for level, best in zip(solution.levels, solution.policy):
        chosen = best[np.where(going, state, 0)].argmax(axis=1)
        _, rewards, ended, _, _ = envs.step(chosen)
        totals += np.where(going, rewards, 0.0)
        state = np.where(going & ~ended, level.following[np.where(going, state, 0), chosen], 0)
        going &= ~ended
        if not going.any():
            break
    np.testing.assert_allclose(totals, expected, atol=1e-9)
