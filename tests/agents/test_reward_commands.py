"""`textgym reward`, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from reward_models import spring

from agents.preferences import write_records

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")

Run = Callable[..., tuple[int, str, str]]
SMALL = [
    f"--set={one}" for one in ("d_model=16", "n_layers=1", "n_heads=2", "window=16", "epochs=3", "learning_rate=1e-2")
]


def test_train_shows_figures_and_score_reads_the_folder(textgym: Run, tmp_path: Path) -> None:
    write_records(tmp_path / "pairs.jsonl", spring(60))
    status, out, err = textgym("reward", "train", "pairs.jsonl", "--out", "model", *SMALL)
    assert (status, err) == (0, "")
    for line in (
        "loss                bradley-terry, ",
        "of 6 held-out pairs",
        "54 learned from, 6 held out, 0 skipped",
    ):
        assert line in out
    assert json.loads((tmp_path / "model" / "reward.json").read_text("utf-8"))["data"]["name"] == "pairs.jsonl"
    (tmp_path / "more.txt").write_text("春春春春\n", "utf-8")
    status, out, _ = textgym(
        "reward", "score", "model", "--text", "冬", "--text", "春春", "--data", "more.txt", "--json"
    )
    assert status == 0
    scores = json.loads(out)["scores"]
    assert len(scores) == 3
    assert scores[0] < scores[2]
    assert textgym("reward", "score", "model", "--text", "冬")[1].split() == [f"{scores[0]:.3f}", "冬"]
    status, _, err = textgym("reward", "train", "pairs.jsonl", "--out", "model", *SMALL)
    assert status == 1
    assert "model holds a reward model. Choose another folder, or pass --overwrite" in err


def test_an_ensemble_has_members_and_combinations(textgym: Run, tmp_path: Path) -> None:
    write_records(tmp_path / "a.jsonl", spring(30))
    write_records(tmp_path / "b.jsonl", [pair for pair in spring(60) if pair not in spring(30)])
    status, out, _ = textgym(
        "reward", "train", "a.jsonl", "--held-out", "b.jsonl", "--out", "m", "--members", "2", *SMALL
    )
    assert status == 0
    assert "member 1\n" in out
    assert "together, pairs ranked rightly: mean " in out
    status, out, _ = textgym("reward", "score", "m", "--text", "春", "--combination", "worst", "--json")
    found = json.loads(out)
    assert found["scores"][0] == min(found["members"][0][0], found["members"][1][0])


def test_a_fault_is_one_line(textgym: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "", "chosen": "a", "rejected": "b"}\n{"prompt": "", "chosen": "a"}\n')
    for arguments, message in (
        (("train", "a.jsonl", "--out", "m"), "a.jsonl, line 2, lacks rejected. Write"),
        (("train", "none.jsonl", "--out", "m"), "none.jsonl"),
        (("train", "a.jsonl", "--out", "m", "--loss", "hinge"), "no loss is called 'hinge'"),
        (("train", "a.jsonl", "--out", "m", "--members", "0"), "members=0"),
        (("score", "./none", "--text", "a"), "./none is no folder"),
        (("score", "m"), "no text was given"),
    ):
        status, _, err = textgym("reward", *arguments)
        assert status == 1
        assert message in err
        assert "Traceback" not in err
    assert not (tmp_path / "m").exists()
