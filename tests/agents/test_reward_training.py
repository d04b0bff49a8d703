"""Training of reward models: they learn, nothing leaks, the best epoch is kept, and what cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reward_models import SMALL, bert, gpt2, spring
from transformers import GPT2LMHeadModel

from agents import load_reward_model, save_reward_model, train_reward_model
from agents.preferences import Labelled, Preference
from agents.reward_folder import load_ensemble
from agents.reward_losses import LOSSES, bradley_terry
from agents.reward_training import TrainedReward
from textgym.errors import InvalidSetting, NotFinite, UnknownName
from textgym.rewards.ensemble import members_of

PAIRS = spring(150)
FAST: dict[str, Any] = {**SMALL, "learning_rate": 1e-2, "epochs": 8, "held_out": 0.3, "dropout": 0.0}


@pytest.fixture(scope="module")
def trained() -> TrainedReward:
    return train_reward_model(PAIRS, device="cpu", **FAST)


def test_it_learns_what_is_preferred(trained: TrainedReward) -> None:
    assert trained.figures["pair_accuracy"] > 0.9
    fresh = spring(300, seed=1)
    better, worse = (trained.model.scores([pair.texts[i] for pair in fresh]) for i in (0, 1))
    assert (better > worse).mean() > 0.9
    assert trained.figures["records"] == {"learned": 105, "held_out": 45, "skipped": 0}


def test_figures_are_those_of_the_kept_model_on_what_was_held_out(trained: TrainedReward) -> None:
    figures, model = trained.figures, trained.model
    better, worse = (model.scores([record.texts[i] for record in trained.held_out]) for i in (0, 1))
    assert figures["pair_accuracy"] == np.mean(better > worse)
    scale = figures["normalisation"]["deviation"]
    loss = bradley_terry(torch.tensor(better * scale), torch.tensor(worse * scale)).mean().item()
    assert figures["loss"]["held_out"] == pytest.approx(loss, abs=1e-4)
    held_out = [pair[1] for pair in figures["curve"]]
    assert figures["loss"]["held_out"] == min(held_out) == held_out[figures["epoch"] - 1]
    assert figures["loss"]["before"] == pytest.approx(np.log(2), abs=0.05)
    scores = model.scores([text for record in trained.held_out for text in record.texts])
    assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    lengths = [len(text) for record in trained.held_out for text in record.texts]
    assert figures["length_correlation"] == pytest.approx(np.corrcoef(scores, lengths)[0, 1], abs=1e-4)
    assert {record.texts for record in trained.held_out} < {record.texts for record in PAIRS}


def test_the_folder_is_what_it_was_and_has_a_card(trained: TrainedReward, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "model"
    save_reward_model(trained, folder, data={"name": "pairs.jsonl", "sha256": "0" * 64})
    texts = [pair.texts[0] for pair in PAIRS]
    np.testing.assert_allclose(
        load_reward_model(folder, device="cpu").scores(texts), trained.model.scores(texts), atol=1e-6
    )
    figures = json.loads((folder / "reward.json").read_text("utf-8"))
    assert figures.items() >= json.loads(json.dumps(trained.figures)).items()
    assert figures["data"]["name"] == "pairs.jsonl"
    card = (folder / "README.md").read_text("utf-8")
    assert f"| pair accuracy | {figures['pair_accuracy']:.1%} of 45 held-out pairs |" in card
    assert "`pairs.jsonl`" in card
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
        "reward.json",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    with pytest.raises(InvalidSetting, match=r"holds a reward model\. .*--overwrite"):
        save_reward_model(trained, folder)
    save_reward_model(trained, folder, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(InvalidSetting, match="mine holds other files"):
        save_reward_model(trained, tmp_path / "mine", overwrite=True)


def test_the_same_seed_trains_the_same_model_and_leaves_chance_alone(trained: TrainedReward) -> None:
    torch.manual_seed(5)
    again = train_reward_model(PAIRS, device="cpu", **FAST)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert after == torch.rand(1)
    assert again.figures == trained.figures
    for a, b in zip(again.model.model.parameters(), trained.model.model.parameters()):
        assert torch.equal(a, b)


def test_the_loss_of_rankings_of_different_lengths_is_that_of_their_own_texts() -> None:
    records = [pair if i % 2 else Preference("", (*pair.ranking, f"冬冬{i}")) for i, pair in enumerate(PAIRS[:60])]
    trained = train_reward_model(records, loss="plackett-luce", **{**FAST, "epochs": 3})
    scale, losses = trained.figures["normalisation"]["deviation"], list[float]()
    for record in trained.held_out:
        scores = (trained.model.scores(record.texts) * scale).tolist()
        losses.append(-sum(a - np.log(np.exp(scores[i:]).sum()) for i, a in enumerate(scores)))
    assert {len(record.texts) for record in trained.held_out} == {2, 3}
    assert trained.figures["loss"]["held_out"] == pytest.approx(np.mean(losses), abs=1e-4)


def test_patience_ends_the_fit_and_the_best_epoch_is_kept() -> None:
    rng, seen = np.random.default_rng(0), list[Any]()
    noise = [Preference("", tuple(rng.permutation(pair.ranking).tolist())) for pair in PAIRS[:60]]  # nothing to learn
    fit = train_reward_model(noise, note=lambda *epoch: seen.append(epoch), **{**FAST, "epochs": 50}, patience=2)
    figures = fit.figures
    assert figures["epochs"] == figures["epoch"] + 2 < 50
    assert seen == [(i + 1, *pair) for i, pair in enumerate(figures["curve"])]
    assert figures["loss"]["held_out"] == min(figures["loss"]["before"], *[pair[1] for pair in figures["curve"]])


def labelled(pairs: list[Preference]) -> list[Labelled]:
    return [Labelled("", text, float(i == 0)) for pair in pairs for i, text in enumerate(pair.ranking)]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(loss: str) -> None:
    records: list[Any] = labelled(PAIRS[:40]) if LOSSES[loss].labelled else PAIRS[:40]
    if loss == "plackett-luce":
        records = [Preference("", (*pair.ranking, pair.ranking[1] + "冬冬")) for pair in records]
    figures = train_reward_model(records, loss=loss, **{**FAST, "epochs": 3}).figures
    assert figures["loss"]["name"] == loss
    assert figures["loss"]["held_out"] < figures["loss"]["before"]
    assert (figures["calibration_error"] is None) == (loss == "regression")


def test_a_margin_is_the_pairs_own_or_the_one_for_all() -> None:
    losses = [
        train_reward_model(PAIRS[:40], loss="bradley-terry-margin", margin=m, **{**FAST, "epochs": 1})
        for m in (0.1, 3.0)
    ]
    before = [one.figures["loss"]["before"] for one in losses]
    assert before == [pytest.approx(np.log1p(np.exp(m)), abs=0.1) for m in (0.1, 3.0)]
    own = [Preference("", pair.ranking, margin=2.0) for pair in PAIRS[:40]]
    figures = train_reward_model(own, loss="bradley-terry-margin", margin=0.1, **{**FAST, "epochs": 1}).figures
    assert figures["loss"]["before"] == pytest.approx(np.log1p(np.exp(2.0)), abs=0.1)


@pytest.mark.parametrize(("write", "kind"), [(bert, None), (gpt2, None), (gpt2, GPT2LMHeadModel)])
def test_a_model_that_is_there_can_be_begun_with(write: Any, kind: Any, tmp_path: Path) -> None:
    base = write(tmp_path / "base") if kind is None else write(tmp_path / "base", kind)
    trained = train_reward_model(PAIRS[:40], base=base, learning_rate=1e-3, epochs=2, held_out=0.3)
    assert trained.figures["base"] == {"from": str(base), "revision": None, "commit": None}
    save_reward_model(trained, tmp_path / "out")
    texts = [pair.texts[0] for pair in trained.held_out]
    np.testing.assert_allclose(
        load_reward_model(tmp_path / "out").scores(texts), trained.model.scores(texts), atol=1e-5
    )


def test_reference_texts_are_what_scores_are_normalised_on() -> None:
    reference = ["春春", "夏", "秋冬", "夏"]
    trained = train_reward_model(PAIRS[:40], reference=reference, **{**FAST, "epochs": 1})
    scores = trained.model.scores([*dict.fromkeys(reference)])
    assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-4))
    assert (trained.figures["normalisation"]["texts"], trained.figures["normalisation"]["on"]) == (3, "reference texts")


def test_an_ensemble_shares_its_split_and_is_a_folder_of_folders(tmp_path: Path) -> None:
    members = [train_reward_model(PAIRS[:60], member=i, **{**FAST, "epochs": 2}) for i in range(3)]
    assert members[0].held_out == members[1].held_out == members[2].held_out
    assert len({member.figures["loss"]["before"] for member in members}) == 3  # of first parameters of their own
    texts = [record.texts[0] for record in members[0].held_out]
    scores = [member.model.scores(texts) for member in members]
    assert not np.allclose(scores[0], scores[1], atol=0.01)
    save_reward_model(members, tmp_path / "out")
    assert [Path(path).name for path in members_of(tmp_path / "out")] == ["member-0", "member-1", "member-2"]
    for expected, loaded in zip(scores, load_ensemble(tmp_path / "out", "cpu")):
        np.testing.assert_allclose(loaded.scores(texts), expected, atol=1e-5)
    about = json.loads((tmp_path / "out" / "ensemble.json").read_text("utf-8"))
    assert {*about["pair_accuracy"]} == {"members", "mean", "worst", "penalised"}
    assert about["pair_accuracy"]["members"] == [member.figures["pair_accuracy"] for member in members]
    for names, message in (
        ([], "it must list"),
        (["../x"], "is no folder beside it"),
        (["no"], "is no folder beside it"),
    ):
        (tmp_path / "out" / "ensemble.json").write_text(json.dumps({"members": names}))
        with pytest.raises(InvalidSetting, match=message):
            members_of(tmp_path / "out")
    with pytest.raises(InvalidSetting, match="0 members make no ensemble"):
        save_reward_model([], tmp_path / "other")


def test_long_texts_are_refused_with_their_place_or_skipped() -> None:
    long = Preference("", ("春" * 20, "夏"), place="a.jsonl, line 9")
    with pytest.raises(InvalidSetting, match=r"a\.jsonl, line 9: '春+' has 22 tokens; the reward model reads 1 to 16"):
        train_reward_model([*PAIRS[:20], long], **{**FAST, "epochs": 1})
    fit = train_reward_model([*PAIRS[:20], long], skip=True, **{**FAST, "epochs": 1})
    records = fit.figures["records"]
    assert records["skipped"] == 1
    assert records["learned"] + records["held_out"] == 20
    with pytest.raises(InvalidSetting, match=r"none of .* records fits"):
        train_reward_model([long, Preference("", ("冬" * 20, "秋" * 20))], skip=True, **FAST)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"records": []}, "no record to learn from"),
        ({"records": PAIRS[:1]}, "the 1 records share their texts"),
        ({"records": labelled(PAIRS[:3])}, "record 1 is Labelled"),
        ({"loss": "regression"}, "record 1 is Preference"),
        ({"loss": "hinge"}, "no loss is called 'hinge'"),
        ({"records": [Labelled("", "a", 2.0)] * 2, "loss": "binary-cross-entropy"}, "share their texts"),
        (
            {"records": [Labelled("", "a", 2.0), Labelled("", "b", 1.0)], "loss": "binary-cross-entropy"},
            "label=2; binary-cross-entropy has labels from 0 to 1",
        ),
        ({"held_out": 0.0}, "held_out=0.0 is refused"),
        ({"margin": 2.0}, "margin is of loss=bradley-terry-margin, and the loss is bradley-terry"),
        ({"label_smoothing": 0.5, "loss": "bradley-terry-smoothed"}, "label_smoothing=0.5 is refused"),
        ({"learning_rate": float("nan")}, "learning_rate=nan is refused"),
        ({"n_heads": 5}, "n_heads=5 does not divide"),
        ({"epoch": 5}, "Did you mean 'epochs'"),
        ({"revision": "main"}, "revision='main' is of a model that is loaded"),
        ({"base": "./none"}, "d_model, .* would be of a model that is made"),
        ({"member": -1}, "member=-1"),
        ({"skip": 1}, "skip=1"),
        ({"device": "tpu7"}, "device='tpu7'"),
        ({"reference": ["夏"]}, "all 1 reference texts"),
        ({"reference": []}, "all 0 reference texts"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {**FAST, "epochs": 1, "records": PAIRS[:10], **given}
    with pytest.raises((InvalidSetting, UnknownName), match=message):
        train_reward_model(**asked)


def test_a_held_out_part_of_ones_own_shares_no_text() -> None:
    settings = {name: value for name, value in FAST.items() if name != "held_out"}
    fit = train_reward_model(PAIRS[:30], held_out_records=PAIRS[30:40], **{**settings, "epochs": 1})
    assert fit.held_out == PAIRS[30:40]
    with pytest.raises(InvalidSetting, match="is held out, and learned from too"):
        train_reward_model(PAIRS[:30], held_out_records=PAIRS[29:40], **settings)


def test_a_loss_that_is_not_finite_stops_it() -> None:
    wild = [Labelled("", text, 1e30 * i) for i, text in enumerate("春夏秋冬")]
    with pytest.raises(NotFinite, match=r"the loss is inf at learning_rate=0\.01\. Give a smaller"):
        train_reward_model(wild, loss="regression", **FAST)
