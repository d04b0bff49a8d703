"""Running the suite: one record a run, kept as a line of JSON, resumed after interruption, and run again one by one."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from textgym.arrays import FloatArray, IntArray
from textgym.errors import InvalidSetting

from .about import versions
from .making import make_vec_env
from .problems import problem, worth
from .suite import EXPERIMENTS, QUICK
from .table import load_agent, make

POINTS = 20  # of a learning curve
FIGURES = ("random", "optimal", "random_return", "optimal_return")  # of a problem, that a record holds

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run of the suite: an agent, with its defaults, on one setting of an experiment, with one seed."""

    experiment: str
    setting: int
    agent: str
    seed: int
    steps: int

    @property
    def key(self) -> str:
        """Return what tells it from every other one, as text."""
        return json.dumps(asdict(self), sort_keys=True)


def jobs(
    agents: Sequence[str], experiments: Sequence[str] | None = None, seeds: int = 3, quick: bool = False
) -> list[Job]:
    """Return what is to be run.

    Args:
        agents: names in AGENTS, or `"package.module:make"`.
        experiments: names in EXPERIMENTS; None for all, or for QUICK.
        seeds: 0 to this number less one.
        quick: the first setting alone, one seed, a third of the steps.

    Raises:
        UnknownName, InvalidSetting: no such agent or experiment.
    """
    for agent in agents:
        load_agent(agent)
    found = []
    for name in experiments or (QUICK if quick else EXPERIMENTS):
        experiment = EXPERIMENTS[name]
        for setting in range(1 if quick else len(experiment.settings)):
            steps = experiment.steps // 3 if quick else experiment.steps
            found += [Job(name, setting, a, seed, steps) for a in agents for seed in range(1 if quick else seeds)]
    return found


def run(job: Job) -> Record:
    """Let an agent learn, and return what it then is worth and what it cost; an agent that fails says how.

    Returns:
        Plain data: the job, `settings`, the problem's FIGURES, the `score` and what it comes from, `sampled_score`,
        `regret` over the training episodes, `episodes`, a `curve` of the mean returns of those,
        `seconds` and `versions`. With `error`, the score is None.
    """
    experiment = EXPERIMENTS[job.experiment]
    asked = problem(job.experiment, settings := experiment.settings[job.setting])
    env = Remembered(make_vec_env(asked.learned, experiment.n_envs, seed=job.seed))
    figures = {name: getattr(asked, name) for name in FIGURES}
    record: Record = {**asdict(job), "settings": settings, **figures, "versions": versions()}
    start = time.perf_counter()
    try:
        agent = _made(job, env)
        agent.learn(job.steps)
        seconds = time.perf_counter() - start
        greedy, sampled = (worth(agent, asked, deterministic) for deterministic in (True, False))
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        return {**record, "error": f"{type(error).__name__}: {error}", "score": None}
    scored = sampled if asked.kl_coefficient else greedy
    returns = np.array(env.returns)
    return {
        **record,
        "score": asked.score(scored.middle),
        "sampled_score": asked.score(sampled.middle),
        "greedy": asdict(greedy),
        "sampled": asdict(sampled),
        "regret": float((asked.optimal_return - returns).sum()),
        "episodes": len(returns),
        "curve": _curve(np.array(env.steps), returns, job.steps),
        "seconds": round(seconds, 2),
    }


def _made(job: Job, env: VecEnv) -> Any:
    """Return a fresh agent; one of the user's own need not know of a device."""
    known = inspect.signature(load_agent(job.agent)).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    runtime: dict[str, Any] = {"seed": job.seed, "device": "cpu"}
    return make(job.agent, env, **{name: value for name, value in runtime.items() if takes_any or name in known})


def _curve(steps: IntArray, returns: FloatArray, total: int) -> list[list[float]]:
    """Return the mean return of the episodes that ended in each part of learning, with the steps at its end."""
    edges = np.linspace(0, total, POINTS + 1)
    part = np.minimum(np.searchsorted(edges, steps, side="left") - 1, POINTS - 1)
    return [[round(edges[i + 1]), float(returns[part == i].mean())] for i in range(POINTS) if (part == i).any()]


class Remembered(VecEnvWrapper):
    """An environment that remembers what every episode earned, and after how many steps of all rows it ended."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.steps: list[int] = []
        self.returns: list[float] = []
        self._step = 0

    def reset(self) -> VecEnvObs:
        """Begin an episode in every row."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step all rows."""
        result = self.venv.step_wait()
        self._step += self.num_envs
        for row in np.flatnonzero(result[2]):
            self.steps.append(self._step)
            self.returns.append(float(result[3][row]["episode"]["r"]))
        return result


def bench(
    wanted: Iterable[Job], path: str | Path, processes: int = 1, note: Callable[[Record, int, int], None] | None = None
) -> list[Record]:
    """Run what is not in a file yet, adding one line for each run that ends; return the records of all that is wanted.

    Args:
        wanted: the jobs.
        path: JSON lines; a last line that was cut by an interruption is taken off.
        processes: how many run side by side, each on one thread.
        note: called after each run with its record, how many are done, and how many there are.

    Raises:
        InvalidSetting: the file holds something else.
    """
    path, todo = Path(path), {job.key: job for job in wanted}
    order = list(todo)
    done = {key_of(record): record for record in read(path)}
    missing = [job for key, job in todo.items() if key not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for record in _each(missing, processes):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            done[key_of(record)] = record
            if note is not None:
                note(record, sum(key in done for key in order), len(order))
    return [done[key] for key in order]


def _each(todo: Sequence[Job], processes: int) -> Iterator[Record]:
    """Yield records as they come, the longest jobs begun first."""
    todo = sorted(todo, key=lambda job: -job.steps)
    if processes == 1 or len(todo) < 2:
        _one_thread()
        yield from map(run, todo)
        return
    spawn = multiprocessing.get_context("spawn")  # torch does not survive a fork
    with ProcessPoolExecutor(processes, spawn, _one_thread) as pool:
        futures = [pool.submit(run, job) for job in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def key_of(record: Mapping[str, Any]) -> str:
    """Return the key of the job that a record is of."""
    return job_of(record).key


def job_of(record: Mapping[str, Any]) -> Job:
    """Return the job that a record is of.

    Raises:
        InvalidSetting: it is none.
    """
    try:
        fields = {name: record[name] for name in Job.__dataclass_fields__}
        job = Job(**fields)
        right = all(isinstance(fields[name], str) for name in ("experiment", "agent"))
        right &= all(type(fields[name]) is int and fields[name] >= 0 for name in ("setting", "seed", "steps"))
        if not right or job.setting >= len(EXPERIMENTS[job.experiment].settings) or not job.steps:
            raise ValueError(f"{fields} is no run of the suite")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidSetting(f"this is no record of the suite: {error}.") from error
    return job


def read(path: str | Path) -> list[Record]:
    """Return the records of a file; none where there is no file. A cut last line is taken off the file.

    Raises:
        InvalidSetting: a line is no record.
    """
    path = Path(path)
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole, newline, cut = text.rpartition("\n")
    if cut:
        path.write_text(whole + newline, encoding="utf-8")
    records = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("it is no object")
            key_of(record)
        except ValueError as error:
            raise InvalidSetting(f"{path}, line {number}: {error}") from error
        records.append(record)
    return records


def reproduce(record: Record) -> tuple[Record, list[str]]:
    """Run a record's job again; return the new record, and what differs from the old one, in words.

    Raises:
        InvalidSetting: the suite's experiment is another one now.
    """
    job = job_of(record)
    if record.get("settings") != (now := EXPERIMENTS[job.experiment].settings[job.setting]):
        raise InvalidSetting(
            f"{job.experiment}, setting {job.setting}, was {record.get('settings')} and is now {now}: "
            "the record is of another version of the suite."
        )
    _one_thread()
    again = run(job)
    same = ("error", "score", "sampled_score", "greedy", "sampled", "regret", "episodes", "curve", *FIGURES)
    again_plain = json.loads(json.dumps(again))
    return again, [
        f"{name}: {record.get(name)} before, {again_plain.get(name)} now"
        for name in same
        if record.get(name) != again_plain.get(name)
    ]
