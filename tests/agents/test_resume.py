"""A run that was stopped and goes on ends as one that was never stopped: bit for bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from agents import AGENTS, load, make, make_vec_env, save
from agents.folder import read_files
from agents.keeper import Keeper
from agents.metrics import Metrics
from agents.state import continues_exactly

TINY = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
DEEP: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 16, "batch_size": 32},
    "a2c": {},
    "dqn": {"learning_starts": 32, "buffer_size": 1000},
    "reinforce": {},
    "rloo": {},
    "grpo": {"episodes": 2},
}
WORDS = ("TextGen-v0", {"target": ["hello", "ab"], "alphabet": "abehlo", "eos": "$"})
COPY = ("TextGym/Copy-v0", {"alphabet": "abc", "max_length": 3})
TOTAL, EVERY = 500, 60


def settings_of(name: str, **more: Any) -> dict[str, Any]:
    return {**TINY, **DEEP[name], **more} if name in DEEP else more


def fresh(name: str, env: tuple[str, dict[str, Any]] = COPY, **settings: Any) -> Any:
    return make(name, make_vec_env(env[0], 4, seed=3, **env[1]), seed=3, device="cpu", **settings)


class Crash(Exception):
    """Ends a process, as far as the run is concerned."""


class Crashes(BaseCallback):
    """Raises a while after the third checkpoint, in the middle of a rollout."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__()
        self.keeper = keeper

    def _on_step(self) -> bool:
        if self.keeper._saved > 3 * EVERY and self.num_timesteps > self.keeper._saved + 8:
            raise Crash
        return True


class Stops(BaseCallback):
    """Asks for a stop at a step."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__()
        self.keeper = keeper

    def _on_step(self) -> bool:
        self.keeper.stop |= self.num_timesteps >= TOTAL // 2
        return True


def scramble() -> None:
    """Leave global chance somewhere else."""
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    torch.manual_seed(99)


def ended(folder: Path) -> dict[str, bytes]:
    """Return a run's files, but for the table of metrics, which knows seconds."""
    return {name: data for name, data in read_files(folder)[1].items() if name != "metrics.csv"}


def continued(folder: Path, begun: Any, stopped: bool, **load_arguments: Any) -> Any:
    """Stop an agent in the middle of learning, load its run, and return an agent that has gone on to the end."""
    metrics = Metrics(TOTAL)
    keeper = Keeper(folder, metrics, None if stopped else EVERY)
    if stopped:
        begun.learn(TOTAL, callback=[Stops(keeper), metrics, keeper])
        assert keeper.stopped
    else:
        with pytest.raises(Crash):
            begun.learn(TOTAL, callback=[metrics, keeper, Crashes(keeper)])
    scramble()
    again = load(folder, device="cpu", **load_arguments)
    assert 150 < again.num_timesteps < TOTAL - 50
    assert continues_exactly(again)
    return again.learn(TOTAL - again.num_timesteps, reset_num_timesteps=False)


def check_resume(folder: Path, name: str, env: tuple[str, dict[str, Any]], stopped: bool, **settings: Any) -> None:
    """Compare all that is saved of a run that was stopped with one that was not."""
    whole = fresh(name, env, **settings).learn(TOTAL)
    save(whole, folder / "whole")
    again = continued(folder / "stopped", fresh(name, env, **settings), stopped)
    save(again, folder / "again")
    check_same(folder / "whole", folder / "again")


def check_same(whole: Path, again: Path) -> None:
    """Compare two runs' files, but for the seconds at which episodes ended and SB3's note of where `learn` began."""
    expected, found = ended(whole), ended(again)
    assert expected.keys() == found.keys()
    for name in expected:
        lines = [
            [
                line
                for line in data.split(b"\n")
                if not line.strip().startswith((b'"t": ', b'"_num_timesteps_at_start"'))
            ]
            for data in (expected[name], found[name])
        ]
        assert lines[0] == lines[1], name


@pytest.mark.parametrize(("env", "stopped"), [(WORDS, True), (COPY, False)], ids=["words-stopped", "copy-killed"])
@pytest.mark.parametrize("name", sorted(AGENTS))
def test_a_run_goes_on_as_if_it_had_never_stopped(
    name: str, env: tuple[str, dict[str, Any]], stopped: bool, tmp_path: Path
) -> None:
    check_resume(tmp_path, name, env, stopped, **settings_of(name))


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce", "rloo", "grpo"])
@pytest.mark.parametrize("kl", ["k1", "k3"])
def test_what_an_agent_stays_near_to_and_how_much_goes_on(name: str, kl: str, tmp_path: Path) -> None:
    near = {"kl_coefficient": 0.05, "kl": kl, "kl_target": 0.3, "kl_gain": 1.0}
    check_resume(tmp_path, name, COPY, kl == "k1", **settings_of(name, **near))


@pytest.mark.parametrize("name", sorted(DEEP))
def test_a_falling_learning_rate_goes_on_falling(name: str, tmp_path: Path) -> None:
    check_resume(tmp_path, name, COPY, False, **settings_of(name, learning_rate_schedule="linear"))


@pytest.mark.parametrize("buffer_size", [64, 100])
@pytest.mark.parametrize("train_freq", [1, 3])
def test_a_memory_that_has_wrapped_around_goes_on(buffer_size: int, train_freq: int, tmp_path: Path) -> None:
    settings = settings_of("dqn", buffer_size=buffer_size, train_freq=train_freq, target_update_interval=20)
    check_resume(tmp_path, "dqn", COPY, False, **settings)
    assert load(tmp_path / "stopped").replay_buffer.full


OWN = """
from stable_baselines3 import PPO

class Own(PPO):
    def train(self):
        super().train()
        self.learning_rate = self.learning_rate

def make(env, **settings):
    return Own("MlpPolicy", env, n_steps=16, batch_size=32, policy_kwargs=dict(net_arch=[8]), **settings)
"""


def test_a_subclass_of_sb3s_that_is_not_ours_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_sb3_agent.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "own_sb3_agent:make"
    save(fresh(name, COPY).learn(TOTAL), tmp_path / "whole")
    again = continued(tmp_path / "stopped", fresh(name, COPY), False, agent=name)
    save(again, tmp_path / "again")
    check_same(tmp_path / "whole", tmp_path / "again")


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_what_is_loaded_and_saved_again_is_the_same_byte_for_byte(name: str, tmp_path: Path) -> None:
    save(fresh(name, WORDS, **settings_of(name)).learn(300), tmp_path / "first")
    scramble()
    save(load(tmp_path / "first", device="cpu"), tmp_path / "second")
    first, second = ended(tmp_path / "first"), ended(tmp_path / "second")
    assert first.keys() == second.keys()
    for file in first:
        assert first[file] == second[file], file


@pytest.mark.parametrize("rows", [4, 8])
@pytest.mark.parametrize("name", sorted(AGENTS))
def test_in_another_environment_episodes_begin_anew_and_learning_goes_on(name: str, rows: int, tmp_path: Path) -> None:
    save(fresh(name, WORDS, **settings_of(name)).learn(302), tmp_path)
    again = [
        load(tmp_path, env=make_vec_env(WORDS[0], rows, seed=8, **WORDS[1]), device="cpu").learn(
            200, reset_num_timesteps=False
        )
        for _ in range(2)
    ]
    assert again[0].num_timesteps >= 500
    first, second = (agent.get_env().get_attr("episodes", 0)[0].get_state() for agent in again)
    assert all(np.array_equal(first[part], second[part]) for part in first)
