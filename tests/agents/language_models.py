"""Tiny language models of several architectures, and a byte-level BPE, for tests: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

GPT2: dict[str, Any] = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2}
WIDE: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LLAMA: dict[str, Any] = {"model_type": "llama", **WIDE}
QWEN2: dict[str, Any] = {"model_type": "qwen2", **WIDE}
ARCHITECTURES = {"gpt2": GPT2, "llama": LLAMA, "qwen2": QWEN2}
END = "<|endoftext|>"


def bpe(texts: list[str]) -> Any:
    """Return a byte-level BPE in which each of these texts is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=[END], initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator(texts, trainer)
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, bos_token=END, eos_token=END)


def word_level(texts: list[str]) -> Any:
    """Return a tokenizer whose tokens are these texts' words."""
    pieces = dict.fromkeys([END, "[UNK]", *" ".join(texts).split()])
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token="[UNK]")


def saved(
    folder: Path, kind: dict[str, Any] = GPT2, texts: list[str] | None = None, make: Any = bpe, **settings: Any
) -> str:
    """Write a tiny model with random weights, and a tokenizer that has read these texts; none where there are none."""
    torch.manual_seed(0)
    ends: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
    if texts is not None:
        tokenizer = make(texts)
        tokenizer.save_pretrained(folder)
        ends = {name: tokenizer.eos_token_id for name in ends} | {"vocab_size": len(tokenizer)}
    own = {**kind, **ends, "max_position_embeddings": 64, **settings}
    maker: Any = AutoModelForCausalLM
    maker.from_config(AutoConfig.for_model(own.pop("model_type"), **own)).save_pretrained(folder)
    return str(folder)
