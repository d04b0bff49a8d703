"""A Hugging Face causal language model as a policy: read cached, plainly, packed or by itself, it says the same."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from language_models import ARCHITECTURES, GPT2, LLAMA, WIDE, bpe, saved
from stable_baselines3 import PPO
from transformers import AutoModelForCausalLM

from agents import (
    CausalLMPolicy,
    EpisodeRolloutBuffer,
    evaluate,
    make,
    make_vec_env,
)
from agents.causal_extractor import ActionHead, CausalLMExtractor
from agents.causal_trunk import TrunkCache
from agents.prefixes import Prefixes
from textgym.space import TokenBox

PAD, PROMPT, HORIZON = 10, 6, 14
STEPS = {"dqn": 2_000, "rloo": 1_500, "grpo": 1_500}  # to learn 我爱你 in; others 3,000
Rng = np.random.Generator
architectures = pytest.mark.parametrize("kind", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


def fresh(rng: Rng) -> Any:
    """Return a row that has just begun: a prompt of any length, right-aligned."""
    row = np.full(PROMPT + HORIZON, PAD)
    length = rng.integers(PROMPT + 1)
    row[PROMPT - length : PROMPT] = rng.integers(PAD, size=length)
    return row


def wander(rows: Any, lengths: Any, rng: Rng) -> None:
    """Let each row begin anew, stay, or go on by one or several tokens, in place."""
    for row in range(len(rows)):
        chance, grown = rng.random(), 1 if rng.random() < 0.8 else int(rng.integers(2, 5))
        if chance < 0.1 or lengths[row] + grown > HORIZON:
            rows[row], lengths[row] = fresh(rng), 0
        elif chance > 0.2:
            start = PROMPT + lengths[row]
            rows[row, start : start + grown] = rng.integers(PAD, size=grown)
            lengths[row] += grown


def extractor(kind: dict[str, Any], space: Any = None, **settings: Any) -> CausalLMExtractor:
    """Return a fresh model's extractor, whose weights are large enough that a wrong token shows."""
    torch.manual_seed(0)
    made = CausalLMExtractor(space or TokenBox(PAD, PROMPT, HORIZON), kind, **settings).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    return made


def one_by_one(read: CausalLMExtractor, rows: Any) -> torch.Tensor:
    """Return features of rows that are read alone, without a pad, by the model's body itself."""
    trunk: Any = read.transformer
    table, found = trunk.body.get_input_embeddings(), []
    for row in torch.as_tensor(rows):
        x = torch.cat([trunk.first()[None], table(row[row != PAD])])
        found.append(trunk.body(inputs_embeds=x[None], use_cache=False).last_hidden_state[0, -1])
    features: torch.Tensor = torch.stack(found) * read.scale
    return features


@architectures
@pytest.mark.parametrize("n", [1, 5])
def test_cached_reading_agrees_with_the_models_own_row_by_row(kind: dict[str, Any], n: int) -> None:
    read, rng = extractor(kind), np.random.default_rng(n)
    assert read.remembers
    rows, lengths = np.stack([fresh(rng) for _ in range(n)]), np.zeros(n, np.int64)
    other = np.stack([fresh(rng) for _ in range(3)])
    worst = 0.0
    with torch.no_grad():
        for step in range(80):
            wander(rows, lengths, rng)
            worst = max(worst, float((read(torch.as_tensor(rows)) - one_by_one(read, rows)).abs().max()))
            if step % 7 == 0:  # an evaluation of another size in between
                wander(other, np.zeros(3, np.int64), rng)
                worst = max(worst, float((read(torch.as_tensor(other)) - one_by_one(read, other)).abs().max()))
            if step % 40 == 0:  # an update
                for parameter in read.parameters():
                    parameter.add_(0.01)
    assert worst < 1e-5


@architectures
def test_tokens_read_before_are_not_read_again(kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    read, rng, seen = extractor(kind), np.random.default_rng(0), []
    embed = TrunkCache._embed

    def counted(self: TrunkCache, ids: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(ids.shape))
        return embed(self, ids, *more)

    monkeypatch.setattr(TrunkCache, "_embed", counted)
    rows = np.full((4, PROMPT + HORIZON), PAD)
    with torch.no_grad():
        for column in range(PROMPT, PROMPT + 10):
            rows[:, column] = rng.integers(PAD, size=4)
            read(torch.as_tensor(rows))
    assert seen == [(4,)] * 10


@architectures
def test_keys_in_a_wrong_slot_would_be_seen(kind: dict[str, Any]) -> None:
    read, rng = extractor(kind), np.random.default_rng(0)
    rows, lengths = np.stack([fresh(rng) for _ in range(8)]), np.zeros(8, np.int64)
    with torch.no_grad():
        for _ in range(10):
            wander(rows, lengths, rng)
            read(torch.as_tensor(rows))
        (cache,) = read._caches._held
        assert isinstance(cache, TrunkCache)
        cache.memory.held = [(keys, values.roll(1, dims=2)) for keys, values in cache.memory.held]
        grown = rows.copy()
        grown[np.arange(8), PROMPT + lengths.clip(max=HORIZON - 1)] = 3
        assert float((read(torch.as_tensor(grown)) - one_by_one(read, grown)).abs().max()) > 1e-3


@architectures
def test_one_pass_over_whole_rows_gives_every_prefix_and_its_gradients(kind: dict[str, Any]) -> None:
    read, rng = extractor(kind), np.random.default_rng(0)
    rows = np.stack([fresh(rng) for _ in range(6)])
    counts = rng.integers(3, HORIZON, size=6)
    for row, count in zip(rows, counts):
        row[PROMPT : PROMPT + count] = rng.integers(PAD, size=count)
    totals = (rows != PAD).sum(axis=1)
    pairs = [(i, length) for i in range(6) for length in range(totals[i] + 1)]
    segment, length = torch.tensor(pairs).T
    packed = read.read_prefixes(Prefixes(torch.as_tensor(rows), segment, length))
    singles = []
    for i, many in pairs:
        row = rows[i].copy()
        row[np.flatnonzero(row != PAD)[many:]] = PAD
        singles.append(row)
    plain = one_by_one(read, np.stack(singles))
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=0)
    weight = torch.randn_like(plain)
    parameters = list(read.transformer.parameters())
    for one, other in zip(*(torch.autograd.grad((x * weight).sum(), parameters) for x in (packed, plain))):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@architectures
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_k": 4, "top_p": 0.9}], ids=["all", "cut"])
@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_an_update_sees_what_the_rollout_did(kind: dict[str, Any], sampling: dict[str, Any], critic: str) -> None:
    policy = {"model": kind, "critic": critic, **sampling}
    model = make("ppo", make_vec_env("TextGym/Copy-v0", 6, seed=0), n_steps=20, device="cpu", seed=0, policy=policy)
    _, callback = model._setup_learn(10**6)
    with torch.no_grad():
        for parameter in model.policy.features_extractor.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1)
    for _ in range(2):  # ragged from the beginning in the second
        model.collect_rollouts(model.env, callback, model.rollout_buffer, 20)
    (batch,) = model.rollout_buffer.get(None)
    values, log_prob, entropy = model.policy.evaluate_actions(batch.observations, batch.actions.flatten())
    torch.testing.assert_close(values[:, 0], batch.old_values, atol=1e-4, rtol=0)
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-4, rtol=0)
    assert entropy is not None
    assert (entropy <= np.log(4 if sampling else 1e9) + 1e-5).all()
    model.train()
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


def test_an_update_reads_the_cut_that_was_drawn_from_and_sb3s_own_one_of_the_parameters_now() -> None:
    policy_settings = {"model": GPT2, "top_k": 2}
    model = make("ppo", make_vec_env("TextGym/Copy-v0", 6, seed=0), n_steps=20, device="cpu", policy=policy_settings)
    _, callback = model._setup_learn(10**6)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 20)
    policy, (batch,) = model.policy, model.rollout_buffer.get(None)
    prefixes, taken = batch.observations, batch.actions.flatten().long()
    assert (prefixes.masks.sum(dim=1) == 2).all()
    with torch.no_grad():
        weight = policy.action_net.output.weight
        weight.add_(0.1 * torch.randn_like(weight))  # others are likeliest then
    features = policy.features_extractor.read_prefixes(prefixes)
    logits = policy.action_net(features).masked_fill(~prefixes.masks, -torch.inf)
    _, log_prob, _ = policy.evaluate_actions(prefixes, taken)
    torch.testing.assert_close(log_prob, logits.log_softmax(1).gather(1, taken[:, None])[:, 0], atol=1e-5, rtol=1e-5)
    obs = torch.as_tensor(model._last_obs)
    policy.set_training_mode(False)
    with torch.no_grad():
        actions, _, drawn = policy(obs)
        torch.testing.assert_close(policy.evaluate_actions(obs, actions)[1], drawn, atol=1e-5, rtol=0)
        unlikely = policy.action_net(policy.features_extractor(obs)).argmin(dim=1)
        assert (policy.evaluate_actions(obs, unlikely)[1] > -50).all()  # as if it had been in the cut


def test_with_sb3s_own_ppo_whole_episodes_and_single_steps_learn_alike() -> None:
    learned = []
    for packed in (False, True):
        buffer: dict[str, Any] = {"rollout_buffer_class": EpisodeRolloutBuffer} if packed else {}
        env = make_vec_env("TextGym/Copy-v0", 4, seed=0)
        size = {"n_steps": 16, "batch_size": 64, "n_epochs": 1, "seed": 0, "device": "cpu"}
        optimizer = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
        settings: dict[str, Any] = {
            "policy_kwargs": {"model": LLAMA, "use_cache": packed, **optimizer},
            **size,
            **buffer,
        }
        model = PPO(CausalLMPolicy, env, learning_rate=0.1, **settings).learn(64)
        learned.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    torch.testing.assert_close(*learned, atol=1e-5, rtol=0)


def test_a_window_that_forgets_is_read_plainly() -> None:
    read = extractor({"model_type": "mistral", **WIDE, "sliding_window": 4})
    assert not read.remembers
    rows = np.stack([fresh(np.random.default_rng(i)) for i in range(4)])
    rows[:, PROMPT : PROMPT + 10] = 3
    with torch.no_grad():
        torch.testing.assert_close(read(torch.as_tensor(rows)), one_by_one(read, rows), atol=1e-5, rtol=0)


def test_logits_are_the_models_own_at_the_environments_tokens(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", GPT2, [*"我爱你"])
    env = make_vec_env("TextGen-v0", 3)
    policy: Any = make("ppo", env, policy={"model": folder}, device="cpu").policy
    tokenizer, auto = bpe([*"我爱你"]), AutoModelForCausalLM
    ids = [tokenizer.encode(token)[0] for token in "我爱你"]
    whole: Any = auto.from_pretrained(folder)
    with torch.no_grad():
        logits = whole.eval()(torch.tensor([[tokenizer.bos_token_id, ids[2], ids[0]]])).logits[0, -1]
        scores = policy.eval().scores(torch.tensor([[2, 0, 3]]))[0]
    torch.testing.assert_close(scores, logits[ids].log_softmax(0), atol=1e-5, rtol=0)
    assert policy.features_extractor.transformer.begin == tokenizer.bos_token_id


def test_a_head_computes_no_other_logits_and_caps_them_where_the_model_does() -> None:
    output, x = torch.nn.Linear(4, 9), torch.randn(5, 4)
    ids = torch.tensor([7, 2, 3])
    torch.testing.assert_close(ActionHead(output, ids, 2.0)(x / 2), output(x)[:, ids])
    in_order = ActionHead(output, torch.arange(9), 1.0)
    assert in_order.in_order
    torch.testing.assert_close(in_order.over(4)(x), output(x)[:, :4])
    torch.testing.assert_close(ActionHead(output, ids, 1.0, cap=0.5)(x), 0.5 * torch.tanh(output(x)[:, ids] / 0.5))


def test_parameters_are_kept_once_and_taken_back() -> None:
    env = make_vec_env("TextGen-v0", 2)
    policy = make("ppo", env, policy={"model": GPT2}, device="cpu").policy
    state = policy.state_dict()
    assert sum(value.numel() for value in state.values()) == sum(p.numel() for p in policy.parameters())
    other = make("ppo", env, policy={"model": GPT2}, device="cpu", seed=5).policy
    rows = torch.tensor([[0, 1, 3]])
    assert not torch.equal(other.scores(rows), policy.scores(rows))
    other.load_state_dict(state)
    assert torch.equal(other.scores(rows), policy.scores(rows))
    assert other.action_net.output.weight is other.features_extractor.transformer.body.wte.weight  # tied still
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({name: value for name, value in state.items() if "wte" not in name})


def test_values_begin_near_zero_and_dropout_is_off(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", GPT2, None, vocab_size=3, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    policy = make("ppo", make_vec_env("TextGen-v0", 2), policy={"model": folder}, device="cpu").policy
    rows = torch.tensor([[0, 1, 2], [1, 3, 3]])
    assert policy.predict_values(rows).abs().max() < 0.1
    policy.train()
    assert torch.equal(policy.scores(rows), policy.scores(rows))


@pytest.mark.parametrize("space", [spaces.Box(0, PAD, (6,), np.int32), TokenBox(PAD, 2, 4)])
def test_rows_of_any_kind_are_read_alike_with_a_cache_and_without(space: Any) -> None:
    read, rng = extractor(GPT2, space), np.random.default_rng(0)
    rows = np.where(rng.random((32, 6)) < 0.4, PAD, rng.integers(PAD, size=(32, 6)))
    if isinstance(space, TokenBox):
        rows = np.sort(rows, axis=1)  # tokens touch
    with torch.no_grad():
        torch.testing.assert_close(read(torch.as_tensor(rows)), one_by_one(read, rows), atol=1e-5, rtol=0)


def test_a_copy_remembers_nothing() -> None:
    read = extractor(GPT2)
    with torch.no_grad():
        read(torch.full((2, PROMPT + HORIZON), PAD))
    assert read._caches._held
    assert not copy.deepcopy(read)._caches._held


@pytest.mark.parametrize("agent", ["ppo", "a2c", "reinforce", "dqn", "rloo", "grpo"])
@pytest.mark.parametrize("kind", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_it_learns_to_write(agent: str, kind: dict[str, Any], tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", kind, [*"我爱你"])
    env = make_vec_env("TextGen-v0", 8, seed=0)
    model = make(agent, env, policy={"model": folder}, seed=0, device="cpu").learn(STEPS.get(agent, 3_000))
    assert evaluate(model, deterministic=True).expected_return == 3
    assert 0 < evaluate(model).expected_return <= 3


@pytest.mark.parametrize(
    ("agent", "kind"),
    [("ppo", LLAMA), ("dqn", GPT2), ("rloo", LLAMA), ("grpo", GPT2)],
    ids=lambda given: str(given)[:20],
)
def test_it_learns_among_all_tokens_of_a_tokenizer(agent: str, kind: dict[str, Any], tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", kind, [*"我爱你"])  # 263 tokens; all seeds: benchmarks/causal_lm_learning.py
    env = make_vec_env("TextGen-v0", 8, seed=0, tokenizer=folder, candidates=["我", "爱", "你"])
    model = make(agent, env, policy={"model": folder}, seed=0, device="cpu").learn(1_000)
    assert env.action_space == spaces.Discrete(263)
    assert evaluate(model, deterministic=True).success_probability == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("agent", ["ppo", "dqn"])
def test_it_learns_on_a_gpu(agent: str) -> None:
    env = make_vec_env("TextGen-v0", 8, seed=0)
    model = make(agent, env, policy={"model": LLAMA}, seed=0, device="cuda").learn(3_000)
    assert evaluate(model, deterministic=True).expected_return == 3
