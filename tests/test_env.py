"""TextGenEnv: Gymnasium's calling convention around one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded

from textgym import Episodes, Prompt, Task, TextGenEnv, Vocabulary
from textgym.arrays import Array, BoolArray
from textgym.errors import InvalidReward, InvalidSetting
from textgym.prompts import ListedPrompts
from textgym.rewards import right_token

FACTORY = "textgym.envs.text_gen:text_gen"
NO_PROMPT = Prompt(np.array([], np.int32), np.array([0, 1, 0], np.int32))


@dataclass(frozen=True)
class Judge:
    """Pays 1 a step but for the third, where it gives something else, or nothing."""

    third: float | None

    def __call__(self, episodes: Episodes) -> Array:
        third = episodes.length == 3
        if self.third is None and third.any():
            raise LookupError("the judge is out")
        return np.where(third, self.third or 0.0, 1.0)


def state(env: TextGenEnv) -> list[Any]:
    names = ("tokens", "target", "target_length", "length", "finished", "seed")
    return [getattr(env.episodes, name).tolist() for name in names]


def only_the_target(episodes: Episodes) -> BoolArray:
    wanted = episodes.target[np.arange(len(episodes)), np.minimum(episodes.length, 2)]  # (n,)
    mask: BoolArray = wanted[:, None] == np.arange(episodes.vocabulary.size)
    return mask


def ab_task(**rest: Any) -> Task:
    return Task(**{"vocabulary": Vocabulary(("a", "b")), "prompts": ListedPrompts((NO_PROMPT,)), "horizon": 3, **rest})


def test_an_episode_worked_by_hand() -> None:
    env = TextGenEnv(ab_task(reward=right_token))
    observation, info = env.reset(seed=0)
    assert (observation.tolist(), info) == ([2, 2, 2], {})
    steps = [env.step(action) for action in (0, 0, 0)]
    assert [step[0].tolist() for step in steps] == [[0, 2, 2], [0, 0, 2], [0, 0, 0]]
    assert [step[1] for step in steps] == [1, -1, 1]
    assert [step[2] for step in steps] == [False, False, True]
    assert [step[3] for step in steps] == [False, False, False]
    assert [step[4] for step in steps] == [{}, {}, {"is_success": False, "metrics": {"success": 0.0}}]
    for observation, reward, terminated, truncated, _ in steps:
        assert observation.dtype == np.int32
        assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    assert type(steps[-1][4]["is_success"]) is bool


def test_observations_are_never_reused() -> None:
    env = TextGenEnv(ab_task(reward=right_token))
    given = [env.reset()[0], env.step(1)[0], env.step(1)[0], env.reset()[0]]
    assert [observation.tolist() for observation in given] == [[2, 2, 2], [1, 2, 2], [1, 1, 2], [2, 2, 2]]


def test_a_task_without_a_target_reports_nothing() -> None:
    unknown = ListedPrompts((Prompt(np.array([], np.int32), np.array([], np.int32)),))
    env = TextGenEnv(ab_task(prompts=unknown, reward=Judge(1.0)))
    env.reset()
    assert [env.step(0)[4] for _ in range(3)] == [{}, {}, {}]


def test_metrics_of_the_users_own_are_reported_and_no_success_is_invented() -> None:
    env = TextGenEnv(ab_task(reward=right_token, metrics={"gold": Judge(7.0)}))
    env.reset()
    assert [env.step(0)[4] for _ in range(3)] == [{}, {}, {"metrics": {"gold": 7.0}}]


WRONG_ACTIONS = [
    (-1, "action -1 is out of range: there are 2 actions, 0 to 1"),
    (2, "action 2 is out of range"),
    (2**70, "is out of range"),
    (np.int64(-1), "is out of range"),
    (np.uint64(2**63), "is out of range"),
    (np.array(2), "is out of range"),
    (0.0, r"action 0\.0 of type float is no token id. Give one integer from 0 to 1"),
    (float("nan"), "action nan of type float"),
    (np.float32(1), "of type float32"),
    (np.array(1.0), "of type ndarray"),
    (True, "action True of type bool"),
    (np.True_, "of type bool"),
    (np.array(True), "of type ndarray"),
    ([0], r"action \[0\] of type list"),
    (np.array([0]), "of type ndarray"),
    ("0", "action '0' of type str"),
    (None, "action None of type NoneType"),
]


@pytest.mark.parametrize(("action", "message"), WRONG_ACTIONS, ids=[f"{a!r}" for a, _ in WRONG_ACTIONS])
def test_a_refused_action_is_named_and_changes_nothing(action: Any, message: str) -> None:
    env = TextGenEnv(ab_task(reward=right_token))
    env.reset(seed=0)
    env.step(0)
    before = state(env)
    with pytest.raises(InvalidAction, match=message):
        env.step(action)
    assert state(env) == before


@pytest.mark.parametrize("kind", [int, np.int8, np.int32, np.int64, np.uint8, np.uint64, np.array])
def test_integers_of_every_kind_are_actions(kind: Any) -> None:
    env = TextGenEnv(ab_task(reward=right_token))
    env.reset()
    assert env.step(kind(1))[0].tolist() == [1, 2, 2]


def test_a_step_before_the_first_reset_or_after_the_end_is_refused() -> None:
    for env in (TextGenEnv(ab_task(reward=right_token)), gym.make("TextGen-v0")):
        with pytest.raises(ResetNeeded, match="reset"):
            env.step(0)
        env.reset()
        last = [env.step(0) for _ in range(3)][-1]
        assert last[2]
        with pytest.raises(ResetNeeded, match=r"Call reset\(\) before step\(\)"):
            env.step(0)
        env.reset()
        env.step(0)


BAD = [
    (np.nan, InvalidReward, "TextGenEnv: reward 'Judge' gave nan at step 3 of row 0, text 'aaa'"),
    (-np.inf, InvalidReward, "TextGenEnv: reward 'Judge' gave -inf at step 3 of row 0, text 'aaa'"),
    (None, LookupError, "the judge is out"),
]


@pytest.mark.parametrize("part", ["reward", "metric"])
@pytest.mark.parametrize(("third", "error", "message"), BAD)
def test_a_bad_number_raises_and_changes_nothing(
    part: str, third: float | None, error: type[Exception], message: str
) -> None:
    judge = Judge(third)
    env = TextGenEnv(ab_task(reward=judge) if part == "reward" else ab_task(reward=Judge(1.0), metrics={"gold": judge}))
    env.reset()
    env.step(0)
    env.step(0)
    before = state(env)
    for _ in range(2):
        with pytest.raises(error, match=message):
            env.step(0)
        assert state(env) == before


def test_a_bad_reward_names_the_registered_environment() -> None:
    gym.register("Test/Judged-v0", entry_point="textgym.env:TextGenEnv", kwargs={"task": ab_task(reward=Judge(np.nan))})
    env = gym.make("Test/Judged-v0")
    env.reset()
    env.step(0)
    env.step(1)
    with pytest.raises(InvalidReward, match="Test/Judged-v0: reward 'Judge' gave nan at step 3 of row 0, text 'aba'"):
        env.step(0)
    gym.registry.pop("Test/Judged-v0")


def test_action_masks_are_the_tasks_and_never_refuse() -> None:
    env = TextGenEnv(ab_task(reward=right_token, mask=only_the_target))
    env.reset()
    assert env.action_masks().tolist() == [True, False]
    assert env.step(1)[1] == -1  # a mask narrows sampling, not what is accepted
    assert env.action_masks().tolist() == [False, True]
    assert TextGenEnv(FACTORY).action_masks().tolist() == [True, True, True]


def test_the_same_seed_asks_the_same_questions() -> None:
    env = gym.make("TextGym/Copy-v0")
    first = [env.reset(seed=seed)[0].tolist() for seed in (5, None, None, 6)]
    assert first == [env.reset(seed=seed)[0].tolist() for seed in (5, None, None, 6)]
    assert len({*map(tuple, first)}) > 1


def test_a_task_is_given_as_an_object_or_by_where_its_factory_is() -> None:
    assert TextGenEnv(FACTORY, target="ab").task.horizon == 2
    with pytest.raises(TypeError, match=r"a finished Task takes no arguments; got \['target'\]"):
        TextGenEnv(ab_task(reward=right_token), target="ab")
    with pytest.raises(TypeError, match=r"has no argument 'traget'\. Did you mean 'target'"):
        TextGenEnv(FACTORY, traget="ab")
    with pytest.raises(InvalidSetting, match=r"no task factory at 'textgym.envs.text_gen:txt_gen'"):
        TextGenEnv("textgym.envs.text_gen:txt_gen")


def test_gymnasium_wrappers_see_a_plain_environment() -> None:
    env = gym.make("TextGen-v0")
    assert isinstance(env.unwrapped, TextGenEnv)
    assert env.spec is not None
    assert env.spec.max_episode_steps is None  # the horizon is the task's own rule
    limited = gym.make("TextGen-v0", max_episode_steps=2)
    limited.reset()
    limited.step(0)
    _, _, terminated, truncated, info = limited.step(1)
    assert (terminated, truncated, info) == (False, True, {})
