"""Agents on control tasks: what they read, what they are worth, and what is kept of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

import agents
from agents.best import Best
from agents.control import evaluate_control
from agents.joined import JoinedExtractor
from agents.probe import probe
from textgym import GuidanceWrapper, VectorGuidanceWrapper, control_ids, load_control
from textgym.errors import InvalidSetting
from textgym.space import TokenBox

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
CART = "TextGym/CartPole-v0"
SMALL = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "policy": {"d_model": 8, "n_layers": 1, "n_heads": 2}}
Run = Callable[..., tuple[int, str, str]]


class Leaning:
    """Pushes to where the pole leans and falls: an agent that sees the state."""

    def predict(self, observation: Any, *_: Any) -> tuple[Any, None]:
        return (observation @ np.array([0.1, 0.3, 6.0, 1.0]) > 0).astype(np.int64), None


def test_what_an_agent_is_worth_is_the_environments_own_reward() -> None:
    control, options = load_control(CART, observation="state", max_steps=60, guidance="expert", weight=5.0)
    result = evaluate_control(Leaning(), control, options, 10)  # type: ignore[arg-type]
    assert (result.mean_return, result.success_rate, result.standard_error) == (60.0, 1.0, 0.0)
    assert len(result.samples) == 5
    assert "The cart is" in result.samples[0]


def test_an_evaluations_episodes_are_those_of_the_environment_of_that_seed() -> None:
    class Left:
        def predict(self, observation: Any, *_: Any) -> tuple[Any, None]:
            return np.zeros(len(observation), np.int64), None

    control, options = load_control(CART)
    returns = []
    for seed in (7, 8, 9):
        env = gymnasium.make("CartPole-v1")
        env.reset(seed=seed)
        steps, ended = 0, False
        while not ended:
            _, _, ended, _, _ = env.step(0)
            steps += 1
        returns.append(steps)
    assert evaluate_control(Left(), control, options, 3, seed=7).mean_return == np.mean(returns)  # type: ignore[arg-type]


@pytest.mark.parametrize("id", control_ids())
@pytest.mark.parametrize("observation", ["tokens", "state", "both"])
def test_ppo_learns_from_every_kind_of_observation(id: str, observation: str) -> None:
    env = agents.make_vec_env(id, 2, seed=0, observation=observation, guidance="expert")
    agent = agents.make("ppo", env, seed=0, **SMALL).learn(64)
    assert agent.num_timesteps >= 64
    assert ("Transformer" in type(agent.policy).__name__) == (observation != "state")


@pytest.mark.parametrize("name", ["dqn", "a2c", "reinforce", "q-learning"])
def test_other_agents_take_steps_too(name: str) -> None:
    env = agents.make_vec_env(CART, 2, seed=0)
    assert agents.make(name, env, seed=0).learn(64).num_timesteps >= 64


@pytest.mark.parametrize("observation", ["tokens", "state", "both"])
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_a_run_is_kept_and_read_whatever_is_observed(name: str, observation: str, tmp_path: Path) -> None:
    env = agents.make_vec_env(CART, 2, seed=0, observation=observation, max_steps=9)
    settings: dict[str, Any] = {"policy": SMALL["policy"]} | (
        {"learning_starts": 8} if name == "dqn" else {"n_steps": 8}
    )
    agent = agents.make(name, env, seed=0, device="cpu", **settings).learn(32)
    agents.save(agent, tmp_path / "run")
    again = agents.load(tmp_path / "run", device="cpu")
    seen = env.reset()
    assert np.array_equal(agent.predict(seen, deterministic=True)[0], again.predict(seen, deterministic=True)[0])


@pytest.mark.parametrize("guided", ["inside", "around all", "around each"])
def test_the_true_reward_is_reported_at_every_step_ends_included(guided: str) -> None:
    if guided == "inside":
        env = agents.make_vec_env(CART, 2, guidance="expert", max_steps=9)
    else:
        rows: Any = [lambda: gymnasium.make("CartPole-v1", max_episode_steps=9)] * 2
        if guided == "around each":
            rows = [lambda: GuidanceWrapper(gymnasium.make("CartPole-v1", max_episode_steps=9))] * 2
        batch: Any = SyncVectorEnv(rows, autoreset_mode=AutoresetMode.SAME_STEP)
        env = agents.SB3VecEnv(batch if guided == "around each" else VectorGuidanceWrapper(batch))
    env.seed(0)
    env.reset()
    ends = 0
    for _ in range(30):
        _, rewards, dones, infos = env.step(np.array([0, 1]))
        ends += int(dones.sum())
        assert [info["true_reward"] for info in infos] == [1.0, 1.0]
        assert set(rewards.tolist()) <= {0.0, 2.0}
    assert ends >= 4


@pytest.mark.parametrize("around", ["all", "each", "sb3"])
def test_a_wrappers_shaping_and_the_agent_share_one_discount(around: str) -> None:
    given: dict[str, Any] = {"reward": "potential", "gamma": 0.9}

    def one() -> Any:
        env = gymnasium.make("CartPole-v1")
        return env if around == "all" else GuidanceWrapper(env, **given)

    batch: Any = SyncVectorEnv([one] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    rows: Any = VectorGuidanceWrapper(batch, **given) if around == "all" else batch
    env = DummyVecEnv([one] * 2) if around == "sb3" else agents.SB3VecEnv(rows)
    assert agents.make("dqn", env).gamma == agents.make("ppo", env).gamma == 0.9
    with pytest.raises(InvalidSetting, match=r"gamma=0\.5 is the agent's.*shaping has gamma=0\.9"):
        agents.make("a2c", env, gamma=0.5)


def test_both_is_read_by_a_transformer_and_an_mlp() -> None:
    space = spaces.Dict({"state": spaces.Box(-1, 1, (4,)), "tokens": TokenBox(9, 4, 0)})
    extractor = JoinedExtractor(space, hidden=6, d_model=8, n_layers=1, n_heads=2)
    seen = {"state": torch.zeros(3, 4), "tokens": torch.tensor([[0, 1, 2, 3]] * 3)}
    features = extractor(seen)
    assert features.shape == (3, 14) == (3, extractor.features_dim)
    moved = extractor({**seen, "state": torch.ones(3, 4)})
    assert torch.equal(features[:, :8], moved[:, :8])
    assert not torch.allclose(features[:, 8:], moved[:, 8:])
    told = extractor({**seen, "tokens": torch.tensor([[3, 1, 2, 3]] * 3)})
    assert torch.equal(features[:, 8:], told[:, 8:])
    assert not torch.allclose(features[:, :8], told[:, :8])


def test_a_dict_of_tokens_alone_has_nothing_to_join() -> None:
    with pytest.raises(InvalidSetting, match="nothing besides tokens to join"):
        JoinedExtractor(spaces.Dict({"tokens": TokenBox(9, 4, 0)}))


def test_potential_based_shaping_and_the_agent_share_one_discount() -> None:
    env = agents.make_vec_env(CART, 2, guidance="expert", shaping="potential", gamma=0.9)
    assert probe(env).gamma == 0.9
    assert agents.make("ppo", env).gamma == 0.9
    assert agents.make("ppo", agents.make_vec_env(CART, 2)).gamma == 0.995
    with pytest.raises(InvalidSetting, match=r"gamma=0\.5 is the agent's.*shaping has gamma=0\.9"):
        agents.make("ppo", env, gamma=0.5)


def test_a_size_that_is_given_leaves_what_is_chosen_for_the_others() -> None:
    env = agents.make_vec_env(CART, 2)
    recipe: Any = agents.load_agent("ppo")
    settings, reasons = recipe.resolve(env, {"policy": {"d_model": 32}})
    policy = settings.policy
    assert (policy.d_model, policy.n_layers, policy.residual_scale) == (32, 1, 0.3)
    assert (reasons["policy.d_model"], reasons["policy.n_heads"]) == ("given", "default")
    assert reasons["policy.residual_scale"] == "a control task: each token says as much as the newest"
    given, _ = recipe.resolve(env, {"policy": {"residual_scale": 0.1, "n_layers": 2}})
    assert (given.policy.n_layers, given.policy.residual_scale) == (2, 0.1)
    tiny = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2}
    assert recipe.resolve(env, {"policy": {"model": tiny}})[0].learning_rate == 7.5e-4


def test_the_best_parameters_are_kept_and_given_back() -> None:
    control, options = load_control(CART, max_steps=20)
    agent = agents.make("ppo", agents.make_vec_env(CART, 2, seed=0, max_steps=20), seed=0, **SMALL)
    best = Best(control, options, 100)
    worth = iter([3.0, 9.0, 9.0, 4.0])
    kept = []
    best.evaluate = lambda agent: _noted(best, agent, next(worth))  # type: ignore[method-assign]
    for step in range(4):
        agent.num_timesteps = step
        kept.append({name: value.clone() for name, value in agent.policy.state_dict().items()})
        best.evaluate(agent)
        for parameter in agent.policy.parameters():
            parameter.data += 1.0
    assert (best.step, best.mean_return) == (2, 9.0)  # the later of equals
    assert best.restore(agent)
    assert all(torch.equal(value, kept[2][name]) for name, value in agent.policy.state_dict().items())


def _noted(best: Best, agent: Any, worth: float) -> None:
    """Evaluate with a result of the test's own."""
    module: Any = importlib.import_module("agents.best")

    real = module.evaluate_control
    result = real(agent, best.control, best.options, 1)
    module.evaluate_control = lambda *_, **__: type(result)(worth, 0.0, None, 1, [])
    try:
        Best.evaluate(best, agent)
    finally:
        module.evaluate_control = real


def test_training_from_the_command_line_keeps_a_run_that_is_evaluated_and_read(textgym: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    sets = ["n_steps=16", "batch_size=32", "n_epochs=1", "policy.d_model=8", "policy.n_heads=2"]
    options = [part for one in sets for part in ("--set", one)]
    status, out, err = textgym(
        "train", CART, "--steps", "256", "--n-envs", "4", "--env", "max_steps=30", *options, "--out", str(run)
    )
    assert (status, err) == (0, "")
    assert "Greedy acting now earns" in out
    assert "the best of those evaluated" in out
    status, out, _ = textgym("eval", str(run), "--episodes", "5", "--json")
    assert 5 <= json.loads(out)["mean_return"] <= 30
    assert "mean return" in textgym("eval", str(run), "--episodes", "2")[1]


def test_what_nobody_says_is_chosen_for_control_tasks(textgym: Run) -> None:
    status, out, _ = textgym("train", CART, "--explain")
    assert status == 0
    assert "16 rows" in out
    assert "a control task" in out


def test_one_can_act_oneself(textgym: Run) -> None:
    status, out, _ = textgym("play", CART, "--seed", "0", typed="push right\nsing\nleft\n\n")
    assert status == 0
    assert "'sing' names no action" in out
    assert "return 2" in out
