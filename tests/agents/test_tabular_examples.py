"""The five update rules on examples that can be worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tabular_envs import Recorder, cut_task, learned, masked, ring

from agents import make, make_vec_env
from textgym import load_task

HALVES = {"alpha": 0.5, "gamma": 0.5}


def test_q_learning_writes_two_tokens_twice() -> None:
    env = make_vec_env("TextGen-v0", 1, target="aa", alphabet="ab")
    agent = make("q-learning", env, epsilon=0.0, **HALVES).learn(4)
    # Greedy from zero writes a twice and earns 1 each: Q(., a) = 0.5 and Q(a, a) = 0.5; then Q(., a) = 0.5 + 0.5 (1 +
    # 0.25 - 0.5) and Q(a, a) = 0.5 + 0.5 (1 - 0.5).
    assert learned(agent) == {(2, 2): [0.875, 0.0], (0, 2): [0.75, 0.0]}


def test_one_place_and_two_actions_tell_sarsa_from_q_learning() -> None:
    values = {
        name: learned(make(name, ring([[-1, 1]]), epsilon=0.0, **HALVES).learn(3))[(0,)]
        for name in ("sarsa", "q-learning", "expected-sarsa")
    }
    # Both begin with action 0: Q(0) = 0.5 (-1) = -0.5. SARSA had chosen 0 again by then, and must take it: it earns -1
    # and goes on with action 1, Q(0) = -0.5 + 0.5 (-1 + 0 + 0.5) = -0.75; then action 1 earns 1: Q(1) = 0.5.
    assert values["sarsa"] == [-0.75, 0.5]
    # Q-learning takes action 1 twice: Q(1) = 0.5, then 0.5 + 0.5 (1 + 0.25 - 0.5) = 0.875.
    assert values["q-learning"] == [-0.5, 0.875]
    assert values["expected-sarsa"] == values["q-learning"]  # without exploration they are one


@pytest.mark.parametrize(
    ("name", "goals"),
    [
        ("q-learning", [2.5]),  # 1 + 0.5 * 3
        ("sarsa", [1.5, 2.5]),  # 1 + 0.5 * 1 or 1 + 0.5 * 3, as the next action is
        ("expected-sarsa", [2.4]),  # 1 + 0.5 (0.2 * (1 + 3) / 2 + 0.8 * 3)
    ],
)
@pytest.mark.parametrize("seed", range(12))
def test_one_step_from_a_table_that_knows_something(name: str, goals: list[float], seed: int) -> None:
    env = Recorder(ring([[1, 1]]))
    agent = make(name, env, seed=seed, epsilon=0.2, **HALVES)
    agent.load_state_dict({"states": np.array([[0]], np.int32), "values": np.array([[1.0, 3.0]])})
    got = learned(agent.learn(1))[(0,)]
    action = int(env.rounds[0].actions[0])
    wanted = [[1.0, 3.0] for _ in goals]
    for values, goal in zip(wanted, goals):
        values[action] += 0.5 * (goal - values[action])
    assert any(got == pytest.approx(values, abs=1e-12) for values in wanted)


def test_reinforce_along_an_episode_of_two_steps() -> None:
    env = Recorder(ring([[1, 1], [1, 1]], end=2))
    agent = make("tabular-reinforce", env, seed=0, value_alpha=0.5, **HALVES)
    agent.learn(1)
    assert not np.any(agent.state_dict()["values"])  # nothing is learned before the end
    agent.learn(1, reset_num_timesteps=False)
    # G_0 = 1 + 0.5 and G_1 = 1; V was 0 and pi 1/2. V(0) = 0.5 * 1.5 and V(1) = 0.5 * 1. theta(s, a) grows by 0.5 *
    # 1.5 * (1 - 1/2) in the first step, by 0.5 * 0.5 * 1 * (1 - 1/2) in the second, with gamma^1 = 0.5; b falls.
    assert learned(agent) == {(0,): 0.75, (1,): 0.5}
    first, second = (int(happened.actions[0]) for happened in env.rounds)
    assert learned(agent, "preferences") == {
        (0,): [0.375, -0.375] if first == 0 else [-0.375, 0.375],
        (1,): [0.125, -0.125] if second == 0 else [-0.125, 0.125],
    }


def test_actor_critic_along_an_episode_of_two_steps() -> None:
    env = Recorder(ring([[1, 1], [1, 1]], end=2))
    agent = make("tabular-actor-critic", env, seed=0, value_alpha=0.5, **HALVES).learn(2)
    # delta = 1 both times, since V was 0. V(s) = 0.5. theta(s, a) grows by 0.5 * 1 * (1 - 1/2) in the first step and by
    # 0.5 * I * 1 * (1 - 1/2) in the second, with I = gamma = 0.5.
    assert learned(agent) == {(0,): 0.5, (1,): 0.5}
    first, second = (int(happened.actions[0]) for happened in env.rounds)
    assert learned(agent, "preferences") == {
        (0,): [0.25, -0.25] if first == 0 else [-0.25, 0.25],
        (1,): [0.125, -0.125] if second == 0 else [-0.125, 0.125],
    }
    agent.learn(1, reset_num_timesteps=False)
    assert learned(agent)[(0,)] == 0.875  # I is 1 again: 0.5 + 0.5 (1 + 0.5 * 0.5 - 0.5)


def test_a_truncated_episode_is_worth_what_would_have_come() -> None:
    corridor = [[0, 1], [0, 0]]
    q = learned(make("q-learning", ring(corridor, 2, limit=3), gamma=0.5, seed=0).learn(2_000))
    # It is cut in place 1. V(0) = 1 + V(1) / 2 and V(1) = V(0) / 2, so V(0) = 4/3 and V(1) = 2/3.
    np.testing.assert_allclose(q[(0,)], [1 / 3, 4 / 3], atol=1e-3)
    np.testing.assert_allclose(q[(1,)], [2 / 3, 2 / 3], atol=1e-3)


def test_after_a_cut_sarsa_chooses_anew_in_the_state_that_the_next_episode_begins_in() -> None:
    env = Recorder(ring([[0, 0], [0, 0]], limit=1))  # every episode is cut in place 1
    agent = make("sarsa", env, epsilon=0.0)
    known = np.array([[0.0, 5.0], [5.0, 0.0]])  # action 1 in place 0, action 0 in place 1
    agent.load_state_dict({"states": np.array([[0], [1]], np.int32), "values": known})
    agent.learn(3)
    assert [int(happened.actions[0]) for happened in env.rounds] == [1, 1, 1]


@pytest.mark.parametrize(("name", "worth"), [("q-learning", 4.0), ("expected-sarsa", 2.0)])
def test_after_a_cut_every_action_counts_since_no_mask_is_known_there(name: str, worth: float) -> None:
    task = masked(load_task("TextGen-v0", target="abab", alphabet="abc"))  # the first token may not be a
    agent = make(name, cut_task(task, 1, limit=1), epsilon=1.0, **HALVES)
    after = {(1, 3, 3, 3): [4.0, 1.0, 1.0], (2, 3, 3, 3): [4.0, 1.0, 1.0]}
    agent.load_state_dict({"states": np.array([*after], np.int32), "values": np.array([*after.values()])})
    got = learned(agent.learn(1))
    assert sorted(got[(3, 3, 3, 3)]) == sorted([0.0, 0.0, 0.5 * (-1 + 0.5 * worth)])  # -1 for the wrong token


@pytest.mark.parametrize("name", ["sarsa", "expected-sarsa"])
def test_under_a_policy_that_only_explores_a_cut_episode_has_that_policys_values(name: str) -> None:
    env = ring([[0, 1], [0, 0]], 2, limit=3)
    got = learned(make(name, env, gamma=0.5, alpha=0.005, epsilon=1.0, seed=0).learn(20_000))
    # V(0) = 1/2 + V(1) / 2 and V(1) = V(0) / 2, so V(0) = 2/3 and V(1) = 1/3.
    np.testing.assert_allclose(got[(0,)], [1 / 6, 7 / 6], atol=0.05)
    np.testing.assert_allclose(got[(1,)], [1 / 3, 1 / 3], atol=0.05)
