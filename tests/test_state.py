"""Environments hand out their state and go on from it; what is no state of theirs changes nothing."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import textgym
from textgym import TextGenEnv, TextGenVectorEnv, load_task
from textgym.chance import chance_state, restored_chance
from textgym.errors import InvalidSetting

MODES = ("NextStep", "SameStep", "Disabled")
IDS = sorted(textgym.task_ids())


def single(id: str) -> TextGenEnv:
    env = gymnasium.make(id, disable_env_checker=True).unwrapped
    assert isinstance(env, TextGenEnv)
    return env


def batch(id: str, n: int = 3, mode: str = "SameStep") -> TextGenVectorEnv:
    return TextGenVectorEnv(load_task(id), n, mode)


def walk(env: TextGenEnv, seed: int, steps: int) -> list[Any]:
    """Take random steps, beginning anew where an episode ends; return all that is seen."""
    chance, seen = np.random.default_rng(seed), list[Any]()
    for _ in range(steps):
        if env.episodes.finished[0]:
            seen.append(env.reset()[0].tolist())
        observation, *rest = env.step(chance.integers(env.task.size))
        seen.append((observation.tolist(), rest))
    return seen


def walk_rows(env: TextGenVectorEnv, seed: int, steps: int) -> list[Any]:
    chance, seen = np.random.default_rng(seed), list[Any]()
    for _ in range(steps):
        if str(env.autoreset_mode.value) == "Disabled" and env.episodes.finished.any():
            seen.append(env.reset(options={"reset_mask": env.episodes.finished.copy()})[0].tolist())
        observations, rewards, terminations, _, info = env.step(chance.integers(env.task.size, size=env.num_envs))
        seen.append((observations.tolist(), rewards.tolist(), terminations.tolist(), repr(info)))
    return seen


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("steps", [0, 1, 4, 50])
def test_an_environment_goes_on_in_another_as_if_it_were_the_same(id: str, steps: int) -> None:
    env, other = single(id), single(id)
    env.reset(seed=4)
    walk(env, 1, steps)
    state = env.get_state()
    other.reset(seed=77)
    other.set_state(state)
    np.testing.assert_array_equal(other.episodes.tokens, env.episodes.tokens)
    assert walk(other, 2, 60) == walk(env, 2, 60)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("steps", [0, 1, 4, 50])
def test_a_batch_goes_on_in_another_in_every_mode(id: str, steps: int, mode: str) -> None:
    env, other = batch(id, mode=mode), batch(id, mode=mode)
    env.reset(seed=4)
    walk_rows(env, 1, steps)
    other.set_state(env.get_state())  # it need not have been reset
    assert walk_rows(other, 2, 60) == walk_rows(env, 2, 60)


@pytest.mark.parametrize("id", IDS)
def test_what_was_handed_out_does_not_change_and_can_be_used_again(id: str) -> None:
    env = batch(id)
    env.reset(seed=1)
    walk_rows(env, 1, 5)
    state = env.get_state()
    kept = copy.deepcopy(state)
    first = walk_rows(env, 3, 30)
    assert pickle.dumps(state) == pickle.dumps(kept)
    env.set_state(state)
    assert walk_rows(env, 3, 30) == first
    assert pickle.dumps(state) == pickle.dumps(kept)


@pytest.mark.parametrize("id", IDS)
def test_a_state_before_the_first_reset_is_one_too(id: str) -> None:
    env, rows = single(id), batch(id)
    fresh, fresh_rows = env.get_state(), rows.get_state()
    env.reset(seed=1)
    rows.reset(seed=1)
    env.set_state(fresh)
    rows.set_state(fresh_rows)
    for begun in (env, rows):
        with pytest.raises(gymnasium.error.ResetNeeded):
            begun.step(0 if begun is env else [0, 0, 0])
    env.reset(seed=6)
    assert env.episodes.tokens.tolist() == batch(id, 1).reset(seed=6)[0].tolist()


def damage(state: dict[str, Any], name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    episodes = {**state["episodes"]}
    episodes[name] = change(episodes[name].copy())
    return {**state, "episodes": episodes}


def put(value: int) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array.reshape(-1)[0] = value
        return array

    return change


DAMAGES: list[Any] = [
    *[
        (name, change, f"'{name}' is")
        for name in ("tokens", "target", "length", "finished", "seed")
        for change in (lambda a: a[:2], lambda a: a.astype(np.float32), lambda a: a.tolist(), lambda a: None)
    ],
    ("tokens", put(-1), "a (prompt|completion) holds ids outside 0 to"),
    ("tokens", put(10_000), "a (prompt|completion) holds ids outside 0 to"),
    ("target", put(-1), "a target holds ids outside 0 to"),
    ("target", put(10_000), "a target holds ids outside 0 to"),
    ("length", put(-1), "the lengths .* do not fit"),
    ("length", put(10_000), "the lengths .* do not fit"),
    ("length", put(-(2**63)), "the lengths .* do not fit"),
    ("length", put(2**63 - 1), "the lengths .* do not fit"),
    ("length", lambda a: (a + 1) % 3, "have not the lengths"),
]


@pytest.mark.parametrize(("name", "change", "fault"), DAMAGES)
@pytest.mark.parametrize("id", ["TextGym/Copy-v0", "TextGen-v0"])
def test_a_malformed_state_is_refused_and_nothing_changes(
    id: str, name: str, change: Callable[[Any], Any], fault: str
) -> None:
    env = batch(id)
    env.reset(seed=1)
    walk_rows(env, 1, 2)
    before = env.get_state()
    with pytest.raises(InvalidSetting, match=fault):
        env.set_state(damage(before, name, change))
    assert pickle.dumps(env.get_state()) == pickle.dumps(before)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {},
        lambda state: {"chance": state["chance"]},
        lambda state: {**state, "chance": None},
        lambda state: {**state, "chance": state["chance"][:2]},
        lambda state: {**state, "chance": [*state["chance"][:2], {}]},
        lambda state: {**state, "chance": [*state["chance"][:2], 3]},
        lambda state: {**state, "chance": [{**row, "bit_generator": "MT19937"} for row in state["chance"]]},
        lambda state: {**state, "episodes": batch("TextGym/Copy-v0", 2).get_state()["episodes"]},
        lambda state: {**state, "episodes": batch("TextGen-v0").get_state()["episodes"]},
    ],
)
def test_the_state_of_another_batch_is_refused_and_nothing_changes(change: Callable[[Any], Any]) -> None:
    env = batch("TextGym/Copy-v0")
    env.reset(seed=1)
    walk_rows(env, 1, 2)
    before = env.get_state()
    with pytest.raises(InvalidSetting):
        env.set_state(change(copy.deepcopy(before)))
    assert pickle.dumps(env.get_state()) == pickle.dumps(before)


@given(st.integers(0, 2**64), st.integers(0, 20), st.booleans())
def test_chance_goes_on_through_json(seed: int, drawn: int, halves: bool) -> None:
    rng = np.random.default_rng(seed)
    rng.integers(9, size=drawn, dtype=np.uint32 if halves else np.int64)  # half of a number may be left
    twin = restored_chance(json.loads(json.dumps(chance_state(rng))))
    assert twin.integers(9, dtype=np.uint32) == rng.integers(9, dtype=np.uint32)
    assert (twin.normal(), twin.random(3).tolist()) == (rng.normal(), rng.random(3).tolist())
    assert chance_state(twin) == chance_state(rng)


@pytest.mark.parametrize("state", [None, 3, "x", [], {}, {"bit_generator": "PCG64"}, {"bit_generator": "MT19937"}])
def test_what_is_no_state_of_a_generator_is_refused(state: Any) -> None:
    with pytest.raises(InvalidSetting, match="is no state of a random generator"):
        restored_chance(state)


@pytest.mark.parametrize("key", ["state", "inc"])
@pytest.mark.parametrize("value", [-1, 2**128, 0.5, "x", None])
def test_a_generators_number_out_of_its_range_is_refused(key: str, value: Any) -> None:
    state = chance_state(np.random.default_rng(0))
    with pytest.raises(InvalidSetting, match="is no state of a random generator"):
        restored_chance({**state, "state": {**state["state"], key: value}})
