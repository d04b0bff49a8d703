"""Run folders: what was trained, on what, and all that it needs to go on. Nothing in them is ever executed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from textgym.errors import InvalidSetting, NotFinite, UnknownName

from .about import about, check_scored_by
from .config import Config
from .device import check_device
from .fitting import check_base, check_env, check_size
from .folder import holds_run, read_files, read_json, write_files
from .int8 import quantise
from .layers import nested
from .making import make_vec_env
from .metrics import Row, read_metrics
from .state import continues_exactly, env_of, get_state, parameters, set_parameters, set_state
from .table import AGENTS, RUNTIME, Made, make
from .trees import as_array, pack, unpack
from .vec_env import bridge_of

ORIGINS = ("init", "pretraining", "distillation")  # of a policy, before it learned by rewards
UNSEEN = 2**22  # tokens in the rows of a run that holds no state of its environment
Arrays = dict[str, npt.NDArray[Any]]

DAMAGED = (
    *(KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, ArithmeticError, AssertionError),
    *(MemoryError, SafetensorError),
)
"""What reading hostile data may raise."""


def config_of(agent: Any) -> Config:
    """Return what an agent was made from.

    Raises:
        InvalidSetting: `agents.make` did not make it, it keeps no environment, or its settings are no plain data.
    """
    made: Made | None = getattr(agent, "made", None)
    if made is None:
        raise InvalidSetting(
            f"{type(agent).__name__} was not made by agents.make, so that a run could not say how to make it again. "
            "Make it with agents.make(name, env, ...), or agents.make('package.module:make', env) for your own; "
            "SB3's own model.save(path) keeps any SB3 model."
        )
    if (env := env_of(agent)) is None:
        raise InvalidSetting(
            f"{type(agent).__name__} has no environment, and a run says what it was trained on. Keep it as `self.env`."
        )
    bridge = bridge_of(env)
    origin = None if bridge is None else bridge.origin
    kwargs = {k: v for k, v in origin.kwargs.items() if k != "render_mode"} if origin else {}
    data = {
        "env": None if origin is None else origin.id,
        "env_kwargs": kwargs,
        "agent": made.agent,
        "settings": made.settings,
        "seed": None if made.seed is None else int(made.seed),
        "steps": int(getattr(agent, "_total_timesteps", 0) or getattr(agent, "num_timesteps", 0) or 1),
        "n_envs": getattr(env, "num_envs", 1),
        "init": made.init.model_dump() if made.init else None,
        **{name: getattr(made, name) for name in ("pretraining", "distillation", "quantisation")},
    }
    try:
        plain = json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidSetting(
            f"the settings {made.settings} or the environment's {kwargs} are no plain data ({error}), so a run cannot "
            "keep them. Give names and numbers."
        ) from error
    return Config.read(plain, "the run")


def check_saveable(agent: Any) -> None:
    """Raise `InvalidSetting` where an agent has no parameters to save, before it has learned anything."""
    parameters(agent)
    config_of(agent)


def check_free(folder: Path, config: Config | None = None, overwrite: bool = False) -> None:
    """Raise where a folder cannot take a run.

    Args:
        folder: where a run is to be kept.
        config: the run; the folder may hold an older state of the same one. None for a new one.
        overwrite: it may hold any run.

    Raises:
        InvalidSetting: it is a file, or holds another run.
        OSError: nothing can be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidSetting(f"{folder} is a file. Choose another folder.")
    if not overwrite and holds_run(folder):
        other = "a run already" if config is None else config.difference(read_config(folder))
        if other is not None:
            raise InvalidSetting(
                f"{folder} holds {other}. Choose another folder, pass --overwrite (overwrite=True) to replace it, or "
                "--resume to go on with it."
            )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: nothing can be written there", str(folder)) from error


def save(
    agent: Any, folder: str | Path, overwrite: bool = False, metrics: str | None = None, exact: bool = True
) -> None:
    """Write a run: its files change all together or not at all, whatever kills the process.

    `config.json` says how to make the agent again, `policy.safetensors` holds its parameters, `optimizer.safetensors`
    what its optimiser remembers, `state.json` and `state.safetensors` all else that learning depends on, `metrics.csv`
    what it has earned, and `manifest.json` versions and the sha256 of each.

    Args:
        agent: what `agents.make` made. An agent of the user's own needs `state_dict` and `load_state_dict`; to be
            continued exactly, also `get_state` and `set_state`.
        folder: new, or with an older state of the same run.
        overwrite: replace another run that is there.
        metrics: the lines of `metrics.csv`.
        exact: False where learning was interrupted in the middle of something: the run can then be read, not resumed.

    Raises:
        InvalidSetting: the agent cannot be saved, or the folder holds another run.
        NotFinite: a parameter, or what its optimiser remembers, is NaN or infinite.
        OSError: the folder cannot be written. The run that was there stays.
    """
    folder, config = Path(folder), config_of(agent)
    check_free(folder, config, overwrite)
    state = get_state(agent, exact and config.quantisation is None)  # what is quantised cannot go on
    try:
        learned = {name: as_array(value, f"parameter {name}") for name, value in parameters(agent).items()}
        optimizer, remembered = pack(state.pop("optimizer", None))
        plain, arrays = pack(state)
    except TypeError as error:
        raise InvalidSetting(f"{config.agent} cannot be saved: {error}") from error
    for name, array in (*learned.items(), *((f"optimizer{name}", array) for name, array in remembered.items())):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NotFinite(f"{config.agent}'s parameter {name} is not finite; nothing was saved to {folder}.")
    files = {
        "config.json": _json(config.model_dump()),
        "policy.safetensors": to_bytes(learned),
        "optimizer.safetensors": to_bytes(remembered),
        "state.json": _json({"optimizer": optimizer, **plain}),
        "state.safetensors": to_bytes(arrays),
    }
    if metrics is not None:
        files["metrics.csv"] = metrics.encode()
    write_files(folder, files, about(config, agent))


def begin(agent: Any, folder: Path, config: Config) -> None:
    """Write a run that has learned nothing yet, so that a kill before the first checkpoint loses no settings."""
    write_files(folder, {"config.json": _json(config.model_dump())}, about(config, agent))


def read_config(folder: str | Path) -> Config:
    """Return a run's configuration.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: the run is damaged, or of a newer format.
    """
    return read_run(Path(folder)).config


@dataclass(frozen=True)
class Run:
    """A run's folder, read once: a whole set of files, whoever writes there meanwhile."""

    folder: Path
    config: Config
    manifest: dict[str, Any]
    files: dict[str, bytes]

    @property
    def learned(self) -> bool:
        """Whether it holds parameters; without them it has only begun."""
        return "policy.safetensors" in self.files and "state.json" in self.files

    @property
    def metrics(self) -> list[Row]:
        """The rows of `metrics.csv`."""
        return read_metrics(self.files["metrics.csv"].decode()) if "metrics.csv" in self.files else []


def read_run(folder: Path) -> Run:
    """Read a run's files and configuration; raises as `read_config` does."""
    manifest, files = read_files(folder)
    path = folder / "config.json"
    with refusing(f"{path} is no run's configuration"):
        config = Config.read(read_json(files["config.json"], path), "config.json")
        if runtime := nested(config.settings).keys() & {*RUNTIME}:  # a place to write to might be among them
            raise InvalidSetting(f"{sorted(runtime)} are no settings of an agent")
    return Run(folder, config, manifest, files)


@contextmanager
def refusing(fault: str, keep: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn whatever hostile data may raise into `InvalidSetting`, in one line of readable length."""
    try:
        yield
    except keep:
        raise
    except DAMAGED as error:
        cause = " ".join(str(error).split())
        raise InvalidSetting(f"{fault}: {cause if len(cause) < 600 else cause[:600] + ' ...'}") from error


def load(folder: str | Path, env: Any = None, agent: str | None = None, device: str = "auto") -> Any:
    """Read a run, make its agent again, and let it stand where it stood; `learn(reset_num_timesteps=False)` goes on.

    Nothing is unpickled, and no module is imported by a name in the folder. The random states of Python, NumPy and
    torch, which SB3's agents draw from, are set to what they were.

    Args:
        folder: what `save` or `textgym train --out` wrote.
        env: the environment to act in, instead of one made like the run's; it must have the same spaces and tokens.
        agent: must be given again, as `"package.module:make"`, where the run's agent is the user's own.
        device: where torch puts the policy.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: a file is missing, cut, edited, of a newer format or no run's; the run is another
            environment's, vocabulary's or agent's, and which field differs; or the agent's own code was not named.
        UnknownName: the environment or the agent is not registered here.
    """
    return restore(read_run(Path(folder)), env, agent, device)[0]


def restore(run: Run, env: Any = None, agent: str | None = None, device: str = "auto") -> tuple[Any, bool]:
    """Return a run's agent as `load` does, and whether its whole state was there, so that it can go on exactly."""
    folder, config, manifest, files = run.folder, run.config, run.manifest, run.files
    device, continue_env = check_device("cpu" if config.quantisation and device == "auto" else device), env is None
    check_agent(folder, config, agent)
    if not run.learned:
        raise InvalidSetting(f"{folder} holds a run that has learned nothing yet. `textgym train --resume` begins it.")
    with refusing(f"{folder} holds no run's parameters and state"):
        learned = from_bytes(files["policy.safetensors"])
        arrays = {part: from_bytes(files[f"{part}.safetensors"]) for part in ("state", "optimizer")}
        plain = read_json(files["state.json"], folder / "state.json")
        optimizer = unpack(plain.pop("optimizer"), arrays["optimizer"])
        state = {**unpack(plain, arrays["state"]), "optimizer": optimizer}
        held = arrays["state"] if state["exact"] is True else None
    if env is None:
        env = _make_env(folder, config, held)
        check_scored_by(folder, manifest, env)
    check_env(folder, config, manifest, env)
    check_size(folder, config, env, learned)
    with refusing(f"{folder} asks for an agent that cannot be made", keep=UnknownName):
        made = make(config.agent, env, seed=config.seed, device=device, **config.settings)
    check_base(folder, manifest, made)
    with refusing(f"{folder} does not hold this agent's parameters and state"):
        if config.quantisation is not None:
            quantise(made)
        set_parameters(made, learned)
        if origins := {name: value for name in ORIGINS if (value := getattr(config, name)) is not None}:
            made.made = replace(made.made, **origins)
        set_state(made, state, continue_env=continue_env)
    return made, held is not None and continues_exactly(made)


def check_agent(folder: Path, config: Config, agent: str | None) -> None:
    """Refuse a run whose agent is not TextGym's and was not named again, or was named otherwise."""
    if agent is not None and agent != config.agent:
        raise InvalidSetting(f"{folder} was trained by agent={config.agent!r}, not by {agent!r}. Leave --agent out.")
    if config.agent not in AGENTS and agent is None:
        raise InvalidSetting(
            f"{folder} was trained by {config.agent!r}, which is not TextGym's. If you trust that code, name it again: "
            f"--agent {config.agent}."
        )


def _make_env(folder: Path, config: Config, state: Arrays | None) -> Any:
    """Return an environment like the run's, no larger than the state of it that the run holds, if it does."""
    with refusing(f"{folder} asks for an environment that cannot be made", keep=UnknownName):
        width = config.check()  # refuses an id that is not registered here, before Gymnasium sees it
        held = UNSEEN if state is None else sum(array.size for array in state.values())
        if width * config.n_envs > held:
            raise InvalidSetting(f"{config.n_envs} rows of {width} tokens, where {held} numbers of state are there")
        return make_vec_env(config.env or "", config.n_envs, **config.env_kwargs)


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
