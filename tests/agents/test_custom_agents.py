"""Agents of the user's own: the README's two, by file and by entry point, and what is no agent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from agents import make, make_vec_env, table
from textgym.errors import InvalidSetting, UnknownName

Run = Callable[..., tuple[int, str, str]]

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
EXAMPLES = ("best_text", "curious")


@pytest.fixture(autouse=True)
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The README's agents as files of the current folder."""
    for name in EXAMPLES:
        found = re.search(rf"<!-- {name}\.py -->\n```python\n(.*?)```", README, re.DOTALL)
        assert found is not None
        (tmp_path / f"{name}.py").write_text(found[1], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in EXAMPLES:
        sys.modules.pop(name, None)


def test_the_complete_example_is_trained_saved_and_read_again(textgym: Run, tmp_path: Path) -> None:
    status, out, err = textgym(
        "train", "TextGen-v0", "--agent", "best_text:make", "--set", "change=0.3", "--out", "runs/best"
    )
    assert (status, err) == (0, "")
    assert "success 100%:\n我爱你\n" in out
    assert json.loads((tmp_path / "runs/best/config.json").read_text("utf-8"))["settings"] == {"change": 0.3}
    status, out, _ = textgym("eval", "runs/best", "--agent", "best_text:make", "--json")
    assert json.loads(out)["success_rate"] == 1.0


def test_an_agent_that_cannot_say_its_state_is_not_resumed(textgym: Run) -> None:
    textgym("train", "TextGen-v0", "--agent", "best_text:make", "--out", "run")
    status, _, err = textgym("train", "--resume", "run", "--agent", "best_text:make", "--steps", "9000")
    assert status == 1
    assert "run cannot be continued exactly: best_text:make or its environment has no `get_state`" in err


def test_the_subclass_of_ppo_is_resumed_exactly(textgym: Run, tmp_path: Path) -> None:
    train = ("train", "TextGen-v0", "--agent", "curious:make", "--n-envs", "4", "--set", "n_steps=16", "--out")
    assert textgym(*train, "whole", "--steps", "256")[0] == 0
    assert textgym(*train, "half", "--steps", "128")[0] == 0
    # the coefficient falls towards the last step, so a run that was meant to be shorter is another run
    assert textgym("train", "--resume", "half", "--agent", "curious:make", "--steps", "256")[0] == 0
    whole, half = ((tmp_path / name / "policy.safetensors").read_bytes() for name in ("whole", "half"))
    assert len(whole) == len(half)
    assert whole != half
    for folder in ("whole", "half"):
        assert json.loads((tmp_path / folder / "manifest.json").read_text("utf-8"))["steps"] == 256


def test_the_subclass_of_ppo_writes_the_text(textgym: Run) -> None:
    status, out, err = textgym("train", "TextGen-v0", "--agent", "curious:make")
    assert (status, err) == (0, "")
    assert "success 100%:\n我爱你\n" in out


def test_an_installed_packages_agent_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("hill-climber", "best_text:make", table.ENTRY_POINTS)
    monkeypatch.setattr(table, "entry_points", lambda group: EntryPoints([entry] if group == "textgym.agents" else []))
    agent = make("hill-climber", make_vec_env("TextGen-v0", 2), change=0.1)
    assert (agent.made.agent, agent.made.settings) == ("hill-climber", {"change": 0.1})
    with pytest.raises(UnknownName, match="Did you mean 'hill-climber'"):
        make("hill-climbe", make_vec_env("TextGen-v0", 2))


NO_AGENTS = {
    "def make(env, **o): return object()": r"made <object object .*>, which has no method `learn`",
    "class A:\n    learn = print\ndef make(env, **o): return A()": "which has no method `predict`",
    "make = 3": "is 3, which cannot be called",
    "import nowhere_at_all": "No module named 'nowhere_at_all'",
    "": "has no attribute 'make'",
}


@pytest.mark.parametrize("code", NO_AGENTS)
def test_what_is_no_agent_is_refused_with_what_it_lacks(code: str, tmp_path: Path) -> None:
    name = f"no_agent_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    with pytest.raises(InvalidSetting, match=NO_AGENTS[code]):
        make(f"{name}:make", make_vec_env("TextGen-v0", 2))


@pytest.mark.parametrize("place", ["nowhere_at_all:make", "os:nothing", ":make", "os:"])
def test_a_place_without_an_agent_is_refused(place: str) -> None:
    with pytest.raises(InvalidSetting, match=r"Write 'package\.module:make'"):
        make(place, make_vec_env("TextGen-v0", 2))


def test_actions_of_the_wrong_shape_are_refused_and_the_run_is_kept(textgym: Run, tmp_path: Path) -> None:
    code = (tmp_path / "best_text.py").read_text("utf-8")
    wrong = code.replace("return (actions if", "return (actions[:1] if deterministic else actions if")
    (tmp_path / "wrong_shape.py").write_text(wrong, "utf-8")
    status, _, err = textgym(
        "train", "TextGym/Copy-v0", "--agent", "wrong_shape:make", "--steps", "100", "--out", "run"
    )
    assert status == 1
    assert re.match(r"InvalidAction: .*shape", err), err
    assert (tmp_path / "run" / "policy.safetensors").exists()


def test_a_setting_that_an_agent_of_ones_own_does_not_know_is_its_own_error(textgym: Run) -> None:
    status, _, err = textgym("train", "TextGen-v0", "--agent", "best_text:make", "--set", "chance=1")
    assert status == 1
    assert "unexpected keyword argument 'chance'" in err


def count(**overrides: Any) -> Any:
    """Nothing: a function of another form than make(env, **overrides)."""


def test_a_function_that_takes_no_environment_is_refused() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        make(f"{__name__}:count", make_vec_env("TextGen-v0", 2))
