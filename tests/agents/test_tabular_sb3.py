"""SB3's calling convention, kept by the tabular agents: learn, callbacks, evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import agents
from agents import make, make_vec_env

NAMES = [name for name, place in agents.AGENTS.items() if ".tabular." in place]
every = pytest.mark.parametrize("name", NAMES)


def agent(name: str, n_envs: int = 4, **kwargs: Any) -> Any:
    return make(name, make_vec_env("TextGen-v0", n_envs), seed=0, **kwargs)


class Notes(BaseCallback):
    """Writes down which of its hooks are called, and how far learning is."""

    def __init__(self, stop: int = 10**9) -> None:
        super().__init__()
        self.notes: list[tuple[str, int]] = []
        self.stop = stop

    def note(self, hook: str) -> None:
        self.notes.append((hook, self.model.num_timesteps))

    def _on_training_start(self) -> None:
        self.note("training start")

    def _on_rollout_start(self) -> None:
        self.note("rollout start")

    def _on_step(self) -> bool:
        self.note("step")
        assert self.num_timesteps == self.model.num_timesteps
        return self.num_timesteps < self.stop

    def _on_rollout_end(self) -> None:
        self.note("rollout end")

    def _on_training_end(self) -> None:
        self.note("training end")


def test_there_are_five() -> None:
    assert NAMES == ["q-learning", "sarsa", "expected-sarsa", "tabular-reinforce", "tabular-actor-critic"]


@every
def test_callbacks_see_rollouts_of_64_rounds(name: str) -> None:
    notes = Notes()
    agent(name).learn(300, notes)
    steps = [("step", step) for step in range(4, 304, 4)]
    assert notes.notes == [
        ("training start", 0),
        ("rollout start", 0),
        *steps[:64],
        ("rollout end", 256),
        ("rollout start", 256),
        *steps[64:],
        ("rollout end", 300),
        ("training end", 300),
    ]


@every
def test_a_callback_that_returns_false_stops_learning_in_that_round(name: str) -> None:
    notes = Notes(stop=12)
    learner = agent(name).learn(1_000, notes)
    assert learner.num_timesteps == 12
    assert notes.notes[-2:] == [("step", 12), ("training end", 12)]


@every
def test_functions_callbacks_and_lists_of_them_are_taken(name: str) -> None:
    learner = agent(name)
    seen: list[int] = []

    def stop(names: dict[str, Any], _: dict[str, Any]) -> bool:
        assert {"new_obs", "actions", "rewards", "dones", "infos"} <= names.keys()
        assert names["self"] is learner
        seen.append(learner.num_timesteps)
        return len(seen) < 3

    learner.learn(1_000, stop)
    assert seen == [4, 8, 12]
    one, other = Notes(), Notes(stop=20)
    learner.learn(1_000, [one, other])
    assert one.notes == other.notes
    assert learner.num_timesteps == 20
    inner = Notes()
    learner.learn(100, CallbackList([EveryNTimesteps(40, inner)]))
    assert [step for hook, step in inner.notes if hook == "step"] == [40, 80]


@every
def test_sb3s_callbacks_evaluate_it_and_stop_it(name: str, tmp_path: Path) -> None:
    learner = agent(name)
    enough = StopTrainingOnRewardThreshold(3.0, verbose=0)
    callback = EvalCallback(
        make_vec_env("TextGen-v0", 1),
        callback_on_new_best=enough,
        eval_freq=100,
        log_path=str(tmp_path),
        verbose=0,
    )
    learner.learn(20_000, callback)
    assert callback.best_mean_reward == 3.0
    assert learner.num_timesteps < 20_000
    evaluations = np.load(tmp_path / "evaluations.npz")
    assert evaluations["timesteps"].tolist() == list(range(400, learner.num_timesteps + 1, 400))
    assert evaluations["successes"][-1].all()
    assert evaluate_policy(learner, make_vec_env("TextGen-v0", 2), n_eval_episodes=4) == (3.0, 0.0)
    learner.learn(20_000, StopTrainingOnMaxEpisodes(5))
    assert learner.num_timesteps == 5 * 3 * 4  # episodes of three tokens in each of four rows


@every
def test_a_callback_may_sample_predictions_and_learning_still_does_what_it_had_chosen(name: str) -> None:
    learner = agent(name, n_envs=3)
    observations = np.zeros((7, 3), np.int32)
    before: list[Any] = []

    def sample(names: dict[str, Any], _: dict[str, Any]) -> bool:
        if before and before[-1] is not None:
            chosen = before[-1]
            assert names["actions"][chosen >= 0].tolist() == chosen[chosen >= 0].tolist()
        following = learner.get_state().get("next")
        assert learner.predict(observations)[0].shape == (7,)
        assert learner.predict(observations[:3])[0].shape == (3,)
        before.append(following)
        return True

    learner.learn(300, sample)
    assert len(before) == 100
    assert all((following is not None) == (name == "sarsa") for following in before)


@every
def test_a_checkpoint_callback_keeps_runs_that_open(name: str, tmp_path: Path) -> None:
    def keep(names: dict[str, Any], _: dict[str, Any]) -> bool:
        if names["self"].num_timesteps % 100 == 0:
            agents.save(names["self"], tmp_path / "run", overwrite=True)
        return True

    learner = agent(name).learn(300, keep)
    kept = agents.load(tmp_path / "run")
    assert kept.num_timesteps == 300
    np.testing.assert_equal(kept.state_dict(), learner.state_dict())


@every
def test_rewards_may_be_normalised_by_sb3s_wrapper(name: str) -> None:
    env = VecNormalize(make_vec_env("TextGen-v0", 4), norm_obs=False)
    learner = make(name, env, seed=0)
    assert learner.get_env() is env
    assert learner.get_vec_normalize_env() is env
    evaluating = VecNormalize(make_vec_env("TextGen-v0", 1), norm_obs=False, training=False)
    learner.learn(2_000, EvalCallback(evaluating, eval_freq=200, verbose=0))
    assert evaluate_policy(learner, make_vec_env("TextGen-v0", 1), n_eval_episodes=2) == (3.0, 0.0)
