"""SB3VecEnv's seeds, options, attributes and methods, row by row, beside DummyVecEnv's."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import SB3VecEnv, make_vec_env
from textgym import TextGenEnv, load_task
from textgym.errors import InvalidSetting


class Lamp(gymnasium.Env[np.int64, np.int64]):
    """Ends at once; says at a reset which options it was given, and nothing where there were none."""

    observation_space: spaces.Space[Any] = spaces.Discrete(9)
    action_space: spaces.Space[Any] = spaces.Discrete(2)
    colour = "white"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        return np.int64(3), {"options": str(options)} if options else {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        return np.int64(4), 1.0, True, False, {}

    def paint(self, colour: str, coats: int = 1) -> str:
        self.colour = colour
        return f"{coats} {colour}"


def lamps(kind: str) -> Any:
    """Three lamps behind our bridge, or in SB3's own vector environment."""
    if kind == "DummyVecEnv":
        return DummyVecEnv([Lamp] * 3)
    return SB3VecEnv(SyncVectorEnv([Lamp] * 3, autoreset_mode=AutoresetMode.SAME_STEP))


both = pytest.mark.parametrize("kind", ["SB3VecEnv", "DummyVecEnv"])


def test_row_i_of_an_environment_seeded_s_is_a_single_one_seeded_s_plus_i_once() -> None:
    env = make_vec_env("TextGym/Copy-v0", 3)
    assert env.seed(40) == [40, 41, 42]
    first, second, third = env.reset(), env.reset(), env.reset()
    task = load_task("TextGym/Copy-v0")
    for row in range(3):
        single = TextGenEnv(task)
        expected = [single.reset(seed=40 + row)[0], single.reset()[0], single.reset()[0]]
        np.testing.assert_array_equal([first[row], second[row], third[row]], expected)


@both
def test_options_reach_every_row_at_the_next_reset_only(kind: str) -> None:
    env = lamps(kind)
    env.set_options({"power": 2})
    env.reset()
    assert env.reset_infos == [{"options": "{'power': 2}"}] * 3
    env.reset()
    assert env.reset_infos == [{}] * 3


@both
def test_reset_infos_are_those_of_the_episode_that_runs(kind: str) -> None:
    env = lamps(kind)
    env.set_options({"power": 2})
    env.reset()
    env.step(np.zeros(3, np.int64))  # all rows end and begin anew, without options
    assert env.reset_infos == [{}] * 3


def test_options_that_differ_between_rows_are_refused() -> None:
    env = lamps("SB3VecEnv")
    env.set_options([{"power": 1}, {"power": 2}, {}])
    with pytest.raises(InvalidSetting, match="same options for all rows"):
        env.reset()


@both
def test_attributes_are_read_and_set_for_the_rows_asked_for(kind: str) -> None:
    env = lamps(kind)
    env.set_attr("colour", "red", indices=[0, 2])
    assert env.get_attr("colour") == ["red", "white", "red"]
    env.set_attr("colour", "green", indices=1)
    assert env.get_attr("colour", indices=[1, 0]) == ["green", "red"]
    env.set_attr("colour", ["a", "list"])
    assert env.get_attr("colour", 2) == [["a", "list"]]
    assert env.has_attr("colour")
    assert not env.has_attr("taste")
    with pytest.raises(AttributeError, match="taste"):
        env.get_attr("taste")


@both
def test_an_attribute_that_can_be_called_is_returned_and_not_called(kind: str) -> None:
    assert lamps(kind).get_attr("paint", indices=0)[0]("blue", coats=2) == "2 blue"


@both
def test_methods_are_called_on_the_rows_asked_for_only(kind: str) -> None:
    env = lamps(kind)
    assert env.env_method("paint", "blue", coats=2, indices=[2, 0]) == ["2 blue", "2 blue"]
    assert env.get_attr("colour") == ["blue", "white", "blue"]
