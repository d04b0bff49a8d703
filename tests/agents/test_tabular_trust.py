"""A tabular agent's state may come from a stranger: what is no state of it is refused, and nothing changes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from agents import AGENTS, make, make_vec_env
from textgym.errors import InvalidSetting

every = pytest.mark.parametrize("name", [name for name, place in AGENTS.items() if ".tabular." in place])
ROWS = 3


def fresh(name: str, seed: int = 0, n_envs: int = ROWS) -> Any:
    return make(name, make_vec_env("TextGym/Copy-v0", n_envs, alphabet="ab", max_length=3), seed=seed)


@cache
def prepared(name: str) -> tuple[Any, dict[str, Any]]:
    """An agent, and a state of another one with the same table."""
    donor, agent = fresh(name, 5).learn(100), fresh(name).learn(100)
    agent.load_state_dict(donor.state_dict())
    return agent, donor.get_state()


NONSENSE: dict[str, Any] = {
    "None": None,
    "a text": "abc",
    "a negative number": -1,
    "a fraction": 3.5,
    "a flag": True,
    "a huge number": 10**400,
    "a mapping": {},
    "a list of lists": [[1, 2], [3]],
    "an array of one number": np.array(1),
    "too many rows": np.zeros((99, 4), np.int32),
    "NaN": np.full(ROWS, np.nan),
    "objects": np.array([object()] * ROWS),
}
MAY_BE_NONE = ("last_obs", "next")
ARRAYS = ("lengths", "states", "actions", "rewards", "masks", "discount")  # missing ones are named with their shape


def unchanged(
    agent: Any, state: Any, error: Any = (InvalidSetting, KeyError, TypeError, ValueError), **kwargs: Any
) -> None:
    """Assert that a state is refused, and that nothing of it was taken."""
    before = agent.get_state()
    with pytest.raises(error, **kwargs):
        agent.set_state(state)
    np.testing.assert_equal(agent.get_state(), before)


@pytest.mark.parametrize("kind", NONSENSE)
@every
def test_nonsense_in_the_place_of_any_part_is_refused_and_nothing_changes(name: str, kind: str) -> None:
    agent, state = prepared(name)
    for part in state:
        if not (kind == "None" and part in MAY_BE_NONE):
            unchanged(agent, {**state, part: NONSENSE[kind]})


@every
def test_a_state_in_which_any_part_is_missing_is_refused(name: str) -> None:
    agent, state = prepared(name)
    for part in state:
        error = InvalidSetting if part in ARRAYS else KeyError
        unchanged(agent, {key: value for key, value in state.items() if key != part}, error, match=part)
    unchanged(agent, {})
    unchanged(agent, None)


def changed(array: Any, value: Any) -> Any:
    """An array of the same shape and dtype with another first number."""
    array = array.copy()
    array.flat[0] = value
    return array


@pytest.mark.parametrize(
    ("name", "part", "value", "message"),
    [
        ("q-learning", "last_obs", 99, "last_obs has a number that is not from 0 to 3"),
        ("q-learning", "last_obs", -1, "last_obs has a number"),
        ("sarsa", "next", 3, "next has a number that is not from -1 to 2"),
        ("sarsa", "next", -2, "next has a number"),
        ("tabular-actor-critic", "discount", 1.01, r"discount has a number that is not from 0\.0 to 1\.0"),
        ("tabular-actor-critic", "discount", -0.1, "discount has a number"),
        ("tabular-actor-critic", "discount", np.nan, "discount has a number"),
        ("tabular-reinforce", "lengths", -1, "lengths has a number"),
        ("tabular-reinforce", "lengths", 50, "states is int64"),  # as many states must be there
        ("tabular-reinforce", "states", 10**6, "states has a number"),  # no such row of the table
        ("tabular-reinforce", "states", -1, "states has a number"),
        ("tabular-reinforce", "actions", 3, "actions has a number that is not from 0 to 2"),
        ("tabular-reinforce", "actions", -1, "actions has a number"),
        ("tabular-reinforce", "rewards", np.inf, "rewards has a number"),
        ("tabular-reinforce", "rewards", np.nan, "rewards has a number"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, part: str, value: Any, message: str) -> None:
    agent, state = prepared(name)
    unchanged(agent, {**state, part: changed(state[part], value)}, InvalidSetting, match=message)


def test_an_action_that_its_mask_forbids_is_refused() -> None:
    agent, state = prepared("tabular-reinforce")
    unchanged(agent, {**state, "masks": np.zeros_like(state["masks"])}, InvalidSetting, match="its mask forbids")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("episodes", [1.0]),
        ("episodes", [{"r": 1.0}]),
        ("episodes", [{"r": "1", "l": 3}]),
        ("episodes", [{"r": float("nan"), "l": 3}]),
        ("successes", [1.0]),
        ("successes", ["yes"]),
        ("num_timesteps", 2**63),
        ("total_timesteps", 1.0),
        ("chance", {"bit_generator": "MT19937"}),
        ("chance", {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0}),
    ],
)
def test_statistics_counts_and_chance_of_another_kind_are_refused(part: str, value: Any) -> None:
    agent, state = prepared("q-learning")
    unchanged(agent, {**state, part: value}, InvalidSetting)


@every
def test_the_state_of_other_rows_or_of_another_rule_is_refused(name: str) -> None:
    agent, _ = prepared(name)
    unchanged(agent, fresh(name, n_envs=8).learn(100).get_state(), InvalidSetting, match="last_obs is int32")
    if name not in ("q-learning", "expected-sarsa"):  # these two need nothing more
        unchanged(agent, prepared("q-learning")[1], KeyError if name == "sarsa" else InvalidSetting)


@every
def test_the_state_that_all_of_these_spoil_is_taken_and_is_the_agents_own_from_then_on(name: str) -> None:
    agent, state = fresh(name), prepared(name)[1]
    agent.load_state_dict(prepared(name)[0].state_dict())
    given = {part: value.copy() if isinstance(value, np.ndarray) else value for part, value in state.items()}
    agent.set_state(given)
    for value in given.values():
        if isinstance(value, np.ndarray):
            value[...] = 0
    np.testing.assert_equal(agent.get_state(), state)
