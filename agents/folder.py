"""A folder whose files change together: a reader finds all of the old ones or all of the new, and knows damage."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from reprlib import repr as short
from typing import Any

from textgym.errors import InvalidSetting
from textgym.reviews import embedded

FORMAT = 2
MANIFEST = "manifest.json"
FILES = (
    "config.json",
    "policy.safetensors",
    "optimizer.safetensors",
    "state.json",
    "state.safetensors",
    "metrics.csv",
)
NEXT = ".next"
"""The ending of files that are about to replace others."""

PLACES = (NEXT, "")
DRAFT = MANIFEST + ".tmp"


def write_files(folder: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Replace a folder's files by others, all or none, whatever kills the process.

    Every file is written beside the one that it replaces; the new manifest, written last, decides: from then on the
    new files count, under the one name or the other. Files of the table that are not given are removed.

    Args:
        folder: made where it is missing.
        files: contents by names out of `FILES`.
        about: what else the manifest says.

    Raises:
        OSError: the folder cannot be written; what was there counts still, or, if its names could not be changed in
            the end, what was given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(InvalidSetting):  # a manifest that cannot be read decides nothing
        _finish(folder)
    try:
        _decide(folder, files, about)
    except OSError as error:
        for path in (*(folder / (name + NEXT) for name in FILES), folder / DRAFT):
            with suppress(OSError):  # a full disk gets its room back
                path.unlink(missing_ok=True)
        reason = f"{error.strerror or error}. Nothing was saved; what was there before counts still"
        raise OSError(error.errno, reason, error.filename or str(folder)) from error
    _sync(folder)
    _finish(folder)


def _decide(folder: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Write the new files beside the old ones, and the manifest that makes them count."""
    for name, data in files.items():
        _write(folder / (name + NEXT), data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = json.dumps({"format": FORMAT, **about, "files": digests}, indent=2, ensure_ascii=False) + "\n"
    _write(folder / DRAFT, manifest.encode())
    os.replace(folder / DRAFT, folder / (MANIFEST + NEXT))


def _finish(folder: Path) -> None:
    """Give the files of a decided replacement their names; it may have been cut short before."""
    decided = folder / (MANIFEST + NEXT)
    if not decided.exists():
        return
    names = _read_manifest(folder)[1]
    for name in FILES:
        if name not in names:
            (folder / name).unlink(missing_ok=True)
            (folder / (name + NEXT)).unlink(missing_ok=True)
        elif (folder / (name + NEXT)).exists():
            os.replace(folder / (name + NEXT), folder / name)
    os.replace(decided, folder / MANIFEST)
    _sync(folder)


def holds_run(folder: Path) -> bool:
    """Return whether a folder has files of a run, whole or not; what a first write left that was cut short is none."""
    folder = embedded(str(folder)) or folder
    return any((folder / name).exists() for name in (MANIFEST, MANIFEST + NEXT, *FILES))


def read_files(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a folder's manifest and files; nothing in it is changed.

    Args:
        folder: a path, or the name of an embedded run, as `textgym:reviewer`.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: a file is missing, cut or edited, or the manifest is none, or of a newer format.
    """
    folder = embedded(str(folder)) or folder
    for attempt in range(4):
        try:
            manifest, digests = _read_manifest(folder)
            return manifest, {name: _content(folder, name, digest) for name, digest in digests.items()}
        except InvalidSetting:
            if attempt == 3:
                raise
            time.sleep(0.05)  # a run that is being written may have changed between two of its files
    raise AssertionError


def _read_manifest(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the manifest that decides, and in it the sha256 of each file."""
    for path in (folder / (MANIFEST + place) for place in PLACES):
        if (data := _bytes(path)) is not None:
            break
    else:
        raise FileNotFoundError(
            f"{folder} holds no run: there is no {MANIFEST}. Train one with `textgym train ID --out DIR`."
        )
    manifest = read_json(data, path)
    version, digests = manifest.get("format"), manifest.get("files")
    if isinstance(version, int) and version > FORMAT:
        raise InvalidSetting(f"{path} has format {short(version)}; this TextGym reads up to {FORMAT}. Upgrade it.")
    if version != FORMAT or not isinstance(digests, dict) or not {"config.json"} <= digests.keys() <= {*FILES}:
        raise InvalidSetting(
            f"{path} is no run's manifest: its format is {short(version)}, its files {short(digests)}."
        )
    return manifest, digests


def _content(folder: Path, name: str, digest: Any) -> bytes:
    for path in (folder / (name + place) for place in PLACES):
        data = _bytes(path)
        if data is not None and hashlib.sha256(data).hexdigest() == digest:
            return data
    state = "is not what was saved there: it was cut or edited" if (folder / name).exists() else "is missing"
    raise InvalidSetting(
        f"{folder / name} {state}; its sha256 is not the manifest's {short(digest)}. Use another copy of the run."
    )


def _bytes(path: Path) -> bytes | None:
    """Return a file's content; None where there is none, or no longer.

    Raises:
        InvalidSetting: it is a directory, or a pipe that would never end; or does not fit into memory.
    """
    try:
        if path.is_file():
            return path.read_bytes()
    except FileNotFoundError:  # given its name in this moment
        return None
    except MemoryError as error:
        raise InvalidSetting(f"{path} does not fit into memory.") from error
    if path.exists():
        raise InvalidSetting(f"{path} is no file. Use another copy of the run.")
    return None


def read_json(data: bytes, path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        InvalidSetting: it is none, or holds what is no JSON: NaN, infinity.
    """
    try:
        found = json.loads(data, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidSetting(f"{path} holds a {type(found).__name__}, no JSON object.")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no finite number")
    return number


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # a link would lead elsewhere
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make renamings last, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
