"""A folder whose files were cut, edited or never written by us: refused by name, and never followed elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from agents.folder import FILES, MANIFEST, holds_run, read_files, write_files
from textgym.errors import InvalidSetting

ALL = {name: f"all: {name}".encode() for name in FILES}
FEW = {"config.json": b"few", "metrics.csv": b""}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.folder.time.sleep", lambda seconds: None)


def put(folder: Path, files: dict[str, bytes]) -> None:
    write_files(folder, files, {})


def found(folder: Path) -> dict[str, bytes]:
    return read_files(folder)[1]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_manifest_names_each_file_with_its_sha256(tmp_path: Path) -> None:
    write_files(tmp_path, FEW, {"seed": 7, "名": "我爱你"})
    manifest = json.loads((tmp_path / MANIFEST).read_text("utf-8"))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in FEW.items()}
    assert manifest == {"format": 2, "seed": 7, "名": "我爱你", "files": digests}
    assert read_files(tmp_path)[0] == manifest


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_cut_an_edited_and_a_missing_file_are_refused_by_name(name: str, tmp_path: Path) -> None:
    put(tmp_path, ALL)
    path = tmp_path / name
    whole = path.read_bytes()
    for damaged in (whole[:-2], b"", whole + b" ", bytes([whole[0] ^ 1]) + whole[1:], b"\x80\x04."):
        path.write_bytes(damaged)
        if name == MANIFEST and damaged == whole + b" ":
            assert found(tmp_path) == ALL
            continue
        with pytest.raises(InvalidSetting, match=name):
            read_files(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError if name == MANIFEST else InvalidSetting, match=name):
        read_files(tmp_path)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_what_is_no_file_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    for make in (Path.mkdir, lambda path: os.mkfifo(path)):
        run = tmp_path / str(len(names(tmp_path)))
        put(run, ALL)
        (run / name).unlink()
        make(run / name)
        with pytest.raises(InvalidSetting, match=rf"{name} is no file"):
            read_files(run)


@pytest.mark.parametrize(
    "manifest",
    [
        *(b"", b"{", b"[]", b"3", b"null", b"{}", b"\xff\xfe", b"[" * 10**5, b'{"a":' * 10**5),
        *(b'{"format": 2}', b'{"format": 2, "files": {}}', b'{"format": 2, "files": null}', b'{"format": NaN}'),
        *(b'{"format": "2", "files": {"config.json": ""}}', b'{"format": null, "files": {"config.json": ""}}'),
        *(b'{"format": 1, "files": {"config.json": ""}}', b'{"format": 1e999, "files": {"config.json": ""}}'),
        *(b'{"format": 2, "files": ["config.json"]}', b'{"format": 2, "files": {"policy.safetensors": ""}}'),
        b'{"format": 2, "files": {"config.json": "", "../config.json": ""}}',
        b'{"format": %s, "files": {"config.json": ""}}' % (b"9" * 5000),
    ],
)
def test_a_manifest_of_nonsense_is_refused_and_written_over(manifest: bytes, tmp_path: Path) -> None:
    for name in (MANIFEST, MANIFEST + ".next"):
        put(tmp_path, ALL)
        (tmp_path / name).write_bytes(manifest)
        with pytest.raises(InvalidSetting, match=r"manifest\.json(\.next)? (is no|holds a)") as refused:
            read_files(tmp_path)
        assert len(str(refused.value)) < 1000
        assert holds_run(tmp_path)
        put(tmp_path, FEW)
        assert found(tmp_path) == FEW
        assert names(tmp_path) == {*FEW, MANIFEST}


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    put(tmp_path, FEW)
    manifest = json.loads((tmp_path / MANIFEST).read_text("utf-8"))
    for version in (3, 10**20):
        (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "format": version, "more": "fields"}))
        with pytest.raises(InvalidSetting, match=rf"format {version}; this TextGym reads up to 2\. Upgrade it"):
            read_files(tmp_path)


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        assert not holds_run(place)
        with pytest.raises(FileNotFoundError, match=r"holds no run.*textgym train"):
            read_files(place)


def test_writing_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.write_bytes(b"precious")
    put(run, ALL)
    for name in (*FILES, MANIFEST):
        for ending in ("", ".next", ".tmp"):
            if name != MANIFEST or ending != ".next":
                (run / (name + ending)).unlink(missing_ok=True)
                (run / (name + ending)).symlink_to(outside)
    put(run, FEW)
    assert outside.read_bytes() == b"precious"
    assert found(run) == FEW
