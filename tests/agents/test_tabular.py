"""Q-learning: its update beside a dictionary's, what it solves, what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import VecEnvWrapper

from agents import SB3VecEnv, make, make_vec_env
from agents.evaluation import evaluate
from agents.tabular import QLearning
from textgym import load_task
from textgym.errors import InvalidSetting, InvalidSize, UnknownName

Array = npt.NDArray[Any]
Table = dict[tuple[int, ...], list[float]]


class Recorder(VecEnvWrapper):
    """Keeps every round: what stood before, the actions, and what came of them."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.rounds: list[tuple[Any, ...]] = []

    def reset(self) -> Array:
        self.seen: Array = self.venv.reset()  # type: ignore[assignment]
        return self.seen

    def step_async(self, actions: Array) -> None:
        self.actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        after = self.venv.step_wait()
        self.rounds.append((self.seen, self.actions, *after))
        self.seen = after[0]  # type: ignore[assignment]
        return after


class Corridor(gymnasium.Env[Array, np.int64]):
    """Two places in turn; action 1 earns 1 in the first of them. It never ends by itself."""

    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, dtype: Any = np.int32) -> None:
        self.observation_space = spaces.Box(0, 9, (1,), dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = np.zeros(1, self.observation_space.dtype)
        return self.place, {}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward = float(action * (1 - self.place[0]))
        self.place = 1 - self.place
        return self.place, reward, False, False, {}


def corridor(dtype: Any = np.int32) -> SB3VecEnv:
    rows = [lambda: TimeLimit(Corridor(dtype), 3)] * 2
    return SB3VecEnv(SyncVectorEnv(rows, autoreset_mode=AutoresetMode.SAME_STEP))


def by_dictionary(rounds: list[tuple[Any, ...]], size: int, alpha: float, gamma: float) -> Table:
    """Q(s, a) += alpha (r + gamma max Q(s', .) - Q(s, a)); the rows of a round see the same maxima."""
    table: Table = {}
    for before, actions, after, rewards, dones, infos in rounds:
        goals = []
        for row in range(len(actions)):
            cut = dones[row] and infos[row]["TimeLimit.truncated"]
            then = tuple((infos[row]["terminal_observation"] if cut else after[row]).tolist())
            best = max(table.get(then, [0.0])) if cut or not dones[row] else 0.0
            goals.append(float(rewards[row]) + gamma * best)
        for row, goal in enumerate(goals):
            values = table.setdefault(tuple(before[row].tolist()), [0.0] * size)
            values[actions[row]] += alpha * (goal - values[actions[row]])
    return table


def learned(agent: Any) -> Table:
    state = agent.state_dict()
    return {tuple(key.tolist()): values.tolist() for key, values in zip(state["states"], state["values"])}


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("id", ["TextGen-v0", "TextGym/Corners-v0", "corridor"])
def test_the_update_is_a_dictionarys(id: str, n_envs: int) -> None:
    env = Recorder(corridor() if id == "corridor" else make_vec_env(id, n_envs))
    agent = QLearning(env, alpha=0.3, gamma=0.9, seed=1).learn(400)
    expected, got = by_dictionary(env.rounds, agent.size, 0.3, 0.9), learned(agent)
    assert agent.num_timesteps == len(env.rounds) * env.num_envs >= 400
    assert {key for key, values in got.items() if any(values)} <= set(expected)
    for key, values in expected.items():
        np.testing.assert_allclose(got[key], values, atol=1e-6)


def test_three_updates_worked_by_hand() -> None:
    env = make_vec_env("TextGen-v0", 1, target="aa", alphabet="ab")
    agent = QLearning(env, alpha=0.5, gamma=0.5, epsilon=(0.0, 0.0)).learn(4)
    # Greedy from zero writes a twice and earns 1 each: Q(a, a) = 0.5; Q(., a) = 0.5; then 0.5 + 0.5 (1 + 0.25 - 0.5)
    # and 0.5 + 0.5 (1 - 0.5).
    assert learned(agent) == {(2, 2): [0.875, 0.0], (0, 2): [0.75, 0.0]}


@pytest.mark.parametrize("reward", ["token", "terminal"])
@pytest.mark.parametrize("seed", range(5))
def test_it_writes_the_text_after_five_thousand_steps(seed: int, reward: str) -> None:
    agent = QLearning(make_vec_env("TextGen-v0", 8, reward=reward), seed=seed).learn(5_000)
    result = evaluate(agent, load_task("TextGen-v0", reward=reward), 10)
    assert (result.mean_return, result.success_rate) == (3.0 if reward == "token" else 1.0, 1.0)
    assert result.samples == ["我爱你"] * 5


def test_truncated_episodes_are_worth_what_would_have_come() -> None:
    table = learned(QLearning(corridor(), gamma=0.5, seed=0).learn(2_000))
    # It is cut in place 1. V(0) = 1 + V(1) / 2 and V(1) = V(0) / 2, so V(0) = 4/3 and V(1) = 2/3.
    np.testing.assert_allclose(table[(0,)], [1 / 3, 4 / 3], atol=1e-3)
    np.testing.assert_allclose(table[(1,)], [2 / 3, 2 / 3], atol=1e-3)


def test_integers_of_another_width_are_known_again() -> None:
    agent = QLearning(corridor(np.int64), seed=0).learn(400)
    assert agent.predict(np.zeros((2, 1), np.int64), deterministic=True)[0].tolist() == [1, 1]


@pytest.mark.parametrize("setting", [{"alpha": 0.0}, {"alpha": 1.1}, {"gamma": -0.1}, {"epsilon": (1.0, 2.0)}])
def test_a_setting_out_of_its_range_is_refused_with_its_value(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(InvalidSetting, match=re.escape(f"{name}={value}")):
        QLearning(make_vec_env("TextGen-v0", 1), **setting)


def test_actions_that_are_not_discrete_steps_and_names_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="needs Discrete actions"):
        QLearning(make_vec_env("Pendulum-v1", 1))
    with pytest.raises(InvalidSize, match="total_timesteps=0"):
        QLearning(make_vec_env("TextGen-v0", 1)).learn(0)
    with pytest.raises(UnknownName, match="Did you mean 'q-learning'"):
        make("qlearning", make_vec_env("TextGen-v0", 1))


def never_the_first(episodes: Any) -> Any:
    mask = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    mask[:, 0] = False
    return mask


def pays_the_first(episodes: Any) -> Any:
    return (episodes.newest == 0).astype(np.float64)


def test_a_mask_is_obeyed_in_learning_and_in_evaluation() -> None:
    plain = load_task("TextGen-v0", target="abab", alphabet="abc")
    task = replace(plain, reward=pays_the_first, mask=never_the_first)
    learner = QLearning(make_vec_env(task, 4), seed=0).learn(400)
    assert not any(row[0] for row in learner.state_dict()["values"])
    for greedy in (True, False):
        result = evaluate(learner, task, 20, deterministic=greedy, samples=20)
        assert result.mean_return == 0
        assert not any("a" in text for text in result.samples)
