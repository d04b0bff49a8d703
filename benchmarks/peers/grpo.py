"""The same work under TRL's GRPOTrainer and under TextGym, in turns: tokens written and learned from per second.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers/requirements.txt
    .venv-peers/bin/python benchmarks/peers/grpo.py                # some two minutes
    .venv-peers/bin/python benchmarks/peers/grpo.py --device cuda
    .venv-peers/bin/python benchmarks/peers/grpo.py --agent gpt2 --layers 4 --letters 5000 --updates 5
    .venv-peers/bin/python benchmarks/peers/grpo.py --agent gpt2 --layers 12 --width 768 --letters 5000 --updates 1

The work: 64 texts of 32 tokens are written by a transformer of 2 layers, 128 wide, 4 heads, 64 tokens, and learned from
in one epoch, as one batch, in float32; that is one update, and a training has some. TextGym's side is its GRPO, one
group of 64 as TRL has it, with its own transformer of that shape; with `--agent ppo` PPO with that transformer; with
`--agent gpt2` GRPO with the very GPT-2 that TRL has, as `CausalLMPolicy`. A text is paid +1 for each token that agrees
with a fixed target and -1 for each that does not. Both sides run in one process, on fresh weights, and have trained
before they are timed; tokens per second are all tokens over a whole training's seconds, by the wall and by the
processor's clock.

What is not the same. TRL writes after a prompt of one letter, since it takes no empty one; TextGym after its own first
vector, so that both read 33 places. TRL takes one reward a text, the sum; TextGym one a token, which its GRPO adds up
alike. PPO also learns a value of each prefix, GRPO has none; TRL also decodes the texts and keeps statistics, which
cannot be switched off. TextGym keeps the probabilities that it drew with and has an entropy bonus; TRL has neither.

TRL is set for speed: no reference model (beta 0), no old weights' log-probabilities to compute (one iteration, one
batch), no gradient checkpointing, no bfloat16 (slower on a CPU; TextGym has none), generation with its cache, no top-k,
top-p or temperature to apply, an end token that the model cannot write, SDPA attention, torch's own GELU rather than
GPT-2's formula, fused AdamW, no data workers; nothing logged, saved, evaluated or reported. What it offers for speed on
a GPU, vLLM, is not used. Neither side is compiled. With --as-it-comes TRL keeps its own defaults for all that: gradient
checkpointing, bfloat16, GPT-2's GELU.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads that torch.set_num_threads does not govern
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import numpy.typing as npt
import torch
from machine import device_option, machine
from stable_baselines3 import PPO

from agents import CachedTransformerPolicy, EpisodeRolloutBuffer, make, make_vec_env

ROWS, LENGTH = 64, 32
LEARNING_RATE, CLIP = 1e-3, 0.5
SIDES = ("TRL", "TextGym")


def peer(name: str) -> Any:
    """Return a module that only this benchmark's own requirements install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(
            f"{name} cannot be imported ({error}). This benchmark has an environment of its own:\n"
            "    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers/requirements.txt\n"
            "    .venv-peers/bin/python benchmarks/peers/grpo.py"
        ) from error


@dataclass(frozen=True)
class Work:
    """What both sides do."""

    layers: int
    width: int
    letters: int
    tuned: bool  # TRL is set for speed

    @property
    def heads(self) -> int:
        """Return the attention heads: 32 wide each, 64 in large networks."""
        return max(1, self.width // (32 if self.width < 512 else 64))

    @property
    def alphabet(self) -> str:
        """Return what can be written."""
        return "".join(chr(ord("一") + i) for i in range(self.letters))

    @property
    def target(self) -> npt.NDArray[np.int64]:
        """Return the letters that are paid, `(LENGTH,)`."""
        return np.random.default_rng(0).integers(0, self.letters, LENGTH)

    def agreement(self, completion_ids: list[list[int]], **_: Any) -> list[float]:
        """Return each text's reward, as TRL asks for it: +1 for each token in its place, -1 for others."""
        paid: list[float] = np.where(np.array(completion_ids) == self.target, 1.0, -1.0).sum(axis=1).tolist()
        return paid

    @property
    def gpt2(self) -> dict[str, Any]:
        """Return a GPT-2's configuration; it has no output for the end token, so that no text ends early."""
        return {
            "vocab_size": self.letters,
            "n_positions": LENGTH + 1,
            "n_embd": self.width,
            "n_layer": self.layers,
            "n_head": self.heads,
            "activation_function": "gelu" if self.tuned else "gelu_new",
        }


def gpt2(work: Work) -> tuple[Any, Any]:
    """Return a fresh GPT-2 of the common shape, and a tokenizer with one token a letter."""
    transformers, tokenizers = peer("transformers"), peer("tokenizers")
    transformers.logging.set_verbosity_error()  # it warns of the end token that the model cannot write; we want that
    end = work.letters
    config = transformers.GPT2Config(
        **work.gpt2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
        attn_implementation="sdpa",
    )
    ids = {letter: i for i, letter in enumerate(work.alphabet)} | {"<end>": end}
    letters = tokenizers.Tokenizer(tokenizers.models.BPE(ids, []))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<end>", pad_token="<end>")
    return transformers.GPT2LMHeadModel(config), fast


def trl_training(work: Work, updates: int, device: str, folder: str) -> Callable[[], Any]:
    """Return what trains under TRL for some updates, each time it is called; set for speed, or as TRL comes."""
    trl, datasets, transformers = peer("trl"), peer("datasets"), peer("transformers")
    warnings.filterwarnings(
        "ignore", "`.*gradient_checkpointing.*` is deprecated", FutureWarning
    )  # TRL's own name for it
    model, tokenizer = gpt2(work)
    same = {
        "output_dir": folder,
        "use_cpu": device == "cpu",
        "max_steps": updates,
        "per_device_train_batch_size": ROWS,
        "gradient_accumulation_steps": 1,
        "num_generations": ROWS,
        "num_iterations": 1,
        "max_completion_length": LENGTH,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "beta": 0.0,
        "learning_rate": LEARNING_RATE,
        "max_grad_norm": CLIP,
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    speed = {
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "bf16": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }
    settings = trl.GRPOConfig(**same, **(speed if work.tuned else {}))
    # one prompt an update: a single pass over them
    prompts = datasets.Dataset.from_dict({"prompt": [work.alphabet[0]] * updates})
    trainer = trl.GRPOTrainer(model, work.agreement, settings, prompts, processing_class=tokenizer)
    trainer.remove_callback(transformers.PrinterCallback)
    train: Callable[[], Any] = trainer.train
    return train


def textgym_training(work: Work, agent: str, updates: int, device: str) -> Callable[[], Any]:
    """Return what trains under TextGym for some updates, each time it is called."""
    target = "".join(work.alphabet[i] for i in work.target)
    env = make_vec_env("TextGen-v0", ROWS, seed=0, target=target, alphabet=work.alphabet)
    same: dict[str, Any] = {
        "batch_size": ROWS * LENGTH,
        "n_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "max_grad_norm": CLIP,
        "seed": 0,
        "device": device,
    }
    own = {"d_model": work.width, "n_layers": work.layers, "n_heads": work.heads}
    model: Any
    if agent != "ppo":
        policy = own if agent == "grpo" else {"model": {"model_type": "gpt2", **work.gpt2}}
        model = make("grpo", env, policy=policy, group_size=ROWS, episodes=1, per_token=False, **same)
    else:
        model = PPO(
            CachedTransformerPolicy,
            env,
            n_steps=LENGTH,
            rollout_buffer_class=EpisodeRolloutBuffer,
            policy_kwargs={"features_extractor_kwargs": own},
            **same,
        )
    return lambda: model.learn(updates * ROWS * LENGTH, log_interval=None)


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds that some work takes: by the wall, and by the processor's clock."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def turns(work: dict[str, Callable[[], Any]], pairs: int) -> dict[str, list[tuple[float, float]]]:
    """Return each side's seconds in each pair; the sides take turns in going first."""
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for pair in range(pairs):
        for side in SIDES if pair % 2 == 0 else SIDES[::-1]:
            taken[side].append(seconds(work[side]))
    return taken


def row(threads: int, clock: str, tokens: int, trl: list[float], ours: list[float]) -> str:
    """Return a line of the table: each side's median speed, and the median of the pairs' ratios with its range."""
    ratios = [theirs / own for theirs, own in zip(trl, ours)]
    speeds = [f"{tokens / statistics.median(side):,.0f}" for side in (trl, ours)]
    ratio = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"| {threads} | {clock} | {speeds[0]} | {speeds[1]} | {ratio} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    device_option(parser)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="torch's threads")
    parser.add_argument("--pairs", type=int, default=5, help="how often the sides take turns")
    parser.add_argument("--updates", type=int, default=20, help="of one training")
    parser.add_argument("--as-it-comes", action="store_true", help="leave TRL's own settings where they are")
    parser.add_argument("--agent", choices=["grpo", "ppo", "gpt2"], default="grpo", help="TextGym's side")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--letters", type=int, default=64, help="of the vocabulary")
    arguments = parser.parse_args()
    peer("trl")
    work = Work(arguments.layers, arguments.width, arguments.letters, tuned=not arguments.as_it_comes)
    print(machine("trl", "transformers", "stable-baselines3", "torch"))
    print("| threads | clock | TRL, tokens/s | TextGym, tokens/s | ratio |\n" + "| --- " * 5 + "|")
    with tempfile.TemporaryDirectory() as folder:
        trainings = {
            "TRL": trl_training(work, arguments.updates, arguments.device, folder),
            "TextGym": textgym_training(work, arguments.agent, arguments.updates, arguments.device),
        }
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            turns(trainings, 1)  # warm
            gc.freeze()  # TRL collects garbage when it begins: not all that was imported
            taken = turns(trainings, arguments.pairs)
            for clock in (0, 1):
                times = [[pair[clock] for pair in taken[side]] for side in SIDES]
                tokens = arguments.updates * ROWS * LENGTH
                print(row(threads, ("wall", "processor")[clock], tokens, *times), flush=True)


if __name__ == "__main__":
    main()
