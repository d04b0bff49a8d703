"""Run folders: what was saved comes back, in an environment like its own or a given one, and another is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents import AGENTS, Config, load, make, make_vec_env, save
from agents.runs import config_of, read_config
from agents.state import get_state, parameters
from agents.trees import pack
from textgym import load_task
from textgym.errors import InvalidSetting, NotFinite

COPY = "TextGym/Copy-v0"
ENV: dict[str, Any] = {"alphabet": "abc", "max_length": 3}
SMALL = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
DEEP = {
    "ppo": {"n_steps": 8, "batch_size": 8},
    "a2c": {"n_steps": 4},
    "reinforce": {"n_steps": 8},
    "rloo": {"group_size": 4},
    "grpo": {"group_size": 2, "episodes": 2},
    "dqn": {"learning_starts": 8, "buffer_size": 100},
}


def trained(name: str, steps: int = 96, seed: int = 0, **overrides: Any) -> Any:
    """An agent that has learned a little on Copy."""
    settings = {**SMALL, **DEEP[name]} if name in DEEP else {"alpha": 0.25}
    env = make_vec_env(COPY, 4, seed=0, **ENV)
    return make(name, env, seed=seed, device="cpu", **settings, **overrides).learn(steps)


def observations() -> list[Any]:
    """Observations of random writing."""
    env, seen, rng = make_vec_env(COPY, 50, seed=9, **ENV), list[Any](), np.random.default_rng(0)
    seen.append(env.reset())
    for _ in range(10):
        seen.append(env.step(rng.integers(4, size=50))[0])
    return seen


def same_arrays(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(np.asarray(one[key]), np.asarray(other[key])) for key in one
    )


@pytest.mark.parametrize("name", AGENTS)
def test_a_run_comes_back_with_the_same_predictions_and_the_same_state(name: str, tmp_path: Path) -> None:
    agent = trained(name)
    save(agent, tmp_path / "deep" / "run")
    plain, arrays = pack(get_state(agent))
    loaded = load(str(tmp_path / "deep" / "run"))
    assert type(loaded) is type(agent)
    assert same_arrays(parameters(loaded), parameters(agent))
    again, others = pack(get_state(loaded))
    assert again == plain
    assert same_arrays(others, arrays)
    for rows in observations():
        greedy = agent.predict(rows, deterministic=True)[0]
        np.testing.assert_array_equal(loaded.predict(rows, deterministic=True)[0], greedy)


@pytest.mark.parametrize("name", AGENTS)
def test_the_configuration_reads_back_equal(name: str, tmp_path: Path) -> None:
    agent = trained(name)
    save(agent, tmp_path)
    config = read_config(tmp_path)
    assert config == config_of(agent) == config_of(load(tmp_path))
    assert config == Config.read(json.loads((tmp_path / "config.json").read_text("utf-8")), "config.json")
    assert (config.env, config.env_kwargs, config.agent, config.seed) == (COPY, ENV, name, 0)
    assert (config.steps, config.n_envs) == (96, 4)
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert (manifest["env"], manifest["seed"], manifest["steps"]) == (COPY, 0, agent.num_timesteps)
    assert manifest["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("rows", [1, 4, 7])
def test_a_run_goes_on_in_a_given_environment_of_any_rows(name: str, rows: int, tmp_path: Path) -> None:
    agent = trained(name)
    save(agent, tmp_path)
    env = make_vec_env(COPY, rows, seed=1, **ENV)
    loaded = load(tmp_path, env=env)
    assert loaded.get_env() is env or loaded.get_env().venv is env
    assert loaded.num_timesteps == (done := agent.num_timesteps)
    if name in ("rloo", "grpo") and rows != 4:
        with pytest.raises(InvalidSetting, match=rf"{rows} rows do not make groups of group_size="):
            loaded.learn(8)
        return
    loaded.learn(8 * rows, reset_num_timesteps=False)
    assert loaded.num_timesteps == done + 8 * rows or name in DEEP


@pytest.mark.parametrize("name", ["q-learning", "ppo"])
@pytest.mark.parametrize(
    ("env_id", "kwargs", "field"),
    [
        (COPY, {"alphabet": "abd", "max_length": 3}, "vocabulary"),
        (COPY, {"alphabet": "abc", "max_length": 4}, "observation"),
        (COPY, {"alphabet": "abcd", "max_length": 3}, "vocabulary"),
        ("TextGen-v0", {"target": "abc", "alphabet": "abc", "eos": "$", "horizon": 7}, "max_prompt"),
        ("CartPole-v1", {}, "vocabulary"),
    ],
)
def test_another_environment_is_refused_and_the_field_named(
    name: str, env_id: str, kwargs: dict[str, Any], field: str, tmp_path: Path
) -> None:
    save(trained(name), tmp_path)
    with pytest.raises(
        InvalidSetting, match=rf"was trained on '{COPY}' with {field}=.*this environment, {env_id}, has"
    ):
        load(tmp_path, env=make_vec_env(env_id, 2, **kwargs))


def test_a_single_environment_is_refused_with_what_to_give(tmp_path: Path) -> None:
    save(trained("q-learning"), tmp_path)
    with pytest.raises(InvalidSetting, match=r"needs rows: agents.make_vec_env|Give the one that"):
        load(tmp_path, env=gymnasium.make(COPY, **ENV))


def test_a_run_from_a_task_opens_only_with_an_environment(tmp_path: Path) -> None:
    task = load_task(COPY, **ENV)
    agent = make("q-learning", make_vec_env(task, 4), seed=0).learn(96)
    save(agent, tmp_path)
    assert read_config(tmp_path).env is None
    with pytest.raises(InvalidSetting, match=r"not made from an id by agents\.make_vec_env\. Give it: load\(DIR, env="):
        load(tmp_path)
    loaded = load(tmp_path, env=make_vec_env(task, 2))
    assert same_arrays(parameters(loaded), parameters(agent))
    with pytest.raises(InvalidSetting, match="was trained on 'a Task' with vocabulary="):
        load(tmp_path, env=make_vec_env("TextGen-v0", 2))


def test_how_a_run_is_shown_is_not_kept(tmp_path: Path) -> None:
    env = make_vec_env(COPY, 2, render_mode="ansi", **ENV)
    save(make("q-learning", env, seed=0).learn(50), tmp_path)
    assert load(tmp_path).num_timesteps == 50


def test_what_agents_make_did_not_make_is_not_saved(tmp_path: Path) -> None:
    env = make_vec_env("TextGen-v0", 2)
    for agent in (PPO("MlpPolicy", env, n_steps=8, batch_size=16), object()):
        with pytest.raises(InvalidSetting, match=r"was not made by agents\.make.*SB3's own model\.save"):
            save(agent, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [{1, 2}, print, float("nan"), float("inf"), np.float32(1), b"x", [object()]])
def test_settings_that_are_no_plain_data_are_not_saved(value: Any, tmp_path: Path) -> None:
    agent = trained("q-learning")
    agent.made = type(agent.made)("q-learning", {"alpha": value}, 0)
    with pytest.raises(InvalidSetting, match=r"are no plain data.*Give names and numbers"):
        save(agent, tmp_path / "run")
    agent = trained("q-learning")
    agent.env.origin = type(agent.env.origin)(COPY, {"alphabet": value})
    with pytest.raises(InvalidSetting, match=r"are no plain data"):
        save(agent, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_total_steps_may_be_a_float_or_beyond_any_run_as_sb3_users_write_them(tmp_path: Path) -> None:
    agent = trained("ppo")
    for total in (1e5, int(1e10)):
        agent._total_timesteps = total
        save(agent, tmp_path, overwrite=True)
        assert load(tmp_path)._total_timesteps == total


def test_what_is_not_finite_is_not_saved_and_the_run_stays(tmp_path: Path) -> None:
    agent = trained("ppo")
    save(agent, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    moment = next(iter(agent.policy.optimizer.state.values()))["exp_avg"]
    weight = next(iter(agent.policy.parameters())).data
    for array, name in ((moment, "optimizer"), (weight, "features_extractor")):
        array.view(-1)[0] = float("inf")
        with pytest.raises(NotFinite, match=rf"ppo's parameter {name}.*is not finite; nothing was saved"):
            save(agent, tmp_path)
        array.view(-1)[0] = 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
