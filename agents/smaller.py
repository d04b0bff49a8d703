"""What `textgym distill` and `textgym quantise` do: from a run to a smaller or cheaper one, and what that costs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from textgym.errors import InvalidSetting, require_positive

from .comparing import Comparison, compare
from .distilling import DistillationSettings, distill, read_student
from .int8 import quantise
from .progress import Epochs
from .runs import Run, check_free, read_run, restore, save


def run_distill(
    folder: Path,
    into: Path,
    out: Path,
    fitting: Mapping[str, Any],
    agent: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    episodes: int = 200,
    rows: int = 64,
    as_json: bool = False,
) -> None:
    """Distil a run's policy into a small one, keep that as a run, and print both side by side.

    Args:
        folder: the teacher's run.
        into: a JSON file, as `read_student` has it.
        out: the student's run.
        fitting: of `DistillationSettings`.
        agent: the teacher's own code, named again.
        device: where torch puts both.
        overwrite: replace a run that is there.
        episodes: as `compare` has it.
        rows: likewise.
        as_json: print one JSON object.
    """
    require_positive(episodes=episodes, rows=rows)
    known = DistillationSettings.read(fitting, "distillation")
    read_student(into)
    run = _open(folder, out, overwrite)
    teacher = restore(run, agent=agent, device=device)[0]
    start = time.perf_counter()
    with Epochs(known.rounds) as bar:

        def note(number: int, loss: float, share: float, kl: float) -> None:
            bar.show(number, f"loss {loss:.4f}, held out: agreement {share:.2%}, KL {kl:.4f} nats a token")

        student = distill(teacher, into, device=device, note=note, **known.model_dump())
    seconds = time.perf_counter() - start
    origin = {"folder": str(folder), "sha256": run.manifest["files"]["policy.safetensors"]}
    record = {**student.made.distillation, "teacher": origin}
    student.made = replace(student.made, distillation=record)
    save(student, out, overwrite=overwrite)
    found = compare(
        {"teacher": teacher, "student": student}, run.config.task(), episodes=episodes, rows=rows, tau=known.tau
    )
    if as_json:
        _print_json(found, {"seconds": seconds, **{name: record[name] for name in ("round", "rounds", "tokens")}})
        return
    print(f"kept round {record['round']} of {record['rounds']}, {record['tokens']:,} tokens, {seconds:.1f} s")
    print(found.markdown())
    given = [f"--env={name}={json.dumps(value, ensure_ascii=False)}" for name, value in run.config.env_kwargs.items()]
    print(f"It is in {out}:", shlex.join(["textgym", "train", str(run.config.env), *given, "--init", str(out)]))


def run_quantise(
    folder: Path,
    out: Path,
    agent: str | None = None,
    overwrite: bool = False,
    episodes: int = 200,
    rows: int = 64,
    as_json: bool = False,
) -> None:
    """Quantise a run's policy to int8, keep that as a run for inference, and print both side by side.

    Args:
        folder: the run.
        out: the quantised one.
        agent: as `run_distill` has it, and so the others.
        overwrite: likewise.
        episodes: likewise.
        rows: likewise.
        as_json: likewise.
    """
    require_positive(episodes=episodes, rows=rows)
    run = _open(folder, out, overwrite)
    before, after = (restore(run, agent=agent, device="cpu")[0] for _ in range(2))
    save(quantise(after), out, overwrite=overwrite)
    found = compare({"float32": before, "int8": after}, run.config.task(), episodes=episodes, rows=rows)
    if as_json:
        _print_json(found, {})
        return
    print(found.markdown())
    sizes = [(place / "policy.safetensors").stat().st_size for place in (folder, out)]
    print(f"policy.safetensors: {sizes[1]:,} bytes, before {sizes[0]:,}. It is in {out}: textgym eval {out}")


def _open(folder: Path, out: Path, overwrite: bool) -> Run:
    """Return a run, and see that another can be kept beside it.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: it is quantised; the folder for the other holds something already, or is the run's own.
    """
    run = read_run(folder)
    if out.resolve() == folder.resolve():
        raise InvalidSetting(f"--out {out} is the run itself, which would be lost. Choose another folder.")
    check_free(out, overwrite=overwrite)
    if not overwrite and any(out.iterdir()):
        raise InvalidSetting(f"{out} is not empty. Choose another folder, or pass --overwrite.")
    return run


def _print_json(found: Comparison, more: Mapping[str, Any]) -> None:
    print(json.dumps({**asdict(found), **more}, ensure_ascii=False))
