"""`textgym inspect` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import inspect_completions, make, make_vec_env, save

Textgym = Callable[..., tuple[int, str, str]]
SMALL: Any = {"device": "cpu", "policy": {"d_model": 8, "n_layers": 1, "n_heads": 2}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    env = make_vec_env("TextGym/Reverse-v0", 4, alphabet="abc", max_length=3)
    save(make("ppo", env, seed=0, **SMALL), folder)
    return folder


def test_a_table_is_printed_and_a_page_is_written(run: Path, textgym: Textgym, tmp_path: Path) -> None:
    status, out, err = textgym("inspect", str(run), "--prompt", "ab", "--html", "page.html")
    assert (status, err) == (0, "")
    assert out.startswith("TextGym/Reverse-v0, ppo, 0 steps, greedy, KL to start\n\nab → ")
    assert "token  probability  entropy" in out
    assert out.endswith("\nThe page is in page.html.\n")
    assert "<!DOCTYPE html>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_json_is_what_python_returns(run: Path, textgym: Textgym) -> None:
    asked = ("-n", "3", "--seed", "2", "--sample", "--reference", "uniform", "--alternatives", "2", "--json")
    status, out, err = textgym("inspect", str(run), *asked)
    assert (status, err) == (0, "")
    found = json.loads(out)["completions"]
    expected = inspect_completions(run, 3, seed=2, sample=True, reference="uniform", alternatives=2)
    assert found == [json.loads(json.dumps(one.to_dict())) for one in expected]
    assert {"how", "env", "agent", "gamma", "text", "tokens", "attention", "metrics"} <= found[0].keys()
    assert len(found[0]["tokens"][0]["alternatives"]) == 2
    assert found[0]["tokens"][0].keys() >= {"token", "id", "probability", "entropy", "value", "advantage", "kl"}


def test_a_given_completion_is_looked_at(run: Path, textgym: Textgym) -> None:
    out = textgym("inspect", str(run), "--prompt", "ab", "--completion", "ba", "--json")[1]
    found = json.loads(out)["completions"][0]
    assert found["text"] == "ab → ba$"
    assert found["metrics"] == {"success": 1.0}
    assert [token["token"] for token in found["tokens"]] == ["b", "a", "$"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("nowhere",), "FileNotFoundError: "),
        (("RUN", "--prompt", "xyz"), "InvalidPrompt: prompt 'xyz' cannot be read"),
        (("RUN", "--completion", "abcabc"), "InvalidSetting: completion 'abcabc' has 6 tokens, and the horizon is 4"),
        (("RUN", "--reference", "nothing"), "InvalidSetting: reference='nothing' is neither 'start' nor 'uniform'"),
        (("RUN", "--html", "no/such/page.html"), "InvalidSetting: --html no/such/page.html: give the name of a file"),
    ],
)
def test_what_cannot_be_shown_is_one_message(run: Path, textgym: Textgym, asked: tuple[str, ...], message: str) -> None:
    status, out, err = textgym("inspect", *(str(run) if word == "RUN" else word for word in asked))
    assert (status, out) == (1, "")
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
