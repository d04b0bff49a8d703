"""The laws: kept by good tasks, and each of them caught when it is broken."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from textgym import Episodes, Prompt, Task, Vocabulary, check_task, checking
from textgym.agreement import LawBroken
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.checking import LAWS, Case
from textgym.errors import InvalidSetting, UnknownName
from textgym.prompts import ListedPrompts, RandomStrings
from textgym.rewards import Row, faultless_prefix, right_token, rowwise


def same(string: IntArray) -> IntArray:
    return string


def not_the_end_at_first(episodes: Episodes) -> BoolArray:
    mask = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    mask[episodes.length == 0, -1] = False
    return mask


@rowwise
def vowels(row: Row) -> float:
    return row.completion.count("a") / 3


def good() -> Task:
    """Copy two letters, with a mask and metrics of its own."""
    vocabulary = Vocabulary(("a", "b"), symbols=("?",), eos="$")
    prompts = RandomStrings(vocabulary, 1, 3, same)
    return Task(vocabulary, prompts, faultless_prefix, horizon=5, mask=not_the_end_at_first, metrics={"vowels": vowels})


def without_target() -> Task:
    """Write vowels; nobody knows a best text."""
    unknown = ListedPrompts((Prompt(np.array([], np.int32), np.array([], np.int32)),))
    return Task(Vocabulary(("a", "b"), eos="$"), unknown, vowels, horizon=4)


@pytest.mark.parametrize(
    "task",
    [good, good(), f"{__name__}:good", without_target, "TextGen-v0"],
    ids=["factory", "task", "path", "no target", "id"],
)
def test_a_good_task_keeps_every_law(task: Any) -> None:
    checked = check_task(task)
    assert set(checked) | {"passes_sb3_check_env"} == {law.__name__ for law in LAWS}


def sees_other_rows(episodes: Episodes) -> FloatArray:
    return faultless_prefix(episodes) + float(episodes.length.max())


def draws_a_reward(episodes: Episodes) -> FloatArray:
    return np.random.random(len(episodes))  # noqa: NPY002 (this is the fault)


def draws_for_nothing(episodes: Episodes) -> FloatArray:
    random.random()
    return faultless_prefix(episodes)


def prefers_faults(episodes: Episodes) -> FloatArray:
    return -right_token(episodes)


def loves_b(episodes: Episodes) -> FloatArray:
    paid: FloatArray = faultless_prefix(episodes) + 0.5 * (episodes.newest == 1)
    return paid


def not_a_number(episodes: Episodes) -> FloatArray:
    return np.full(len(episodes), np.nan)


def leaves_nothing_at_the_end(episodes: Episodes) -> BoolArray:
    mask = not_the_end_at_first(episodes)
    mask[episodes.length == 4] = False
    return mask


def leaves_too_few_columns(episodes: Episodes) -> BoolArray:
    return not_the_end_at_first(episodes)[:, 1:]


def mask_of_numbers(episodes: Episodes) -> Any:
    return not_the_end_at_first(episodes).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Unseeded(RandomStrings):
    """Strings of its own chance."""

    def __call__(self, rng: np.random.Generator) -> Prompt:
        return super().__call__(np.random.default_rng())


class Forgets:
    """A reward that is not itself any more when it has been pickled."""

    def __init__(self, factor: float = 0.0) -> None:
        self.factor = factor

    def __call__(self, episodes: Episodes) -> FloatArray:
        return self.factor * faultless_prefix(episodes)

    def __deepcopy__(self, memo: dict[int, Any]) -> Forgets:
        return Forgets(self.factor)

    def __reduce__(self) -> tuple[Any, ...]:
        return Forgets, ()


def nothing_matters(episodes: Episodes) -> IntArray:
    return np.zeros(len(episodes), np.int64)


def half_keys(episodes: Episodes) -> Any:
    return episodes.faultless / 2


def unseeded() -> Unseeded:
    prompts = good().prompts
    assert isinstance(prompts, RandomStrings)
    return Unseeded(prompts.vocabulary, 3, 3, same)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a reward that sees other rows": ({"reward": sees_other_rows}, "batch_equals_singles"),
    "a reward drawn by chance": ({"reward": draws_a_reward}, "passes_gymnasium_check_env|batch_equals_singles"),
    "global chance used up": ({"reward": draws_for_nothing}, r"same_seed_same_episodes.*global random state"),
    "a reward for faults": ({"reward": prefers_faults}, "target_earns_most"),
    "a target that another text beats": (
        {"reward": loves_b},
        r"target_earns_most: writing the target '[ab]+' earns .*, the best completion of its prompt",
    ),
    "a reward that is no number": ({"reward": not_a_number}, "passes_gymnasium_check_env.*not_a_number"),
    "a reward that does not pickle": ({"reward": lambda e: faultless_prefix(e)}, "copies_continue_identically"),
    "prompts by chance": ({"prompts": unseeded()}, "passes_gymnasium_check_env|batch_equals_singles|same_seed"),
    "a key that forgets": ({"state_key": nothing_matters}, "equal_keys_agree: the texts .* differs"),
    "a key of numbers": ({"state_key": half_keys}, "equal_keys_agree: state_key gave float64"),
    "an empty mask": ({"mask": leaves_nothing_at_the_end}, "masks_leave_an_action"),
    "a mask too narrow": ({"mask": leaves_too_few_columns}, "masks_leave_an_action"),
    "a mask of numbers": ({"mask": mask_of_numbers}, "masks_leave_an_action"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_task_is_caught_and_the_law_named(name: str) -> None:
    parts, law = BROKEN[name]
    outside = random.getstate()
    with pytest.raises(LawBroken, match=law):
        check_task(replace(good(), **parts))
    random.setstate(outside)
    assert not any("BeingChecked" in id for id in gym.registry)


@pytest.mark.parametrize(
    ("law", "parts"),
    [
        (checking.rows_are_independent, {"reward": sees_other_rows}),
        (checking.rows_are_independent, {"metrics": {"all": sees_other_rows}}),
        (checking.rows_are_independent, {"reward": draws_a_reward}),
        (checking.same_seed_same_episodes, {"reward": draws_a_reward}),
        (checking.same_seed_same_episodes, {"prompts": unseeded()}),
        (checking.batch_equals_singles, {"prompts": unseeded()}),
        (checking.batch_equals_singles, {"metrics": {"success": sees_other_rows}}),
        (checking.copies_continue_identically, {"reward": Forgets(1.0)}),
        (checking.copies_continue_identically, {"reward": draws_a_reward}),
        (checking.passes_gymnasium_check_env, {"reward": draws_a_reward}),
    ],
)
def test_each_law_catches_what_it_is_there_for(law: Callable[[Case], None], parts: dict[str, Any]) -> None:
    law(Case(good()))
    with pytest.raises(LawBroken, match=law.__name__):
        law(Case(replace(good(), **parts)))


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="which is no Task"):
        check_task(list)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match=r"no task factory at 'textgym.envs:no_such'"):
        check_task("textgym.envs:no_such")
    with pytest.raises(UnknownName, match=r"Did you mean 'TextGym/Copy-v0'\?"):
        check_task("TextGym/Cpoy-v0")


def test_checking_leaves_the_registry_as_it_was() -> None:
    ids = [*gym.registry]
    check_task(good)
    assert [*gym.registry] == ids
