"""How the tabular agents count, begin anew and go on: as SB3's do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import ProgressBarCallback

from agents import AGENTS, make, make_vec_env
from textgym.errors import InvalidSize

every = pytest.mark.parametrize("name", [name for name, place in AGENTS.items() if ".tabular." in place])


def agent(name: str, n_envs: int = 4, **kwargs: Any) -> Any:
    return make(name, make_vec_env("TextGen-v0", n_envs), seed=0, **kwargs)


@every
def test_steps_are_counted_by_rows_and_the_last_round_is_finished(name: str) -> None:
    learner = agent(name)
    assert learner.learn(10) is learner
    assert learner.num_timesteps == 12


@every
def test_counting_begins_anew_or_goes_on_as_in_sb3(name: str) -> None:
    learner = agent(name).learn(40)
    assert (learner.num_timesteps, len(learner.ep_info_buffer), len(learner.ep_success_buffer)) == (40, 12, 12)
    learner.learn(20, reset_num_timesteps=False)
    assert (learner.num_timesteps, len(learner.ep_info_buffer)) == (60, 20)
    learner.learn(8)
    assert (learner.num_timesteps, len(learner.ep_info_buffer), len(learner.ep_success_buffer)) == (8, 0, 0)
    learner.learn(600)
    assert len(learner.ep_info_buffer) == 100
    assert {episode["l"] for episode in learner.ep_info_buffer} == {3}


@every
def test_a_first_call_that_is_to_go_on_begins(name: str) -> None:
    assert agent(name).learn(8, reset_num_timesteps=False).num_timesteps == 8


@every
def test_episodes_go_on_over_two_calls_or_begin_anew(name: str) -> None:
    learner = agent(name, n_envs=1).learn(1)
    assert (learner._last_obs != 3).sum() == 1  # one token written
    learner.learn(1, reset_num_timesteps=False)
    assert (learner._last_obs != 3).sum() == 2
    learner.learn(1)
    assert (learner._last_obs != 3).sum() == 1


@every
def test_the_same_seed_learns_the_same_and_another_one_something_else(name: str) -> None:
    one, same, other = (make(name, make_vec_env("TextGym/Copy-v0", 4), seed=s).learn(500) for s in (1, 1, 2))
    np.testing.assert_equal(one.state_dict(), same.state_dict())
    assert one.state_dict()["states"].tolist() != other.state_dict()["states"].tolist()


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
def test_the_progress_bar_counts_each_calls_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    totals: list[int] = []
    start: Callable[[Any], None] = ProgressBarCallback._on_training_start

    def noted(bar: Any) -> None:
        start(bar)
        totals.append(bar.pbar.total)

    monkeypatch.setattr(ProgressBarCallback, "_on_training_start", noted)
    learner = agent("q-learning").learn(40, progress_bar=True)
    learner.learn(80, reset_num_timesteps=False, progress_bar=True)
    assert totals == [40, 80]


def test_a_number_of_steps_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSize, match="total_timesteps=0"):
        agent("q-learning").learn(0)
