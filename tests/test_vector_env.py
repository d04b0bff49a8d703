"""TextGenVectorEnv: rows that end at different times, seeds, masks, and steps that are refused whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import Error, InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode

from textgym import Episodes, Prompt, Task, TextGenEnv, TextGenVectorEnv, Vocabulary, load_task
from textgym.arrays import Array
from textgym.ends import EitherEnd, wrote_eos, wrote_error
from textgym.errors import InvalidReward, InvalidSetting, InvalidSize
from textgym.prompts import ListedPrompts
from textgym.rewards import right_token

TEXT_GEN, COPY = "textgym.envs.text_gen:text_gen", "textgym.envs.copy:copy"
modes = pytest.mark.parametrize("mode", [mode.value for mode in AutoresetMode])


def plain(value: Any) -> Any:
    """Return anything nested as lists and dicts, which compare with ==."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def state(envs: TextGenVectorEnv) -> list[Any]:
    names = ("tokens", "target", "target_length", "length", "finished", "seed")
    return [plain(getattr(envs.episodes, name)) for name in names]


def stopping(mode: AutoresetMode | str) -> TextGenVectorEnv:
    """Return two rows of 我爱你 that end with the first error."""
    envs = TextGenVectorEnv(TEXT_GEN, 2, mode, stop_on_error=True)
    assert plain(envs.reset(seed=0)) == [[[3, 3, 3], [3, 3, 3]], {}]
    return envs


ENDED = {"metrics": {"success": [0, 0], "_success": [False, True]}, "_metrics": [False, True]}
ENDED |= {"is_success": [False, False], "_is_success": [False, True]}


def test_in_same_step_mode_a_row_that_ends_begins_at_once() -> None:
    envs = stopping("SameStep")
    *step, info = plain(envs.step([0, 1]))
    assert step == [[[0, 3, 3], [3, 3, 3]], [1, -1], [False, True], [False, False]]
    assert info == {
        "final_obs": [None, [1, 3, 3]],
        "_final_obs": [False, True],
        "final_info": ENDED,
        "_final_info": [False, True],
    }
    assert plain(envs.step([1, 0])) == [[[0, 1, 3], [0, 3, 3]], [1, 1], [False, False], [False, False], {}]
    *step, info = plain(envs.step([2, 1]))
    assert step == [[[3, 3, 3], [0, 1, 3]], [1, 1], [True, False], [False, False]]
    assert info["final_info"]["is_success"] == [True, False]


def test_in_next_step_mode_a_row_that_ends_rests_for_a_step() -> None:
    envs = stopping("NextStep")
    assert plain(envs.step([0, 1])) == [[[0, 3, 3], [1, 3, 3]], [1, -1], [False, True], [False, False], ENDED]
    assert plain(envs.step([1, 2])) == [[[0, 1, 3], [3, 3, 3]], [1, 0], [False, False], [False, False], {}]
    *step, info = plain(envs.step([2, 0]))
    assert step == [[[0, 1, 2], [0, 3, 3]], [1, 1], [True, False], [False, False]]
    assert info["is_success"] == [True, False]


def test_with_auto_reset_disabled_a_row_that_ends_waits_for_its_mask() -> None:
    envs = stopping("Disabled")
    assert plain(envs.step([0, 1])) == [[[0, 3, 3], [1, 3, 3]], [1, -1], [False, True], [False, False], ENDED]
    before = state(envs)
    with pytest.raises(ResetNeeded, match=r"rows \[1\] have ended and auto-reset is disabled"):
        envs.step([1, 0])
    assert state(envs) == before
    assert plain(envs.reset(options={"reset_mask": np.array([False, True])})) == [[[0, 3, 3], [3, 3, 3]], {}]
    assert plain(envs.step([1, 0]))[0] == [[0, 1, 3], [0, 3, 3]]


def test_modes_are_strings_or_gymnasiums() -> None:
    for mode in AutoresetMode:
        for given in (mode, mode.value):
            assert stopping(given).metadata["autoreset_mode"] is mode
    with pytest.raises(InvalidSetting, match=r"autoreset_mode='SameStop' does not exist. Give one of \['NextStep'"):
        stopping("SameStop")


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3", None])
def test_a_number_of_rows_that_is_no_size_is_refused(n: Any) -> None:
    with pytest.raises(InvalidSize, match=f"num_envs={n!r} is not a size"):
        TextGenVectorEnv(TEXT_GEN, n)


@pytest.mark.parametrize("seed", [5, np.int64(5), [5, 6, 7], (5, 6, 7), [*np.arange(5, 8)]], ids=repr)
def test_each_row_is_a_single_environment_of_its_own_seed(seed: Any) -> None:
    envs = TextGenVectorEnv(COPY, 3)
    singles = [TextGenEnv(COPY) for _ in range(3)]
    first = [plain(single.reset(seed=5 + row)[0]) for row, single in enumerate(singles)]
    assert plain(envs.reset(seed=seed)[0]) == first
    again = [plain(single.reset()[0]) for single in singles]  # without a seed each row's own chance goes on
    assert plain(envs.reset()[0]) == again


def test_a_row_whose_seed_is_none_goes_on_with_its_own_chance() -> None:
    envs, alone = TextGenVectorEnv(COPY, 2), TextGenEnv(COPY)
    envs.reset(seed=[1, 2])
    alone.reset(seed=2)
    observation, _ = envs.reset(seed=[8, None])
    assert plain(observation) == [plain(TextGenEnv(COPY).reset(seed=8)[0]), plain(alone.reset()[0])]


def test_rows_of_one_seed_get_the_same_prompts() -> None:
    envs = TextGenVectorEnv(COPY, 4, "SameStep")
    assert len({*map(tuple, plain(envs.reset(seed=[3] * 4)[0]))}) == 1
    for _ in range(20):
        assert len({*map(tuple, plain(envs.step([8] * 4)[0]))}) == 1  # the end token: new prompts at every step


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        ([1, 2], ValueError, "2 seeds for 3 rows"),
        (-1, Error, "Seed"),
        ([1, -2, None], Error, "Seed"),
        ([1.5, 2, 3], (Error, TypeError), "integer|float"),
    ],
)
def test_what_is_no_seed_is_refused_and_changes_nothing(seed: Any, error: Any, message: str) -> None:
    envs, twin = TextGenVectorEnv(COPY, 3), TextGenVectorEnv(COPY, 3)
    envs.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(error, match=message):
        envs.reset(seed=seed)
    assert state(envs) == state(twin)
    assert plain(envs.reset()) == plain(twin.reset())


@modes
def test_a_reset_mask_begins_only_its_rows(mode: str) -> None:
    envs, singles = TextGenVectorEnv(COPY, 3, mode), [TextGenEnv(COPY) for _ in range(3)]
    envs.reset(seed=0)
    expected = [plain(single.reset(seed=row)[0]) for row, single in enumerate(singles)]
    mask = np.array([True, False, True])
    expected[0], expected[2] = (plain(singles[row].reset()[0]) for row in (0, 2))
    options = {"reset_mask": mask}
    assert plain(envs.reset(options=options)[0]) == expected
    assert options == {"reset_mask": mask}
    expected[0], expected[2] = (plain(singles[row].reset(seed=9 + row)[0]) for row in (0, 2))
    assert plain(envs.reset(seed=9, options=options)[0]) == expected  # the middle row's seed is not used
    assert plain(envs.reset()[0]) == [plain(single.reset()[0]) for single in singles]


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True, False], TypeError, "is no array of bool"),
        (np.array([1, 0]), TypeError, "is no array of bool"),
        (None, TypeError, "is no array of bool"),
        (np.array([True, False, True]), ValueError, r"shape \(3,\).*give \(2,\)"),
        (np.array([False, False]), ValueError, "at least one True"),
    ],
)
def test_an_impossible_reset_mask_is_refused(mask: Any, error: type[Exception], message: str) -> None:
    envs = stopping("Disabled")
    before = state(envs)
    with pytest.raises(error, match=message):
        envs.reset(options={"reset_mask": mask})
    assert state(envs) == before


@modes
def test_rows_must_begin_before_they_step_or_begin_again_by_mask(mode: str) -> None:
    envs = TextGenVectorEnv(TEXT_GEN, 2, mode)
    with pytest.raises(ResetNeeded, match=r"Call reset\(\) before step\(\)"):
        envs.step([0, 0])
    with pytest.raises(ResetNeeded, match=r"Call reset\(\) without a reset_mask first"):
        envs.reset(options={"reset_mask": np.array([True, True])})


@modes
def test_nothing_that_is_handed_out_changes_later(mode: str) -> None:
    envs = TextGenVectorEnv(COPY, 3, mode, max_length=2)
    rng = np.random.default_rng(0)
    given: list[Any] = [envs.reset(seed=0)]
    kept = [plain(given[0])]
    for _ in range(30):
        if mode == "Disabled" and envs.episodes.finished.any():
            given.append(envs.reset(options={"reset_mask": envs.episodes.finished.copy()}))
        else:
            actions = rng.integers(9, size=3)
            given.append(envs.step(actions))
            actions[:] = 0  # nor does what was handed in matter any more
        kept.append(plain(given[-1]))
    assert plain(given) == kept


WRONG_ACTIONS = [
    ([-1, 0], "action -1 of row 0 is out of range: there are 3 actions, 0 to 2"),
    ([0, 3], "action 3 of row 1 is out of range"),
    (np.array([2**63, 0], np.uint64), "action 9223372036854775808 of row 0 is out of range"),
    ([2**70, 0], "dtype object"),
    ([0.0, 1.0], "actions of dtype float64"),
    ([0, np.nan], "actions of dtype float64"),
    ([True, False], "actions of dtype bool"),
    (["0", "1"], "actions of dtype <U1"),
    ([None, 0], "dtype object"),
    ([0], r"actions of shape \(1,\) for 2 rows. Give one integer a row, shape \(2,\)"),
    ([0, 0, 0], r"shape \(3,\)"),
    ([[0], [0]], r"shape \(2, 1\)"),
    (0, r"shape \(\)"),
    (None, r"shape \(\)"),
    ([[0], [0, 1]], "are no array"),
]


@modes
@pytest.mark.parametrize(("actions", "message"), WRONG_ACTIONS, ids=[f"{a!r}" for a, _ in WRONG_ACTIONS])
def test_refused_actions_are_named_and_no_row_changes(mode: str, actions: Any, message: str) -> None:
    envs = stopping(mode)
    envs.step([0, 1])  # rows of different lengths, one of them ended
    before = state(envs)
    with pytest.raises(InvalidAction, match=message):
        envs.step(actions)
    assert state(envs) == before


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.uint8, np.uint64, ">i8", list, tuple])
def test_integers_of_every_kind_are_actions(kind: Any) -> None:
    actions = kind([0, 1]) if kind in (list, tuple) else np.array([0, 1], kind)
    assert plain(stopping("NextStep").step(actions)[0]) == [[0, 3, 3], [1, 3, 3]]


def of_whole_texts(episodes: Episodes) -> Array:
    return np.where(episodes.finished, episodes.length, np.nan)


@modes
def test_a_metric_is_asked_only_of_rows_that_ended(mode: str) -> None:
    task = replace(load_task("TextGen-v0", stop_on_error=True), metrics={"length": of_whole_texts})
    envs = TextGenVectorEnv(task, 2, mode)
    envs.reset(seed=0)
    info = envs.step([0, 1])[4]
    assert plain(info.get("final_info", info)["metrics"]) == {"length": [0, 1], "_length": [False, True]}


@dataclass(frozen=True)
class Trap:
    """Gives 1, but for rows that wrote the end token, which get something else, or nothing."""

    sprung: float | None

    def __call__(self, episodes: Episodes) -> Array:
        stepped = wrote_eos(episodes)
        if self.sprung is None and stepped.any():
            raise LookupError("a trap")
        return np.where(stepped, self.sprung or 0.0, 1.0)


@modes
@pytest.mark.parametrize("part", ["reward", "metric"])
@pytest.mark.parametrize(
    ("sprung", "error", "message"),
    [
        (np.nan, InvalidReward, "TextGenVectorEnv: reward 'Trap' gave nan"),
        (np.inf, InvalidReward, "TextGenVectorEnv: reward 'Trap' gave inf"),
        (None, LookupError, "a trap"),
    ],
)
def test_a_bad_number_in_one_row_changes_no_row(
    mode: str, part: str, sprung: float | None, error: type[Exception], message: str
) -> None:
    prompts = ListedPrompts(tuple(Prompt(np.array([i], np.int32), np.array([i, 0, 1, i], np.int32)) for i in (0, 1)))
    task = Task(
        vocabulary=Vocabulary(("a", "b"), eos="!"),
        prompts=prompts,
        reward=Trap(sprung) if part == "reward" else right_token,
        horizon=4,
        ends=EitherEnd((wrote_eos, wrote_error)),
        metrics={"gold": Trap(sprung if part == "metric" else 0.0)},
    )
    envs, twin = TextGenVectorEnv(task, 4, mode), TextGenVectorEnv(task, 4, mode)
    assert plain(envs.reset(seed=1)) == plain(twin.reset(seed=1))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        going = np.flatnonzero(~envs.episodes.finished)
        if mode == "Disabled" and len(going) < 4:
            options = {"reset_mask": envs.episodes.finished.copy()}
            assert plain(envs.reset(options=options)) == plain(twin.reset(options=options))
        elif len(going):
            place = np.minimum(envs.episodes.length, 3)
            good = np.where(rng.random(4) < 0.7, envs.episodes.target[np.arange(4), place], rng.integers(2, size=4))
            bad = good.copy()
            bad[rng.choice(going)] = 2
            with pytest.raises(error, match=message):
                envs.step(bad)
            assert state(envs) == state(twin)
            assert plain(envs.step(good)) == plain(twin.step(good))
            refused += 1
    assert refused > 20


@dataclass
class Runs:
    """Prompts that run out."""

    left: int
    max_length: int = 1
    max_target: int = 2

    def __call__(self, rng: np.random.Generator) -> Prompt:
        self.left -= 1
        if self.left < 0:
            raise EOFError("no more prompts")
        return Prompt(np.array([0]), np.array([0, 0]))


def test_a_row_that_could_not_begin_again_is_not_written_on() -> None:
    task = Task(Vocabulary(("a", "b"), eos="$"), Runs(3), right_token, horizon=2)
    envs = TextGenVectorEnv(task, 2, "SameStep")
    envs.reset(seed=0)
    envs.step([0, 2])  # the second row begins again with the last prompt
    with pytest.raises(EOFError, match="no more"):
        envs.step([0, 0])
    before = state(envs)
    with pytest.raises(ResetNeeded, match="reset"):
        envs.step([1, 1])
    assert state(envs) == before


def test_action_masks_are_one_row_each() -> None:
    assert plain(stopping("SameStep").action_masks()) == [[True] * 3] * 2


def test_spaces_are_the_single_ones_in_rows() -> None:
    envs = stopping("SameStep")
    assert envs.single_observation_space == gym.spaces.Box(0, 3, (3,), np.int32)
    assert envs.observation_space == gym.spaces.Box(0, 3, (2, 3), np.int32)
    assert envs.single_action_space == gym.spaces.Discrete(3)
    assert envs.action_space == gym.spaces.MultiDiscrete([3, 3])
