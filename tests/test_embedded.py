"""The embedded language model: how well it advises in states that it was never taught, and that it guides by name."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

import textgym
from textgym.advising import Asked
from textgym.advising.embedded import FOLDER, KNOWN, candidates_of, title_of
from textgym.advising.embedded.lessons import FORMS, LANGUAGES, accuracy, lessons
from textgym.describing import Describer, even
from textgym.errors import InvalidSetting
from textgym.scenes import swings
from textgym.scenes.grids import lake_scene
from textgym.speech import rated
from textgym.wrappers import GuidanceWrapper

IDS = {"CartPole": "CartPole-v1", "MountainCar": "MountainCar-v0", "FrozenLake 4x4": "FrozenLake-v1"}


def test_the_wheel_holds_the_model_in_less_than_a_megabyte() -> None:
    data = {path.name: path.stat().st_size for path in FOLDER.iterdir() if path.suffix not in (".py", "")}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {*data}
    assert sum(data.values()) < 1_000_000
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["textgym"]
    for name in data:
        assert any(fnmatch.fnmatch(f"advising/embedded/{name}", pattern) for pattern in patterns), name


def test_nothing_in_it_can_run_code() -> None:
    assert {path.suffix for path in FOLDER.iterdir()} <= {".py", ".json", ".safetensors", ""}
    import json

    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((FOLDER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("title", "form", "language", "least"),
    [
        ("CartPole", "compact", "english", 0.93),
        ("CartPole", "english", "english", 0.92),
        ("CartPole", "chinese", "chinese", 0.88),
        ("MountainCar", "compact", "english", 0.98),
    ],
)
def test_its_advice_in_states_that_it_was_never_taught(title: str, form: str, language: str, least: float) -> None:
    share, count = accuracy(lessons(title, form), language, most=150)
    assert count >= 100
    assert share >= least


@pytest.mark.parametrize("title", list(KNOWN))
def test_what_is_held_out_is_held_out_in_every_form_that_says_the_same(title: str) -> None:
    english, chinese = (lessons(title, form) for form in ("english", "chinese"))
    assert (english.held_out == chinese.held_out).all()
    assert (english.actions == chinese.actions).all()
    assert len({*english.texts}) == len(english.texts)


def test_one_state_in_eight_is_held_out() -> None:
    held = lessons("CartPole", "english").held_out
    assert 0.1 < held.mean() < 0.15


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("title", ["CartPole", "MountainCar", "FrozenLake 8x8"])
def test_it_guides_by_name_and_judges_states(title: str, language: str) -> None:
    name, _, place = title.partition(" ")
    kwargs: dict[str, Any] = {"map_name": place} if place else {}
    guided = {"guidance": "language-model", "shaping": "potential", "language": language, **kwargs}
    env: Any = gymnasium.make(f"TextGym/{name}-v0", **guided).unwrapped
    env.reset(seed=0)
    for _ in range(3):
        env.step(1)
        advice = env.rows.guided.advice[0]
        assert advice in candidates_of(env.control.scene.speeches[language])
        assert env.rows.guided.held.item() == pytest.approx(rated(advice))
    counts = env.rows.guided.guidance.consultation.counts
    assert (counts["failed"], counts["silent"]) == (0, 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("id", IDS.values())
def test_it_guides_gymnasiums_own_environments_in_each_form(id: str, form: str) -> None:
    env = GuidanceWrapper(gymnasium.make(id), form, "language-model")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(1)
    assert abs(reward - info["true_reward"]) == 1
    assert (env.counts["failed"], env.counts["silent"]) == (0, 0)


def test_where_it_was_taught_nothing_another_model_is_asked_for() -> None:
    with pytest.raises(InvalidSetting, match=r"was taught CartPole, MountainCar, .* none of them\. Give model="):
        GuidanceWrapper(gymnasium.make("Acrobot-v1"), advisor="language-model")
    scene = lake_scene(FrozenLakeEnv(desc=["SFFF", "FFFF", "FFFF", "FFFG"]))
    with pytest.raises(InvalidSetting, match="none of them"):
        title_of(scene, scene.describers["compact"])


def test_it_hears_the_describers_that_it_was_taught() -> None:
    cart = KNOWN["CartPole"]()
    other = Describer(tuple(even(letter, -1, 1, 5) for letter in "xvaw"))
    with pytest.raises(InvalidSetting, match="as the describers compact, english, chinese tell it"):
        Asked(cart, other).language_model()
    assert cart != swings.ACROBOT


def test_titles_know_their_scenes() -> None:
    for title, known in KNOWN.items():
        assert title_of(known(), known().describers["english"]) == title
    for id, title in (("CartPole", "CartPole"), ("FrozenLake", "FrozenLake 4x4")):
        control, _ = textgym.load_control(f"TextGym/{id}-v0")
        assert title_of(control.scene, control.scene.describers["compact"]) == title


def test_the_expert_of_the_lessons_hears_the_same_texts() -> None:
    taught = lessons("MountainCar", "english")
    for text, action in zip(taught.texts, taught.actions.tolist()):
        assert action == (2 if "right slowly" in text or text.endswith(("right.", "right fast.")) else 0)
    assert np.isfinite(taught.worths).all()
