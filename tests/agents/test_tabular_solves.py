"""What tabular Q-learning solves with settings from teaching articles, and what no agent with a table takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes
from tabular_envs import ring

from agents import AGENTS, make, make_vec_env
from agents.evaluation import evaluate
from textgym import load_task
from textgym.errors import InvalidSetting, UnknownName

every = pytest.mark.parametrize("name", [name for name, place in AGENTS.items() if ".tabular." in place])
EPISODES = 1_000


def learned(id: str, n_envs: int, seed: int, **settings: Any) -> Any:
    """Q-learning after 1,000 episodes, the rows' together."""
    agent = make("q-learning", make_vec_env(id, n_envs), seed=seed, **settings)
    stop = StopTrainingOnMaxEpisodes(EPISODES // n_envs)  # of each row
    return agent.learn(EPISODES * load_task(id).horizon, stop)


@pytest.mark.parametrize("n_envs", [1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_a_half_and_gamma_095_write_the_text_after_a_thousand_episodes(seed: int, n_envs: int) -> None:
    agent = learned("TextGen-v0", n_envs, seed, alpha=0.5, gamma=0.95)
    assert agent.num_timesteps == 3 * EPISODES
    result = evaluate(agent, load_task("TextGen-v0"), 10)
    assert (result.mean_return, result.success_rate, result.samples) == (3.0, 1.0, ["我爱你"] * 5)


@pytest.mark.parametrize(
    ("seed", "n_envs"),
    [
        pytest.param(seed, n_envs, marks=[] if (seed, n_envs) == (0, 8) else pytest.mark.slow)
        for seed in range(5)
        for n_envs in (1, 8)
    ],
)
def test_alpha_01_gamma_09_and_epsilon_01_walk_from_every_corner_after_a_thousand_episodes(
    seed: int, n_envs: int
) -> None:
    agent = learned("TextGym/Corners-v0", n_envs, seed, alpha=0.1, gamma=0.9, epsilon=0.1)
    assert agent.num_timesteps < EPISODES * 16
    result = evaluate(agent, load_task("TextGym/Corners-v0"), 200)
    assert (result.mean_return, result.success_rate) == (2.0, 1.0)


@every
@pytest.mark.parametrize(
    ("setting", "value"),
    [("alpha", 0.0), ("alpha", "fast"), ("gamma", -0.1), ("gamma", 1.1), ("max_states", 0), ("max_states", 2.5)],
)
def test_a_setting_out_of_its_range_is_refused_with_its_value(name: str, setting: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(f"{setting}={value!r}")):
        make(name, make_vec_env("TextGen-v0", 1), **{setting: value})


@pytest.mark.parametrize("name", ["q-learning", "sarsa", "expected-sarsa"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("alpha", 1.1),
        ("epsilon", 1.5),
        ("epsilon", (1.0, 2.0)),
        ("epsilon", (1.0, 0.5, 0.1)),
        ("exploration_fraction", -0.1),
    ],
)
def test_exploration_out_of_its_range_is_refused(name: str, setting: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match=f"{name}: {setting}="):
        make(name, make_vec_env("TextGen-v0", 1), **{setting: value})


@every
def test_a_setting_of_another_rule_is_unknown(name: str) -> None:
    other = "epsilon" if name.startswith("tabular") else "value_alpha"
    with pytest.raises(UnknownName, match=f"no setting of {name} is called '{other}'"):
        make(name, make_vec_env("TextGen-v0", 1), **{other: 0.1})


@every
def test_environments_that_no_table_can_hold_are_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match="needs Discrete actions from 0 on"):
        make(name, make_vec_env("Pendulum-v1", 1))
    for id in ("CartPole-v1", "FrozenLake-v1"):
        with pytest.raises(InvalidSetting, match="needs a row of integers as observation"):
            make(name, make_vec_env(id, 2))


def test_actions_that_begin_elsewhere_are_refused() -> None:
    env = ring([[1, 1]])
    env.action_space.start = 1  # type: ignore[attr-defined]
    with pytest.raises(InvalidSetting, match=r"from 0 on; this environment has Discrete\(2, start=1\)"):
        make("q-learning", env)
