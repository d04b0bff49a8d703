"""Classifiers and tokenizers: what is read back as it was, and what is refused, with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reward_models import ALPHABET, bert, gpt2
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2LMHeadModel

from agents import load_reward_model
from agents.character_tokenizer import character_tokenizer
from agents.classifiers import load_classifier
from agents.reward_model import RewardModel
from textgym.errors import InvalidSetting, InvalidSize, NotFinite

TEXTS = ["春", "夏秋冬春春", "冬冬冬冬冬冬冬冬冬冬冬冬冬冬", "x", "春 夏", "", "秋"]


def test_a_character_tokenizer_reads_characters_and_survives_its_folder(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(["我爱你\n ", "爱我[CLS]"], window=8)
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)):
        assert one("爱我")["input_ids"] == [2, 5, 4, 3]
        assert one("爱恨\n 你")["input_ids"] == [2, 5, 1, 7, 8, 6, 3]
        assert one("[CLS]")["input_ids"] == [2, *range(9, 14), 3]  # characters, no special token
        assert one.decode(one("我 爱")["input_ids"], skip_special_tokens=True) == "我 爱"
        assert (one.model_max_length, one.pad_token_id, one.unk_token_id, len(one)) == (8, 0, 1, 14)
    assert len(character_tokenizer(["aab", "ac"], min_count=2)) == 4 + 1


def test_no_tokenizer_is_made_of_nothing() -> None:
    with pytest.raises(InvalidSetting, match="no character stands min_count=3 times"):
        character_tokenizer(["aab"], min_count=3)
    with pytest.raises(InvalidSetting, match="5 is no text"):
        character_tokenizer([5])  # type: ignore[list-item]
    with pytest.raises(InvalidSize, match="window=0"):
        character_tokenizer(["a"], window=0)


@pytest.mark.parametrize("write", [bert, gpt2])
def test_scores_do_not_depend_on_the_batch_or_its_padding(write: Callable[[Path], Path], tmp_path: Path) -> None:
    model = load_reward_model(write(tmp_path), device="cpu")
    alone = np.concatenate([model.scores([text]) for text in TEXTS])
    assert alone.std() > 0.1
    for batch_size in (1, 2, 64):
        order = np.random.default_rng(batch_size).permutation(len(TEXTS))
        found = model.scores([TEXTS[i] for i in order], batch_size)
        np.testing.assert_allclose(found, alone[order], atol=1e-5)
    assert model.scores([]).shape == (0,)


@pytest.mark.parametrize(("write", "kept_in"), [(bert, "head"), (gpt2, "head and config")])
def test_normalised_scores_survive_the_folder(write: Callable[[Path], Path], kept_in: str, tmp_path: Path) -> None:
    model = load_reward_model(write(tmp_path / "a"), device="cpu")
    before = model.scores(TEXTS)
    said = model.normalise(TEXTS)
    assert said == {"mean": before.mean(), "deviation": before.std(), "texts": len(TEXTS), "kept_in": kept_in}
    expected = (before - before.mean()) / before.std()
    np.testing.assert_allclose(model.scores(TEXTS), expected, atol=1e-5)
    model.model.save_pretrained(tmp_path / "b")
    model.tokenizer.save_pretrained(tmp_path / "b")
    np.testing.assert_allclose(load_reward_model(tmp_path / "b").scores(TEXTS), expected, atol=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "b", use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "b")
    with torch.no_grad():
        outputs = plain(**tokenizer(TEXTS[1:2], return_tensors="pt")).logits[0, 0].item()
    left = 0.0 if kept_in == "head" else before.mean() / before.std()
    assert outputs - left == pytest.approx(expected[1], abs=1e-5)


def test_a_head_that_is_not_the_end_leaves_normalisation_to_the_config(tmp_path: Path) -> None:
    model = load_reward_model(bert(tmp_path), device="cpu")
    before = model.scores(TEXTS)
    model.model.classifier = torch.nn.Sequential(model.model.classifier, torch.nn.Tanh())
    bent = np.tanh(before)
    assert model.normalise(TEXTS)["kept_in"] == "config"
    np.testing.assert_allclose(model.scores(TEXTS), (bent - bent.mean()) / bent.std(), atol=1e-5)


def test_texts_that_cannot_be_scored_are_refused(tmp_path: Path) -> None:
    model = load_reward_model(bert(tmp_path), device="cpu")
    assert model.window == 16
    assert model.scores(["春" * 14]).shape == (1,)
    with pytest.raises(InvalidSetting, match=r"text 2: '春+' has 17 tokens; the reward model reads 1 to 16"):
        model.scores(["春", "春" * 15])
    with pytest.raises(InvalidSetting, match="text 1 is 5"):
        model.scores([5])  # type: ignore[list-item]
    with pytest.raises(InvalidSetting, match="texts='春' is one text"):
        model.scores("春")
    with pytest.raises(InvalidSize, match="batch_size=0"):
        model.scores(["春"], 0)
    with pytest.raises(InvalidSetting, match="all 2 reference texts the score"):
        model.normalise(["春", "春"])
    model.model.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(NotFinite, match="gives text 1 the score nan"):
        model.scores(["春"])


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def cut_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:50])


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"model\.safetensors is cut or damaged"),
        (cut_header, r"model\.safetensors is cut or damaged"),
        (pickle_only, r"has no model\.safetensors, only pytorch_model\.bin, a pickle"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no model\.safetensors, no weights"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "could not be loaded"),
        (lambda folder: edit(folder / "config.json", model_type="none"), "could not be loaded"),
        (lambda folder: edit(folder / "config.json", hidden_size=32), "could not be loaded"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "has a tokenizer that could not be loaded"),
        (lambda folder: bert(folder, outputs=2), "has 2 outputs; a reward model has one output"),
        (lambda folder: bert(folder, tokens=7), "a tokenizer with ids to 7, and a model that knows 7 tokens"),
        (lambda folder: bert(folder, pad_token_id=3), "a tokenizer whose pad is 0, and a model whose pad is 3"),
        (lambda folder: gpt2(folder, GPT2LMHeadModel), "has no head of a classifier"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), r"holds an adapter, adapter_config\.json"),
        (lambda folder: edit(folder / "config.json", reward_scale=0.0), "reward_scale is 0.0 in config.json"),
        (lambda folder: edit(folder / "config.json", reward_shift="a"), "reward_shift is 'a' in config.json"),
    ],
)
def test_a_damaged_or_wrong_folder_is_refused_by_name(
    damage: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    folder = bert(tmp_path / "model")
    damage(folder)
    with pytest.raises(InvalidSetting, match=rf"model.*{message}"):
        load_reward_model(folder)


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    folder = bert(tmp_path / "model")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit(
        folder / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"},
    )
    with pytest.raises(InvalidSetting, match="could not be loaded"):
        load_reward_model(folder)
    assert not (tmp_path / "ran").exists()


def test_a_path_that_is_no_folder_is_refused_without_asking_a_hub(tmp_path: Path) -> None:
    for name in (tmp_path / "none", "./none", "a/b/c"):
        with pytest.raises(InvalidSetting, match="is no folder"):
            load_reward_model(name)


def test_a_model_without_a_head_gets_one_to_be_trained(tmp_path: Path) -> None:
    model, tokenizer = load_classifier(gpt2(tmp_path, GPT2LMHeadModel), new_head=True)
    assert (model.config.num_labels, model.config.pad_token_id, tokenizer.pad_token_id) == (1, 0, 0)
    assert RewardModel(model, tokenizer).scores([*ALPHABET]).shape == (4,)
    with pytest.raises(InvalidSetting, match="2 outputs"):
        load_classifier(bert(tmp_path / "two", outputs=2), new_head=True)
