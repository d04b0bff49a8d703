"""SB3VecEnv over one batch: shared attributes, masks, frames, and the one info of all running rows."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.monitor import Monitor

from agents import SB3VecEnv, make_vec_env
from textgym import TextGenEnv, TextGenVectorEnv, load_task
from textgym.errors import InvalidSetting


def test_rows_of_a_batch_share_their_attributes() -> None:
    env = make_vec_env("TextGen-v0", 4)
    task = load_task("TextGen-v0", target="你")
    assert len(env.get_attr("task", indices=[0, 3])) == 2
    with pytest.raises(InvalidSetting, match=r"'task'.*rows \[1\]"):
        env.set_attr("task", task, indices=[1])
    env.set_attr("task", task)
    assert env.get_attr("task") == [task] * 4
    assert not env.has_attr("taste")


def test_action_masks_come_one_a_row() -> None:
    env = make_vec_env("TextGym/Corners-v0", 4, seed=0)
    env.reset()
    np.testing.assert_array_equal(env.env_method("action_masks"), np.ones((4, 4), bool))
    np.testing.assert_array_equal(env.env_method("action_masks", indices=2), np.ones((1, 4), bool))


def test_the_bridge_counts_as_a_monitor_and_as_no_other_wrapper() -> None:
    env = make_vec_env("TextGen-v0", 3)
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(Monitor, indices=[1]) == [True]
    assert env.env_is_wrapped(TimeLimit) == [False] * 3


def test_frames_are_one_a_row_and_tiled_by_render() -> None:
    env = make_vec_env("TextGen-v0", 3, render_mode="rgb_array")
    env.reset()
    env.step(np.array([0, 1, 2]))
    frames = env.get_images()
    single = TextGenEnv(load_task("TextGen-v0"), render_mode="rgb_array")
    for action, frame in enumerate(frames):
        single.reset()
        single.step(action)
        np.testing.assert_array_equal(frame, single.render())
    height, width, _ = single.render().shape
    tiled = env.render()
    assert tiled is not None
    assert tiled.shape == (2 * height, 2 * width, 3)


def test_frames_without_a_render_mode_are_none_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="rgb_array"):
        assert make_vec_env("TextGen-v0", 2).get_images() == [None, None]


def test_a_reset_in_mid_episode_counts_anew() -> None:
    env = make_vec_env("TextGen-v0", 2)
    for steps in (1, 3):
        env.reset()
        for _ in range(steps):
            infos = env.step(np.array([0, 1]))[3]
    assert [(info["episode"]["r"], info["episode"]["l"]) for info in infos] == [(-1.0, 3), (-1.0, 3)]


def test_close_closes_the_environment() -> None:
    env = make_vec_env("TextGen-v0", 2)
    env.close()
    env.close()
    assert env.env.closed


def test_attributes_and_methods_are_found_under_a_vector_wrapper() -> None:
    task = load_task("TextGen-v0")
    env = SB3VecEnv(RecordEpisodeStatistics(TextGenVectorEnv(task, 2, AutoresetMode.SAME_STEP)))
    env.reset()
    assert env.get_attr("task") == [task] * 2
    np.testing.assert_array_equal(env.env_method("action_masks"), np.ones((2, 3), bool))


@pytest.mark.parametrize(
    "write",
    [
        lambda info: info.__setitem__("a", 1),
        lambda info: info.update(a=1),
        lambda info: info.setdefault("a", 1),
        lambda info: info.__ior__({"a": 1}),
        lambda info: info.pop("a", None),
        lambda info: info.clear(),
    ],
)
def test_writing_into_a_running_rows_info_teaches_what_to_do(write: Callable[[Any], object]) -> None:
    env = make_vec_env("TextGen-v0", 2)
    env.reset()
    infos = env.step(np.array([0, 0]))[3]
    with pytest.raises(TypeError, match=r"infos\[i\] = \{\*\*infos\[i\]"):
        write(infos[0])
    assert infos == [{}, {}]


def test_copies_of_a_running_rows_info_work() -> None:
    env = make_vec_env("TextGen-v0", 2)
    env.reset()
    info = env.step(np.array([0, 0]))[3][0]
    assert [info.copy(), copy.copy(info), copy.deepcopy(info), pickle.loads(pickle.dumps(info))] == [{}] * 4
    own = {**info, "a": 1}
    info.copy()["b"] = 2
    assert own == {"a": 1}
