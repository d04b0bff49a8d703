"""The `textgym` command, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from textgym import env_ids

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")

Run = Callable[..., tuple[int, str, str]]


def test_list_shows_every_environment_with_its_returns(textgym: Run) -> None:
    status, out, _ = textgym("list")
    assert status == 0
    assert all(id in out for id in env_ids())
    (line,) = (line.split() for line in out.splitlines() if line.startswith("TextGen-v0"))
    assert line[:4] == ["TextGen-v0", "3", "3", "3.000"]  # id, vocabulary, horizon, optimal return
    assert line[4:] == ["-1.000", "0.037", "3.0"]  # random writing, its success, effective horizon


def test_list_as_markdown_is_a_table_with_a_row_for_each_id(textgym: Run) -> None:
    lines = textgym("list", "--markdown")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["id", "task", "vocabulary", "horizon", "optimal", "random", "success", "effective horizon"]
    assert cells[1] == ["---"] * 8
    assert [row[0] for row in cells[2:]] == [f"`{id}`" for id in env_ids()]


@pytest.mark.parametrize("id", env_ids())
def test_info_shows_the_page_of_an_environment(id: str, textgym: Run) -> None:
    status, out, _ = textgym("info", id)
    assert status == 0
    for part in (id, "Description", "Actions", "Observation", "Reward", "Episode end", "Arguments", "Version history"):
        assert part in out
    assert "Difficulty" in out


def test_info_says_how_hard_an_environment_is(textgym: Run) -> None:
    words = " ".join(textgym("info", "TextGen-v0")[1].partition("Difficulty")[2].split())
    assert "succeeds with probability 0.037: random search needs 27 episodes on average" in words
    assert "optimal return 3.000, of uniform writing -1.000" in words
    assert "optimal completions of a prompt: 1" in words
    assert "paid nothing: 0.0% of a uniform writer's steps" in words
    assert "valued by uniform writing: 1" in words
    assert "effective horizon: at most 3.0" in words
    assert "which stand for all" not in words
    assert "256 prompts drawn with seed 0, which stand for all" in " ".join(
        textgym("info", "TextGym/Copy-v0")[1].split()
    )


def test_check_names_the_laws_that_a_users_task_keeps(textgym: Run, tmp_path: Path) -> None:
    code = "from textgym import load_task\n\ndef mine():\n    return load_task('TextGen-v0', target='ab')\n"
    (tmp_path / "my_lawful_module.py").write_text(code)
    status, out, _ = textgym("check", "my_lawful_module:mine")
    assert status == 0
    assert len(out.splitlines()) > 5
    assert all(line.startswith("holds: ") for line in out.splitlines())


def test_check_says_which_law_a_task_breaks(textgym: Run, tmp_path: Path) -> None:
    code = (
        "import numpy as np\nfrom dataclasses import replace\nfrom textgym import load_task\n\n"
        "def chance(episodes):\n    return np.random.random(len(episodes))\n\n"
        "def mine():\n    return replace(load_task('TextGen-v0'), reward=chance)\n"
    )
    (tmp_path / "my_lawless_module.py").write_text(code)
    status, _, err = textgym("check", "my_lawless_module:mine")
    assert status == 1
    assert err.startswith("LawBroken: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "TextGem-v0"], "UnknownName: no environment is called 'TextGem-v0'. Did you mean 'TextGen-v0'?"),
        (["play", "TextGym/Copi-v0"], "Did you mean 'TextGym/Copy-v0'?"),
        (["check", "TextGem-v0"], "Did you mean 'TextGen-v0'?"),
        (["check", "nowhere:task"], "no task factory at 'nowhere:task'"),
        (["train", "TextGem-v0"], "Did you mean 'TextGen-v0'?"),
        (["train", "TextGen-v0", "--agent", "qlearning"], "no agent is called 'qlearning'. Did you mean 'q-learning'?"),
        (["train", "TextGen-v0", "--agent", "nowhere:make"], "no agent at 'nowhere:make'"),
        (["train", "TextGen-v0", "--steps", "0"], "steps=0 is not a size"),
        (["train", "TextGen-v0", "--n-envs", "-1"], "n_envs=-1 is not a size"),
        (["train", "TextGen-v0", "--device", "abacus"], "abacus"),
        (["train", "TextGen-v0", "--env", "target"], "setting 'target' is not KEY=VALUE"),
        (["train", "TextGen-v0", "--env", "horizon=1"], "horizon=1 is shorter than the longest target"),
        (["train", "TextGen-v0", "--env", "targt=a"], "Did you mean 'target'?"),
        (["eval", "nowhere"], "FileNotFoundError: nowhere holds no run"),
    ],
)
def test_a_mistake_is_answered_by_one_line(arguments: list[str], message: str, textgym: Run) -> None:
    status, _, err = textgym(*arguments)
    assert status == 1
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "agent"), [(("--agent", "q-learning"), "q-learning"), (("--steps", "3000"), "ppo")]
)
def test_train_and_eval_write_the_text(arguments: tuple[str, ...], agent: str, textgym: Run, tmp_path: Path) -> None:
    status, out, _ = textgym("train", "TextGen-v0", *arguments, "--out", "runs/first", "--seed", "1")
    assert status == 0
    assert "Greedy writing now earns 3.00, success 100%:\n我爱你\n" in out
    assert "textgym eval runs/first" in out
    status, out, _ = textgym("eval", "runs/first")
    assert f"TextGen-v0, {agent}, " in out
    assert "mean return   3.000\nsuccess rate  100.0%\nsamples\n  我爱你\n" in out
    status, out, err = textgym("eval", "runs/first", "--json", "--episodes", "7")
    assert err == ""
    figures = {"mean_return": 3.0, "standard_error": 0.0, "success_rate": 1.0, "episodes": 7}
    assert json.loads(out) == {**figures, "samples": ["我爱你"] * 5}
    sampled = json.loads(textgym("eval", "runs/first", "--json", "--sample", "--episodes", "400")[1])
    assert 0 < sampled["mean_return"] < 3  # exploration, or a policy that is not yet certain
