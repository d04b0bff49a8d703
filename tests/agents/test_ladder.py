"""The ladder: every agent of the table solves the smallest task with its defaults, and refuses what it cannot take."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium
import pytest

from agents import AGENTS, load_agent, make, make_vec_env
from agents.evaluation import evaluate
from agents.recipe import Recipe
from agents.table import RUNTIME, Made
from textgym import load_task
from textgym.errors import InvalidSetting, UnknownName

every = pytest.mark.parametrize("name", AGENTS)
STEPS = 4_000
SECONDS = ("dqn",)  # take more than a few of them


def ladder() -> list[Any]:
    """Every agent, reward and seed, of which seed 0 is quick."""
    return [
        pytest.param(name, reward, seed, marks=[pytest.mark.slow] if seed or name in SECONDS else [])
        for name in AGENTS
        for reward in ("token", "terminal")
        for seed in range(5)
    ]


@pytest.mark.parametrize(("name", "reward", "seed"), ladder())
def test_every_agent_writes_the_text_after_four_thousand_steps(name: str, reward: str, seed: int) -> None:
    env = make_vec_env("TextGen-v0", 8, seed=seed, reward=reward)
    agent = make(name, env, seed=seed, device="cpu").learn(STEPS)
    result = evaluate(agent, load_task("TextGen-v0", reward=reward), 10)
    assert (result.mean_return, result.success_rate) == (3.0 if reward == "token" else 1.0, 1.0)
    assert result.samples == ["我爱你"] * 5


def test_the_ladder_has_eleven_rungs_from_a_table_to_a_transformer() -> None:
    assert list(AGENTS) == [
        *("q-learning", "sarsa", "expected-sarsa", "tabular-reinforce", "tabular-actor-critic"),
        *("dqn", "a2c", "ppo", "reinforce", "rloo", "grpo"),
    ]


@every
def test_an_agent_says_what_it_was_made_from(name: str) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 2), seed=3, gamma=0.5, device="cpu")
    assert isinstance(agent.made, Made)
    assert (agent.made.agent, agent.made.seed) == (name, 3)
    maker = load_agent(name)
    assert isinstance(maker, Recipe)
    assert agent.made.settings == {**maker.settings().model_dump(), **agent.made.settings}  # every setting is there
    assert agent.made.settings["gamma"] == 0.5
    assert not {*RUNTIME} & agent.made.settings.keys()


@every
def test_an_agent_learns_and_predicts_as_sb3s_do(name: str) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 2), seed=0, device="cpu", verbose=0, tensorboard_log=None)
    learn, predict = (inspect.signature(method).parameters for method in (agent.learn, agent.predict))
    assert [*learn] == [
        *("total_timesteps", "callback", "log_interval", "tb_log_name", "reset_num_timesteps", "progress_bar")
    ]
    assert [*predict][:4] == ["observation", "state", "episode_start", "deterministic"]


@every
def test_a_mistyped_setting_brings_the_nearest_one(name: str) -> None:
    for wrong, right in (("gama", "gamma"), ("Gamma", "gamma")):
        with pytest.raises(UnknownName, match=f"no setting of {name} is called '{wrong}'. Did you mean '{right}'"):
            make(name, make_vec_env("TextGen-v0", 1), **{wrong: 0.9})


@pytest.mark.parametrize("name", ["dqn", "a2c", "ppo", "reinforce", "rloo", "grpo"])
def test_a_mistyped_setting_inside_another_brings_the_nearest_one(name: str) -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'policy\.d_model'"):
        make(name, make_vec_env("TextGen-v0", 1), **{"policy.dmodel": 8})


@every
def test_a_value_that_is_refused_is_shown_with_its_meaning(name: str) -> None:
    for value in (1.5, -0.1, "much", None, True, float("nan")):
        with pytest.raises(InvalidSetting, match=rf"{name}: gamma={value!r} is refused: .*It is the discount\."):
            make(name, make_vec_env("TextGen-v0", 1), gamma=value)


@every
def test_a_single_environment_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"needs rows as SB3 has them: agents\.make_vec_env\(id, 8\)"):
        make(name, gymnasium.make("TextGen-v0"))


@pytest.mark.parametrize(("wrong", "right"), [("qlearning", "q-learning"), ("pppo", "ppo"), ("sarssa", "sarsa")])
def test_a_mistyped_agent_brings_the_nearest_one(wrong: str, right: str) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean '{right}'"):
        make(wrong, make_vec_env("TextGen-v0", 1))
