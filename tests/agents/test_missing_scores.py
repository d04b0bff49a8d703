"""Episodes without a score: losses, gradients and statistics are those of a batch that never held them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import EpisodeRolloutBuffer, SB3VecEnv, load, make, make_vec_env, save
from agents.evaluation import evaluate, write
from agents.group_relative import advantages
from agents.replay import EpisodeReplayBuffer
from agents.replay_state import get_replay, set_replay
from textgym import Episodes, Prompt, Task, TextGenEnv, Vocabulary
from textgym.arrays import Array, FloatArray
from textgym.errors import InvalidSetting, MissingReward
from textgym.prompts import ListedPrompts

HORIZON = 3
SMALL: dict[str, Any] = {"policy": {"d_model": 8, "n_layers": 1, "n_heads": 2}, "device": "cpu", "seed": 0}
UNCLIPPED: dict[str, Any] = {**SMALL, "max_grad_norm": 1e9}
ROLLOUT: dict[str, Any] = {"n_steps": 4 * HORIZON, **UNCLIPPED}
WHOLE = {"batch_size": 12, "n_epochs": 1}


def scarce(episodes: Episodes) -> Array:
    """1 for each a in a finished text; no score of one that ends in d."""
    paid = np.where(episodes.finished, (episodes.completion == 0).sum(axis=1), 0.0)
    lacking = episodes.finished & (episodes.newest == 3)
    return np.ma.MaskedArray(np.where(lacking, np.nan, paid), lacking)


def task(reward: Any = scarce) -> Task:
    nothing = np.array([], np.int32)
    return Task(Vocabulary(tuple("abcd")), ListedPrompts((Prompt(nothing, nothing),)), reward, HORIZON)


def recorded(agent: Any) -> list[tuple[Any, ...]]:
    """Let an agent make a rollout; return what was added to its buffer, step by step."""
    steps: list[tuple[Any, ...]] = []
    buffer = agent.rollout_buffer
    add = buffer.add

    def note(*arguments: Any) -> None:
        steps.append(
            tuple(
                None if one is None else one.copy() if isinstance(one, np.ndarray) else one.clone() for one in arguments
            )
        )
        add(*arguments)

    buffer.add = note
    agent.env.env_method("accept_missing_rewards", True)
    _, callback = agent._setup_learn(10**6)
    assert agent.collect_rollouts(agent.env, callback, buffer, agent.n_steps)
    return steps


def ends(steps: list[tuple[Any, ...]], n: int) -> FloatArray:
    """Return the last letters of all episodes, `(episodes, n)`."""
    return np.array([step[1][:, 0] for step in steps[HORIZON - 1 :: HORIZON]]).reshape(-1, n)


def trained(agent: Any) -> tuple[dict[str, float], FloatArray]:
    """Let an agent learn from its buffer; return what it logs and its gradient."""
    agent.batch_size = 1000  # one minibatch; settings ask for one that divides the rollout
    agent.train()
    return noted(agent)


def noted(agent: Any) -> tuple[dict[str, float], FloatArray]:
    """Return what an agent logged of its update, and its gradient."""
    logged = {name: value for name, value in agent.logger.name_to_value.items() if name.startswith("train/")}
    gradients = [p.grad.numpy().ravel() for p in agent.policy.parameters() if p.grad is not None]
    return logged, np.concatenate(gradients)


def agree(mine: tuple[dict[str, float], FloatArray], theirs: tuple[dict[str, float], FloatArray]) -> None:
    assert mine[0].keys() == theirs[0].keys()
    for name, value in theirs[0].items():
        assert mine[0][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert np.linalg.norm(theirs[1]) > 1e-3
    np.testing.assert_allclose(mine[1], theirs[1], atol=1e-5 * np.abs(theirs[1]).max())


KL = {"kl_coefficient": 0.3, "reference": "uniform"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ppo", WHOLE),
        ("ppo", {**WHOLE, **KL}),
        ("ppo", {**WHOLE, **KL, "kl": "exact"}),
        ("a2c", {}),
        ("a2c", {"normalize_advantage": True, **KL, "kl": "k3"}),
        ("reinforce", {}),
        ("reinforce", {"baseline": False}),
    ],
)
def test_an_update_is_that_of_a_rollout_without_the_episode(name: str, settings: dict[str, Any]) -> None:
    agent = make(name, make_vec_env(task(), 5, seed=0), **ROLLOUT, **settings)
    steps = recorded(agent)
    lacking = ends(steps, 5) == 3
    assert 2 < lacking.sum() < 15
    assert agent.rollout_buffer.left_out[HORIZON - 1 :: HORIZON].tolist() == lacking.tolist()
    other = make(name, make_vec_env(task(), 1, seed=0), **ROLLOUT, **settings)
    size = int((~lacking).sum()) * HORIZON
    buffer = EpisodeRolloutBuffer(
        size, other.observation_space, other.action_space, "cpu", other.gae_lambda, other.gamma, 1
    )
    other.rollout_buffer = buffer
    other._setup_learn(10**6)
    buffer.reset()
    for episode, row in np.argwhere(~lacking):  # one after another, in one row
        for step in steps[episode * HORIZON : (episode + 1) * HORIZON]:
            alone: list[Any] = [None if one is None else one[row : row + 1] for one in step]
            buffer.add(*alone)
    other._observe(buffer)
    buffer.compute_returns_and_advantage(torch.zeros(1, 1), np.ones(1, np.bool_))
    agree(trained(agent), trained(other))
    if "kl_coefficient" in settings:
        assert agent.kl_control.measured == pytest.approx(other.kl_control.measured, rel=1e-5)


@pytest.mark.parametrize("name", ["grpo", "rloo"])
@pytest.mark.parametrize("settings", [{}, {"per_token": True, "length_normalisation": "token"}])
def test_a_groups_update_is_that_of_a_smaller_group(name: str, settings: dict[str, Any]) -> None:
    same = {**UNCLIPPED, **WHOLE, **settings, "episodes": 1}
    agent = make(name, make_vec_env(task(), 8, seed=0), **same, group_size=8)
    steps = recorded(agent)
    there = np.flatnonzero(ends(steps, 8)[0] != 3)
    assert 2 <= len(there) < 8
    other = make(name, make_vec_env(task(), len(there), seed=0), **same, group_size=len(there))
    other._setup_learn(10**6)
    buffer = other.rollout_buffer
    buffer.reset()
    for step in steps:
        buffer.add(*[None if one is None else one[there] for one in step])
    buffer.keep(np.zeros((HORIZON, len(there)), np.int64), 1)
    other._weigh(buffer)
    agree(trained(agent), trained(other))


@pytest.mark.parametrize("leave_one_out", [True, False])
@pytest.mark.parametrize("normalise_std", [True, False])
def test_advantages_of_those_that_are_there_agree_with_a_loop(leave_one_out: bool, normalise_std: bool) -> None:
    rng = np.random.default_rng(0)
    onward = rng.normal(size=(12, 3))
    counted = np.array([1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0], np.bool_)
    told = {"leave_one_out": leave_one_out, "normalise_std": normalise_std}
    found = advantages(onward, 4, counted=counted, **told)
    for first in (0, 4):
        members = [i for i in range(first, first + 4) if counted[i]]
        returns = {i: onward[i, 0] for i in members}
        for i in members:
            others = [returns[j] for j in members if j != i] if leave_one_out else list(returns.values())
            expected = returns[i] - sum(others) / len(others)
            if normalise_std:
                expected /= np.std(list(returns.values()), ddof=1) + 1e-4
            assert found[i].tolist() == pytest.approx([expected] * 3)


def test_a_completion_that_is_left_alone_is_compared_with_nobody() -> None:
    agent = make("rloo", make_vec_env(task(), 64, seed=1), **UNCLIPPED, group_size=2, episodes=1)
    lacking = ends(recorded(agent), 64)[0] == 3
    pairs = lacking.reshape(-1, 2)
    assert (pairs.sum(axis=1) == 1).any()
    left_out = agent.rollout_buffer.left_out[:, 0]
    completion = agent.rollout_buffer.completion
    assert {*completion[left_out].tolist()} == {i for i in range(64) if pairs[i // 2].any()}


def replayed(steps: list[tuple[Any, ...]], episodes: Any) -> EpisodeReplayBuffer:
    env = make_vec_env(task(), 1)
    buffer = EpisodeReplayBuffer(1000, env.observation_space, env.action_space, "cpu", 1)
    for episode in episodes:
        for step in steps[episode * HORIZON : (episode + 1) * HORIZON]:
            buffer.add(*step)
    return buffer


def transitions(episodes: int) -> list[tuple[Any, ...]]:
    """Return steps of random writing as a replay buffer takes them."""
    env, rng = make_vec_env(task(), 1, seed=0), np.random.default_rng(0)
    env.env_method("accept_missing_rewards", True)
    steps: list[tuple[Any, ...]] = []
    obs: Any = env.reset()
    for _ in range(episodes * HORIZON):
        action = rng.integers(4, size=1)
        new_obs: Any
        new_obs, rewards, dones, infos = env.step(action)
        after = np.array([infos[0]["terminal_observation"]]) if dones[0] else new_obs
        steps.append((obs.copy(), after.copy(), action, rewards, dones, infos))
        obs = new_obs
    return steps


def test_a_dqn_update_is_that_of_a_memory_without_the_episode() -> None:
    steps = transitions(12)
    known = [i for i in range(12) if steps[HORIZON * i + HORIZON - 1][2][0] != 3]
    assert 4 < len(known) < 12
    found = []
    for episodes in (range(12), known):
        agent = make("dqn", make_vec_env(task(), 1, seed=0), **UNCLIPPED)
        agent._setup_learn(10**6)
        agent.replay_buffer = replayed(steps, episodes)
        np.random.seed(3)  # noqa: NPY002 (SB3's buffers draw from it)
        agent.train(1, batch_size=16)
        found.append(noted(agent))
    agree(*found)


def test_a_memory_leaves_out_whole_episodes_however_old_and_says_so_in_its_state() -> None:
    steps, size = transitions(40), 20
    env = make_vec_env(task(), 1)
    buffer, again = (EpisodeReplayBuffer(size, env.observation_space, env.action_space, "cpu", 1) for _ in range(2))
    for t, step in enumerate(steps):
        buffer.add(*step)
        last = [steps[i - i % HORIZON + HORIZON - 1] for i in range(t + 1)]
        wanted = [
            i for i in range(max(0, t + 1 - size), t + 1) if last[i][2][0] != 3 or i - i % HORIZON + HORIZON - 1 > t
        ]
        first = np.flatnonzero(buffer.begins)
        segments = buffer.segment.flat[first]
        counted = segments[~buffer.left_out[segments]]
        assert buffer.steps[counted].sum() == len(wanted)
    set_replay(again, get_replay(buffer))
    np.random.seed(0)  # noqa: NPY002
    mine = buffer.sample(8)
    np.random.seed(0)  # noqa: NPY002
    theirs = again.sample(8)
    torch.testing.assert_close(mine.rewards, theirs.rewards)
    torch.testing.assert_close(mine.actions, theirs.actions)


def nobody(episodes: Episodes) -> Array:
    """No score at all."""
    return np.ma.MaskedArray(np.zeros(len(episodes)), episodes.finished.copy())


AGENTS = {
    "ppo": {"n_steps": 6, **WHOLE},
    "a2c": {"n_steps": 6},
    "reinforce": {"n_steps": 6},
    "grpo": {"group_size": 4},
    "rloo": {"group_size": 4},
    "dqn": {"learning_starts": 16},
    "q-learning": {},
    "sarsa": {},
    "expected-sarsa": {},
    "tabular-reinforce": {},
    "tabular-actor-critic": {},
}


@pytest.mark.parametrize("rows", [lambda: make_vec_env(task(), 4, seed=0), lambda: DummyVecEnv([single] * 4)])
@pytest.mark.parametrize("name", AGENTS)
def test_our_agents_accept_missing_scores_while_they_learn(name: str, rows: Callable[[], Any]) -> None:
    small = SMALL if AGENTS[name] else {"seed": 0}
    env = rows()
    agent = make(name, env, **small, **AGENTS[name]).learn(120)
    assert agent.missing_rewards > 0
    assert agent.logger.name_to_value.get("rollout/reward_missing", agent.missing_rewards) == agent.missing_rewards
    assert len(agent.ep_info_buffer) + agent.missing_rewards <= 160
    env.reset()
    for _ in range(HORIZON - 1):
        env.step(np.full(4, 3))
    with pytest.raises(MissingReward, match="leave such episodes out while they learn"):
        env.step(np.full(4, 3))


def single() -> TextGenEnv:
    return TextGenEnv(task())


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce", "rloo"])
def test_a_rollout_without_any_score_teaches_nothing(name: str) -> None:
    agent = make(name, make_vec_env(task(nobody), 4, seed=0), **SMALL, **AGENTS[name])
    before = [p.clone() for p in agent.policy.parameters()]
    agent.learn(50)
    assert all(torch.equal(*pair) for pair in zip(before, agent.policy.parameters()))


def test_sb3_alone_is_refused_what_it_would_take_for_a_reward() -> None:
    env = make_vec_env(task(), 4, seed=0)
    with pytest.raises(MissingReward, match=r"TextGenVectorEnv: reward 'scarce' has no score for \d of 4 rows"):
        PPO("MlpPolicy", env, n_steps=8, batch_size=32, device="cpu").learn(200)


def test_evaluation_counts_the_episodes_that_were_scored() -> None:
    agent = make("q-learning", make_vec_env(task(), 4, seed=0), seed=0)
    rows, returns = write(agent, task(), 200, deterministic=False)
    assert 100 < len(rows) < 200
    assert not (rows.completion[:, -1] == 3).any()
    assert returns.tolist() == (rows.completion == 0).sum(axis=1).tolist()
    assert evaluate(agent, task(), 200, deterministic=False).episodes < 200
    with pytest.raises(MissingReward, match="none of 20 episodes has a score"):
        write(agent, task(nobody), 20)


def test_statistics_know_no_return_of_what_was_not_scored() -> None:
    env = make_vec_env(task(), 2, seed=0)
    assert isinstance(env, SB3VecEnv)
    env.env_method("accept_missing_rewards", True)
    env.reset()
    for _ in range(HORIZON):
        infos = env.step(np.array([3, 0]))[3]
    assert "episode" not in infos[0]
    assert infos[0]["reward_missing"] is True
    assert infos[1]["episode"]["r"] == 3.0
    assert "reward_missing" not in infos[1]


def test_tabular_agents_learn_nothing_from_the_step() -> None:
    agent = make("q-learning", make_vec_env(task(), 4, seed=0), seed=0, alpha=1.0, gamma=1.0).learn(3000)
    table = agent.state_dict()
    paid = {tuple(state): values for state, values in zip(table["states"].tolist(), table["values"])}
    for state, values in paid.items():
        if sum(token != 4 for token in state) == HORIZON - 1:
            assert values[3] == 0.0
            assert values[0] in (0.0, 1.0 + sum(token == 0 for token in state))


class Scores:
    """A reward that names weights."""

    def __init__(self, sha256: str) -> None:
        self.fingerprints = ({"model": "reward", "revision": None, "sha256": sha256},)

    def __call__(self, episodes: Episodes) -> FloatArray:
        """Pay nothing."""
        return np.zeros(len(episodes))


SHA = "a" * 64


def named(sha256: str | None = None) -> Task:
    return task(Scores(sha256 or SHA))


def test_a_run_says_which_weights_scored_it_and_goes_on_with_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from textgym import register

    register("Tests/Named-v0", f"{__name__}:named")
    request.addfinalizer(lambda: gymnasium.registry.pop("Tests/Named-v0"))
    save(make("q-learning", make_vec_env("Tests/Named-v0", 2), seed=0).learn(20), tmp_path / "run")
    save(make("q-learning", make_vec_env("TextGen-v0", 2), seed=0).learn(20), tmp_path / "plain")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["reward_models"] == [{"model": "reward", "revision": None, "sha256": SHA}]
    assert "reward_models" not in json.loads((tmp_path / "plain" / "manifest.json").read_text())
    load(tmp_path / "run")
    monkeypatch.setattr(f"{__name__}.SHA", "b" * 64)
    with pytest.raises(InvalidSetting, match=r"was trained on scores of .* Put the reward model back"):
        load(tmp_path / "run")
