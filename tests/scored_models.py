"""Tiny models of Hugging Face's and the task that they score, for tests of learned rewards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from textgym import Prompt, Task, Vocabulary
from textgym.prompts import ListedPrompts
from textgym.rewards import WeightedSum, reward_of
from textgym.task import SUCCESS

LETTERS = "abcd我爱"
WINDOW = 24


def tokenizer(letters: str = LETTERS) -> Any:
    """Return one token a character, and begin, end, pad and unknown."""
    vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[END]", *letters])}
    characters = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    characters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[END]", "eos_token": "[END]"}
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=characters, model_max_length=WINDOW, model_input_names=inputs, **names
    )


def save(model: Any, folder: Path, letters: str = LETTERS) -> str:
    """Write a model with its tokenizer; return the folder's name."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)  # fresh weights are so small that all texts score alike
    model.save_pretrained(folder)
    tokenizer(letters).save_pretrained(folder)
    return str(folder)


def bert(folder: Path, labels: int = 1, seed: int = 0, **config: Any) -> str:
    """Write an encoder with as many outputs."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    more = {"vocab_size": 3 + len(LETTERS), "max_position_embeddings": WINDOW, "num_labels": labels, **sizes, **config}
    return save(BertForSequenceClassification(BertConfig(**more)), folder)


def gpt2(folder: Path, *, scores: bool, letters: str = LETTERS) -> str:
    """Write a decoder that scores, or a language model."""
    torch.manual_seed(0)
    ids: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2, "num_labels": 1}
    sizes: dict[str, Any] = {
        "n_layer": 2,
        "n_embd": 32,
        "n_head": 2,
        "n_positions": WINDOW,
        "vocab_size": 3 + len(letters),
    }
    config = GPT2Config(**sizes, **ids)
    return save((GPT2ForSequenceClassification if scores else GPT2LMHeadModel)(config), folder, letters)


def scored(
    reward: str | Mapping[str, Any] = "terminal", prompts: Sequence[str] = ("", "a", "ab我"), horizon: int = 4
) -> Task:
    """Continue a prompt; what it earns, plain data say."""
    vocabulary = Vocabulary.from_characters(LETTERS, eos="$")
    nothing = np.array([], np.int32)
    listed = ListedPrompts(tuple(Prompt(vocabulary.encode(prompt), nothing) for prompt in prompts))
    made = reward_of(reward)
    return Task(vocabulary, listed, made, horizon, metrics=made.metrics if isinstance(made, WeightedSum) else SUCCESS)


@dataclass(frozen=True)
class Flaky:
    """A service that scores a text by its letters a, and fails on texts that end in a letter."""

    letter: str = "d"
    fault: str = "exception"

    def __call__(self, prompts: list[str], completions: list[str]) -> list[float]:
        """Return one number a text."""
        bad = [text.endswith(self.letter) for text in completions]
        if any(bad) and self.fault == "exception":
            raise ConnectionError("the service is down")
        return [float("nan") if fails else float(text.count("a")) for fails, text in zip(bad, completions)]


def rewrite(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
