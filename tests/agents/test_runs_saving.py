"""Where a run may be saved: never over another one, and a disk that fails leaves what was there."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failing_disk import Steps

from agents import load, make, make_vec_env, save
from agents.folder import write_files
from agents.runs import begin, check_free, config_of, read_config
from textgym.errors import InvalidSetting

Textgym = Callable[..., tuple[int, str, str]]


def learner(steps: int = 32, env_id: str = "TextGen-v0", seed: int = 0, n_envs: int = 2, **settings: Any) -> Any:
    agent = make("q-learning", make_vec_env(env_id, n_envs), seed=seed, **settings)
    return agent.learn(steps) if steps else agent


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_is_these_files_and_no_half_written_one(tmp_path: Path) -> None:
    save(learner(), tmp_path / "run", metrics="step\n32\n")
    files = {"config.json", "policy.safetensors", "optimizer.safetensors", "state.json", "state.safetensors"}
    assert content(tmp_path / "run").keys() == {*files, "metrics.csv", "manifest.json"}
    save(learner(), tmp_path / "run")
    assert content(tmp_path / "run").keys() == {*files, "manifest.json"}


def test_a_newer_state_of_the_same_run_replaces_the_older_one(tmp_path: Path) -> None:
    agent = learner(32)
    save(agent, tmp_path)
    agent.learn(32, reset_num_timesteps=False)
    save(agent, tmp_path)
    assert load(tmp_path).num_timesteps == 64
    assert read_config(tmp_path).steps == 64


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"env_id": "TextGym/Corners-v0"}, r"env='TextGen-v0' where this one has 'TextGym/Corners-v0'"),
        ({"seed": 1}, "seed=0 where this one has 1"),
        ({"n_envs": 3}, "n_envs=2 where this one has 3"),
        ({"alpha": 0.125}, "settings.alpha=0.5 where this one has 0.125"),
        ({"steps": 0}, "steps=32 where this one has 1"),
    ],
)
def test_another_run_is_not_replaced_unless_asked_for(other: dict[str, Any], field: str, tmp_path: Path) -> None:
    save(learner(), tmp_path)
    before, agent = content(tmp_path), learner(**other)
    with pytest.raises(InvalidSetting, match=rf"holds another run already, with {field}\. .*overwrite=True"):
        save(agent, tmp_path)
    assert content(tmp_path) == before
    save(agent, tmp_path, overwrite=True)
    assert read_config(tmp_path) == config_of(agent)


def test_a_folder_is_free_or_not(tmp_path: Path) -> None:
    check_free(tmp_path)
    check_free(tmp_path / "new" / "one")
    assert content(tmp_path / "new" / "one") == {}
    save(learner(), tmp_path)
    with pytest.raises(InvalidSetting, match=r"holds a run already\. Choose another folder, pass --overwrite"):
        check_free(tmp_path)
    check_free(tmp_path, overwrite=True)
    check_free(tmp_path, read_config(tmp_path))


def test_a_damaged_run_is_replaced_only_when_asked_for(tmp_path: Path) -> None:
    for damaged in ("manifest.json", "config.json", "manifest.json.next"):
        save(learner(), tmp_path, overwrite=True)
        (tmp_path / damaged).write_bytes(b"damaged")
        with pytest.raises(InvalidSetting, match=damaged):
            save(learner(), tmp_path)
        save(learner(), tmp_path, overwrite=True)
        assert load(tmp_path).num_timesteps == 32


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, textgym: Textgym) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"precious")
    with pytest.raises(InvalidSetting, match=r"file is a file\. Choose another folder"):
        save(learner(), file, overwrite=True)
    with pytest.raises(NotADirectoryError):
        save(learner(), file / "below")
    status, _, err = textgym("train", "TextGen-v0", "--agent", "q-learning", "--out", "file", "--overwrite")
    assert (status, err) == (1, "InvalidSetting: file is a file. Choose another folder.\n")
    assert file.read_bytes() == b"precious"


@pytest.mark.parametrize("place", ["/proc", "/sys"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_learned(place: str, textgym: Textgym) -> None:
    if not Path(place).is_dir():
        pytest.skip("Linux has folders that nobody can write to")
    for folder in (Path(place), Path(place) / "below"):
        with pytest.raises(OSError, match=f"'{place}"):
            save(learner(), folder)
    status, out, err = textgym("train", "TextGen-v0", "--agent", "q-learning", "--out", place)
    assert status == 1
    assert place in err
    assert "nothing can be written there" in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_one_error_and_the_run_that_was_there_loads(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = learner(32), learner(32)
    new.learn(32, reset_num_timesteps=False)
    save(old, tmp_path / "run")
    expected = {steps: np.asarray(agent.state_dict()["values"]) for steps, agent in ((32, old), (64, new))}
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    steps = Steps(monkeypatch, lambda: OSError(code, os.strerror(code)))
    found = list[int]()
    for at in itertools.count():
        save(old, tmp_path / "run", overwrite=True)
        failed = steps.run(at, lambda: save(new, tmp_path / "run"))
        loaded = load(tmp_path / "run")
        np.testing.assert_array_equal(loaded.state_dict()["values"], expected[loaded.num_timesteps])
        if steps.raised is None:
            assert loaded.num_timesteps == 64
        else:
            assert isinstance(steps.raised, OSError)
            assert str(tmp_path) in str(steps.raised) or loaded.num_timesteps == 64
            found.append(loaded.num_timesteps)
        if not failed:
            break
    assert found.count(32) > 15
    assert found == sorted(found)


def test_a_run_that_has_begun_says_how_to_go_on(tmp_path: Path) -> None:
    agent = learner(0)
    begin(agent, tmp_path, config_of(agent))
    assert content(tmp_path).keys() == {"config.json", "manifest.json"}
    assert read_config(tmp_path).agent == "q-learning"
    with pytest.raises(InvalidSetting, match=r"has learned nothing yet\. `textgym train --resume` begins it"):
        load(tmp_path)


def test_a_folder_without_a_run_is_refused_with_the_command_that_makes_one(tmp_path: Path, textgym: Textgym) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        for read in (load, read_config):
            with pytest.raises(FileNotFoundError, match=r"holds no run.*textgym train"):
                read(folder)
    for command in (("eval", "missing"), ("train", "--resume", "missing")):
        status, _, err = textgym(*command)
        assert status == 1
        assert err.startswith("FileNotFoundError: missing holds no run")
        assert err.count("\n") == 1
    assert not (tmp_path / "missing").exists()


def test_what_else_lies_in_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    save(learner(), tmp_path)
    save(learner(), tmp_path, overwrite=True)
    write_files(tmp_path, {"config.json": b"{}"}, {})
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "config.json").read_text()) == {}
