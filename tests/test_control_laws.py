"""The laws of every environment, for every control task; what is said of a Task alone is said in test_laws.py."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import textgym
from textgym import ControlEnv, ControlVectorEnv
from textgym.agreement import agree
from textgym.errors import InvalidSetting

IDS = textgym.control_ids()
GUIDED: dict[str, Any] = {"guidance": "noisy", "shaping": "potential", "weight": [1.0, 0.0, 300], "noise": 0.5}
SETTINGS: list[dict[str, Any]] = [{}, {"observation": "both", **GUIDED}, {"observation": "state", "guidance": "expert"}]
MODES = list(AutoresetMode)


def single(id: str, **kwargs: Any) -> ControlEnv:
    env = gymnasium.make(id, disable_env_checker=True, max_steps=23, **kwargs).unwrapped
    assert isinstance(env, ControlEnv)
    return env


def batch(id: str, n: int = 3, mode: AutoresetMode | str = "SameStep", **kwargs: Any) -> ControlVectorEnv:
    env = gymnasium.make_vec(id, n, "vector_entry_point", autoreset_mode=mode, max_steps=23, **kwargs)
    assert isinstance(env, ControlVectorEnv)
    return env


def walk(env: ControlVectorEnv, seed: int, steps: int) -> list[Any]:
    """Take random steps, beginning ended rows anew where nobody else does; return all that is seen."""
    chance, seen = np.random.default_rng(seed), list[Any]()
    for _ in range(steps):
        seen.append(env.step(chance.integers(env.control.actions, size=env.num_envs)))
        if env.autoreset_mode is AutoresetMode.DISABLED and (ended := seen[-1][2] | seen[-1][3]).any():
            seen.append(env.reset(options={"reset_mask": ended}))
    return seen


@pytest.mark.parametrize("settings", SETTINGS, ids=["tokens", "both", "state"])
@pytest.mark.parametrize("id", IDS)
def test_both_checkers_find_nothing(id: str, settings: dict[str, Any]) -> None:
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings():
        # Gymnasium's own spaces have no bounds for CartPole's speeds, which is what the checkers warn of
        warnings.filterwarnings("ignore", message=".*(infinity|symmetric and normalized|image).*")
        check_env(gymnasium.make(id, **settings).unwrapped)
        sb3_check_env(single(id, **settings))


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", IDS)
def test_a_batch_equals_singles_to_the_bit(id: str, mode: AutoresetMode, n: int) -> None:
    for settings in SETTINGS:
        mine = batch(id, n, mode, **settings)
        theirs = SyncVectorEnv([partial(single, id, **settings)] * n, autoreset_mode=mode)
        agree(f"{id}, reset", mine.reset(seed=3), theirs.reset(seed=3))
        chance = np.random.default_rng(n)
        for step in range(60):
            actions = chance.integers(mine.control.actions, size=n)
            ours, others = mine.step(actions), theirs.step(actions)
            agree(f"{id}, {settings}, step {step}", ours, others)
            assert np.array_equal(ours[1], others[1])  # to the bit, where agree allows 1e-5
            if mode is AutoresetMode.DISABLED and (ended := ours[2] | ours[3]).any():
                again = mine.reset(options={"reset_mask": ended.copy()})
                agree(f"{id}, reset at {step}", again, theirs.reset(options={"reset_mask": ended.copy()}))


@pytest.mark.parametrize("id", IDS)
def test_the_same_seed_gives_the_same_and_global_chance_is_not_touched(id: str) -> None:
    outside = random.getstate(), repr(np.random.get_state(legacy=False))  # noqa: NPY002
    seen = []
    for _ in range(2):
        env = batch(id, **GUIDED)
        seen.append([env.reset(seed=7), *walk(env, 1, 60)])
    agree("the same seed", seen[0], seen[1])
    assert outside == (random.getstate(), repr(np.random.get_state(legacy=False)))  # noqa: NPY002


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", IDS)
def test_copies_go_on_identically(id: str, mode: AutoresetMode) -> None:
    env, fresh = batch(id, mode=mode, **GUIDED), batch(id, mode=mode, **GUIDED)
    env.reset(seed=5)
    walk(env, 0, 15)
    copies = [env, copy.deepcopy(env), pickle.loads(pickle.dumps(env)), fresh]
    fresh.set_state(env.get_state())
    results = [walk(one, 2, 40) for one in copies]
    for other in results[1:]:
        agree("a copy", other, results[0])


@pytest.mark.parametrize("id", IDS)
def test_a_single_goes_on_from_its_state(id: str) -> None:
    env, other = single(id, **GUIDED), single(id, **GUIDED)
    env.reset(seed=5)
    for _ in range(4):
        env.step(0)
    other.set_state(env.get_state())
    agree("the state", other.step(1), env.step(1))


@pytest.mark.parametrize("id", IDS)
def test_a_state_that_is_none_is_refused_and_changes_nothing(id: str) -> None:
    env = batch(id, **GUIDED)
    env.reset(seed=0)
    before = env.get_state()
    wrong: list[dict[str, Any]] = [{}, {**before, "chance": []}, {**before, "chance": None}, {**before, "rows": {}}]
    for name, value in {"states": np.zeros((2, 2)), "steps": np.full(3, 24), "guided": {"advice": [1, 2, 3]}}.items():
        wrong.append({**before, "rows": {**before["rows"], name: value}})
    for state in wrong[:1] + wrong[2:]:
        with pytest.raises(InvalidSetting):
            env.set_state(state)
        agree("the state", env.get_state(), before)


@pytest.mark.parametrize("id", IDS)
def test_rows_do_not_touch_each_other(id: str) -> None:
    many = batch(id, 5, **GUIDED)
    many.reset(seed=[1, 2, 3, 4, 5])
    few = batch(id, 2, **GUIDED)
    few.reset(seed=[4, 2])
    chance = np.random.default_rng(0)
    for _ in range(60):
        actions = chance.integers(many.control.actions, size=5)
        mine, theirs = many.step(actions), few.step(actions[[3, 1]])
        for whole, part in zip(mine[:4], theirs[:4]):
            assert np.array_equal(whole[[3, 1]], part)


@pytest.mark.parametrize("id", IDS)
def test_refused_actions_change_nothing(id: str) -> None:
    one, rows = single(id), batch(id, 2)
    size = one.control.actions
    wrong = [[-1, 0], [0, size], [0.0, 0.0], [0, np.nan], [0], 0, [[0], [0]], ["0", "0"], [True, False], None]
    for env, actions in ((one, [-1, size, 0.0, np.nan, None, "0", True, [0]]), (rows, wrong)):
        env.reset(seed=0)
        before = env.get_state()
        for action in actions:
            with pytest.raises(InvalidAction):
                env.step(action)
            agree("the state", env.get_state(), before)


@pytest.mark.parametrize("id", IDS)
def test_a_step_before_a_reset_or_after_an_end_is_refused(id: str) -> None:
    for env, action in ((single(id), 0), (batch(id, 2, "Disabled"), [0, 0])):
        with pytest.raises(ResetNeeded):
            env.step(action)
        env.reset(seed=0)
        state = env.get_state()
        state["rows"]["finished"][:] = True
        env.set_state(state)
        with pytest.raises(ResetNeeded):
            env.step(action)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("observation", ["tokens", "both", "state"])
def test_observations_are_in_their_space_and_nobody_elses(id: str, observation: str) -> None:
    env = batch(id, 3, observation=observation)
    seen = env.reset(seed=0)[0]
    for _ in range(30):
        kept = copy.deepcopy(seen)
        assert seen in env.observation_space
        new = env.step(env.action_space.sample() * 0)[0]
        agree("an observation handed out before", seen, kept)
        seen = new


@pytest.mark.parametrize("id", IDS)
def test_pixels_and_text_are_shown(id: str) -> None:
    frames: list[Any] = []
    for mode in ("rgb_array", "ansi"):
        env = batch(id, 2, render_mode=mode, guidance="expert")
        env.reset(seed=0)
        env.step([0, 1])
        frames.append(env.render())
    assert frames[0][0].shape == frames[0][1].shape
    assert frames[0][0].dtype == np.uint8
    assert "←" in frames[1][0]
    assert "is worth" in frames[1][0]


@pytest.mark.parametrize("id", IDS)
def test_a_control_task_says_that_it_has_no_task(id: str) -> None:
    with pytest.raises(InvalidSetting, match=r"is a control task: it has states and actions, and no Task"):
        textgym.load_task(id)
    with pytest.raises(InvalidSetting, match="is no control task: it writes text"):
        textgym.load_control("TextGen-v0")
