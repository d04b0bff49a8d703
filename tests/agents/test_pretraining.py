"""A policy fitted to text: it comes to what is known of the source, and only what it should learn is learned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents import AgentPolicy, load, make, make_vec_env, pretrain, save
from agents.likelihood import cross_entropy, token_log_probabilities
from agents.pretraining import PretrainingSettings
from agents.sampling import Sampling
from agents.text_data import encode
from agents.texts import given_texts
from textgym import load_task
from textgym.errors import InvalidSetting, NotFinite, UnknownName

CHAIN = np.array([[0.0, 0.7, 0.2, 0.1], [0.6, 0.0, 0.1, 0.3], [0.1, 0.1, 0.5, 0.3], [0.25, 0.25, 0.25, 0.25]])
"""Which letter follows which; the first one is drawn evenly."""

LENGTH = 15
SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2}


def chain_texts(letters: str, n: int, seed: int) -> list[str]:
    """Texts of the chain, all of one length."""
    rng, texts = np.random.default_rng(seed), []
    for _ in range(n):
        text = [int(rng.integers(4))]
        while len(text) < LENGTH:
            text.append(int(rng.choice(4, p=CHAIN[text[-1]])))
        texts.append("".join(letters[i] for i in text))
    return texts


def chain_entropy() -> float:
    """The chain's entropy in nats a token, of texts with their end token, which is certain."""
    rows = -(CHAIN * np.log(np.where(CHAIN > 0, CHAIN, 1))).sum(axis=1)
    p, total = np.full(4, 0.25), math.log(4)
    for _ in range(LENGTH - 1):
        total, p = total + p @ rows, p @ CHAIN
    return float(total / (LENGTH + 1))


def learner(letters: str = "abcd", agent: str = "ppo", seed: int = 0, horizon: int = LENGTH + 1) -> Any:
    """A small agent that writes letters up to a horizon."""
    kwargs: dict[str, Any] = {"target": letters[:1], "alphabet": letters, "eos": "$", "horizon": horizon}
    return make(agent, make_vec_env("TextGen-v0", 8, **kwargs), seed=seed, device="cpu", policy=SMALL)


def cut(agent: Any) -> Any:
    """An agent that writes the two likeliest tokens alone."""
    agent.policy.sampling = Sampling(top_k=2)
    return agent


@pytest.mark.parametrize("letters", ["abcd", "春夏秋冬"])
def test_the_fit_comes_to_the_entropy_of_the_source(letters: str) -> None:
    agent = learner(letters)
    fit = pretrain(agent, chain_texts(letters, 400, seed=1), learning_rate=1e-2)
    fresh = encode(given_texts(chain_texts(letters, 2000, seed=2)), agent.env.get_attr("task")[0])
    ratio = cross_entropy(agent, fresh) / chain_entropy()
    assert 0.98 < ratio < 1.04
    assert fit.before / chain_entropy() > 1.5
    assert fit.perplexity == pytest.approx(math.exp(fit.cross_entropy))
    assert (fit.texts, fit.held_out, fit.duplicates, fit.skipped) == (360, 40, 0, 0)
    assert fit.tokens == 360 * (LENGTH + 1)


@pytest.mark.parametrize("agent", ["a2c", "reinforce"])
def test_every_agent_with_a_policy_can_be_fitted(agent: str) -> None:
    made = learner(agent=agent, horizon=3)
    fit = pretrain(made, ["ab", "ac", "ad", "b"] * 2, held_out=0.25, epochs=3)
    assert fit.cross_entropy <= fit.before
    assert (fit.texts, fit.held_out, fit.duplicates) == (3, 1, 4)
    assert made.num_timesteps == 0
    made.learn(64)


def test_the_loss_is_the_mean_over_completion_tokens_alone() -> None:
    env = make_vec_env("TextGym/Copy-v0", 2, alphabet="abc", max_length=3)
    agent = make("ppo", env, seed=0, device="cpu", policy=SMALL)
    pairs, task = [("abc", "ab"), ("", "c"), ("ba", "cab")], env.get_attr("task")[0]
    corpus, policy = encode(given_texts(pairs), task), AgentPolicy(agent)
    logs = []
    for prompt, completion in pairs:
        row = task.blank(1)
        row.tokens[0, task.max_prompt - len(prompt) : task.max_prompt] = task.vocabulary.encode(prompt)
        for token in [*task.vocabulary.encode(completion).tolist(), task.vocabulary.eos_id]:
            logs.append(math.log(policy(row.tokens, np.ones((1, task.size), np.bool_))[0, token]))
            row.write(np.array([token]))
    np.testing.assert_allclose(token_log_probabilities(agent, corpus), logs, atol=1e-5)
    assert cross_entropy(agent, corpus) == pytest.approx(-np.mean(logs), abs=1e-5)


def test_a_prompt_is_read_and_what_it_says_carries_over() -> None:
    env = make_vec_env("TextGym/Copy-v0", 2, alphabet="abc", max_length=3)
    agent = make("ppo", env, seed=0, device="cpu", policy=SMALL)
    pairs = [("".join(prompt), prompt[2] + prompt[2]) for prompt in itertools.product("abc", repeat=3)]
    fit = pretrain(agent, pairs, held_out=0.3, learning_rate=2e-2)
    assert fit.before > 1
    assert fit.cross_entropy < 0.1  # of prompts that it never met: without reading them it would be log(3) / 3 = 0.37


def test_the_value_head_stays_and_what_acts_moves() -> None:
    agent = learner(horizon=3)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    pretrain(agent, ["ab", "ac", "ad", "bc"], epochs=5)
    for name, value in agent.policy.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == (not name.startswith("value_net.")), name
    assert not agent.policy.optimizer.state  # the agent's own optimiser remembers nothing of it


def test_the_best_parameters_are_kept_and_patience_ends_the_fit() -> None:
    agent, seen = learner(horizon=6), []
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd"), 5)) for _ in range(30)]  # nothing to learn: it is soon overdone
    fit = pretrain(
        agent, texts, note=lambda *epoch: seen.append(epoch), patience=3, learning_rate=0.03, held_out=0.3, epochs=500
    )
    held_out = [fit.before, *[pair[1] for pair in fit.curve]]
    assert [(i + 1, *pair) for i, pair in enumerate(fit.curve)] == seen
    assert fit.cross_entropy == min(held_out) == held_out[fit.epoch]
    assert fit.epochs == len(fit.curve) == fit.epoch + 3 < 500
    task = agent.env.get_attr("task")[0]
    kept = encode(given_texts(texts), task).split(0.3, 0)[1]
    assert cross_entropy(agent, kept) == pytest.approx(fit.cross_entropy, abs=1e-7)
    assert not agent.policy.training


def test_the_same_seed_fits_the_same_policy_whatever_chance_does() -> None:
    texts, found = chain_texts("abcd", 40, seed=0), list[Any]()
    for seed in (1, 1, 2):
        agent = learner()
        torch.rand(len(found) + 1)
        fit = pretrain(agent, texts, epochs=3, seed=seed)
        found.append((fit.curve, agent.policy.action_net.weight.detach().clone()))
    assert found[0][0] == found[1][0] != found[2][0]
    assert torch.equal(found[0][1], found[1][1])


def test_a_run_says_how_its_policy_was_fitted_and_writes_alike_again(tmp_path: Any) -> None:
    agent = learner(horizon=4)
    fit = pretrain(agent, ["ab", "ac", "bc", "abc"], epochs=4, seed=3)
    save(agent, tmp_path)
    again = load(tmp_path)
    record = again.made.pretraining
    assert record == agent.made.pretraining
    assert record["settings"]["seed"] == 3
    assert (record["cross_entropy"], record["epoch"]) == (fit.cross_entropy, fit.epoch)
    assert record["curve"] == [list(pair) for pair in fit.curve]
    corpus = encode(
        given_texts(["ab", "dda"]), load_task("TextGen-v0", target="a", alphabet="abcd", eos="$", horizon=4)
    )
    np.testing.assert_array_equal(token_log_probabilities(agent, corpus), token_log_probabilities(again, corpus))


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda: pretrain(learner(agent="dqn"), ["a"]), InvalidSetting, "dqn has no policy .*init=DIR"),
        (lambda: pretrain(learner(), ["a"]), InvalidSetting, "1 text is left"),
        (lambda: pretrain(learner(), ["a", "x"]), InvalidSetting, "text 2: 'x' does not fit"),
        (lambda: pretrain(learner(), ["a", "b"], epoch=3), UnknownName, "Did you mean 'epochs'"),
        (lambda: pretrain(learner(), ["a", "b"], held_out=1.0), InvalidSetting, "held_out=1.0 is refused"),
        (lambda: pretrain(learner(), ["a", "b"], patience=0), InvalidSetting, "patience=0 is refused"),
        (lambda: pretrain(learner(), ["a", "b"], epochs=True), InvalidSetting, "epochs=True is refused"),
        (
            lambda: pretrain(cut(learner()), ["a", "b"]),
            InvalidSetting,
            "cuts its distribution, .*top_k=2.* Fit it with",
        ),
        (lambda: pretrain(object(), ["a", "b"]), InvalidSetting, "object has no policy"),
        (lambda: pretrain(PPO("MlpPolicy", make_vec_env("TextGen-v0", 2)), ["我", "爱"]), InvalidSetting, "PPO has no"),
        (
            lambda: pretrain(make("q-learning", make_vec_env("TextGen-v0", 2)), ["我", "爱"]),
            InvalidSetting,
            "q-learning has no policy",
        ),
        (
            lambda: pretrain(make("ppo", make_vec_env("CartPole-v1", 2)), ["a", "b"]),
            InvalidSetting,
            "ppo has no policy that evaluates whole texts",
        ),
    ],
)
def test_bad_input_is_refused(fault: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fault()


def test_a_loss_that_is_not_finite_leaves_good_parameters() -> None:
    agent = learner(horizon=3)
    with pytest.raises(NotFinite, match="Give a smaller learning_rate"):
        pretrain(agent, ["ab", "ac", "ad", "bc"], learning_rate=1e38, epochs=50, patience=50)
    assert all(value.isfinite().all() for value in agent.policy.state_dict().values())


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in PretrainingSettings.model_fields.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_fit_on_a_gpu_comes_to_the_same() -> None:
    found = list[Any]()
    for device in ("cpu", "cuda"):
        env = make_vec_env("TextGym/Brackets-v0", 8, max_prompt=2)
        agent = make("ppo", env, seed=0, device=device, policy=SMALL)
        agent.policy.load_state_dict(found[0][1] if found else agent.policy.state_dict())
        start = {name: value.cpu().clone() for name, value in agent.policy.state_dict().items()}
        fit = pretrain(agent, [("(", ")"), ("[", "]"), ("[(", ")]"), ("((", "))"), ("", "[]")], epochs=5)
        found.append((fit, start))
    np.testing.assert_allclose(found[0][0].curve, found[1][0].curve, rtol=1e-3)
