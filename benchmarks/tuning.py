"""What it costs to learn all parameters of a language model, its last blocks, or adapters: memory, time, a run's size.

    python benchmarks/tuning.py

`ppo` with a GPT-2 of random weights, 12 layers, 384 wide, 1,000 tokens; 8 rows write 32 tokens, and an update reads the
256 transitions as one minibatch, once. The peak is the process's: the most that it holds in its first two rollouts and
updates, gradients and Adam's moments included, less what it held before, the model among it. Updates are timed after
that, the median of five. Each row has a process of its own. The estimate is that of `agents.memory`. Linux alone says
it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from agents import make, make_vec_env, save
from agents.memory import estimate

ROWS, TOKENS, VOCABULARY, WARM = 8, 32, 1_000, 5
AT_ONCE = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # so that glibc gives back what is freed
STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MIB = 2**20
WORK: dict[str, dict[str, Any]] = {
    "all parameters": {},
    "all, gradient_checkpointing": {"gradient_checkpointing": True},
    "all, micro_batch_size=64": {"micro_batch_size": 64},
    "train_layers=2": {"train_layers": 2},
    "lora.r=8": {"lora": {"r": 8}},
    "lora.r=8, gradient_checkpointing": {"lora": {"r": 8}, "gradient_checkpointing": True},
    "lora.r=8, both": {"lora": {"r": 8}, "gradient_checkpointing": True, "micro_batch_size": 64},
    "lora.r=8, dtype=bfloat16": {"lora": {"r": 8}, "dtype": "bfloat16"},
}


def held(name: str) -> int:
    """Return a line of the process's status in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def write_model(folder: Path) -> None:
    """Write a GPT-2 of random weights."""
    torch.manual_seed(0)
    sizes = {"n_layer": 12, "n_embd": 384, "n_head": 6, "vocab_size": VOCABULARY, "n_positions": 64}
    config = AutoConfig.for_model("gpt2", **sizes, bos_token_id=0, eos_token_id=0)
    maker: Any = AutoModelForCausalLM
    maker.from_config(config).save_pretrained(folder)


def agent_of(model: str, work: dict[str, Any]) -> Any:
    """Return an agent that writes the model's tokens."""
    alphabet = "".join(chr(0x4E00 + number) for number in range(VOCABULARY))
    env = make_vec_env("TextGen-v0", ROWS, seed=0, target=alphabet[:TOKENS], alphabet=alphabet)
    own: dict[str, Any] = {"n_steps": TOKENS, "batch_size": ROWS * TOKENS, "n_epochs": 1, "gamma": 0.9}
    policy = {"model": model, **{name: value for name, value in work.items() if name != "micro_batch_size"}}
    size = work.get("micro_batch_size")
    return make("ppo", env, policy=policy, seed=0, device="cpu", micro_batch_size=size, **own)


def measure(model: str, work: dict[str, Any]) -> str:
    """Return a row's cells."""
    agent = agent_of(model, work)
    expected, learned = estimate(agent).total, agent._setup_learn(ROWS * TOKENS)[1]
    PEAK.write_text("5")  # forget the peak so far
    before = held("VmRSS")
    for _ in range(2):  # Adam's moments are there from the first one's end on
        agent.collect_rollouts(agent.env, learned, agent.rollout_buffer, TOKENS)
        agent.train()
    most, times = held("VmHWM") - before, []
    for _ in range(WARM):
        agent.collect_rollouts(agent.env, learned, agent.rollout_buffer, TOKENS)
        start = time.perf_counter()
        agent.train()
        times.append(time.perf_counter() - start)
    count = sum(parameter.numel() for parameter in agent.policy.parameters() if parameter.requires_grad)
    agent.num_timesteps = 0
    with tempfile.TemporaryDirectory() as folder:
        save(agent, Path(folder) / "run", exact=False)
        size = sum(path.stat().st_size for path in (Path(folder) / "run").glob("policy.safetensors"))
    cells = count / 1e6, most / MIB, expected / MIB, ROWS * TOKENS / median(times), size / MIB
    return "{:.2f} | {:.0f} | {:.0f} | {:,.0f} | {:.1f}".format(*cells)


def main() -> None:
    """Print the table as Markdown."""
    torch.set_num_threads(1)
    if len(sys.argv) == 3:
        print(measure(sys.argv[1], json.loads(sys.argv[2])))
        return
    print("| what learns | parameters, M | update, MiB | estimated | update, tokens/s | policy in a run, MiB |")
    print("|" + " --- |" * 6)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        for name, work in WORK.items():
            told = [sys.executable, __file__, folder, json.dumps(work)]
            row = subprocess.run(told, check=True, stdout=subprocess.PIPE, text=True, env=AT_ONCE).stdout.strip()
            print(f"| {name} | {row.splitlines()[-1]} |", flush=True)


if __name__ == "__main__":
    main()
