"""What cannot go on exactly is saved all the same, says so, and is read as parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecNormalize

from agents import AGENTS, load, make, make_vec_env, save
from agents.scaled import ScaledRewards
from textgym.errors import InvalidSetting

Run = Callable[..., tuple[int, str, str]]
SMALL = {"policy": {"d_model": 8, "n_layers": 1, "n_heads": 1}}
DEEP = ("a2c", "dqn", "grpo", "ppo", "reinforce", "rloo")
ENV: dict[str, Any] = {"target": ["ab", "ba"], "alphabet": "abc", "eos": "$"}


def fresh(name: str, env: Any = None, **settings: Any) -> Any:
    own = {**SMALL, **({"n_steps": 8, "batch_size": 16} if name == "ppo" else {})} if name in DEEP else {}
    env = make_vec_env("TextGen-v0", 4, seed=0, **ENV) if env is None else env
    return make(name, env, seed=0, device="cpu", **own, **settings)


def predictions(agent: Any) -> Any:
    env = make_vec_env("TextGen-v0", 40, seed=3, **ENV)
    observations, found = env.reset(), []
    for _ in range(6):
        found.append(agent.predict(observations, deterministic=True)[0])
        observations = env.step(found[-1])[0]
    return np.array(found)


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_a_run_that_is_not_exact_is_read_and_learns_on(name: str, tmp_path: Path) -> None:
    agent = fresh(name).learn(200)
    save(agent, tmp_path / "run", exact=False)
    loaded = load(tmp_path / "run")
    np.testing.assert_array_equal(predictions(loaded), predictions(agent))
    loaded.learn(40)


@pytest.mark.parametrize("name", DEEP)
def test_a_save_in_the_middle_of_a_rollout_says_that_it_is_not_exact(name: str, tmp_path: Path) -> None:
    agent = fresh(name)
    agent.learn(400, callback=lambda own, outside: agent.num_timesteps < 300)
    with pytest.warns(UserWarning, match="stands in the middle of a rollout: what it learned is saved"):
        save(agent, tmp_path / "run")
    np.testing.assert_array_equal(predictions(load(tmp_path / "run")), predictions(agent))


def test_it_is_not_resumed(textgym: Run, tmp_path: Path) -> None:
    save(fresh("q-learning").learn(200), tmp_path / "run", exact=False)
    status, _, err = textgym("train", "--resume", "run", "--steps", "400")
    assert status == 1
    assert "run cannot be continued exactly" in err
    assert textgym("eval", "run")[0] == 0


def test_a_wrapper_with_a_state_of_its_own_is_named(tmp_path: Path) -> None:
    env = VecNormalize(make_vec_env("TextGen-v0", 4, seed=0, **ENV), norm_obs=False)
    agent = fresh("ppo", env).learn(64)
    with pytest.warns(UserWarning, match="the environment's wrapper VecNormalize has a state that is not kept"):
        save(agent, tmp_path / "run")


def test_a_finished_run_is_exact_without_a_warning(tmp_path: Path) -> None:
    for name in sorted(AGENTS):
        agent = fresh(name).learn(200)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            save(agent, tmp_path / name)


def test_sb3s_own_file_keeps_the_scale_of_rewards(tmp_path: Path) -> None:
    agent = fresh("ppo", reward_scale=0.25).learn(32)
    agent.save(tmp_path / "model.zip")
    twin = type(agent).load(tmp_path / "model.zip", env=make_vec_env("TextGen-v0", 4, **ENV), device="cpu")
    assert isinstance(twin.get_env(), ScaledRewards)
    assert twin.get_env().scale == 0.25
    twin.set_env(make_vec_env("TextGen-v0", 4, **ENV))
    assert twin.get_env().scale == 0.25
    twin.learn(32)


@pytest.mark.parametrize("name", sorted({*DEEP} - {"rloo", "grpo"}))
def test_other_observations_get_sb3s_own_network(name: str) -> None:
    agent = fresh(name, make_vec_env("CartPole-v1", 4, seed=0)).learn(300)
    assert agent.gamma == 0.99
    assert agent.predict(np.zeros(4, np.float32))[0] in (0, 1)


@pytest.mark.parametrize("name", ["ppo", "q-learning"])
def test_rows_of_another_kind_are_refused_with_the_bridge(name: str) -> None:
    rows = gymnasium.make_vec("TextGen-v0", 2, vectorization_mode="vector_entry_point")
    with pytest.raises(InvalidSetting, match=r"needs rows as SB3 has them: agents\.SB3VecEnv\(env\) instead of"):
        make(name, rows)
    with pytest.raises(InvalidSetting, match=r"agents\.make_vec_env\(id, 8\) instead of"):
        make(name, gymnasium.make("TextGen-v0"))


def test_settings_that_sb3_asserts_are_refused_in_our_words() -> None:
    with pytest.raises(InvalidSetting, match="ppo: `batch_size` must be greater than 1"):
        make("ppo", make_vec_env("TextGen-v0", 2), batch_size=1)


def test_a_tabular_agent_is_saved_as_sb3s_callbacks_ask(tmp_path: Path) -> None:
    agent = fresh("q-learning").learn(200)
    agent.save(tmp_path / "best")
    np.testing.assert_array_equal(predictions(load(tmp_path / "best")), predictions(agent))
