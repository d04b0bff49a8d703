"""The metrics of a run: rows that agree with what is recomputed, as CSV and as TensorBoard's curves."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from agents import AGENTS, Config, make, make_vec_env
from agents.folder import read_files
from agents.metrics import COLUMNS, ROWS, Metrics, Row, read_metrics
from agents.training import LOGS, resume, train
from textgym.errors import InvalidSetting

TINY = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
DEEP = ("dqn", "a2c", "ppo", "reinforce", "rloo", "grpo")
SHORT = {"ppo": {"n_steps": 8, "batch_size": 16}, "dqn": {"learning_starts": 16, "buffer_size": 100}}


def agent_of(name: str, n_envs: int = 4, **settings: Any) -> Any:
    deep = {} if name not in DEEP else {**TINY, **SHORT.get(name, {})}
    return make(name, make_vec_env("TextGen-v0", n_envs, seed=0), seed=0, device="cpu", **deep, **settings)


class Diary(BaseCallback):
    """Keeps every finished episode with the step at which it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[int, float, int, bool]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                end = (self.num_timesteps, info["episode"]["r"], info["episode"]["l"], info["is_success"])
                self.ends.append(end)
        return True


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_each_row_is_what_the_last_hundred_episodes_say(name: str) -> None:
    total = 1200
    metrics, diary = Metrics(total), Diary()
    agent_of(name).learn(total, callback=[diary, metrics])
    steps = [row["step"] or 0 for row in metrics.rows]
    assert steps == sorted(set(steps))
    assert steps[-1] >= total
    assert len(steps) <= ROWS + 1
    for row in metrics.rows:
        ended = [end for end in diary.ends if end[0] <= (row["step"] or 0)][-100:]
        if not ended:
            assert (row["return"], row["length"], row["success"]) == (None, None, None)
            continue
        _, returns, lengths, successes = zip(*ended)
        assert row["return"] == pytest.approx(np.mean(returns))
        assert row["length"] == pytest.approx(np.mean(lengths))
        assert row["success"] == pytest.approx(np.mean(successes))
    seconds = [row["seconds"] or 0.0 for row in metrics.rows]
    assert seconds == sorted(seconds)
    assert all((row["steps_per_second"] or 0) > 0 for row in metrics.rows)


@pytest.mark.parametrize("name", DEEP)
def test_losses_and_entropies_are_in_every_row_after_the_first_update(name: str) -> None:
    metrics = Metrics(600)
    agent_of(name, 8).learn(600, callback=metrics)  # all eight rows end with one step, and SB3 then forgets its log
    later = [row for row in metrics.rows if (row["step"] or 0) > 64]
    assert len(later) > 3
    assert all(row["loss"] is not None and np.isfinite(row["loss"]) for row in later)
    if name == "dqn":
        assert all(row["entropy"] is None for row in later)
    else:
        assert all(0 < (row["entropy"] or 0) <= np.log(3) + 1e-6 for row in later)


@pytest.mark.parametrize("total", [1, 7, 199, 200, 201, 399, 1000])
def test_a_table_has_two_hundred_rows_at_most(total: int) -> None:
    metrics = Metrics(total)
    make("dqn", make_vec_env("TextGen-v0", seed=0), device="cpu", learning_starts=total, **TINY).learn(total, metrics)
    assert 1 <= len(metrics.rows) <= ROWS + 1
    assert metrics.rows[-1]["step"] == total


def test_a_table_comes_back_from_its_lines() -> None:
    metrics = Metrics(500)
    agent_of("a2c").learn(500, callback=metrics)
    text = metrics.text()
    rows = read_metrics(text)
    assert rows == metrics.rows
    assert Metrics(500, rows).text() == text
    assert tuple(next(csv.reader(io.StringIO(text)))) == COLUMNS
    assert read_metrics(Metrics(1).text()) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has the columns None"),
        ("step,return\n1,2\n", "it must have"),
        (",".join(COLUMNS) + "\nx,,,,,,,\n", "holds what is no number"),
        (",".join(COLUMNS) + "\n1,2\n", "holds what is no number"),
        (",".join(COLUMNS) + "\n" + "1" * 200_000 + ",,,,,,,\n", "holds what is no number"),
    ],
)
def test_what_is_no_table_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidSetting, match=fault):
        read_metrics(text)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def check_curves(folder: Path, rows: list[Row]) -> None:
    """Compare TensorBoard's curves with a table."""
    found = curves(folder)
    for name in ("return", "length", "success", "entropy", "loss"):
        expected: list[Any] = [
            (row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows if row[name] is not None
        ]
        assert found[f"textgym/{name}"] == expected


def test_tensorboard_reads_the_same_curves_and_sb3s_own_names(tmp_path: Path) -> None:
    metrics = Metrics(400, tensorboard=tmp_path)
    agent_of("ppo").learn(400, callback=metrics)
    check_curves(tmp_path, metrics.rows)
    assert {"train/entropy_loss", "train/value_loss", "train/policy_gradient_loss"} <= curves(tmp_path).keys()


class Reads(BaseCallback):
    """Reads the curves while their files are still open."""

    def __init__(self, metrics: Metrics, folder: Path) -> None:
        super().__init__()
        self.metrics, self.folder = metrics, folder

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        check_curves(self.folder, self.metrics.rows)


def test_a_kill_loses_no_row_of_the_curves(tmp_path: Path) -> None:
    metrics = Metrics(400, tensorboard=tmp_path)
    agent_of("a2c").learn(400, callback=[Reads(metrics, tmp_path), metrics])
    assert len(metrics.rows) > 5


class Killed(Exception):
    """Stands for a kill: nothing of the run is tidied up."""


def test_a_resumed_run_continues_the_table_and_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"n_steps": 8, "policy": {"d_model": 8, "n_layers": 1, "n_heads": 1}}
    config = Config(env="TextGen-v0", agent="a2c", settings=settings, steps=2000, n_envs=4)
    train(config, tmp_path / "whole", texts=0)
    note = Metrics._on_rollout_start

    def dies(self: Metrics) -> None:
        note(self)
        if self.model.num_timesteps == 1120:  # 96 steps after a checkpoint
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "_on_rollout_start", dies)
        with pytest.raises(Killed):
            train(config, tmp_path / "killed", checkpoint_every=1024, texts=0)
    at_checkpoint = read_metrics(read_files(tmp_path / "killed")[1]["metrics.csv"].decode())
    assert at_checkpoint[-1]["step"] == 1024
    resume(tmp_path / "killed", texts=0)
    whole, rows = (read_metrics(read_files(tmp_path / name)[1]["metrics.csv"].decode()) for name in ("whole", "killed"))
    assert rows[: len(at_checkpoint)] == at_checkpoint
    assert [row["step"] for row in rows] == [row["step"] for row in whole]
    for name in ("return", "length", "success", "entropy", "loss"):
        assert [row[name] for row in rows] == [row[name] for row in whole]
    assert (rows[-1]["seconds"] or 0) >= (at_checkpoint[-1]["seconds"] or 0)
    check_curves(tmp_path / "killed" / LOGS, rows)
