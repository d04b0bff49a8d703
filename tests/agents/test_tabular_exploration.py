"""How tabular agents act: epsilon's schedule, the softmax policy, and what they answer to what they never met."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tabular_envs import Recorder, ring

from agents import make, make_vec_env

TD = ("q-learning", "sarsa", "expected-sarsa")
SOFTMAX = ("tabular-reinforce", "tabular-actor-critic")


def epsilons(agent: Any, *steps: int, **kwargs: Any) -> list[float]:
    """Epsilon in each round, as the round saw it, over several calls of `learn`."""
    seen: list[float] = []
    rule = agent._update

    def update(step: Any) -> None:
        seen.append(agent.epsilon)
        rule(step)

    agent._update = update
    for number, more in enumerate(steps):
        agent.learn(more, reset_num_timesteps=number == 0, **kwargs)
    return seen


@pytest.mark.parametrize("name", TD)
def test_one_number_is_the_chance_all_the_time(name: str) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 2), epsilon=0.3)
    assert epsilons(agent, 10) == [0.3] * 5
    assert agent.epsilon == 0.3


@pytest.mark.parametrize("name", TD)
@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [1.0, 0.525, 0.05, 0.05]),  # from 1 to 0.05 over the first half
        ({"epsilon": (0.8, 0.0), "exploration_fraction": 1.0}, [0.8, 0.6, 0.4, 0.2]),
        ({"epsilon": (0.8, 0.0), "exploration_fraction": 0.25}, [0.8, 0.0, 0.0, 0.0]),
        ({"epsilon": (0.8, 0.1), "exploration_fraction": 0.0}, [0.1] * 4),
        ({"epsilon": (0.0, 0.4), "exploration_fraction": 1.0}, [0.0, 0.1, 0.2, 0.3]),  # it may rise
    ],
)
def test_a_pair_is_a_line_over_a_share_of_the_steps(name: str, settings: dict[str, Any], wanted: list[float]) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 2), **settings)
    assert epsilons(agent, 8) == pytest.approx(wanted)  # 4 rounds of 2 rows


def test_learning_that_goes_on_goes_on_in_the_schedule_as_sb3s_does() -> None:
    agent = make("q-learning", make_vec_env("TextGen-v0", 1), epsilon=(1.0, 0.0), exploration_fraction=1.0)
    # The second call knows of 4 + 4 steps in all, 4 of which are done: it begins at half.
    assert epsilons(agent, 4, 4) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.5, 0.375, 0.25, 0.125])
    assert epsilons(agent, 4) == pytest.approx([1.0, 0.75, 0.5, 0.25])  # counted anew
    assert agent.epsilon == 0.0


def test_before_learning_the_chance_is_that_of_the_end() -> None:
    assert make("sarsa", make_vec_env("TextGen-v0", 1), epsilon=(1.0, 0.2)).epsilon == pytest.approx(0.2)


def test_actions_are_as_random_as_epsilon_says() -> None:
    env = Recorder(make_vec_env("TextGen-v0", 1, target="a", alphabet="ab"))
    make("q-learning", env, epsilon=(1.0, 0.0), seed=0).learn(8_000)
    wrong = np.array([happened.actions[0] for happened in env.rounds])
    # The best is also drawn in half of the random actions: 3/8 wrong while epsilon falls from 1 to 1/2, then 1/8.
    shares = wrong.reshape(4, 2_000).mean(axis=1).tolist()
    assert shares == [pytest.approx(0.375, abs=0.04), pytest.approx(0.125, abs=0.04), 0, 0]


def drawn(agent: Any, size: int, masks: Any = None) -> Any:
    """How often each action is predicted in place 0."""
    observations = np.zeros((20_000, 1), np.int32)
    masks = None if masks is None else np.tile(masks, (20_000, 1))
    actions = agent.predict(observations, action_masks=masks)[0]
    return np.bincount(actions, minlength=size) / 20_000


@pytest.mark.parametrize("name", TD)
def test_sampled_predictions_explore_among_what_is_allowed(name: str) -> None:
    agent = make(name, ring([[1, 1, 1, 1]]), epsilon=0.3, seed=0)
    agent.load_state_dict({"states": np.zeros((1, 1), np.int32), "values": np.array([[1.0, 4.0, 3.0, 2.0]])})
    np.testing.assert_allclose(drawn(agent, 4), [0.075, 0.775, 0.075, 0.075], atol=0.01)
    np.testing.assert_allclose(drawn(agent, 4, [True, False, True, False]), [0.15, 0, 0.85, 0], atol=0.01)


@pytest.mark.parametrize("name", SOFTMAX)
def test_sampled_predictions_are_the_softmax_of_the_preferences(name: str) -> None:
    agent = make(name, ring([[1, 1, 1]]), seed=0)
    preferences = np.log([[1.0, 5.0, 2.0]]) + 1000.0  # whose powers alone would overflow
    agent.load_state_dict({"states": np.zeros((1, 1), np.int32), "preferences": preferences, "values": np.zeros(1)})
    np.testing.assert_allclose(drawn(agent, 3), [1 / 8, 5 / 8, 2 / 8], atol=0.015)
    np.testing.assert_allclose(drawn(agent, 3, [True, False, True]), [1 / 3, 0, 2 / 3], atol=0.015)
    observation = np.zeros(1, np.int32)
    assert agent.predict(observation, deterministic=True)[0] == 1
    assert agent.predict(observation, deterministic=True, action_masks=np.array([True, False, True]))[0] == 2


@pytest.mark.parametrize("name", [*TD, *SOFTMAX])
def test_a_prefix_never_met_is_answered_by_token_0_or_by_chance(name: str) -> None:
    agent = make(name, make_vec_env("TextGym/Copy-v0", 4, alphabet="abcdefgh"), seed=0).learn(4)
    width = agent.env.observation_space.shape[0]
    unknown = np.full((900, width), 8, np.int32)
    assert not agent.predict(unknown, deterministic=True)[0].any()
    counts = np.bincount(agent.predict(unknown)[0], minlength=9)
    assert len(counts) == 9
    assert counts.min() > 60  # of 100


@pytest.mark.parametrize("name", [*TD, *SOFTMAX])
def test_predictions_are_for_many_observations_or_for_one_and_hand_back_the_state(name: str) -> None:
    agent = make(name, make_vec_env("TextGen-v0", 4), seed=0).learn(400)
    states = agent.state_dict()["states"]
    actions, memory = agent.predict(states, state=("kept",), deterministic=True)
    assert (actions.shape, memory) == ((len(states),), ("kept",))
    assert [np.shape(agent.predict(state, deterministic=True)[0]) for state in states] == [()] * len(states)
    assert [agent.predict(state, deterministic=True)[0] for state in states] == actions.tolist()
