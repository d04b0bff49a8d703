"""What a row looks like: text, frames, films."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo

from textgym import Prompt, Task, TextGenEnv, TextGenVectorEnv, Vocabulary
from textgym.errors import InvalidSetting
from textgym.prompts import ListedPrompts
from textgym.rendering import DIM, PLAIN, RIGHT, WRONG, escape
from textgym.rewards import right_token

TEXT_GEN = "textgym.envs.text_gen:text_gen"
Frame = npt.NDArray[np.uint8]


def has(frame: Frame, colour: tuple[int, int, int]) -> bool:
    """Whether any pixel has a colour."""
    return bool((frame == colour).all(axis=2).any())


def test_ansi_is_what_has_been_written() -> None:
    env = gym.make("TextGen-v0", render_mode="ansi")
    env.reset(seed=0)
    lines: list[Any] = [env.render()]
    for action in (0, 2, 1):
        env.step(action)
        lines.append(env.render())
    assert lines == ["", "我", "我你", "我你爱"]


def test_ansi_shows_the_prompt_and_the_end_token() -> None:
    env = TextGenEnv("textgym.envs.copy:copy", "ansi", alphabet="a", min_length=2, max_length=2)
    env.reset()
    assert env.render() == "aa → "
    env.step(0)
    env.step(1)
    assert env.render() == "aa → a$"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\nb\t", r"a\nb\t"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\u202e", r"\u202e"),
        ("我 爱", "我 爱"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert escape("\ud800") == r"\ud800"  # a lone surrogate
    env = TextGenEnv(TEXT_GEN, "ansi", target=text)
    env.reset()
    for action in env.task.prompts(np.random.default_rng(0)).target:
        env.step(action)
    assert env.render() == escaped


def test_human_prints_at_every_reset_and_step(capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make("TextGen-v0", target="a\nb", render_mode="human")
    env.reset()
    env.step(0)
    env.step(1)
    assert env.render() is None
    assert capsys.readouterr().out == "\na\na\\n\n"
    envs = TextGenVectorEnv(TEXT_GEN, 2, render_mode="human")
    envs.reset()
    envs.step([0, 1])
    assert envs.render() is None
    assert capsys.readouterr().out == "\n\n我\n爱\n"


@pytest.mark.parametrize("id", ["TextGen-v0", "TextGym/Copy-v0", "TextGym/Corners-v0"])
def test_frames_keep_their_size_and_follow_the_text(id: str) -> None:
    env = gym.make(id, render_mode="rgb_array")
    shapes = set()
    env.action_space.seed(0)
    for seed in range(5):
        env.reset(seed=seed)
        frames: list[Any] = [env.render()]
        ended = False
        while not ended:
            ended = env.step(env.action_space.sample())[2]
            frames.append(env.render())
        shapes |= {frame.shape for frame in frames}
        assert all(frame.dtype == np.uint8 for frame in frames)
        assert all((a != b).any() for a, b in pairwise(frames))  # at least the step is counted
    assert len(shapes) == 1
    assert shapes.pop()[2] == 3


def test_chinese_is_drawn_green_where_right_and_red_where_wrong() -> None:
    env = TextGenEnv(TEXT_GEN, "rgb_array")
    env.reset()
    blank: Frame = env.render()
    env.step(0)
    right: Frame = env.render()
    env.step(0)
    wrong: Frame = env.render()
    assert [has(frame, RIGHT) for frame in (blank, right, wrong)] == [False, True, True]
    assert [has(frame, WRONG) for frame in (blank, right, wrong)] == [False, False, True]
    characters = []
    for action in range(3):
        env.reset()
        env.step(action)
        frame: Frame = env.render()
        characters.append((frame[:32, :32] != blank[:32, :32]).any(axis=2).tobytes())  # 16 pixels, scaled by 2
    assert len(set(characters)) == 3  # three different pictures, none of them a box


def test_the_prompt_is_dim_and_a_text_without_a_target_plain() -> None:
    question = Prompt(np.array([0, 1, 0], np.int32), np.array([], np.int32))
    env = TextGenEnv(Task(Vocabulary(("a", "b")), ListedPrompts((question,)), right_token, horizon=3), "rgb_array")
    env.reset()
    frame: Frame = env.render()
    prompt = frame[:32]
    assert has(prompt, DIM)
    assert not has(frame, PLAIN)
    env.step(0)
    frame = env.render()
    assert has(frame[32:64], PLAIN)
    assert (frame[:32] == prompt).all()


def test_a_frame_shows_the_end_of_a_long_text() -> None:
    env = TextGenEnv(TEXT_GEN, "rgb_array", target="ab" * 500)
    env.reset()
    height = env.render().shape[0]
    assert height <= 32 * 13
    frames = []
    for step in range(1000):
        env.step(step % 2)
        if step > 990:
            frames.append(env.render()[:-32])  # without the line of the step count
    assert frames[0].shape[0] == height - 32
    assert all((a != b).any() for a, b in pairwise(frames))


def test_a_batch_renders_every_row() -> None:
    envs = TextGenVectorEnv(TEXT_GEN, 2, render_mode="ansi")
    envs.reset()
    envs.step([0, 2])
    assert envs.render() == ("我", "你")
    framed = TextGenVectorEnv(TEXT_GEN, 2, render_mode="rgb_array")
    framed.reset()
    framed.step([0, 2])
    frames = framed.render()
    assert frames is not None
    assert [frame.shape for frame in frames] == [frames[0].shape] * 2
    assert (frames[0] != frames[1]).any()


def test_rendering_without_a_mode_warns_and_a_wrong_mode_is_refused() -> None:
    for env in (TextGenEnv(TEXT_GEN), TextGenVectorEnv(TEXT_GEN, 2)):
        env.reset()
        with pytest.warns(UserWarning, match="needs a render mode"):
            assert env.render() is None
    for make in (TextGenEnv, TextGenVectorEnv):
        with pytest.raises(InvalidSetting, match=r"render_mode='gif' does not exist. Give one of \['ansi'"):
            make(TEXT_GEN, render_mode="gif")


def test_a_film_and_statistics_are_recorded(tmp_path: Path) -> None:
    made = RecordEpisodeStatistics(gym.make("TextGen-v0", render_mode="rgb_array"))
    folder = tmp_path / "films"
    with RecordVideo(made, str(folder), episode_trigger=bool) as env:
        for _ in range(2):  # the second episode is filmed
            env.reset(seed=0)
            infos = [env.step(action)[4] for action in (0, 1, 0)]
            assert infos[-1]["episode"]["r"] == 1
            assert infos[-1]["episode"]["l"] == 3
    (film,) = folder.glob("*.mp4")
    assert film.stat().st_size > 500
