"""Tiny reward models and preferences that tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from agents.character_tokenizer import character_tokenizer
from agents.preferences import Preference

ALPHABET = "春夏秋冬"
SMALL: dict[str, Any] = {"d_model": 16, "n_layers": 1, "n_heads": 2, "window": 16}


def spring(n: int, seed: int = 0) -> list[Preference]:
    """Pairs of texts, of which the one with more 春 is chosen; no text twice."""
    rng, seen, found = np.random.default_rng(seed), set[str](), list[Preference]()
    while len(found) < n:
        pair = ["".join(rng.choice([*ALPHABET], rng.integers(4, 9))) for _ in range(2)]
        pair.sort(key=lambda text: -text.count("春"))
        if pair[0].count("春") > pair[1].count("春") and not seen & {*pair}:
            seen |= {*pair}
            found.append(Preference("", tuple(pair)))
    return found


def bert(folder: Path, tokens: int | None = None, outputs: int = 1, **settings: Any) -> Path:
    """Write a tiny BERT with a head, and its tokenizer."""
    tokenizer = character_tokenizer(ALPHABET, 16)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config: Any = BertConfig
    made = config(
        vocab_size=tokens or len(tokenizer), num_labels=outputs, max_position_embeddings=16, **{**sizes, **settings}
    )
    return _write(BertForSequenceClassification(made), tokenizer, folder)


def gpt2(folder: Path, kind: Any = GPT2ForSequenceClassification) -> Path:
    """Write a tiny GPT-2, whose head has no bias, and a tokenizer."""
    tokenizer = character_tokenizer(ALPHABET, 16)
    config: Any = GPT2Config
    made = config(
        vocab_size=len(tokenizer),
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=16,
        num_labels=1,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    return _write(kind(made), tokenizer, folder)


def _write(model: Any, tokenizer: Any, folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # larger than at birth, so that scores differ
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
