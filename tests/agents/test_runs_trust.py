"""A run folder may come from anybody: no name in it makes code run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import load, make_vec_env, save
from agents.runs import Config
from agents.tabular import QLearning
from textgym.errors import InvalidSetting

TRAP = "agent_from_a_stranger"
CODE = "from agents.tabular import make\nfrom textgym.envs.text_gen import text_gen\n"


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that could be imported."""
    (tmp_path / f"{TRAP}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield TRAP
    sys.modules.pop(TRAP, None)


def sprung() -> bool:
    """Whether the module was imported."""
    return TRAP in sys.modules


def write(folder: Path, agent: str = "q-learning", **env_kwargs: Any) -> None:
    """Save a run with a configuration of an attacker's own."""
    learner = QLearning(make_vec_env("TextGen-v0", 2), seed=0).learn(100)
    save(learner, folder, Config("TextGen-v0", agent, 0, 100, 2, env_kwargs))


def test_an_agent_of_the_users_own_must_be_named_again(trap: str, tmp_path: Path) -> None:
    write(tmp_path / "run", agent=f"{trap}:make")
    for named in (None, "other:make", "q-learning"):
        with pytest.raises(InvalidSetting, match=f"'{trap}:make'.*If you trust that code, name it again"):
            load(tmp_path / "run", agent=named)
        assert not sprung()
    loaded, config = load(tmp_path / "run", agent=f"{trap}:make")
    assert sprung()
    assert config.agent == f"{trap}:make"
    assert loaded.predict(make_vec_env("TextGen-v0", 1).reset())[0].shape == (1,)


def test_a_factory_named_among_the_settings_is_not_imported(trap: str, tmp_path: Path) -> None:
    write(tmp_path / "run", task=f"{trap}:text_gen")
    with pytest.raises((InvalidSetting, TypeError)):
        load(tmp_path / "run")
    assert not sprung()


def test_a_function_named_among_the_settings_is_not_called(tmp_path: Path) -> None:
    write(tmp_path / "run", task="os:makedirs", name=str(tmp_path / "made"))
    with pytest.raises((InvalidSetting, TypeError)):
        load(tmp_path / "run")
    assert not (tmp_path / "made").exists()


def test_the_parameters_are_no_pickle(trap: str, tmp_path: Path) -> None:
    write(tmp_path / "run")
    code = b"c" + trap.encode() + b"\nmake\n."  # a pickle that imports the module
    (tmp_path / "run" / "policy.safetensors").write_bytes(code)
    with pytest.raises(InvalidSetting, match=r"policy\.safetensors"):
        load(tmp_path / "run")
    assert not sprung()


def test_a_module_before_the_id_is_not_imported(trap: str, tmp_path: Path) -> None:
    learner = QLearning(make_vec_env("TextGen-v0", 2), seed=0).learn(100)
    save(learner, tmp_path / "run", Config(f"{trap}:TextGen-v0", "q-learning", 0, 100, 2, {}))
    with pytest.raises(InvalidSetting, match="names code to import"):
        load(tmp_path / "run")
    assert not sprung()
