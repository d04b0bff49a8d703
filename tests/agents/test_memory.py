"""What learning with a language model takes is estimated before it begins, and refused where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import GPT2, LLAMA, saved

from agents import make, make_vec_env, memory, save
from agents.memory import estimate
from textgym.errors import InvalidSetting, InvalidVocabulary

WIDE = {**GPT2, "n_layer": 4, "n_embd": 64, "bos_token_id": 0}
LLAMAS = {**LLAMA, "num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 192, "bos_token_id": 0}
WORDS: dict[str, Any] = {"target": "abcdefgh" * 3, "alphabet": "abcdefgh"}


def made(model: Any, agent: str = "ppo", policy: dict[str, Any] | None = None, **settings: Any) -> Any:
    own = {"n_steps": 24, "batch_size": 192, "n_epochs": 1} if agent == "ppo" else {}
    env = make_vec_env("TextGen-v0", 8, seed=0, **WORDS)
    return make(agent, env, policy={"model": model, **(policy or {})}, seed=0, device="cpu", **{**own, **settings})


def kept(agent: Any) -> int:
    """Return the bytes that a minibatch's pass keeps for its gradients, but for parameters."""
    _, callback = agent._setup_learn(10**6)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    agent.policy.set_training_mode(True)
    batch = next(iter(agent.rollout_buffer.get(agent.batch_size)))
    own = {p.untyped_storage().data_ptr() for p in agent.policy.parameters()}
    found: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held = tensor.untyped_storage()
        if held.data_ptr() not in own:
            found[held.data_ptr()] = held  # kept, so that no other has its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        agent.policy.features_extractor.read_prefixes(batch.observations).sum()
    return sum(held.nbytes() for held in found.values())


@pytest.mark.parametrize("kind", [WIDE, LLAMAS], ids=["gpt2", "llama"])
@pytest.mark.parametrize("policy", [{}, {"lora": {"r": 8}}, {"train_layers": 2}, {"dtype": "bfloat16"}], ids=str)
def test_activations_are_near_what_is_kept(kind: dict[str, Any], policy: dict[str, Any]) -> None:
    agent = made(kind, policy=policy)
    found, block = kept(agent), 9 * 64 + 5 * (256 if kind is WIDE else 192)
    share = 0.65 if "dtype" in policy else 0.8 if "lora" in policy else 1
    one = int(4 * 8 * 25 * share * block)  # what a block's gradients take beside it
    assert 0.95 < (estimate(agent).activations - one) / found < 1.5


def test_by_hand() -> None:
    agent = made(WIDE, policy={"top_k": 4}, kl_coefficient=0.1, micro_batch_size=100)
    learned = sum(p.numel() for p in agent.policy.parameters())
    need, block, tokens = estimate(agent), 9 * 64 + 5 * 256, 5 * 25  # 100 transitions of 24: 5 rows, with a begin token
    assert (need.gradients, need.gathered) == (12 * learned, 4 * learned)
    there = need.gradients + need.reference + need.cache + need.masks
    assert need.total == there + max(need.gathered, need.activations + need.logits)
    assert need.reference == 4 * learned
    assert need.activations == 4 * tokens * (5 * block + 128)
    assert need.logits == 20 * 100 * 8
    assert need.cache == 8 * 4 * 8 * 25 * 64
    assert need.masks == 24 * 8 * 1
    again = estimate(made(WIDE, policy={"gradient_checkpointing": True, "critic": "separate", "dtype": "bfloat16"}))
    assert again.activations == int(4 * 2 * 8 * 25 * (4 * 64 + 2 * 0.65 * block + 128))
    assert again.cache == 2 * 4 * 4 * 8 * 25 * 64
    assert (again.masks, again.reference) == (0, 0)
    assert estimate(made(LLAMAS, "a2c", n_steps=12)).cache == 8 * 4 * 8 * 25 * 32  # two of four heads have keys
    adapted = estimate(made(LLAMAS, "dqn", {"lora": {"r": 4}}))
    assert adapted.gradients < 0.2 * estimate(made(LLAMAS, "dqn")).gradients


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"batch_size": 192}, r"from 192 transitions at once .*activations .*Give policy\.gradient_checkpointing=true"),
        ({"micro_batch_size": 12}, r"from 12 transitions at once .*gradients .*Give adapters"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_step(
    settings: dict[str, Any], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = made(WIDE, **settings)
    total = estimate(agent).total
    monkeypatch.setattr(memory, "free_memory", lambda: total - 1)
    with pytest.raises(InvalidSetting, match=rf"too little memory: learning {hint}"):
        agent.learn(192)
    assert agent.num_timesteps == 0
    monkeypatch.setattr(memory, "free_memory", lambda: total)
    agent.learn(192)
    monkeypatch.setattr(memory, "free_memory", lambda: 0)  # what it took is not free any more
    agent.learn(192, reset_num_timesteps=False)
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    made(WIDE, **settings).learn(192)


def test_it_is_the_command_lines_first_word(textgym: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "base", GPT2, [*"我爱你"])
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    status, _, error = textgym("train", "TextGen-v0", "--model", folder, "--texts", "0", "--out", "run")
    assert status == 1
    assert "InvalidSetting: too little memory: learning from" in error
    agent = make("ppo", make_vec_env("TextGen-v0", 4), policy={"model": folder}, device="cpu")
    save(agent, tmp_path / "other")
    assert textgym("eval", str(tmp_path / "other"))[0] == 0  # which learns nothing


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    one, other = (saved(tmp_path / name, GPT2, [name * 3]) for name in ("ab", "cd"))
    env = make_vec_env("TextGen-v0", 2, tokenizer=one, target="ab")
    make("ppo", env, policy={"model": one})
    with pytest.raises(InvalidVocabulary, match=r"are no single tokens of the model .*Make the environment with the"):
        make("ppo", env, policy={"model": other})
