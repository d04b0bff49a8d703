"""Runs of language models: saved whole, read back exactly, and refused where the base model is another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import GPT2, LLAMA, saved
from safetensors.numpy import load_file, save_file
from stable_baselines3 import PPO

from agents import CausalLMPolicy, evaluate, exact, load, make, make_vec_env, save
from agents.runs import read_run
from textgym.errors import InvalidSetting


def trained(agent: str, model: str | dict[str, Any], steps: int = 64, **settings: Any) -> Any:
    env = make_vec_env("TextGen-v0", 4, seed=0)
    return make(agent, env, policy={"model": model}, seed=0, device="cpu", **settings).learn(steps)


def same(one: Any, other: Any) -> bool:
    vectors = [torch.nn.utils.parameters_to_vector(agent.policy.parameters()) for agent in (one, other)]
    return torch.equal(*vectors)


@pytest.mark.parametrize("agent", ["ppo", "a2c", "reinforce", "dqn", "rloo", "grpo"])
@pytest.mark.parametrize("source", ["folder", "fresh"])
def test_a_run_goes_on_as_if_it_had_never_stopped(agent: str, source: str, tmp_path: Path) -> None:
    model: Any = saved(tmp_path / "base", LLAMA, [*"我爱你"]) if source == "folder" else GPT2
    more = {"learning_starts": 16} if agent == "dqn" else {} if agent in ("rloo", "grpo") else {"n_steps": 8}
    first = trained(agent, model, **more)
    save(first, tmp_path / "run")
    second = load(tmp_path / "run", device="cpu")
    assert same(first, second)
    rows = np.array([[0, 1, 3], [3, 3, 3]])
    assert np.array_equal(first.predict(rows, deterministic=True)[0], second.predict(rows, deterministic=True)[0])
    second.learn(64, reset_num_timesteps=False)
    load(tmp_path / "run", device="cpu")  # sets all chance to what it was
    first.learn(64, reset_num_timesteps=False)
    assert same(first, second)
    assert not same(first, load(tmp_path / "run", device="cpu"))


def test_a_run_holds_each_parameter_once_and_says_where_it_began(tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", GPT2, [*"我爱你"])
    agent = trained("ppo", folder)
    save(agent, tmp_path / "run")
    held = load_file(tmp_path / "run" / "policy.safetensors")
    assert sum(array.size for array in held.values()) == sum(p.numel() for p in agent.policy.parameters())
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["base_model"] == {"sha256": agent.policy.base_model.sha256, "revision": None}
    assert read_run(tmp_path / "run").config.settings["policy"]["model"] == folder


def test_a_relative_folder_is_kept_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "base", GPT2, vocab_size=3)
    monkeypatch.chdir(tmp_path)
    agent = trained("ppo", "./base")
    save(agent, tmp_path / "run")
    monkeypatch.chdir("/")
    again = load(tmp_path / "run", device="cpu")
    torch.testing.assert_close(again.policy.state_dict(), agent.policy.state_dict(), atol=0, rtol=0)


def test_another_base_model_in_the_same_place_is_refused(tmp_path: Path) -> None:
    folder = Path(saved(tmp_path / "base", GPT2, vocab_size=3))
    agent = trained("ppo", str(folder))
    save(agent, tmp_path / "run")
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1e-3}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidSetting, match=r"began with a model whose sha256 was .*Put the model there"):
        load(tmp_path / "run", device="cpu")
    shutil.rmtree(folder)
    with pytest.raises(InvalidSetting, match="is no folder here"):
        load(tmp_path / "run", device="cpu")


def hostile(run: Path, change: Callable[[Any], None]) -> None:
    """Let a stranger write another configuration into a run, whole again by its sha256."""
    import hashlib

    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"]["config.json"] = hashlib.sha256((run / "config.json").read_bytes()).hexdigest()
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("model", [3, None, [], "", {}, {"model_type": ["gpt2"]}, {**GPT2, "n_layer": "2"}])
def test_a_strangers_nonsense_is_refused(model: Any, tmp_path: Path) -> None:
    save(trained("ppo", GPT2), tmp_path / "run")
    hostile(tmp_path / "run", lambda config: config["settings"]["policy"].update(model=model))
    with pytest.raises(InvalidSetting):
        load(tmp_path / "run", device="cpu")


@pytest.mark.parametrize("name", ["n_layer", "n_embd", "vocab_size"])
def test_a_strangers_giant_is_refused_before_it_is_made(name: str, tmp_path: Path) -> None:
    save(trained("ppo", GPT2), tmp_path / "run")
    hostile(tmp_path / "run", lambda config: config["settings"]["policy"]["model"].update({name: 10**9}))
    with pytest.raises(InvalidSetting, match=r"has more than the \d+ parameters there"):
        load(tmp_path / "run", device="cpu")


def test_exact_values_and_gradients_of_a_language_model(tmp_path: Path) -> None:
    agent = trained("ppo", GPT2, 512)
    save(agent, tmp_path / "run")
    whole = evaluate(str(tmp_path / "run"))
    rng = np.random.default_rng(0)
    policy, task = agent.policy, "TextGen-v0"
    total = 0.0
    for text in np.ndindex(3, 3, 3):  # every text, its probability from the policy token by token
        log_prob, row = 0.0, np.full((1, 3), 3)
        for place, token in enumerate(text):
            with torch.no_grad():
                log_prob += float(policy.scores(torch.as_tensor(row))[0, token])
            row[0, place] = token
        total += np.exp(log_prob) * sum(1 if token == place else -1 for place, token in enumerate(text))
    assert whole.expected_return == pytest.approx(total, abs=1e-4)
    cut = make("ppo", make_vec_env(task, 4), policy={"model": GPT2, "top_k": 1}, seed=int(rng.integers(9)))
    assert evaluate(cut).expected_return == pytest.approx(evaluate(cut, deterministic=True).expected_return)
    value = exact.expected_return(policy, task)
    torch.autograd.backward(value)
    assert any(p.grad is not None and p.grad.any() for p in policy.parameters())


def test_sb3s_own_save_and_load(tmp_path: Path) -> None:
    env = make_vec_env("TextGen-v0", 2)
    model = PPO(CausalLMPolicy, env, n_steps=8, batch_size=16, device="cpu", policy_kwargs={"model": GPT2}).learn(16)
    model.save(tmp_path / "model.zip")
    assert same(model, PPO.load(tmp_path / "model.zip", device="cpu"))
    model.policy.save(str(tmp_path / "policy.zip"))
    again: Any = CausalLMPolicy.load(str(tmp_path / "policy.zip"), device="cpu")
    rows = torch.tensor([[0, 1, 3]])
    policy: Any = model.policy
    assert torch.equal(again.scores(rows), policy.scores(rows))


def test_the_command_line(textgym: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", GPT2, [*"我爱你"])
    status, out, error = textgym("train", "TextGen-v0", "--model", folder, "--out", "run", "--texts", "0")
    assert (status, "success 100%:\n我爱你" in out) == (0, True), error
    status, out, _ = textgym("train", "--resume", "run", "--steps", "4100", "--texts", "0")
    assert (status, "success 100%" in out) == (0, True)
    status, out, _ = textgym("eval", "run")
    assert (status, "我爱你" in out) == (0, True)
    status, out, _ = textgym("train", "TextGen-v0", "--model", folder, "--explain")
    assert "policy.model" in out
    assert "policy.d_model" not in out
    assert "a logit of a language model 32 wide then moves as fast" in out
    both = ("--model", folder, "--set", f"policy.model={folder}")
    for wrong in (both, ("--model", str(tmp_path / "none")), ("--model", folder, "--set", "policy.d_model=8")):
        status, _, error = textgym("train", "TextGen-v0", *wrong, "--texts", "0")
        assert status != 0
        assert "Traceback" not in error
        assert len(error.splitlines()) <= 3


def test_a_tokenizers_whole_vocabulary(tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", GPT2, ["ab"])  # 我爱你 is nine tokens of a byte each
    env = make_vec_env("TextGen-v0", 8, seed=0, tokenizer=folder)
    agent = make("ppo", env, policy={"model": folder, "top_k": 50}, seed=0, device="cpu").learn(256)
    head = agent.policy.action_net
    assert head.in_order
    assert len(head.ids) == env.action_space.n  # type: ignore[attr-defined]
    masks = agent.rollout_buffer.masks
    assert masks is not None
    assert (np.unpackbits(masks, axis=-1).sum(axis=-1) == 50).all()
    save(agent, tmp_path / "run")
    assert same(agent, load(tmp_path / "run", device="cpu"))


def test_what_begins_from_a_run_has_its_model_and_is_its_policy(tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", LLAMA, [*"我爱你"])
    first = make(
        "ppo", make_vec_env("TextGen-v0", 4, seed=0), policy={"model": Path(folder), "temperature": 0.5}, device="cpu"
    )
    save(first.learn(64), tmp_path / "run")
    wanted = evaluate(first).expected_return
    settings: dict[str, Any]
    for name, settings in (
        ("ppo", {}),
        ("grpo", {"policy": {"critic": "separate"}}),
        ("a2c", {"policy.model": folder}),
    ):
        env = make_vec_env("TextGen-v0", 4, seed=1)
        agent = make(name, env, init=tmp_path / "run", seed=1, device="cpu", **settings)
        assert evaluate(agent).expected_return == pytest.approx(wanted, abs=1e-9)
        agent.learn(8)
    assert (
        make("dqn", make_vec_env("TextGen-v0", 4), init=tmp_path / "run").policy.base_model == first.policy.base_model
    )


def test_a_run_of_another_kind_or_model_is_refused_as_a_beginning(tmp_path: Path) -> None:
    env = make_vec_env("TextGen-v0", 4, seed=0)
    save(trained("ppo", GPT2), tmp_path / "large")
    save(make("ppo", env, policy={"d_model": 8}).learn(64), tmp_path / "small")
    with pytest.raises(InvalidSetting, match=r"small has a small transformer, and policy.model=.* is a language model"):
        make("ppo", env, init=tmp_path / "small", policy={"model": GPT2})
    with pytest.raises(InvalidSetting, match=r"large has a language model, .* Leave out d_model of the policy"):
        make("ppo", env, init=tmp_path / "large", policy={"d_model": 8})
    other = saved(tmp_path / "base", GPT2, vocab_size=3, max_position_embeddings=4)
    with pytest.raises(InvalidSetting, match=r"large began with a model whose sha256 was"):
        make("ppo", env, init=tmp_path / "large", policy={"model": other})
