"""A tabular agent's state besides its table: a copy goes on as if nothing had happened, and no nonsense is taken."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tabular_envs import Recorder, masked, ring

from agents import AGENTS, make, make_vec_env
from agents.state import get_state, set_state
from agents.trees import pack, unpack
from textgym import load_task

NAMES = [name for name, place in AGENTS.items() if ".tabular." in place]
every = pytest.mark.parametrize("name", NAMES)
ROWS, STEPS = 3, 240


def fresh(name: str, seed: int = 0, n_envs: int = ROWS, **settings: Any) -> Any:
    task = masked(load_task("TextGym/Copy-v0", alphabet="ab", max_length=3))
    return make(name, make_vec_env(task, n_envs), seed=seed, **settings)


def everything(agent: Any) -> Any:
    episodes = {"episodes": [{**episode, "t": 0.0} for episode in agent.get_state()["episodes"]]}  # t is the clock's
    return {"table": agent.state_dict(), **get_state(agent), "agent": {**agent.get_state(), **episodes}}


# before the first step; in mid-episode; at a rollout's end
@pytest.mark.parametrize(
    ("at", "kept"), [(0, "in memory"), (90, "in memory"), (90, "as files do"), (192, "as files do")]
)
@every
def test_a_copy_goes_on_bit_by_bit_while_the_original_learns_on(name: str, at: int, kept: str) -> None:
    taken: list[Any] = []

    def take(names: dict[str, Any], _: dict[str, Any]) -> bool:
        agent = names["self"]
        if agent.num_timesteps == at:
            state = get_state(agent)
            if kept == "as files do":
                plain, arrays = pack(state)
                state = unpack(json.loads(json.dumps(plain)), arrays)
            taken.append((agent.state_dict(), state))
        return True

    original = fresh(name)
    if at == 0:
        taken.append((original.state_dict(), get_state(original)))
    original.learn(STEPS, take)
    ((table, state),) = taken
    for seed in (1, 2):  # the first one's learning touches nothing of the second's
        copy = fresh(name, seed)
        copy.load_state_dict(table)
        set_state(copy, state)
        if at == 0:
            copy.env.seed(0)  # an environment that has not begun has no chance to hand on
        assert copy.num_timesteps == at
        copy.learn(STEPS - at, reset_num_timesteps=False)
        np.testing.assert_equal(everything(copy), everything(original))


def test_sarsa_takes_the_action_that_it_had_chosen() -> None:
    recorder = Recorder(ring([[0, 0], [0, 0]], 8))
    agent = make("sarsa", recorder, seed=0, epsilon=1.0).learn(80)
    state = agent.get_state()
    chosen = state["next"].copy()
    agent.set_state(state)
    agent.learn(8, reset_num_timesteps=False)
    assert recorder.rounds[-1].actions.tolist() == chosen.tolist()


@every
def test_without_a_last_observation_counting_goes_on_with_new_episodes(name: str) -> None:
    agent = fresh(name).learn(STEPS)
    other = fresh(name, n_envs=2)
    other.load_state_dict(agent.state_dict())
    other.set_state({**agent.get_state(), "last_obs": None})
    assert "discount" not in other.get_state()
    other.learn(200, reset_num_timesteps=False)
    assert other.num_timesteps == STEPS + 200
    if name in ("q-learning", "sarsa", "expected-sarsa"):
        assert other.epsilon == pytest.approx(0.05)


@every
def test_statistics_are_replaced_and_not_added_to(name: str) -> None:
    agent, other = fresh(name).learn(300), fresh(name, 1).learn(300)
    other.load_state_dict(agent.state_dict())
    other.set_state(agent.get_state())
    assert list(other.ep_info_buffer) == list(agent.ep_info_buffer)
    assert list(other.ep_success_buffer) == list(agent.ep_success_buffer)
