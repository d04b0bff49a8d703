"""Hostile and damaged runs are refused: by a typed error in one line, without running or writing anything."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import CONFIGS, FILES, MANIFESTS, PICKLE, SPRUNG, Damage
from hostile_states import ANY_STATE, MEMORIES, NETWORKS, TABLES

from agents import load, make, make_vec_env, save
from textgym.errors import InvalidSetting, UnknownName

Textgym = Callable[..., tuple[int, str, str]]

SMALL = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
KINDS: dict[str, dict[str, Any]] = {
    "q-learning": {},
    "ppo": {**SMALL, "n_steps": 8, "batch_size": 16},
    "dqn": {**SMALL, "learning_starts": 8, "buffer_size": 400},
}
TABLE: dict[str, dict[str, Damage]] = {
    "q-learning": {
        **{f"file: {name}": damage for name, damage in FILES.items()},
        **{f"manifest: {name}": damage for name, damage in MANIFESTS.items()},
        **{f"config: {name}": damage for name, damage in CONFIGS.items()},
        **{f"state: {name}": damage for name, damage in ANY_STATE.items()},
        **{f"table: {name}": damage for name, damage in TABLES.items()},
    },
    "ppo": {
        **{f"state: {name}": damage for name, damage in ANY_STATE.items()},
        **{f"network: {name}": damage for name, damage in NETWORKS.items()},
    },
    "dqn": {f"memory: {name}": damage for name, damage in MEMORIES.items()},
}
CASES = [(kind, name) for kind, damages in TABLE.items() for name in damages]
TYPED = (InvalidSetting, UnknownName, FileNotFoundError)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    for kind, settings in KINDS.items():
        env = make_vec_env("TextGym/Copy-v0", 2, seed=0, alphabet="abc", max_length=3)
        save(make(kind, env, seed=0, device="cpu", **settings).learn(64), folder / kind)
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither what is pickled in a run, nor a command, nor anything that reads pickles."""
    caught: list[str] = []
    for owner, name in ((os, "system"), (os, "popen"), (pickle, "loads"), (pickle, "load"), (torch, "load")):
        monkeypatch.setattr(owner, name, lambda *given, name=name: caught.append(name))
    monkeypatch.setattr("agents.folder.time.sleep", lambda seconds: None)
    yield
    assert caught == SPRUNG == []


def content(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that lies in a folder, and when it was changed."""
    stats = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    files = {path: path.read_bytes() if path.is_file() else b"" for path in stats}
    return {str(path): (stats[path].st_mode, stats[path].st_mtime_ns, files[path]) for path in stats}


def damaged(saved: Path, kind: str, name: str, folder: Path) -> Path:
    shutil.copytree(saved / kind, folder)
    TABLE[kind][name](folder)
    return folder


def test_the_runs_load_before_they_are_damaged(saved: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        assert load(saved / kind).num_timesteps == 64


def test_the_trap_would_spring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pickle.loads(PICKLE)
    assert SPRUNG == ["unpickled"]
    SPRUNG.clear()


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_hostile_run_is_refused_in_one_line(kind: str, name: str, saved: Path, tmp_path: Path) -> None:
    run = damaged(saved, kind, name, tmp_path / "run")
    before = content(run)
    with pytest.raises(TYPED) as refused:
        load(run)
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 1500
    assert content(run) == before


@pytest.mark.parametrize(("kind", "name"), CASES[:: len(CASES) // 25])
def test_the_command_line_says_so_in_one_line(
    kind: str, name: str, saved: Path, tmp_path: Path, textgym: Textgym
) -> None:
    run = damaged(saved, kind, name, tmp_path / "run")
    before = content(run)
    for command in (("eval", "run"), ("train", "--resume", "run", "--steps", "100")):
        status, out, err = textgym(*command)
        assert (status, out) == (1, "")
        assert err.partition(":")[0] in {error.__name__ for error in TYPED}
        assert err.count("\n") == 1
    assert content(run) == before
