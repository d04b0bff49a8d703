"""The suite: known agents get their known scores, results survive interruption and come out the same again."""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import numpy as np
import pytest
import typer

from agents import AgentPolicy
from agents.bench import bench, jobs, reproduce, run
from agents.commands.bench import bench as bench_command
from agents.commands.reproduce import reproduce as reproduce_command
from agents.problems import UNIFORM, Worth, _drawn, problem
from agents.results import Job, Record, line_of, read
from agents.suite import CAPABILITIES, EXPERIMENTS, QUICK
from textgym import env_ids, evaluate
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidSetting, InvalidSize, UnknownName

HERE = "suite_agents"
EVERY = [(name, setting) for name, one in EXPERIMENTS.items() for setting in range(len(one.settings))]


def job(experiment: str, agent: str, setting: int = 0, steps: int = 64, seed: int = 0) -> Job:
    return Job(experiment, setting, agent if agent == "q-learning" else f"{HERE}:{agent}", seed, steps)


def test_every_capability_is_asked_for_by_registered_environments() -> None:
    assert {one.capability for one in EXPERIMENTS.values()} == {*CAPABILITIES}
    assert {one.id for one in EXPERIMENTS.values()} <= {*env_ids()}
    assert {*QUICK} <= {*EXPERIMENTS}


@pytest.mark.parametrize(("name", "setting"), EVERY)
def test_every_setting_has_room_between_uniform_writing_and_the_optimum(name: str, setting: int) -> None:
    asked = problem(name, EXPERIMENTS[name].settings[setting])
    assert asked.random < asked.optimal
    assert asked.random_return < asked.optimal_return
    assert asked.score(asked.random) == 0.0
    assert asked.score(asked.optimal) == 1.0


@pytest.mark.parametrize("name", [name for name, one in EXPERIMENTS.items() if one.held_out])
def test_what_is_asked_was_never_learned_and_together_they_are_all(name: str) -> None:
    asked = problem(name, EXPERIMENTS[name].settings[0])
    parts: list[set[bytes]] = [
        {prompt.tokens.tobytes() for prompt in task.prompts.support()[0]}  # type: ignore[attr-defined]
        for task in (asked.learned, asked.asked)
    ]
    assert not parts[0] & parts[1]
    assert (asked.learned.max_prompt, asked.learned.horizon) == (asked.asked.max_prompt, asked.asked.horizon)


@pytest.mark.parametrize("name", ["word", "delay", "brackets", "copy"])
def test_the_optimum_scores_1_and_uniform_writing_0(name: str) -> None:
    best, chance = run(job(name, "optimal")), run(job(name, "uniform"))
    assert best["score"] == pytest.approx(1.0, abs=1e-9)
    assert best["greedy"]["how"] == "exact"
    found, asked = chance["sampled"], problem(name, {**EXPERIMENTS[name].settings[0]})
    error = 0.0 if found["how"] == "exact" else found["upper"] - found["lower"]  # four standard errors
    assert (found["lower"] + found["upper"]) / 2 == pytest.approx(asked.random, abs=error + 1e-12)


def test_the_regularised_optimum_scores_1_where_kl_control_is_asked_for() -> None:
    assert run(job("closeness", "restrained"))["score"] == pytest.approx(1.0, abs=1e-9)
    assert run(job("closeness", "optimal"))["score"] < 0.9
    assert run(job("closeness", "uniform"))["score"] == pytest.approx(0.0, abs=1e-9)


def test_what_is_drawn_of_a_policy_agrees_with_what_is_computed() -> None:
    for name in ("closeness", "recall", "brackets"):
        asked = problem(name, EXPERIMENTS[name].settings[0])
        policy = AgentPolicy(Leaning())
        exact = evaluate(asked.asked, policy, reference=UNIFORM, limit=10**7)
        drawn = _drawn(policy, asked)
        wanted = exact.expected_return - asked.kl_coefficient * exact.kl
        assert exact.lower == exact.upper
        assert abs(drawn.middle - wanted) < drawn.upper - drawn.lower  # four standard errors
        assert drawn.success == pytest.approx(exact.success_probability, abs=0.06)


class Leaning:
    """Probabilities that depend on all that is written."""

    def action_probabilities(self, observations: IntArray, action_masks: BoolArray, _: bool) -> FloatArray:
        codes = (observations * np.arange(1, observations.shape[1] + 1)).sum(axis=1)
        weights = (1.0 + 0.9 * np.cos(codes[:, None] + np.arange(action_masks.shape[1]))) * action_masks
        scaled: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return scaled


def test_seeds_share_no_row() -> None:
    wanted = jobs(["q-learning"], ["word", "recall"], seeds=3)
    for name in ("word", "recall"):
        seeds = {one.seed for one in wanted if one.experiment == name}
        rows = [row for seed in seeds for row in range(seed, seed + EXPERIMENTS[name].n_envs)]
        assert len(set(rows)) == len(rows) == 24


def test_regret_is_what_the_training_episodes_left_on_the_table() -> None:
    # every episode writes 我我我: +1 - 1 - 1 where 3 can be had; 64 steps of 8 rows are 16 whole episodes and 8 begun
    found = run(job("word", "silent"))
    assert (found["episodes"], found["regret"]) == (16, 16 * 4.0)
    assert {value for _, value in found["curve"]} == {-1.0}


def test_an_agent_that_says_nothing_of_itself_is_sampled() -> None:
    found = run(job("word", "silent"))
    assert (found["greedy"]["how"], found["sampled"]["how"]) == ("exact", "sampled")
    assert found["score"] == found["sampled_score"] == 0.0  # -1, as uniform writing earns
    refused = run(job("closeness", "silent"))
    assert refused["score"] is None
    assert "does not say how likely its actions are" in refused["error"]


@pytest.mark.parametrize(
    ("agent", "error"),
    [
        ("failing", "ArithmeticError: parameters became NaN"),
        ("missing", "KeyError: 'tokens'"),
        ("leaving", "SystemExit: 3"),
        ("no_number", "InvalidSetting: the policy gave float64 of shape"),
        ("object_named", f"InvalidSetting: agent '{HERE}:object_named' made <object object>, which has no method"),
    ],
)
def test_an_agent_that_fails_is_a_result_and_the_others_are_run(tmp_path: Path, agent: str, error: str) -> None:
    found, other = bench([job("word", agent), job("word", "silent")], tmp_path / "results.jsonl")
    assert found["score"] is None
    assert found["error"].startswith(error)
    assert other["score"] == 0.0
    assert reproduce(found)[1] == []  # no address of an object that is elsewhere the next time


class Dying(ThreadPoolExecutor):
    """A pool whose processes are killed."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def submit(self, *_: Any) -> Future[Any]:  # type: ignore[override]
        killed: Future[Any] = Future()
        killed.set_exception(BrokenProcessPool())
        return killed


def test_a_process_that_dies_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.bench.ProcessPoolExecutor", Dying)
    with pytest.raises(ChildProcessError, match="--jobs 1 runs one after the other"):
        bench([job("word", "silent", seed=seed) for seed in range(2)], tmp_path / "results.jsonl", processes=2)


def test_an_agent_that_remembers_is_sampled_for_its_greedy_score_too() -> None:
    found = run(job("word", "remembering"))  # 我, 爱, 你: the target, by counting
    assert (found["greedy"]["how"], found["score"]) == ("sampled", 1.0)


def test_greedy_writing_outside_the_mask_is_what_its_episodes_earn() -> None:
    assert run(job("dates", "silent"))["greedy"]["how"] == "sampled"


def test_a_record_does_not_depend_on_what_ran_before_it_in_the_same_process() -> None:
    asked = job("word", "chancy")
    first = run(asked)
    run(Job("word", 0, "ppo", 1, 64))
    assert {**run(asked), "seconds": 0} == {**first, "seconds": 0}


def test_what_is_no_number_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.bench.worth", lambda *_: Worth(float("-inf"), float("inf"), "exact", None, {}))
    path = tmp_path / "results.jsonl"
    bench([job("word", "silent")], path)
    (found,) = read(path)
    assert found["error"].startswith("ValueError: Out of range float values")


PROGRAM = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from agents.bench import _begin_worker
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin_worker)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def test_no_process_outlives_the_one_that_began_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with Popen([sys.executable, tmp_path / "program.py"], stdout=PIPE, stderr=PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        try:
            parent.communicate(timeout=60)  # until nobody holds the other side, which the worker inherited
        except TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            raise


def test_results_are_kept_line_by_line_and_what_is_there_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    wanted = [job("word", "uniform"), job("word", "silent"), job("lock", "uniform")]
    seen: list[tuple[int, int]] = []
    bench(wanted[:2], path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"experiment": "lo')  # a kill in the middle of a line
    found = bench(wanted, path, note=lambda record, done, total: seen.append((done, total)))
    assert seen == [(3, 3)]
    assert path.read_bytes().startswith(whole)
    assert len(read(path)) == 3
    assert [one["agent"] for one in found] == [one.agent for one in wanted]


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    wanted = [job("word", "q-learning", seed=seed, steps=400) for seed in range(2)]
    found = [bench(wanted, tmp_path / f"{n}.jsonl", processes=n) for n in (1, 2)]
    for one, two in zip(*found):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_a_record_comes_out_the_same_again_and_an_edited_one_does_not(tmp_path: Path) -> None:
    (old,) = bench([job("delay", "q-learning", steps=800)], tmp_path / "results.jsonl")
    old = json.loads(json.dumps(old))
    assert reproduce(old)[1] == []
    (difference,) = reproduce({**old, "regret": old["regret"] + 1})[1]
    assert difference.startswith(f"regret: {old['regret'] + 1} before")
    with pytest.raises(InvalidSetting, match="of another version of the suite"):
        reproduce({**old, "settings": {"delay": 99}})


@pytest.mark.parametrize("seed_agent", ["ppo", "dqn"])
def test_networks_come_out_the_same_again(seed_agent: str) -> None:
    asked = Job("word", 0, seed_agent, 1, 400)
    first, second = (run(asked) for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_what_another_version_of_the_suite_asked_is_not_taken_for_a_result(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    (old,) = bench([job("delay", "uniform")], path)
    path.write_text(line_of({**old, "settings": {"delay": 99}}))
    with pytest.raises(InvalidSetting, match=r"was \{'delay': 99\} and is now \{'delay': 0\}"):
        bench([job("delay", "uniform")], path)
    bench([job("word", "uniform")], path)  # another question: what stands there is none of it


@pytest.mark.parametrize(
    "line", ["[]", "{}", "no json", '{"experiment": "word", "setting": 9, "agent": "ppo", "seed": 0, "steps": 1}']
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, line: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(InvalidSetting, match=r"other.jsonl, line 1"):
        bench([job("word", "uniform")], path)
    assert path.read_text() == f"{line}\n"


def test_names_are_checked_before_anything_runs() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'lock'"):
        jobs(["ppo"], ["lok"])
    with pytest.raises(UnknownName, match="no agent is called"):
        jobs(["pppo"])
    with pytest.raises(InvalidSize, match="seeds=0"):
        jobs(["ppo"], seeds=0)
    every = jobs(["ppo", "dqn"], seeds=2)
    assert len(every) == len(set(every)) == 4 * len(EVERY)
    assert {one.experiment for one in jobs(["ppo"], quick=True)} == {*QUICK}


def test_the_commands_run_show_and_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.jsonl"
    arguments: dict[str, Any] = {"agents": f"q-learning, {HERE}:uniform", "experiments": "word,lock", "seeds": 1}
    bench_command(**arguments, quick=True, out=out, jobs=1, report=tmp_path / "report")
    shown = capsys.readouterr().out
    assert "4/4" in shown
    assert "| `q-learning` |" in shown
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"scores.md", "radar.svg", "curves.svg"}
    reproduce_command(out, lines=None, agent="q-learning", experiment=None)
    assert "2 of 2 came out the same." in capsys.readouterr().out
    with pytest.raises(InvalidSetting, match="--line 9"):
        reproduce_command(out, lines=[9])


def test_an_interruption_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Record:
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.bench.run", interrupted)
    with pytest.raises(typer.Exit) as ended:
        bench_command("ppo", "word", 1, out=tmp_path / "results.jsonl", jobs=1)
    assert ended.value.exit_code == 130
    assert "the same command goes on from there" in capsys.readouterr().out


def test_the_curve_is_the_mean_of_the_episodes_in_each_part() -> None:
    found = run(job("word", "uniform", steps=480))
    assert [steps for steps, _ in found["curve"]] == list(np.arange(24, 481, 24))  # three rounds of 8 rows each
