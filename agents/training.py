"""What `textgym train` does: from a plan to a run that can be trusted."""

from __future__ import annotations

import inspect
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgym.errors import InvalidSetting

from .best import Best
from .config import Config, Start
from .control import evaluate_control
from .device import check_device
from .evaluation import evaluate
from .initialising import sized
from .keeper import Keeper
from .layers import merged, nested
from .making import make_vec_env
from .metrics import Metrics
from .recipe import Recipe
from .reward_hacking import GOLD, RewardHackingCallback
from .runs import begin, check_agent, check_free, check_saveable, config_of, read_run, restore, save
from .samples import sampled
from .table import AGENTS, load_agent, make
from .usual import Usual, usual, usual_init, usual_settings
from .watch import Watch

LOGS = "tensorboard"


def plan(asked: Mapping[str, Any], overrides: Mapping[str, Any], bare: bool = False) -> Config:
    """Return a run's configuration, from the keys of a file and of the command line.

    Args:
        asked: the fields of `Config`; all other keys are settings of the agent.
        overrides: settings of the agent over those, with names that may have dots.
        bare: leave out what learning by rewards usually has on this environment: a policy is to be fitted to texts.

    Raises:
        UnknownName, InvalidSetting: a name or value is refused.
    """
    fields = {name: value for name, value in asked.items() if name in Config.model_fields}
    loose = {name: value for name, value in asked.items() if name not in Config.model_fields}
    settings = merged(nested(fields.pop("settings", {})), nested(loose), nested(overrides))
    habit, filled = (Usual(), fields) if bare else usual(fields.get("env"), fields)
    config = Config.read({**filled, "settings": settings}, "the run")
    for made in ("pretraining", "distillation", "quantisation"):
        if getattr(config, made) is not None:
            raise InvalidSetting(
                f"this configuration is of a policy that came of {made}, which no steps in an environment make again. "
                f"Begin from it: --init DIR; or leave `{made}` out."
            )
    maker = load_agent(config.agent)
    config.check()
    settings = usual_settings(habit, config.agent, maker, settings)
    if "init" not in fields and (init := usual_init(habit, maker, settings)) is not None:
        config = config.model_copy(update={"init": Start(folder=init)})
    if config.init is not None:
        settings = sized(maker, config.init, settings)
    config = config.model_copy(update={"settings": settings})
    if isinstance(maker, Recipe):
        maker.settings.read(settings, config.agent)
    return config


def explain(config: Config) -> None:
    """Print every setting that a run would have, and why."""
    maker = load_agent(config.agent)
    if not isinstance(maker, Recipe):
        raise InvalidSetting(f"{config.agent!r} is not TextGym's; only its own code knows its settings.")
    env = make_vec_env(config.env or "", config.n_envs, **config.env_kwargs)
    settings, reasons = maker.resolve(env, config.settings)
    print(f"{config.agent} on {config.env}, {config.n_envs} rows")
    for name, value, meaning in settings.flat():
        why = reasons[name]
        print(f"{name:24} {f'{value:g}' if isinstance(value, float) else value!s:12} {meaning}")
        if why != "default":
            print(f"{'':37} {why}")


def train(
    config: Config,
    out: Path | None,
    device: str = "auto",
    overwrite: bool = False,
    checkpoint_every: int | None = None,
    texts: int = 10,
) -> None:
    """Train a new agent, keep its run, and print what it then writes."""
    agent = fresh(config, device)
    if out is not None:
        check_free(out, overwrite=overwrite)
        check_saveable(agent)
        shutil.rmtree(_logs(out), ignore_errors=True)
        begin(agent, out, config_of(agent).model_copy(update={"steps": config.steps}))
    metrics = Metrics(config.steps, tensorboard=None if out is None else _logs(out))
    _learn(agent, config, Keeper(out, metrics, checkpoint_every), texts)


def resume(
    folder: Path,
    agent: str | None = None,
    steps: int | None = None,
    device: str = "auto",
    checkpoint_every: int | None = None,
    texts: int = 10,
) -> None:
    """Go on with a run to its last step, or to `steps`.

    Raises:
        InvalidSetting: the run cannot be continued exactly.
    """
    run = read_run(folder)
    config = run.config if steps is None else run.config.model_copy(update={"steps": steps})
    if config.quantisation is not None:
        raise InvalidSetting(
            f"{folder} is quantised to {config.quantisation}, for inference alone. Go on with the run."
        )
    fitted = config.pretraining is not None or config.distillation is not None
    if fitted and not run.manifest.get("steps"):
        raise InvalidSetting(
            f"{folder} holds a policy that was fitted to text or to a teacher, no run that could go on. Begin a run "
            f"from it: textgym train ID --init {folder} --out DIR."
        )
    if run.learned:
        learner, exact = restore(run, agent=agent, device=device)
        if not exact:
            raise InvalidSetting(
                f"{folder} cannot be continued exactly: {config.agent} or its environment has no `get_state` and "
                "`set_state`, it was interrupted in mid-update, or it keeps the best of its policies. "
                "agents.load(DIR) reads it and learns on anew."
            )
    else:  # it was stopped before it had learned anything
        check_agent(folder, config, agent)
        learner = fresh(config, device)
    done = getattr(learner, "num_timesteps", 0)
    if done >= config.steps:
        print(f"{folder} has made {done} steps of {config.steps}. --steps {2 * done} would go on to twice as many.")
        return
    metrics = Metrics(config.steps, run.metrics, _logs(folder))
    _learn(learner, config, Keeper(folder, metrics, checkpoint_every), texts)


def _logs(folder: Path) -> Path:
    """Return where TensorBoard's files are; a link there, in a stranger's folder, could lead anywhere."""
    if (folder / LOGS).is_symlink():
        raise InvalidSetting(f"{folder / LOGS} is a link. Remove it, so that logs are written inside the run.")
    return folder / LOGS


def fresh(config: Config, device: str) -> Any:
    """Return a new agent in a new environment."""
    config.check()
    env = make_vec_env(config.env or "", config.n_envs, seed=config.seed, **config.env_kwargs)
    runtime = {"seed": config.seed, "device": check_device(device), "init": config.init}
    agent = make(config.agent, env, **runtime, **config.settings)
    if (control := getattr(agent, "kl_control", None)) is not None:
        control.check(agent)
    return agent


def _learn(agent: Any, config: Config, keeper: Keeper, texts: int) -> None:
    """Let an agent learn up to the run's last step, save it, and print what it then writes."""
    task = None if config.is_control else config.task()
    best = Best(*config.control(), config.steps) if config.is_control else None
    hacking = RewardHackingCallback() if task is not None and GOLD in task.metrics else None
    keeper.metrics.hacking = hacking
    folder, done = keeper.folder, getattr(agent, "num_timesteps", 0)
    control: Any = getattr(agent, "kl_control", None)
    before = sampled(agent, task) if control is not None and task is not None and not done else None
    if before is not None:
        print("At the start, sampled writing earns", "\n".join(before.lines()), flush=True)
    known = inspect.signature(agent.learn).parameters
    watched = "callback" in known or any(p.kind is p.VAR_KEYWORD for p in known.values())
    start = time.perf_counter()
    with keeper.signals(at_once=not watched), Watch(config.steps, keeper.metrics, task, texts) as watch:
        watching = [one for one in (hacking, keeper.metrics, watch, keeper, best) if one is not None]
        arguments: dict[str, Any] = {"callback": watching} if watched else {}
        if done:
            arguments["reset_num_timesteps"] = False
        try:
            agent.learn(config.steps - done, **arguments)
        except KeyboardInterrupt:
            if watched or folder is None:
                raise
            keeper.stopped = True
            save(agent, folder, overwrite=True, exact=False)
    seconds = time.perf_counter() - start
    if keeper.stopped:
        what, way = ("To go on", "train --resume") if watched else ("What it learned", "eval")
        print("Stopped." if folder is None else f"Stopped. {what}: {_command(way, folder, config)}")
        raise SystemExit(128 + keeper.signal)
    older = best is not None and best.restore(agent)
    if folder is not None:  # with parameters that are not the newest it cannot go on as if it had never stopped
        save(agent, folder, overwrite=True, metrics=keeper.metrics.text() if watched else None, exact=not older)
    _report(agent, config, seconds)
    if control is not None and task is not None:
        near = "" if control.measured is None else f", {control.measured:.1f} nats a text from its reference,"
        print(f"Sampled writing{near} now earns", "\n".join(sampled(agent, task).lines(before)))
    if best is not None:
        print(f"Kept: what it had learned after {best.step} steps, the best of those evaluated.")
    if folder is not None:
        print(f"The run is in {folder}: {_command('eval', folder, config)}")


def _command(name: str, folder: Path, config: Config) -> str:
    """Return a command line about a run, as it must be typed."""
    own = [] if config.agent in AGENTS else ["--agent", config.agent]
    return shlex.join(["textgym", *name.split(), str(folder), *own])


def _report(agent: Any, config: Config, seconds: float) -> None:
    result = evaluate_control(agent, *config.control()) if config.is_control else evaluate(agent, config.task())
    doing = "acting" if config.is_control else "writing"
    print(f"Trained for {seconds:.1f} s. Greedy {doing} now earns {result.mean_return:.2f}", end="")
    print("" if result.success_rate is None else f", success {result.success_rate:.0%}", end=":\n")
    print("\n".join(result.samples[:1] if len(set(result.samples)) == 1 else result.samples))
