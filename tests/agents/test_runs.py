"""Run folders: what was saved comes back, what is damaged is refused, and nothing in them is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import AGENTS, Agent, load, make, make_vec_env, save
from agents.runs import Config, check_free
from textgym.errors import InvalidSetting, UnknownName

ENV = {"alphabet": "abc", "max_length": 3}


def trained(name: str, folder: Path) -> tuple[Agent, Config]:
    """Train a little on Copy and save."""
    overrides: dict[str, Any] = {"n_steps": 8, "batch_size": 32, "n_epochs": 1} if name == "ppo" else {"alpha": 0.25}
    agent = make(name, make_vec_env("TextGym/Copy-v0", 4, seed=0, **ENV), seed=0, device="cpu", **overrides)
    agent.learn(64)
    config = Config("TextGym/Copy-v0", name, 0, 64, 4, dict(ENV), overrides)
    save(agent, folder, config)
    return agent, config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a Q-learning run."""
    trained("q-learning", tmp_path / "run")
    return tmp_path / "run"


def rewrite(run: Path, **changes: Any) -> None:
    """Change some fields of a run's configuration."""
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_a_run_comes_back_with_the_same_predictions(name: str, tmp_path: Path) -> None:
    agent, config = trained(name, tmp_path / "deep" / "run")
    loaded, read = load(str(tmp_path / "deep" / "run"))
    assert read == config
    env = make_vec_env("TextGym/Copy-v0", 50, seed=9, **ENV)
    observations = env.reset()
    for _ in range(20):
        actions = agent.predict(observations, deterministic=True)[0]
        np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], actions)
        observations = env.step(actions)[0]


def test_a_run_is_two_files_and_no_half_written_one(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "policy.safetensors"]
    config = json.loads((run / "config.json").read_text("utf-8"))
    assert config["env_kwargs"] == ENV
    assert config["format"] == 1


def test_a_failed_save_leaves_the_run_that_was_there(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    agent, config = load(run)
    unwritable = Config(config.env, config.agent, 1, 2, 3, {"set": {1, 2}})  # a set is no JSON
    agent.learn(400)
    with pytest.raises(TypeError):
        save(agent, run, unwritable)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_folder_that_holds_a_run_is_not_free(run: Path) -> None:
    check_free(run.parent)
    check_free(run.parent / "nowhere")
    with pytest.raises(InvalidSetting, match=r"holds a run already.*--overwrite"):
        check_free(run)


def test_a_folder_without_a_run_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=r"holds no run.*textgym train"):
            load(folder)


def cut(data: bytes) -> bytes:
    return data[:-7]


@pytest.mark.parametrize("name", sorted(AGENTS))
@pytest.mark.parametrize("damage", [cut, lambda data: b"garbage", lambda data: b"", lambda data: data[:40]])
def test_damaged_parameters_are_refused(damage: Any, name: str, tmp_path: Path) -> None:
    trained(name, tmp_path)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidSetting, match=r"policy\.safetensors does not hold this agent's parameters"):
        load(tmp_path)
    path.unlink()
    with pytest.raises(InvalidSetting, match=r"policy\.safetensors"):
        load(tmp_path)


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_parameters_of_another_task_are_refused(name: str, tmp_path: Path) -> None:
    trained(name, tmp_path)
    rewrite(tmp_path, env_kwargs={"alphabet": "abcd", "max_length": 3})
    with pytest.raises(InvalidSetting, match="does not hold this agent's parameters"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"env": "TextGen-v0"}', '{"format": "new"}'])
def test_a_broken_configuration_is_refused(text: str, run: Path) -> None:
    (run / "config.json").write_text(text)
    with pytest.raises(InvalidSetting, match=r"config\.json is no run's configuration"):
        load(run)


@pytest.mark.parametrize("changes", [{"agent": 5}, {"env_kwargs": [1]}, {"overrides": "x"}, {"more": 1}])
def test_a_field_of_another_type_or_name_is_refused(changes: dict[str, Any], run: Path) -> None:
    rewrite(run, **changes)
    with pytest.raises(InvalidSetting):
        load(run)


def test_a_newer_format_is_refused(run: Path) -> None:
    rewrite(run, format=2, more="fields")
    with pytest.raises(InvalidSetting, match=r"format 2; this TextGym reads up to 1\. Upgrade it"):
        load(run)


@pytest.mark.parametrize(("changes", "near"), [({"env": "TextGem-v0"}, "TextGen-v0"), ({"agent": "pp"}, "ppo")])
def test_an_unknown_environment_or_agent_is_refused_with_the_nearest(
    changes: dict[str, str], near: str, run: Path
) -> None:
    rewrite(run, **changes)
    with pytest.raises(UnknownName, match=f"Did you mean '{near}'"):
        load(run)
