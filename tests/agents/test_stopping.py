"""Ctrl-C and SIGTERM, sent to `textgym train` itself: what is stopped can go on, and nothing good is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import load
from agents.folder import read_files
from agents.keeper import Keeper
from agents.metrics import Metrics
from agents.training import plan, resume, train

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")

PROGRAM = [sys.executable, "-c", "from agents.commands import main; main()", "train"]
Q = ("TextGen-v0", "--agent", "q-learning", "--n-envs", "4")
SLOW_PPO = ("TextGen-v0", "--set", "n_steps=64", "--set", "n_epochs=6", "--set", "batch_size=32", "--steps", "100000")


class Process:
    """A `textgym train` in a folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.run = subprocess.Popen([*PROGRAM, *arguments], cwd=folder, env=environment, **pipes)

    def wait_for_steps(self, folder: Path) -> None:
        """Wait until a checkpoint is there."""
        while not (folder / "manifest.json").exists() or not read_files(folder)[0]["steps"]:
            assert self.run.poll() is None, self.run.communicate()
            time.sleep(0.01)

    def read_until(self, word: str) -> None:
        """Read lines of the output until one has a word."""
        assert self.run.stdout is not None
        for line in self.run.stdout:
            if word in line:
                return
        raise AssertionError(f"{word!r} never came: {self.run.communicate()}")

    def end(self) -> tuple[int, str, str]:
        """Wait; return exit status, output and errors."""
        out, err = self.run.communicate(timeout=120)
        return self.run.returncode, out, err


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.run.kill()
        process.run.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_was_asked_to_stop_goes_on_to_the_parameters_of_one_that_was_not(
    number: signal.Signals, status: int, processes: list[Process], tmp_path: Path
) -> None:
    steps = 60_000
    process = Process(tmp_path, *Q, "--steps", str(steps), "--out", "run", "--checkpoint-every", "1000")
    processes.append(process)
    process.wait_for_steps(tmp_path / "run")
    process.run.send_signal(number)
    code, out, err = process.end()
    assert (code, err) == (status, "")
    assert "Stopping after this update." in out
    assert out.endswith("Stopped. To go on: textgym train --resume run\n")
    done = read_files(tmp_path / "run")[0]["steps"]
    assert 1000 <= done < steps
    assert load(tmp_path / "run").num_timesteps == done
    resume(tmp_path / "run", device="cpu", texts=0)
    config = plan({"env": "TextGen-v0", "agent": "q-learning", "n_envs": 4, "steps": steps}, {})
    train(config, tmp_path / "whole", device="cpu", texts=0)
    whole, again = (read_files(tmp_path / name)[1] for name in ("whole", "run"))
    assert again["policy.safetensors"] == whole["policy.safetensors"]
    assert again["config.json"] == whole["config.json"]


@pytest.mark.slow
def test_a_second_signal_interrupts_and_the_last_checkpoint_stays(processes: list[Process], tmp_path: Path) -> None:
    process = Process(tmp_path, *SLOW_PPO, "--out", "run", "--checkpoint-every", "1")
    processes.append(process)
    process.wait_for_steps(tmp_path / "run")
    process.run.send_signal(signal.SIGINT)
    process.read_until("Stopping after this update.")
    process.run.send_signal(signal.SIGINT)
    code, out, err = process.end()
    assert code == 130
    assert "Stopped." not in out
    assert "Traceback" not in err
    agent = load(tmp_path / "run")
    assert agent.num_timesteps == read_files(tmp_path / "run")[0]["steps"] >= 512
    assert agent.num_timesteps % 512 == 0  # 64 steps of 8 rows: an update's end


@pytest.mark.slow
def test_without_a_folder_it_stops_and_says_so(processes: list[Process], tmp_path: Path) -> None:
    process = Process(tmp_path, "own_slow_agents:Slow-v0", "--agent", "q-learning", "--steps", "100000000")
    processes.append(process)
    (tmp_path / "own_slow_agents.py").write_text(
        "import textgym\nfrom agents.tabular.learner import TabularAgent\n"
        "textgym.register('Slow-v0', 'textgym.envs.text_gen:text_gen')\n"
        "begin = TabularAgent._begin\n"
        "def says(self): print('learning', flush=True); begin(self)\n"
        "TabularAgent._begin = says\n"
    )
    process.read_until("learning")
    process.run.send_signal(signal.SIGTERM)
    code, out, err = process.end()
    assert (code, err) == (143, "")
    assert out.endswith("\nStopped.\n")
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["own_slow_agents.py"]


OWN = """
import time
import numpy as np

class Counts:
    def __init__(self, env):
        self.env, self.count = env, np.zeros(1)

    def learn(self, total_timesteps):
        print("learning", flush=True)
        for _ in range(total_timesteps):
            self.count += 1
            time.sleep(0.01)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.zeros(len(observation), int), None

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]

def make(env, seed=None, device="auto"):
    return Counts(env)
"""


@pytest.mark.slow
def test_an_agent_whose_learn_takes_no_callback_is_interrupted_and_kept(
    processes: list[Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_counting.py").write_text(OWN)
    name = "own_counting:make"
    process = Process(tmp_path, "TextGen-v0", "--agent", name, "--steps", "100000", "--out", "run")
    processes.append(process)
    process.read_until("learning")
    time.sleep(0.2)
    process.run.send_signal(signal.SIGINT)
    code, out, err = process.end()
    assert (code, err) == (130, "")
    assert "Stopped." in out
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load(tmp_path / "run", agent=name).count >= 1
    assert json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))["agent"] == name


def test_handlers_are_put_back_and_other_threads_have_none() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    keeper = Keeper(None, Metrics(1))
    with keeper.signals():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        signal.raise_signal(signal.SIGTERM)
        assert (keeper.stop, keeper.signal) == (True, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    seen = list[Any]()

    def elsewhere() -> None:
        with Keeper(None, Metrics(1)).signals():
            seen.append(signal.getsignal(signal.SIGINT))

    (thread := threading.Thread(target=elsewhere)).start()
    thread.join()
    assert seen == before[:1]


def test_at_once_is_at_the_first_signal() -> None:
    with Keeper(None, Metrics(1)).signals(at_once=True), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
