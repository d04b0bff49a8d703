"""Hostile and damaged runs: what a stranger may do to a folder, and make its manifest agree."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.numpy import save as to_bytes
from signing import change_settings, configure, sign, write

MEMBERS = ("config.json", "policy.safetensors", "optimizer.safetensors", "state.json", "state.safetensors")
TENSORS = [name for name in MEMBERS if name.endswith(".safetensors")]

Damage = Callable[[Path], object]


SPRUNG: list[str] = []  # must stay empty


def spring() -> None:
    """Code that a stranger wants to be run."""
    SPRUNG.append("unpickled")


class Payload:
    """Unpickling it would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return spring, ()


PICKLE = pickle.dumps(Payload())


def unsigned(name: str, change: Callable[[bytes], bytes], run: Path) -> None:
    """Change a file and leave the manifest as it is."""
    (run / name).write_bytes(change((run / name).read_bytes()))


def signed(name: str, change: Callable[[bytes], bytes], run: Path) -> None:
    """Change a file, and sign."""
    unsigned(name, change, run)
    sign(run)


def elsewhere(name: str, make: Callable[[Path], object], run: Path) -> None:
    """Put something else in a file's place."""
    (run / name).unlink()
    make(run / name)


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def header(size: int, body: bytes = b"{}") -> bytes:
    """A safetensors file that says how long its header is."""
    return struct.pack("<Q", size) + body


def manifest(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest itself."""
    data = json.loads((run / "manifest.json").read_text("utf-8"))
    change(data)
    (run / "manifest.json").write_text(json.dumps(data), "utf-8")


def rename_in_manifest(old: str, new: str, run: Path) -> None:
    """Name another place for a file."""
    manifest(run, lambda data: data["files"].update({new: data["files"].pop(old)}))


def deep(text: str, levels: int = 100_000) -> bytes:
    opening, closing = text.split("|")
    return (opening * levels + "1" + closing * levels).encode()


def bad_header(tensor: dict[str, Any]) -> bytes:
    body = json.dumps({"x": tensor}).encode()
    return header(len(body), body) + b"\0" * 16


FILES: dict[str, Damage] = {
    **{f"pickle {name}": partial(write, name=name, data=PICKLE) for name in MEMBERS},
    **{f"unsigned pickle {name}": partial(unsigned, name, lambda _: PICKLE) for name in MEMBERS},
    **{f"flipped {name}": partial(unsigned, name, flip) for name in MEMBERS},
    **{f"cut {name}": partial(unsigned, name, lambda data: data[:-3]) for name in MEMBERS},
    **{f"cut and signed {name}": partial(signed, name, lambda data: data[:-3]) for name in MEMBERS},
    **{f"empty {name}": partial(write, name=name, data=b"") for name in MEMBERS},
    **{f"missing {name}": partial(elsewhere, name, lambda path: None) for name in (*MEMBERS, "manifest.json")},
    **{f"folder for {name}": partial(elsewhere, name, Path.mkdir) for name in (*MEMBERS, "manifest.json")},
    **{f"pipe for {name}": partial(elsewhere, name, os.mkfifo) for name in (*MEMBERS, "manifest.json")},
    **{f"link for {name}": partial(elsewhere, name, lambda path: path.symlink_to("/etc/passwd")) for name in MEMBERS},
    "link to a device": partial(elsewhere, "manifest.json", lambda path: path.symlink_to("/dev/zero")),
    "link to itself": partial(elsewhere, "manifest.json", lambda path: path.symlink_to(path)),
    "only in the manifest": lambda run: elsewhere("state.json", lambda path: sign(run), run),
    **{f"headers {name}": partial(write, name=name, data=header(2**63)) for name in TENSORS},
    **{f"header beyond {name}": partial(write, name=name, data=header(10**6)) for name in TENSORS},
    "header overflow": partial(write, name="policy.safetensors", data=header(2**64 - 1)),
    "huge header": partial(write, name="policy.safetensors", data=header(2**27, b" " * 1000)),
    "deep header": lambda run: write(run, "policy.safetensors", header(len(body := deep('{"a":|}')), body)),
    "offsets": partial(
        write, name="policy.safetensors", data=bad_header({"dtype": "F32", "shape": [4], "data_offsets": [0, 2**60]})
    ),
    "shape overflow": partial(
        write,
        name="policy.safetensors",
        data=bad_header({"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 16]}),
    ),
    "negative shape": partial(
        write, name="policy.safetensors", data=bad_header({"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]})
    ),
    "unknown dtype": partial(
        write, name="policy.safetensors", data=bad_header({"dtype": "OBJ", "shape": [2], "data_offsets": [0, 16]})
    ),
    "no arrays": partial(write, name="policy.safetensors", data=to_bytes({})),
    "no state": partial(write, name="state.safetensors", data=to_bytes({})),
}

MANIFESTS: dict[str, Damage] = {
    "parent": partial(rename_in_manifest, "state.json", "../state.json"),
    "absolute": partial(rename_in_manifest, "state.json", "/etc/passwd"),
    "inside": partial(rename_in_manifest, "state.json", "tensorboard/../../x"),
    "null byte": partial(rename_in_manifest, "state.json", "state.json\0"),
    "own": partial(rename_in_manifest, "state.json", "manifest.json"),
    "digest list": lambda run: manifest(run, lambda data: data["files"].update({"state.json": ["x"]})),
    "digest null": lambda run: manifest(run, lambda data: data["files"].update({"state.json": None})),
    "no config": lambda run: manifest(run, lambda data: data["files"].pop("config.json")),
    "newer": lambda run: manifest(run, lambda data: data.update(format=3)),
    "other tokens": partial(sign, vocabulary="0" * 64),
    "no tokens": partial(sign, vocabulary=None),
    "wider": partial(sign, observation="Box(0, 4, (9,), int32)"),
    "prompt": partial(sign, max_prompt=2),
    "actions": partial(sign, actions="Discrete(5)"),
    "nonsense": partial(sign, actions=[["x"] * 10**5] * 3),
    "deep": lambda run: (run / "manifest.json").write_bytes(deep("[|]")),
    "NaN": lambda run: (run / "manifest.json").write_text('{"format": NaN}'),
}

CONFIGS: dict[str, Damage] = {
    **{f"deep {text}": partial(write, name="config.json", data=deep(text)) for text in ("[|]", '{"a":|}')},
    "deep kwargs": partial(
        write, name="config.json", data=b'{"env": "TextGen-v0", "env_kwargs": {"target": %s}}' % deep("[|]", 300)
    ),
    "NaN": partial(write, name="config.json", data=b'{"env": "TextGym/Copy-v0", "settings": {"gamma": NaN}}'),
    "infinity": partial(write, name="config.json", data=b'{"env": "TextGym/Copy-v0", "settings": {"gamma": 1e999}}'),
    "huge integer": partial(write, name="config.json", data=b'{"seed": %s}' % (b"9" * 5000)),
    "list": partial(write, name="config.json", data=b"[]"),
    "no UTF-8": partial(write, name="config.json", data=b'{"env": "\xff"}'),
    "unknown field": partial(configure, more=1),
    "unknown setting": partial(change_settings, gama=0.5),
    "rows": partial(configure, n_envs=65_536),
    "more rows": partial(configure, n_envs=10**9),
    "no rows": partial(configure, n_envs=0),
    "other rows": partial(configure, n_envs=3),
    "steps": partial(configure, steps=10**30),
    "seed": partial(configure, seed=-1),
    "settings": partial(configure, settings=[]),
    "no settings fit": partial(configure, settings={"policy": "os.system"}),
    "log elsewhere": partial(change_settings, tensorboard_log="elsewhere"),
    "other agent": partial(configure, agent="dqn", settings={}),
    "unknown agent": partial(configure, agent="pp"),
    "unknown environment": partial(configure, env="TextGym/Kopy-v0"),
    "another environment": partial(configure, env="TextGen-v0", env_kwargs={}),
    "other letters": partial(configure, env_kwargs={"alphabet": "abd", "max_length": 3}),
    "number of letters": partial(configure, env_kwargs={"alphabet": 5, "max_length": 3}),
    "letters in a list": partial(configure, env_kwargs={"alphabet": [["a"], ["b"]], "max_length": 3}),
    "length": partial(configure, env_kwargs={"alphabet": "abc", "max_length": 10**9}),
    "greater length": partial(configure, env_kwargs={"alphabet": "abc", "max_length": 10**30}),
    "no length": partial(configure, env_kwargs={"alphabet": "abc", "max_length": None}),
    "horizon": partial(configure, env="TextGen-v0", env_kwargs={"horizon": 10**12}),
    "a start of another kind": partial(configure, init=["run"]),
    "a start that cannot be shown": partial(configure, init={"folder": "\x1b[2J"}),
    "a start with more": partial(configure, init={"folder": "run", "code": "os.system"}),
    "a fit of another kind": partial(configure, pretraining=[1]),
    "a teacher of another kind": partial(configure, distillation=[1]),
    "integers of another size": partial(configure, quantisation="int4"),
    "floats for integers": partial(configure, quantisation="int8"),
    "no such argument": partial(configure, env_kwargs={"alphabet": "abc", "max_length": 3, "x": 1}),
}
