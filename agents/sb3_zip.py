"""SB3's own zip files, which are pickles: read only where the reader trusts who wrote them."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

from textgym.errors import InvalidSetting, Names

ALGORITHMS: Names[tuple[str, frozenset[str]]] = Names(
    "algorithm",  # where a class is, and settings of its files; the first that fits, since A2C's are PPO's too
    PPO=("stable_baselines3", frozenset({"n_epochs", "clip_range"})),
    DQN=("stable_baselines3", frozenset({"exploration_fraction", "target_update_interval"})),
    A2C=("stable_baselines3", frozenset({"normalize_advantage", "gae_lambda"})),
)

CONTRIBUTED = {"cg_max_steps", "_last_lstm_states", "n_quantiles", "delta_std"}
"""Settings of sb3-contrib's algorithms, whose files look much like SB3's own."""


def import_sb3_zip(
    path: str | Path, trust: bool = False, algorithm: str | type[Any] | None = None, env: Any = None, **kwargs: Any
) -> Any:
    """Return the model in a zip file that SB3's `model.save` wrote.

    Such a file is a pickle: reading it runs whatever code its writer put there. TextGym's own runs hold no code;
    `agents.save` keeps a model that `agents.make` made.

    Args:
        path: the zip file.
        trust: must be True: you know who wrote the file.
        algorithm: `"PPO"`, `"A2C"`, `"DQN"`, or any SB3 class; found from the file's settings where left out.
        env: the environment to go on in.
        kwargs: more of the class's `load`, as `device`.

    Raises:
        InvalidSetting: `trust` is not True, the file is no SB3 zip, or its algorithm cannot be told.
        FileNotFoundError: it is not there.

    Warns:
        UserWarning: always: code from the file was run.
    """
    path = Path(path)
    if trust is not True:
        raise InvalidSetting(
            f"{path} is read by unpickling, which runs any code that its writer put into it. If you trust them, say "
            "so: import_sb3_zip(path, trust=True)."
        )
    found = _algorithm(path) if algorithm is None else algorithm
    if isinstance(found, str):
        import importlib

        found = getattr(importlib.import_module(ALGORITHMS[found][0]), found)
    warnings.warn(f"{path} is being unpickled: whatever code it holds runs now.", stacklevel=2)
    try:
        return found.load(path, env=env, **kwargs)
    except (TypeError, AttributeError) as error:
        raise InvalidSetting(
            f"{path} is no {found.__name__}: {error}. Give algorithm=, the class that saved it."
        ) from error


def _algorithm(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
            names, policy = data.keys(), data.get("policy_class") or {}
            contributed = str(policy.get("__module__", "")).startswith("sb3_contrib") or names & CONTRIBUTED
    except (zipfile.BadZipFile, KeyError, ValueError, AttributeError) as error:
        raise InvalidSetting(f"{path} is no zip file of SB3's model.save: {error}") from error
    for name, (_, own) in ALGORITHMS.items():
        if own <= names and not contributed:
            return name
    raise InvalidSetting(f"{path} says not whose it is. Give algorithm=, a class of SB3's or sb3-contrib's.")
