"""An attacker's tools: changes to a run's files, with a manifest that agrees with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

Array = npt.NDArray[Any]


def sign(run: Path, **about: Any) -> None:
    """Recompute the sha256 of every file that the manifest names, and change what else it says."""
    manifest = {**json.loads((run / "manifest.json").read_text("utf-8")), **about}
    present = [name for name in manifest["files"] if (run / name).is_file()]
    manifest["files"] = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in present}
    (run / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def write(run: Path, name: str, data: bytes) -> None:
    """Replace a file, and sign."""
    (run / name).write_bytes(data)
    sign(run)


def configure(run: Path, **changes: Any) -> None:
    """Change fields of the configuration, and sign."""
    config = json.loads((run / "config.json").read_text("utf-8"))
    write(run, "config.json", json.dumps({**config, **changes}).encode())


def change_settings(run: Path, **changes: Any) -> None:
    """Change settings of the agent, and sign."""
    configure(run, settings={**json.loads((run / "config.json").read_text("utf-8"))["settings"], **changes})


def change_state(run: Path, path: tuple[str | int, ...], to: Any) -> None:
    """Change a value in `state.json`, or a part of one, and sign."""
    state: Any = json.loads((run / "state.json").read_text("utf-8"))
    place = state
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = to
    write(run, "state.json", json.dumps(state).encode())


def change_array(run: Path, file: str, name: str, change: Callable[[Array], Array | None]) -> None:
    """Change the arrays whose names end so, or remove them, and sign."""
    arrays = from_bytes((run / file).read_bytes())
    chosen = [full for full in arrays if full.endswith(name)]
    assert chosen, f"{name} is not among {sorted(arrays)}"
    for full in chosen:
        array = change(arrays.pop(full).copy())
        if array is not None:
            arrays[full] = array
    write(run, file, to_bytes(arrays))
