"""A run folder may come from anybody: no name in it makes code run."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from signing import change_settings, configure, write

from agents import load, make, make_vec_env, save
from agents.runs import check_agent, config_of, read_config
from textgym.errors import InvalidSetting, UnknownName

Textgym = Callable[..., tuple[int, str, str]]

TRAP = "agent_from_a_stranger"
CODE = "from agents.tabular.q_learning import make\nfrom textgym.envs.text_gen import text_gen\n"


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that could be imported."""
    (tmp_path / f"{TRAP}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield TRAP
    sys.modules.pop(TRAP, None)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of Q-learning."""
    save(make("q-learning", make_vec_env("TextGen-v0", 2), seed=0).learn(100), tmp_path / "run")
    return tmp_path / "run"


def sprung() -> bool:
    """Whether the module was imported."""
    return TRAP in sys.modules


def test_an_agent_of_the_users_own_must_be_named_again(trap: str, tmp_path: Path) -> None:
    name, folder = f"{trap}:make", tmp_path / "run"
    agent = make(name, make_vec_env("TextGen-v0", 2), seed=0, alpha=0.125).learn(100)
    save(agent, folder)
    assert json.loads((folder / "config.json").read_text())["agent"] == name
    assert read_config(folder).settings == {"alpha": 0.125}
    importlib.import_module(trap)
    del sys.modules[trap]
    with pytest.raises(InvalidSetting, match=rf"'{name}', which is not TextGym's.*trust.*--agent {name}"):
        load(folder)
    for named in ("other:make", "q-learning"):
        with pytest.raises(InvalidSetting, match=rf"trained by agent='{name}', not by '{named}'"):
            load(folder, agent=named)
    assert not sprung()
    loaded = load(folder, agent=name)
    assert sprung()
    assert loaded.settings.alpha == 0.125
    assert loaded.num_timesteps == agent.num_timesteps
    assert config_of(loaded) == config_of(agent)


def test_an_installed_agent_must_be_named_again_too(trap: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("learner-of-a-stranger", f"{trap}:make", "textgym.agents")
    monkeypatch.setattr("agents.table.entry_points", lambda group: [entry] if group == "textgym.agents" else [])
    configure(run, agent=entry.name)
    with pytest.raises(InvalidSetting, match=rf"trust that code, name it again: --agent {entry.name}"):
        load(run)
    assert not sprung()
    assert load(run, agent=entry.name).num_timesteps == 100
    assert sprung()


def test_a_run_of_textgyms_own_agent_needs_no_name_and_takes_no_other(run: Path) -> None:
    assert load(run).num_timesteps == load(run, agent="q-learning").num_timesteps == 100
    with pytest.raises(InvalidSetting, match=r"trained by agent='q-learning', not by 'sarsa'\. Leave --agent out"):
        load(run, agent="sarsa")
    check_agent(run, read_config(run), None)


@pytest.mark.parametrize("env", [None, "given"])
@pytest.mark.parametrize(
    "change",
    [
        {"agent": f"{TRAP}:make"},
        {"agent": "os:system"},
        {"agent": "builtins:exec"},
        {"agent": f"{TRAP}:make; rm -rf ~"},
        {"agent": "\x1b[2J:make"},
        {"agent": "../stranger:make"},
        {"agent": TRAP},
        {"agent": ""},
        {"agent": None},
        {"agent": {"module": TRAP}},
    ],
)
def test_no_agent_is_imported_by_a_name_in_the_folder(
    change: dict[str, Any], env: str | None, run: Path, trap: str
) -> None:
    configure(run, **change)
    with pytest.raises((InvalidSetting, UnknownName)) as refused:
        load(run, env=env and make_vec_env("TextGen-v0", 2))
    assert not sprung()
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": f"{TRAP}:TextGen-v0"}, "names code to import"),
        ({"env": f"{TRAP}:"}, "names code to import"),
        ({"env": f":{TRAP}"}, "names code to import"),
        ({"env_kwargs": {"task": f"{TRAP}:text_gen"}}, "names code to import"),
        ({"env_kwargs": {"task": "os:makedirs", "name": "made"}}, "names code to import"),
        ({"env_kwargs": {"entry_point": f"{TRAP}:make"}}, "no argument 'entry_point'"),
        ({"env_kwargs": {"vector_entry_point": f"{TRAP}:make"}}, "no argument 'vector_entry_point'"),
        ({"env_kwargs": {"render_mode": "human"}}, "no argument 'render_mode'"),
        ({"env_kwargs": {"num_envs": 3}}, "no argument 'num_envs'"),
        ({"env_kwargs": {"reward": f"{TRAP}:make"}}, "no reward is called"),
        ({"env": "CartPole-v1", "env_kwargs": {}}, "no environment is called 'CartPole-v1'"),
        ({"env": "Nowhere-v0"}, "no environment is called 'Nowhere-v0'"),
        ({"env": 5}, "env=5 is refused"),
        ({"entry_point": f"{TRAP}:make"}, "no setting of config.json is called 'entry_point'"),
    ],
)
def test_no_environment_is_imported_by_a_name_in_the_folder(
    change: dict[str, Any], message: str, run: Path, trap: str
) -> None:
    configure(run, **change)
    with pytest.raises((InvalidSetting, UnknownName), match=message):
        load(run)
    assert not sprung()


def test_what_a_folder_says_of_itself_is_shown_and_not_obeyed_by_a_terminal(run: Path) -> None:
    configure(run, env="\x1b[2J\nTextGen-v0")
    for env in (None, make_vec_env("TextGym/Corners-v0", 2)):
        with pytest.raises((InvalidSetting, UnknownName)) as refused:
            load(run, env=env)
        assert str(refused.value).isprintable()


def test_settings_name_no_code_either(run: Path, trap: str) -> None:
    for name in ("policy", "policy_class", "features_extractor_class", "callback", "env", "device"):
        save(make("q-learning", make_vec_env("TextGen-v0", 2), seed=0).learn(100), run, overwrite=True)
        change_settings(run, **{name: f"{trap}:make"})
        with pytest.raises((InvalidSetting, UnknownName)):
            load(run)
    assert not sprung()


def test_the_parameters_are_no_pickle(run: Path, trap: str) -> None:
    write(run, "policy.safetensors", b"c" + trap.encode() + b"\nmake\n.")  # a pickle that imports the module
    with pytest.raises(InvalidSetting, match="holds no run's parameters and state"):
        load(run)
    assert not sprung()


def test_the_command_line_needs_the_name_again(run: Path, trap: str, textgym: Textgym) -> None:
    configure(run, agent=f"{trap}:make")
    for command in (("eval", "run"), ("train", "--resume", "run", "--steps", "500")):
        status, out, err = textgym(*command)
        assert (status, out) == (1, "")
        assert f"name it again: --agent {trap}:make" in err
        assert err.count("\n") == 1
    assert not sprung()
    assert textgym("eval", "run", "--agent", f"{trap}:make")[0] == 0
