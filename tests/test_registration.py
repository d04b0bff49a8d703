"""From an id to an environment: register, make, make_vec, and specs as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import NameNotFound
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import textgym
from textgym import TextGenEnv, TextGenVectorEnv, env_ids, load_task, register
from textgym.errors import InvalidSetting, UnknownName

HELLO = "Test/Hello-v0"


@pytest.fixture
def hello() -> Iterator[str]:
    """Register a variant of TextGen for the time of a test."""
    register(HELLO, "textgym.envs.text_gen:text_gen", target="hello", reward="shaped")
    yield HELLO
    gym.registry.pop(HELLO)


def test_the_first_tasks_are_registered() -> None:
    assert {"TextGen-v0", "TextGym/Copy-v0", "TextGym/Reverse-v0", "TextGym/Corners-v0"} <= set(env_ids())
    assert env_ids() == sorted(env_ids())


def test_registering_makes_both_forms(hello: str) -> None:
    assert hello in env_ids()
    env = gym.make(hello)
    envs = gym.make_vec(hello, num_envs=2, vectorization_mode="vector_entry_point")
    assert isinstance(env.unwrapped, TextGenEnv)
    assert isinstance(envs, TextGenVectorEnv)
    assert env.observation_space.shape == envs.single_observation_space.shape == (5,)
    env.reset()
    assert env.step(0)[1] == 1 / 5


def test_arguments_override_the_registered_ones(hello: str) -> None:
    assert gym.make(hello, target="hi").observation_space.shape == (2,)
    assert load_task(hello).horizon == 5
    assert load_task(hello, target="hi").horizon == 2


def test_a_task_is_registered_by_where_its_factory_is() -> None:
    for task in ("textgym.envs.text_gen", "a:b:c", textgym.envs):
        with pytest.raises(InvalidSetting, match=r"Write 'package\.module:function'"):
            register("Test/Wrong-v0", task)  # type: ignore[arg-type]
    assert "Test/Wrong-v0" not in env_ids()


@pytest.mark.parametrize("task", ["no.such.module:f", "textgym.envs.copy:no_such_function", "textgym.envs.copy:"])
def test_a_factory_that_does_not_exist_is_named(task: str) -> None:
    register("Test/Missing-v0", task)
    for make in (gym.make, load_task):
        with pytest.raises(InvalidSetting, match=f"no task factory at '{task}'"):
            make("Test/Missing-v0")
    gym.registry.pop("Test/Missing-v0")


def test_an_unknown_id_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no environment is called 'TextGne-v0'\. Did you mean 'TextGen-v0'\?"):
        load_task("TextGne-v0")
    with pytest.raises(
        UnknownName, match=r"no environment is called 'TextGym/Corner-v0'\. Did you mean 'TextGym/Corners"
    ):
        load_task("TextGym/Corner-v0")
    with pytest.raises(UnknownName, match="no environment is called 'CartPole-v1'"):
        load_task("CartPole-v1")  # Gymnasium's, not ours
    with pytest.raises(NameNotFound, match="TextGen"):
        gym.make("TextGne-v0")


def test_an_unknown_argument_is_told_the_nearest() -> None:
    message = r"has no argument 'traget'\. Did you mean 'target'\? Known: target, alphabet"
    with pytest.raises(TypeError, match=message):
        load_task("TextGen-v0", traget="a")
    with pytest.raises(TypeError, match=message):
        gym.make("TextGen-v0", traget="a")
    with pytest.raises(TypeError, match=message):
        gym.make_vec("TextGen-v0", num_envs=2, vectorization_mode="vector_entry_point", traget="a")


def test_an_id_may_name_the_module_to_import() -> None:
    assert gym.make("textgym:TextGen-v0").observation_space.shape == (3,)


@pytest.mark.parametrize("mode", [None, *AutoresetMode, *(mode.value for mode in AutoresetMode)])
def test_make_vec_makes_a_batch_in_every_mode(mode: AutoresetMode | str | None) -> None:
    rest: dict[str, Any] = {} if mode is None else {"autoreset_mode": mode}
    envs = gym.make_vec("TextGen-v0", num_envs=1024, vectorization_mode="vector_entry_point", **rest)
    assert isinstance(envs, TextGenVectorEnv)
    assert envs.num_envs == 1024
    assert envs.metadata["autoreset_mode"] is AutoresetMode(mode or "NextStep")
    assert envs.reset(seed=0)[0].shape == (1024, 3)
    assert envs.step(np.zeros(1024, np.int64))[1].tolist() == [1.0] * 1024


def test_make_vec_without_a_mode_prefers_the_batch_and_sync_still_works() -> None:
    assert isinstance(gym.make_vec("TextGen-v0", num_envs=2), TextGenVectorEnv)
    assert isinstance(gym.make_vec("TextGen-v0", num_envs=2, vectorization_mode="sync"), SyncVectorEnv)


def test_gymnasiums_statistics_count_episodes_of_a_batch() -> None:
    envs = RecordEpisodeStatistics(gym.make_vec("TextGen-v0", num_envs=2, vectorization_mode="vector_entry_point"))
    envs.reset(seed=0)
    infos = [envs.step(np.array(actions))[4] for actions in ([0, 1], [1, 1], [2, 1])]
    assert infos[-1]["episode"]["r"].tolist() == [3, -1]
    assert infos[-1]["episode"]["l"].tolist() == [3, 3]


def test_a_spec_survives_json_and_makes_the_same_environment() -> None:
    env = gym.make("TextGen-v0", target=["hello", "我"], eos="$", reward="shaped")
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert again.observation_space == env.observation_space
    assert again.reset(seed=3)[0].tolist() == env.reset(seed=3)[0].tolist()


def test_the_spec_of_a_batch_survives_json() -> None:
    envs = gym.make_vec(
        "TextGym/Copy-v0", num_envs=3, vectorization_mode="vector_entry_point", autoreset_mode="SameStep", max_length=4
    )
    assert envs.spec is not None
    spec = EnvSpec.from_json(envs.spec.to_json())
    assert spec.kwargs == envs.spec.kwargs
    again = gym.make_vec(spec, num_envs=3, vectorization_mode="vector_entry_point")
    assert again.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert again.reset(seed=3)[0].tolist() == envs.reset(seed=3)[0].tolist()
