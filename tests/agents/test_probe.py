"""The probe tells what an environment is like without touching it, and recipes say why they chose what they chose."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from agents import AGENTS, load_agent, make, make_vec_env
from agents.probe import Probe, probe
from agents.recipe import Recipe
from agents.scaled import ScaledRewards, reward_scale, scaled
from textgym import env_ids

TINY = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
TABULAR = ("q-learning", "sarsa", "expected-sarsa", "tabular-reinforce", "tabular-actor-critic")
DEEP = sorted({*AGENTS} - {*TABULAR})
ENVS: list[tuple[str, dict[str, Any]]] = [
    ("TextGen-v0", {}),
    ("TextGen-v0", {"target": ["hello", "ab"], "alphabet": "abehlo", "eos": "$"}),
    ("TextGen-v0", {"reward": "terminal"}),
    ("TextGym/Copy-v0", {}),
    ("TextGym/Corners-v0", {}),
    ("TextGym/Reverse-v0", {"alphabet": "ab", "max_length": 3}),
]


def by_hand(id: str, kwargs: dict[str, Any], n: int, seed: int) -> tuple[int, float, float]:
    """Write the probe's random episodes in n environments of Gymnasium's, one at a time."""
    chance = np.random.default_rng(seed)
    envs: list[Any] = [gymnasium.make(id, disable_env_checker=True, **kwargs) for _ in range(n)]
    for env in envs:
        env.unwrapped.np_random = chance  # all prompts come from it, and then all tokens
        env.reset()
    size, going = int(envs[0].action_space.n), list(range(n))
    masked = envs[0].unwrapped.task.mask is not None
    returns, lengths, paid = np.zeros(n), np.zeros(n, int), 0
    while going:
        if masked:
            masks = np.stack([envs[row].unwrapped.action_masks() for row in going])
            actions = np.where(masks, chance.random(masks.shape), -1).argmax(axis=1)
        else:
            actions = chance.integers(size, size=len(going))
        over = set()
        for row, action in zip(going, actions):
            _, reward, terminated, _, _ = envs[row].step(int(action))
            returns[row] += float(reward)
            lengths[row] += 1
            paid += reward != 0
            if terminated:
                over.add(row)
        going = [row for row in going if row not in over]
    return int(lengths.max()), float(abs(returns).max()), paid / int(lengths.sum())


@pytest.mark.parametrize(("id", "kwargs"), ENVS)
def test_what_the_probe_says_is_what_a_plain_loop_finds(id: str, kwargs: dict[str, Any]) -> None:
    longest, largest, rewarded = by_hand(id, kwargs, 100, seed=5)
    found = probe(make_vec_env(id, 3, **kwargs), episodes=100, seed=5)
    assert (found.n_envs, found.episodes, found.longest) == (3, 100, longest)
    assert found.largest == pytest.approx(largest)
    assert found.rewarded == pytest.approx(rewarded)
    assert found.dense == (rewarded > 0.5)


def test_three_letters_are_always_paid_and_a_terminal_reward_seldom() -> None:
    assert probe(make_vec_env("TextGen-v0")) == Probe(1, 3, 512, longest=3, largest=3.0, rewarded=1.0)
    sparse = probe(make_vec_env("TextGen-v0", reward="terminal"))
    assert (sparse.longest, sparse.largest, sparse.dense) == (3, 1.0, False)
    assert 0 < sparse.rewarded < 0.05  # one step of three, in one episode of 27


@pytest.mark.parametrize("id", env_ids())
def test_the_probe_does_not_touch_the_environment_or_global_chance(id: str) -> None:
    seen = []
    for probed in (False, True):
        env = make_vec_env(id, 4, seed=7)
        observations = [env.reset()]
        np.random.seed(1)  # noqa: NPY002
        chance = np.random.default_rng(2)
        for step in range(12):
            if probed and step == 5:
                probe(env)
            actions = chance.integers(env.action_space.n, size=4)  # type: ignore[attr-defined]
            observations.append(env.step(actions)[0])
        seen.append((np.stack(observations).tolist(), str(env.get_state()), np.random.random()))  # noqa: NPY002
    assert seen[0] == seen[1]


def test_the_same_seed_probes_alike_and_another_otherwise() -> None:
    env = make_vec_env("TextGym/Copy-v0", 2)
    assert probe(env) == probe(env) == probe(make_vec_env("TextGym/Copy-v0", 2, seed=3))
    assert probe(env, seed=1) != probe(env, seed=0)


def test_another_librarys_environment_is_not_probed() -> None:
    found = probe(make_vec_env("CartPole-v1", 2))
    assert found == Probe(n_envs=2, width=4, episodes=0)
    assert reward_scale(found).value == 1.0
    assert reward_scale(found).reason == "this environment cannot be probed: rewards stay as they are"


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_every_setting_has_a_reason(name: str) -> None:
    recipe = load_agent(name)
    assert isinstance(recipe, Recipe)
    env = make_vec_env("TextGen-v0", 4)
    settings, reasons = recipe.resolve(env, {"gamma": 0.5})
    assert reasons.keys() == {key for key, _, _ in settings.flat()}
    assert reasons.pop("gamma") == "given"
    chosen = {key: why for key, why in reasons.items() if why != "default"}
    assert ("reward_scale" in chosen) == (name in DEEP)
    if name in DEEP:
        assert settings.reward_scale == pytest.approx(1 / 3)
        assert chosen.pop("reward_scale") == "the largest of 512 random returns, 3, becomes 1"
    # what is neither given nor chosen has the default of its field
    defaults = {key: value for key, value, _ in type(settings)().flat()}
    for key, value, _ in settings.flat():
        assert key in chosen or key in ("gamma", "reward_scale") or value == defaults[key]


@pytest.mark.parametrize("name", DEEP)
def test_what_is_given_stands_over_what_the_probe_says(name: str) -> None:
    recipe: Any = load_agent(name)
    env = make_vec_env("TextGen-v0", 4)
    chosen, _ = recipe.resolve(env, {})
    everything = {key: value for key, value, _ in chosen.flat() if "." not in key}
    settings, reasons = recipe.resolve(env, {"reward_scale": 2.0, "policy": {"d_model": 8}})
    assert (settings.reward_scale, settings.policy.d_model) == (2.0, 8)
    assert (reasons["reward_scale"], reasons["policy.d_model"], reasons["policy.n_layers"]) == (
        "given",
        "given",
        "default",
    )
    again, reasons = recipe.resolve(env, {**everything, "policy": chosen.policy.model_dump()})
    assert again == chosen
    assert set(reasons.values()) == {"given"}


def test_the_agent_sees_scaled_rewards_and_statistics_are_the_environments_own() -> None:
    bare, env = make_vec_env("TextGen-v0", 2, seed=0), scaled(make_vec_env("TextGen-v0", 2, seed=0), 0.5)
    np.testing.assert_array_equal(bare.reset(), env.reset())
    totals = np.zeros(2)
    for step in range(9):
        actions = np.array([step % 3, 1])
        _, rewards, _, _ = bare.step(actions)
        _, halves, _, infos = env.step(actions)
        assert halves.dtype == np.float32
        np.testing.assert_array_equal(halves, rewards * 0.5)
        totals += rewards
        if step % 3 == 2:
            assert [info["episode"]["r"] for info in infos] == totals.tolist()
            totals[:] = 0


def test_a_scale_of_one_wraps_nothing_and_no_scale_is_put_on_another() -> None:
    env = make_vec_env("TextGen-v0", 2)
    assert scaled(env, 1.0) is env
    assert scaled(scaled(env, 0.5), 1.0) is env
    twice = scaled(scaled(env, 0.5), 0.25)
    assert isinstance(twice, ScaledRewards)
    assert twice.venv is env
    assert float(twice.scale) == 0.25


@pytest.mark.parametrize("name", DEEP)
def test_a_new_environment_keeps_the_scale_and_evaluation_knows_none(name: str) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 4, seed=0), seed=0, device="cpu", **TINY)
    own = agent.get_env()
    assert isinstance(own, ScaledRewards)
    assert own.scale == np.float32(1 / 3)
    agent.learn(64)
    assert {abs(episode["r"]) for episode in agent.ep_info_buffer} <= {1.0, 3.0}  # of three times +1 or -1
    returns = evaluate_policy(agent, agent.get_env(), 8, return_episode_rewards=True)[0]
    plain = evaluate_policy(agent, make_vec_env("TextGen-v0", 4), 8, return_episode_rewards=True)[0]
    assert returns == plain
    agent.set_env(make_vec_env("TextGen-v0", 4, seed=1))
    assert isinstance(agent.get_env(), ScaledRewards)
    assert agent.get_env().scale == np.float32(1 / 3)
    agent.set_env(VecNormalize(make_vec_env("TextGen-v0", 4), norm_obs=False))
    assert isinstance(agent.get_env(), ScaledRewards)
    agent.learn(64)
