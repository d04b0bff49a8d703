"""The table: what it knows, how it grows, what it does when it is full, how it is kept."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from tabular_envs import key, learned, ring

from agents import AGENTS, make, make_vec_env
from agents.tabular.states import UNKNOWN, StateTable
from textgym.errors import InvalidSetting

every = pytest.mark.parametrize("name", [name for name, place in AGENTS.items() if ".tabular." in place])
COLUMNS = {"values": 3, "worth": 0}


def numbered(count: int, start: int = 0) -> Any:
    """Observations of two integers, all different."""
    numbers = np.arange(start, start + count, dtype=np.int32)
    return np.stack([numbers, -numbers], axis=1)


def table(states: int = 0, limit: int = 10**6) -> StateTable:
    """A table in which a state's numbers are its own number."""
    found = StateTable(2, COLUMNS, limit)
    if states:
        rows = found.find(numbered(states))
        found["values"][rows] = np.arange(states)[:, None] + [0.25, 0.5, 0.75]
        found["worth"][rows] = np.arange(states)
    return found


def test_each_state_has_a_row_of_its_own_which_it_keeps() -> None:
    found = table()
    assert found.find(np.array([[5, 6], [7, 8], [5, 6]])).tolist() == [1, 2, 1]
    assert found.find(np.array([[7, 8], [9, 9]])).tolist() == [2, 3]
    assert found.look(np.array([[9, 9], [0, 0], [5, 6]])).tolist() == [3, UNKNOWN, 1]
    assert len(found) == 3  # looking adds none
    assert found.look(np.zeros((0, 2), np.int32)).tolist() == []


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, ">i4"])
def test_integers_of_every_width_are_one_state(dtype: Any) -> None:
    found = table()
    found.find(np.array([[5, 6]], np.int32))
    assert found.look(np.array([[5, 6]], dtype)).tolist() == [1]
    assert found.look(np.array([[6, 5], [5, 6]], dtype)[::-1]).tolist() == [1, UNKNOWN]


@pytest.mark.parametrize("observations", [np.zeros((1, 3), np.int32), np.zeros(2, np.int32), np.zeros((1, 2))])
def test_what_is_no_row_of_so_many_integers_is_refused(observations: Any) -> None:
    for method in (table().find, table().look):
        with pytest.raises(InvalidSetting, match="this table knows rows of 2 integers"):
            method(observations)


@pytest.mark.parametrize("batches", [[1023, 1, 1], [1024, 1], [5000], [1] * 3 + [2500], [700] * 10])
def test_it_grows_and_forgets_nothing(batches: list[int]) -> None:
    found, known = table(), 0
    for size in batches:
        rows = found.find(numbered(size, known))
        assert rows.tolist() == list(range(known + 1, known + size + 1))
        found["worth"][rows] = np.arange(known, known + size)
        known += size
        assert found["worth"][found.look(numbered(known))].tolist() == list(range(known))
    assert found["worth"][UNKNOWN] == 0


@pytest.mark.parametrize("limit", [1, 5, 1500])
def test_a_full_table_says_so_and_learns_no_more_states(limit: int) -> None:
    found = StateTable(2, COLUMNS, limit)
    with pytest.warns(UserWarning, match=f"holds {limit} states, all that max_states allows"):
        rows = found.find(numbered(limit + 40))
    assert rows.tolist() == [*range(1, limit + 1), *[UNKNOWN] * 40]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.find(numbered(limit)).tolist() == list(range(1, limit + 1))  # those it knows
    with pytest.warns(UserWarning, match="max_states"):
        assert found.find(numbered(3, limit)).tolist() == [UNKNOWN] * 3
    assert len(found) == limit
    assert len(found["worth"]) <= 2 * max(1024, limit)


def test_a_warning_that_is_an_error_leaves_the_table_whole() -> None:
    found = StateTable(2, COLUMNS, 5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="max_states"):
            found.find(numbered(6000))
    found["worth"][found.find(numbered(5000))] = 1.0
    assert found.state_dict()["worth"].sum() == 5000


@every
@pytest.mark.filterwarnings("ignore:the table holds")
def test_an_agent_whose_table_is_full_learns_what_it_knows_and_nothing_else(name: str) -> None:
    env = make_vec_env("TextGym/Copy-v0", 4, alphabet="ab", max_length=3, seed=0)
    agent = make(name, env, seed=0, max_states=9).learn(3_000)
    state = agent.state_dict()
    assert {name: len(array) for name, array in state.items()} == dict.fromkeys(state, 9)
    assert all(np.isfinite(array).all() for array in state.values())
    for column in agent.columns:
        assert np.any(state[column])
        assert not np.any(agent._table[column][UNKNOWN])
    unknown = np.full((1, agent.env.observation_space.shape[0]), 2, np.int32)
    assert agent.predict(unknown, deterministic=True)[0].tolist() == [0]


@pytest.mark.parametrize("states", [0, 1, 20, 1023, 1024, 3000])
def test_a_table_comes_back_with_the_same_numbers_and_grows_on(states: int) -> None:
    kept = table(states).state_dict()
    assert {name: (array.shape, str(array.dtype)) for name, array in kept.items()} == {
        "states": ((states, 2), "int32"),
        "values": ((states, 3), "float64"),
        "worth": ((states,), "float64"),
    }
    other = table(7)
    other.load_state_dict(kept)
    np.testing.assert_equal(other.state_dict(), kept)
    assert other.find(numbered(states + 2500)).tolist() == list(range(1, states + 2501))
    np.testing.assert_equal(other.state_dict()["worth"], [*range(states), *[0] * 2500])


def test_what_was_kept_changes_neither_with_the_table_nor_with_its_copy() -> None:
    found, other = table(20), table()
    kept = found.state_dict()
    other.load_state_dict(kept)
    for changed in (found, other):
        changed["values"][:] = changed["worth"][:] = -1.0
    np.testing.assert_equal(kept, table(20).state_dict())


GOOD = table(4).state_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"states": None},
        {"values": None},
        {"worth": None},
        {"more": np.zeros(4)},
        {"states": np.zeros((4, 3), np.int32)},  # another width
        {"states": GOOD["states"][:3]},
        {"states": GOOD["states"].astype(np.int64)},
        {"states": GOOD["states"].astype(np.float64)},
        {"states": GOOD["states"].tolist()},
        {"states": np.array(4, np.int32)},
        {"states": GOOD["states"][[0, 1, 2, 1]]},  # one twice
        {"values": np.zeros((4, 2))},  # another number of actions
        {"values": np.zeros((5, 3))},
        {"values": np.zeros((4, 3), np.float32)},
        {"values": np.full((4, 3), np.nan)},
        {"values": "abc"},
        {"worth": np.array([0, 1, np.inf, 2.0])},
        {"worth": np.zeros((4, 1))},
        {"worth": np.zeros(4, object)},
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_changes(change: dict[str, Any]) -> None:
    found = table(7)
    before = found.state_dict()
    state = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    with pytest.raises(InvalidSetting, match=r"does not fit: this one holds states \(\d, 2\) int32|are not finite"):
        found.load_state_dict(state)
    np.testing.assert_equal(found.state_dict(), before)
    assert found.find(numbered(8)).tolist() == list(range(1, 9))


def test_more_states_than_max_states_are_refused() -> None:
    with pytest.raises(InvalidSetting, match=re.escape("at most 3.")):
        table(limit=3).load_state_dict(GOOD)


def test_observations_too_great_for_int32_are_kept_whole() -> None:
    agent = make("q-learning", ring([[1, 1]], high=2**40, dtype=np.int64))
    large = np.array([[2**40], [2**40 - 2**32], [0]])
    agent._table.find(large)
    kept = agent.state_dict()
    assert [key(state) for state in kept["states"]] == [key(state) for state in large]
    agent.load_state_dict(kept)
    assert list(learned(agent)) == [key(state) for state in large]
