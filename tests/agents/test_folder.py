"""A folder whose files change together: whatever kills the process, a reader finds all of the old or all of the new."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from failing_disk import Killed, Steps

from agents.folder import FILES, MANIFEST, read_files, write_files
from textgym.errors import InvalidSetting

CONFIG, POLICY, OPTIMIZER, STATE, ARRAYS, METRICS = FILES
Files = dict[str, bytes]

A: Files = {CONFIG: b"a", POLICY: b"a policy", STATE: b"a state"}
ALL: Files = {name: f"all: {name}".encode() for name in FILES}
FEW: Files = {CONFIG: b"few"}
OTHER: Files = {CONFIG: b"other", ARRAYS: b"\0" * 100, METRICS: b""}
SAME: Files = {**A, STATE: b"another state"}
C: Files = {CONFIG: b"c", OPTIMIZER: b"c's", STATE: b"a state"}

CHANGES = {
    "added": (A, ALL),
    "removed": (ALL, A),
    "begun": (FEW, ALL),
    "replaced by a beginning": (ALL, FEW),
    "others": (A, OTHER),
    "one": (A, SAME),
}


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    write_files(folder, files, {"of": files[CONFIG].decode()})


def found(folder: Path) -> Files:
    """What a reader finds, whose manifest must be of the same writing."""
    manifest, files = read_files(folder)
    assert manifest["of"] == files[CONFIG].decode()
    return files


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.folder.time.sleep", lambda seconds: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    for files in (ALL, A, OTHER, FEW):
        put(run, files)
        assert found(run) == files
        assert names(run) == {*files, MANIFEST}


@pytest.mark.parametrize("change", CHANGES)
def test_a_kill_at_any_step_leaves_all_of_the_old_or_all_of_the_new(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = CHANGES[change]
    steps, seen = Steps(monkeypatch, Killed), list[Files]()
    for at in itertools.count():
        run = tmp_path / str(at)
        put(run, old)
        killed = steps.run(at, lambda run=run: put(run, new))  # type: ignore[misc]
        seen.append(found(run))
        assert seen[-1] in (old, new)
        put(run, C)
        assert found(run) == C
        assert names(run) == {*C, MANIFEST}
        if not killed:
            break
    assert len(seen) > 3 * len(new) + 5  # opening, writing and fsync of each; the manifest and the names besides
    assert seen[0] == old
    assert seen[-1] == new
    assert sum(a != b for a, b in itertools.pairwise(seen)) == (old != new)  # it is decided once


@pytest.mark.slow
def test_a_second_kill_while_the_first_is_mended_leaves_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, newest = {CONFIG: b"1", POLICY: b"1"}, {CONFIG: b"2", STATE: b"2"}, {CONFIG: b"3"}
    steps, first, second = Steps(monkeypatch, Killed), 0, 0
    while True:  # over all pairs
        run = tmp_path / f"{first} {second}"
        put(run, old)
        one = steps.run(first, lambda run=run: put(run, new))  # type: ignore[misc]
        between = found(run)
        two = steps.run(second, lambda run=run: put(run, newest))  # type: ignore[misc]
        assert found(run) in (between, newest)
        first, second = (first, second + 1) if two else (first + 1, 0)
        if not two:
            assert names(run) == {CONFIG, MANIFEST}
            if not one:
                break
    assert first > 15


def test_a_kill_of_the_first_writing_leaves_no_run_or_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, runs = Steps(monkeypatch, Killed), 0
    for at in itertools.count():
        run = tmp_path / str(at)
        killed = steps.run(at, lambda run=run: put(run, A))  # type: ignore[misc]
        if runs or not killed or (run / (MANIFEST + ".next")).exists():
            assert found(run) == A
            runs += 1
        else:
            with pytest.raises(FileNotFoundError, match="holds no run"):
                read_files(run)
        put(run, C)
        assert found(run) == C
        if not killed:
            break
    assert runs > 3


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_at_any_step_is_one_error_and_leaves_whole_files(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch, lambda: OSError(code, os.strerror(code)))
    for at in itertools.count():
        run = tmp_path / str(at)
        put(run, ALL)
        failed = steps.run(at, lambda run=run: put(run, A))  # type: ignore[misc]
        assert found(run) in (ALL, A)
        if isinstance(error := steps.raised, OSError):
            assert error.errno == code
            if found(run) == ALL:
                assert "Nothing was saved; what was there before counts still" in str(error)
                assert str(run) in str(error)
                assert names(run) == {*ALL, MANIFEST}  # what was half written gives its room back
        else:
            assert found(run) == A  # the step could fail without harm
        put(run, C)
        assert found(run) == C
        if not failed:
            break
    assert at > 15


def test_a_reader_beside_a_writer_finds_one_or_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # readers wait, as they do
    put(tmp_path, A)
    done = threading.Event()
    wrong: list[Any] = []

    def write() -> None:
        for files in itertools.islice(itertools.cycle((ALL, A, OTHER)), 60):
            put(tmp_path, files)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or reads < 10:
        try:
            if found(tmp_path) not in (ALL, A, OTHER):
                wrong.append(found(tmp_path))
        except InvalidSetting as error:
            wrong.append(error)
        reads += 1
    writer.join()
    assert not wrong


def test_a_reader_looks_again_where_files_changed_names_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is let in before each file that is read, as often as a reader tries."""
    for place in range(7):
        run = tmp_path / str(place)
        put(run, ALL)
        real, calls = Path.read_bytes, itertools.count()

        def read(path: Path, place: int = place, run: Path = run, calls: Any = calls, real: Any = real) -> bytes:
            if next(calls) == place:
                put(run, A)
            return bytes(real(path))

        monkeypatch.setattr(Path, "read_bytes", read)
        assert found(run) in (ALL, A)
        monkeypatch.setattr(Path, "read_bytes", real)
