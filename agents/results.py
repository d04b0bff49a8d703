"""The file of the suite's results: a line of JSON a run, each checked as it is read, none lost by an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from textgym.errors import InvalidSetting, is_finite

from .suite import EXPERIMENTS

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


def job_of(record: Mapping[str, Any]) -> Job:
    """Return the job that a record is of.

    Raises:
        InvalidSetting: it is none, or lacks what tables and pictures show.
    """
    try:
        fields = {name: record[name] for name in Job.__dataclass_fields__}
        job = Job(**fields)
        right = all(isinstance(fields[name], str) for name in ("experiment", "agent"))
        right &= all(type(fields[name]) is int and fields[name] >= 0 for name in ("setting", "seed", "steps"))
        if not right or job.setting >= len(EXPERIMENTS[job.experiment].settings) or not job.steps:
            raise ValueError(f"{fields} is no run of the suite")
        failed = record["score"] is None and isinstance(record["error"], str)
        for name in FIGURES if failed else ("score", *FIGURES):
            if not is_finite(record[name]):
                raise ValueError(f"its {name}, {record[name]!r}, is no number")
        if not isinstance(record["settings"], dict) or not (failed or isinstance(record["curve"], list)):
            raise ValueError("its settings or its curve are none")
    except KeyError as error:
        raise InvalidSetting(f"this is no record of the suite: it lacks {error}.") from error
    except (TypeError, ValueError) as error:
        raise InvalidSetting(f"this is no record of the suite: {error}.") from error
    return job


def key_of(record: Mapping[str, Any]) -> str:
    """Return the key of the job that a record is of."""
    return job_of(record).key


def require_current(record: Mapping[str, Any]) -> None:
    """Raise `InvalidSetting` where the setting that a record is of is another one in the suite as it is now."""
    job = job_of(record)
    if record["settings"] != (now := EXPERIMENTS[job.experiment].settings[job.setting]):
        raise InvalidSetting(
            f"{job.experiment}, setting {job.setting}, was {record['settings']} and is now {now}: the record is of "
            "another version of the suite. Give another file."
        )


def line_of(record: Mapping[str, Any]) -> str:
    """Return a record as a line of JSON.

    Raises:
        ValueError: it holds NaN or infinity, which JSON has no word for.
    """
    return json.dumps(record, allow_nan=False) + "\n"


def read(path: str | Path) -> list[Record]:
    """Return the records of a file; none where there is no file. A last line that was cut is left out.

    Raises:
        InvalidSetting: a line is no record.
    """
    path = Path(path)
    whole = _whole(path.read_bytes()) if path.exists() else b""
    records = []
    for number, line in enumerate(whole.removesuffix(b"\n").split(b"\n") if whole else (), 1):
        try:
            record = json.loads(line, parse_constant=_refuse)
            if not isinstance(record, dict):
                raise ValueError("it is no object")
            key_of(record)
        except ValueError as error:
            raise InvalidSetting(f"{path}, line {number}: {error}") from error
        records.append(record)
    return records


def begin(path: Path) -> None:
    """Make a file of results ready for more lines: its folder is there, and its last line is whole.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        whole = _whole(file.read())
        file.truncate(len(whole))
        if whole and not whole.endswith(b"\n"):
            file.write(b"\n")


def add(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to a file, at once: what another process adds stands before or after it."""
    with path.open("ab", buffering=0) as file:
        file.write(line_of(record).encode())


def _whole(content: bytes) -> bytes:
    """Return a file's content without a last line that an interruption cut: one that has no end and is no JSON."""
    kept, newline, last = content.rpartition(b"\n")
    try:
        json.loads(last)
    except ValueError:
        return kept + newline
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
