"""Q-learning's table: what it knows, how it grows, how it is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents import make_vec_env
from agents.tabular import QLearning
from textgym.errors import InvalidSetting


def agent(n_envs: int = 4, steps: int = 600, **kwargs: Any) -> QLearning:
    """An agent that has learned to copy a little."""
    kwargs = {"alphabet": "ab", "max_length": 2, **kwargs}
    return QLearning(make_vec_env("TextGym/Copy-v0", n_envs, **kwargs), seed=0).learn(steps)


def test_predictions_are_greedy_for_one_observation_and_for_many() -> None:
    learner = agent()
    state = learner.state_dict()
    greedy = state["values"].argmax(axis=1)
    actions, memory = learner.predict(state["states"], deterministic=True)
    np.testing.assert_array_equal(actions, greedy)
    assert memory is None
    for observation, action in zip(state["states"], greedy):
        one = learner.predict(observation, deterministic=True)[0]
        assert np.shape(one) == ()
        assert one == action


def test_a_prefix_never_met_is_answered_by_token_0_or_by_chance() -> None:
    learner = agent(alphabet="abcdefgh", max_length=4, steps=4)
    unknown = np.full((300, 9), 8, np.int32)
    assert not learner.predict(unknown, deterministic=True)[0].any()
    drawn = learner.predict(unknown)[0]
    assert set(drawn.tolist()) == set(range(9))


def test_sampled_predictions_explore_as_at_the_end_of_learning() -> None:
    learner = agent()
    state = learner.state_dict()
    best = state["values"][0].argmax()
    drawn = learner.predict(np.repeat(state["states"][:1], 20_000, axis=0))[0]
    assert abs((drawn != best).mean() - 0.05 * 2 / 3) < 0.006  # 0.05 random, a third of which hits the best


def test_the_table_grows_with_more_new_prefixes_than_it_has_rows() -> None:
    learner = agent(n_envs=4096, steps=1, alphabet="abcdefgh", min_length=12, max_length=12)
    assert len(learner.state_dict()["states"]) > 4000


@pytest.mark.parametrize("id", ["CartPole-v1", "FrozenLake-v1"])
def test_observations_that_are_no_rows_of_integers_are_refused(id: str) -> None:
    with pytest.raises(InvalidSetting, match="observation"):
        QLearning(make_vec_env(id, 2))


@pytest.mark.parametrize("steps", [0, 20, 600])
def test_a_table_comes_back_with_the_same_values_and_goes_on_learning(steps: int) -> None:
    learner = (
        agent(steps=steps) if steps else QLearning(make_vec_env("TextGym/Copy-v0", 4, alphabet="ab", max_length=2))
    )
    kept = learner.state_dict()
    other = QLearning(make_vec_env("TextGym/Copy-v0", 4, alphabet="ab", max_length=2), seed=1)
    other.load_state_dict(kept)
    again = other.state_dict()
    np.testing.assert_array_equal(kept["states"], again["states"])
    np.testing.assert_array_equal(kept["values"], again["values"])
    other.learn(2_000)
    assert len(other.state_dict()["states"]) > 25


def test_a_state_dict_does_not_change_when_learning_goes_on() -> None:
    learner = agent()
    kept = learner.state_dict()
    before = kept["values"].copy()
    learner.learn(200)
    np.testing.assert_array_equal(kept["values"], before)


@pytest.mark.parametrize(("width", "size"), [(4, 3), (5, 4)])
def test_a_table_of_another_width_or_size_is_refused(width: int, size: int) -> None:
    learner = agent()  # 2 letters and an end token; 5 columns
    table: dict[str, Any] = {"states": np.zeros((2, width), np.int32), "values": np.zeros((2, size))}
    with pytest.raises(InvalidSetting, match=rf"\(2, {width}\).*\(2, {size}\).*width 5 and 3 actions"):
        learner.load_state_dict(table)


def test_the_same_seed_learns_the_same_table() -> None:
    one, same, other = (QLearning(make_vec_env("TextGym/Copy-v0", 4), seed=s).learn(500) for s in (1, 1, 2))
    np.testing.assert_equal(one.state_dict(), same.state_dict())
    assert one.state_dict()["states"].tolist() != other.state_dict()["states"].tolist()


def test_a_callback_that_returns_false_stops_learning() -> None:
    learner = QLearning(make_vec_env("TextGen-v0", 4), seed=0)
    learner.learn(1_000, lambda names, _: names["self"].num_timesteps < 12)
    assert learner.num_timesteps == 12


def test_exploration_falls_linearly_over_the_first_half_of_learning() -> None:
    env: Any = make_vec_env("TextGen-v0", 1, target="a", alphabet="ab")
    step = env.step
    wrong: list[bool] = []

    def recorded(actions: Any) -> Any:
        wrong.append(actions[0] == 1)
        return step(actions)

    env.step = recorded
    QLearning(env, epsilon=(1.0, 0.0), seed=0).learn(8_000)
    shares = [np.mean(wrong[start : start + 2_000]) for start in range(0, 8_000, 2_000)]
    assert shares == [pytest.approx(0.375, abs=0.04), pytest.approx(0.125, abs=0.04), 0, 0]
