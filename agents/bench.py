"""Running the suite: one record a run, kept at once, gone on with after interruption, and run again one by one."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from textgym.arrays import FloatArray, IntArray
from textgym.errors import require_positive

from .about import versions
from .making import make_vec_env
from .problems import Problem, problem, worth
from .results import FIGURES, Job, Record, add, begin, job_of, key_of, line_of, read, require_current
from .suite import EXPERIMENTS, QUICK
from .table import load_agent, make

POINTS = 20  # of a learning curve


def jobs(
    agents: Sequence[str], experiments: Sequence[str] | None = None, seeds: int = 3, quick: bool = False
) -> list[Job]:
    """Return what is to be run.

    Args:
        agents: names in AGENTS, or `"package.module:make"`.
        experiments: names in EXPERIMENTS; None for all, or for QUICK.
        seeds: how many. Row i of an environment seeded s is seeded s + i, so that seeds are as many apart as there are
            rows, 0, 8, 16 and so on: no two runs share a prompt's draw or a reward's noise.
        quick: the first setting alone, one seed, a third of the steps.

    Raises:
        UnknownName, InvalidSetting: no such agent or experiment.
        InvalidSize: `seeds` is no positive integer.
    """
    require_positive(seeds=seeds)
    for agent in agents:
        load_agent(agent)
    found = []
    for name in experiments or (QUICK if quick else EXPERIMENTS):
        experiment = EXPERIMENTS[name]
        for setting in range(1 if quick else len(experiment.settings)):
            steps = experiment.steps // 3 if quick else experiment.steps
            apart = range(0, experiment.n_envs * (1 if quick else seeds), experiment.n_envs)
            found += [Job(name, setting, agent, seed, steps) for agent in agents for seed in apart]
    return found


def run(job: Job) -> Record:
    """Let an agent learn, and return what it then is worth and what it cost; an agent that fails says how.

    Returns:
        Plain data: the job, `settings`, the problem's FIGURES, the `score` and what it comes from, `sampled_score`,
        `regret` over the training episodes that ended (an agent's last rollout may go beyond `steps`), `episodes`, a
        `curve` of the mean returns of those, `seconds` and `versions`. With `error`, the score is None.
    """
    asked = problem(job.experiment, settings := EXPERIMENTS[job.experiment].settings[job.setting])
    figures = {name: getattr(asked, name) for name in FIGURES}
    record: Record = {**asdict(job), "settings": settings, **figures, "versions": versions()}
    set_random_seed(job.seed)  # for an agent that seeds nothing itself: a run must not depend on those before it
    try:
        found = {**record, **_learned(job, asked)}
        line_of(found)
    except (Exception, SystemExit) as error:  # whatever an agent does, the others are run
        words = re.sub(" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")  # an address is another every time
        return {**record, "error": words, "score": None}
    return found


def _learned(job: Job, asked: Problem) -> Record:
    """Return what an agent is worth that has learned, and what that cost."""
    env = Remembered(make_vec_env(asked.learned, EXPERIMENTS[job.experiment].n_envs, seed=job.seed))
    start = time.perf_counter()
    agent = _made(job, env)
    agent.learn(job.steps)
    seconds = time.perf_counter() - start
    greedy, sampled = (worth(agent, asked, deterministic) for deterministic in (True, False))
    scored = sampled if asked.kl_coefficient else greedy
    returns = np.array(env.returns)
    return {
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
        path: the file of results; a last line that was cut by an interruption is taken off.
        processes: how many run side by side, each on one thread.
        note: called after each run with its record, how many are done, and how many there are.

    Raises:
        InvalidSetting: the file holds something else, or what another version of the suite asked.
        InvalidSize: `processes` is no positive integer.
        ChildProcessError: a process ended in the middle of a run.
    """
    require_positive(processes=processes)
    path, todo = Path(path), {job.key: job for job in wanted}
    order = list(todo)
    done = {key: record for record in read(path) if (key := key_of(record)) in todo}
    for record in done.values():
        require_current(record)
    begin(path)
    for record in _each([job for key, job in todo.items() if key not in done], processes):
        add(path, record)
        done[key_of(record)] = record
        if note is not None:
            note(record, len(done), len(order))
    return [done[key] for key in order]


def _each(todo: Sequence[Job], processes: int) -> Iterator[Record]:
    """Yield records as they come, the longest jobs begun first."""
    todo = sorted(todo, key=lambda job: -job.steps)
    if processes == 1 or len(todo) < 2:
        _one_thread()
        yield from map(run, todo)
        return
    spawn = multiprocessing.get_context("spawn")  # torch does not survive a fork
    with ProcessPoolExecutor(processes, spawn, _begin_worker) as pool:
        futures = [pool.submit(run, job) for job in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process ended in the middle of a run: it was killed, perhaps for want of memory, or an agent ended "
                "it. What came before is kept. --jobs 1 runs one after the other, and shows which it is."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Make a process ready: one thread, and no life beyond that of the process that began it, even if it is killed."""
    _one_thread()
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(process: Any) -> None:
    process.join()
    os._exit(1)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def reproduce(record: Record) -> tuple[Record, list[str]]:
    """Run a record's job again; return the new record, and what differs from the old one, in words.

    Raises:
        InvalidSetting: the suite's experiment is another one now.
    """
    require_current(record)
    _one_thread()
    again = run(job_of(record))
    same = ("error", "score", "sampled_score", "greedy", "sampled", "regret", "episodes", "curve", *FIGURES)
    again_plain = json.loads(json.dumps(again))
    return again, [
        f"{name}: {record.get(name)} before, {again_plain.get(name)} now"
        for name in same
        if record.get(name) != again_plain.get(name)
    ]
