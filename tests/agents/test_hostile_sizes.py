"""What a run asks for in memory is refused before it is taken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hostile import Damage
from signing import change_settings, configure

from agents import load, make, make_vec_env, save
from agents.config import Config
from textgym.errors import InvalidSetting

if sys.platform != "linux":
    pytest.skip("limits of memory are Linux's here", allow_module_level=True)

import resource

SMALL = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
ROOM = 2**28  # bytes beyond what the process has
MOST = 2**31 - 1  # the greatest count that a setting takes

BEFORE_IT_IS_TAKEN: dict[str, tuple[str, Damage]] = {
    "rows": ("ppo", partial(configure, n_envs=65_536)),
    "a length": ("ppo", partial(configure, env_kwargs={"alphabet": "abc", "max_length": 10**7})),
    "a greater length": ("ppo", partial(configure, env_kwargs={"alphabet": "abc", "max_length": 2**62})),
    "both": ("ppo", partial(configure, n_envs=65_536, env_kwargs={"alphabet": "abc", "max_length": 2000})),
    "a horizon": ("q-learning", partial(configure, env="TextGen-v0", env_kwargs={"horizon": 10**15})),
    "a width": ("ppo", partial(change_settings, policy={"d_model": 16_384, "n_layers": 1, "n_heads": 1})),
    "blocks": ("dqn", partial(change_settings, policy={"d_model": 1024, "n_layers": 1024, "n_heads": 1})),
    "a width with a dot": ("dqn", partial(configure, settings={"policy.d_model": 16_384})),
}
BY_THE_SYSTEM: dict[str, tuple[str, Damage]] = {
    "a rollout": ("ppo", partial(change_settings, n_steps=2**30)),
    "a memory": ("dqn", partial(change_settings, buffer_size=MOST)),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    kinds: dict[str, dict[str, Any]] = {"q-learning": {}, "ppo": {**SMALL, "n_steps": 8, "batch_size": 16}}
    kinds["dqn"] = {**SMALL, "learning_starts": 8, "buffer_size": 400}
    for kind, settings in kinds.items():
        env = make_vec_env("TextGym/Copy-v0", 2, seed=0, alphabet="abc", max_length=3)
        save(make(kind, env, seed=0, device="cpu", **settings).learn(64), folder / kind)
        load(folder / kind)  # all that is imported lazily is there
    return folder


@pytest.fixture
def _little_memory(saved: Path) -> Iterator[None]:
    """Let the process take no more than a little beyond what it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("what", [*BEFORE_IT_IS_TAKEN, *BY_THE_SYSTEM])
def test_a_run_that_asks_for_too_much_is_refused(what: str, saved: Path, tmp_path: Path) -> None:
    kind, damage = {**BEFORE_IT_IS_TAKEN, **BY_THE_SYSTEM}[what]
    for file in (saved / kind).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path)
    with pytest.raises(InvalidSetting) as refused:
        load(tmp_path)
    out_of_memory = isinstance(refused.value.__cause__, MemoryError) or "allocate" in str(refused.value)
    assert out_of_memory == (what in BY_THE_SYSTEM)


@pytest.mark.usefixtures("_little_memory")
def test_a_sparse_file_of_a_terabyte_is_refused(saved: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "config.json"):
        (tmp_path / name).write_bytes((saved / "ppo" / name).read_bytes())
    with (tmp_path / "policy.safetensors").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidSetting, match=r"policy\.safetensors does not fit into memory"):
        load(tmp_path)


def test_what_can_be_trained_can_be_loaded_and_what_cannot_is_refused_at_once() -> None:
    config = Config(env="TextGym/Copy-v0", env_kwargs={"alphabet": "abc", "max_length": 10_000}, n_envs=65_536)
    with pytest.raises(InvalidSetting, match=r"65536 rows of 20001 tokens .* 268435456 tokens are the most"):
        config.task()
    assert config.model_copy(update={"n_envs": 13_000}).task().horizon == 10_001
