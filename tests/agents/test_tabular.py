"""The five update rules beside the same rules over dictionaries, from a record of what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tabular_envs import Recorder, Table, cut_task, learned, masked, ring
from tabular_oracle import actor_critic, best, expected, reinforce, taken, temporal_difference

from agents import make, make_vec_env
from textgym import load_task

STEPS = 400
TASK = load_task("TextGen-v0", target="abab", alphabet="abc")


WHOLE: dict[str, Callable[[int], Any]] = {
    "TextGen-v0": lambda n: make_vec_env("TextGen-v0", n),
    "Corners": lambda n: make_vec_env("TextGym/Corners-v0", n, step=1.0),
    "Copy": lambda n: make_vec_env("TextGym/Copy-v0", n, alphabet="ab", max_length=2),
    "masked": lambda n: make_vec_env(masked(TASK), n),
    "a ring that ends": lambda n: ring([[0, 1], [2, -1]], n, end=5),  # a state twice in an episode
}
CUT: dict[str, Callable[[int], Any]] = {
    "a ring, cut": lambda n: ring([[-1, 1], [0, 0.5]], n, limit=3),
    "masked, cut": lambda n: cut_task(masked(TASK), n, 3),
    "ended or cut": lambda n: cut_task(load_task("TextGym/Corners-v0", step=1.0), n, 3),
}
ENVS = {**WHOLE, **CUT}


def check(got: dict[tuple[int, ...], Any], wanted: dict[tuple[int, ...], Any]) -> None:
    """Every state was learned alike; states that were only met at the end have zeros."""
    assert any(np.any(values) for values in wanted.values())
    assert {state for state, values in got.items() if np.any(values)} <= set(wanted)
    for state, values in wanted.items():
        np.testing.assert_allclose(got.get(state, 0.0), values, atol=1e-9, err_msg=str(state))


def run(name: str, env: str, n_envs: int, seed: int = 1, **settings: Any) -> tuple[Any, Recorder]:
    recorder = Recorder(ENVS[env](n_envs))
    agent = make(name, recorder, seed=seed, **settings).learn(STEPS)
    assert agent.num_timesteps == len(recorder.rounds) * n_envs >= STEPS
    ends = [happened.cut(row) for happened in recorder.rounds for row in range(n_envs) if happened.dones[row]]
    assert ends
    assert any(ends) == (env in CUT)
    return agent, recorder


rows = pytest.mark.parametrize("n_envs", [1, 3])


@rows
@pytest.mark.parametrize("env", ENVS)
def test_q_learnings_table_is_a_dictionarys(env: str, n_envs: int) -> None:
    agent, recorder = run("q-learning", env, n_envs, alpha=0.3, gamma=0.9)
    check(learned(agent), temporal_difference(recorder.rounds, best, 0.3, 0.9))


@rows
@pytest.mark.parametrize("env", WHOLE)
def test_sarsas_table_is_that_of_the_actions_really_taken(env: str, n_envs: int) -> None:
    agent, recorder = run("sarsa", env, n_envs, alpha=0.3, gamma=0.9, epsilon=0.4)
    *_, last = recorder.rounds  # what it would have taken after this one, nobody has seen
    unseen = {state for _, state, _, _ in last.rows()}
    got, wanted = learned(agent), temporal_difference(recorder.rounds, taken, 0.3, 0.9)
    check(*({state: values for state, values in table.items() if state not in unseen} for table in (got, wanted)))


@rows
@pytest.mark.parametrize("env", CUT)
def test_sarsa_goes_on_after_a_cut_with_the_action_it_would_have_taken(env: str, n_envs: int) -> None:
    agent, recorder = run("sarsa", env, n_envs, alpha=0.3, gamma=0.9, epsilon=0.0)  # a greedy one
    check(learned(agent), temporal_difference(recorder.rounds, taken, 0.3, 0.9))


@rows
@pytest.mark.parametrize("env", ENVS)
def test_expected_sarsas_table_is_the_mean_under_the_policy_that_acts(env: str, n_envs: int) -> None:
    agent, recorder = run("expected-sarsa", env, n_envs, alpha=0.3, gamma=0.9, epsilon=(0.8, 0.2))

    def epsilon(number: int) -> float:  # falls over the first half of the steps
        return 0.8 - 0.6 * min(1.0, number * n_envs / (STEPS / 2))

    check(learned(agent), temporal_difference(recorder.rounds, expected(epsilon), 0.3, 0.9))


@rows
@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize(("name", "oracle"), [("tabular-reinforce", reinforce), ("tabular-actor-critic", actor_critic)])
def test_preferences_and_values_are_dictionaries(name: str, oracle: Any, env: str, n_envs: int) -> None:
    agent, recorder = run(name, env, n_envs, alpha=0.3, value_alpha=0.2, gamma=0.8)
    wanted = oracle(recorder.rounds, 0.3, 0.2, 0.8)
    check(learned(agent, "preferences"), wanted.theta)
    check(learned(agent), wanted.value)


@pytest.mark.parametrize("name", ["q-learning", "sarsa", "expected-sarsa", "tabular-reinforce", "tabular-actor-critic"])
def test_what_a_mask_forbids_is_never_taken_and_never_learned(name: str) -> None:
    agent, recorder = run(name, "masked", 3)
    size = agent.size
    forbidden: Table = {}
    for happened in recorder.rounds:
        for row, state, action, _ in happened.rows():
            assert happened.allowed[row, action]
            forbidden[state] = [0.0 if happened.allowed[row, b] else 1.0 for b in range(size)]
    table = learned(agent, "values" if name in ("q-learning", "sarsa", "expected-sarsa") else "preferences")
    for state, ones in forbidden.items():
        assert not np.any(np.array(ones) * table[state])
