"""Whole-episode updates equal step-by-step ones: the same transitions, losses and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from token_envs import environment
from torch.nn import functional

from agents import CachedTransformerPolicy, EpisodeRolloutBuffer, make_vec_env
from agents.prefixes import Prefixes


def collected(name: str, n: int, n_steps: int) -> tuple[PPO, PPO]:
    """Return two agents with the same parameters and the same second rollout, one in each buffer."""
    models = []
    for buffer in (EpisodeRolloutBuffer, RolloutBuffer):
        model = PPO(
            CachedTransformerPolicy,
            environment(name, n),
            n_steps=n_steps,
            batch_size=n * n_steps,
            rollout_buffer_class=buffer,
            seed=0,
            device="cpu",
            policy_kwargs={"features_extractor_kwargs": {"d_model": 16, "n_heads": 2}},
        )
        _, callback = model._setup_learn(10**6)
        for _ in range(2):  # the second begins in the middle of episodes
            model.collect_rollouts(model.env, callback, model.rollout_buffer, n_steps)  # type: ignore[arg-type]
        models.append(model)
    return models[0], models[1]


CASES = [("TextGym/Copy-v0", 5, 13), ("TextGym/Copy-v0", 1, 17), ("TextGen-v0", 4, 7), ("truncated", 3, 11)]


@pytest.mark.parametrize(("name", "n", "n_steps"), [*CASES, ("scribble", 3, 16), ("insert", 3, 16)])
def test_loss_and_every_gradient_agree_with_the_step_by_step_update(name: str, n: int, n_steps: int) -> None:
    packed, plain = collected(name, n, n_steps)
    np.testing.assert_allclose(packed.rollout_buffer.log_probs, plain.rollout_buffer.log_probs, atol=1e-5)
    for model in (packed, plain):
        model.policy.set_training_mode(True)
        (batch,) = model.rollout_buffer.get(None)
        values, log_prob, entropy = model.policy.evaluate_actions(batch.observations, batch.actions.long().flatten())
        assert entropy is not None
        torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)
        loss = -(batch.advantages * log_prob).mean() + functional.mse_loss(values.flatten(), batch.returns)
        loss = loss - 0.1 * entropy.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        model.loss = loss.item()  # type: ignore[attr-defined]
    assert packed.loss == pytest.approx(plain.loss, rel=1e-5)  # type: ignore[attr-defined]
    for (key, mine), theirs in zip(packed.policy.named_parameters(), plain.policy.parameters()):
        assert (mine.grad is None) == (theirs.grad is None), key
        if mine.grad is not None and theirs.grad is not None:
            assert (mine.grad - theirs.grad).norm() <= 1e-5 * theirs.grad.norm() + 1e-8, key


@pytest.mark.parametrize(("name", "n", "n_steps"), CASES)
@pytest.mark.parametrize("batch_size", [1, 8, 20, 10_000])
def test_minibatches_hold_every_transition_once_and_whole_segments(
    name: str, n: int, n_steps: int, batch_size: int
) -> None:
    packed, plain = collected(name, n, n_steps)
    buffer = packed.rollout_buffer
    assert isinstance(buffer, EpisodeRolloutBuffer)
    rows: list[Any] = []
    for batch in buffer.get(batch_size):
        prefixes: Any = batch.observations
        assert isinstance(prefixes, Prefixes)
        assert set(prefixes.segment.tolist()) == set(range(len(prefixes.tokens)))
        pad = buffer.observation_space.high[0]  # type: ignore[attr-defined]
        for i, (segment, length) in enumerate(zip(prefixes.segment, prefixes.length)):
            seen = prefixes.tokens[segment].clone()
            seen[(seen != pad).cumsum(0) > length] = pad
            rows.append((*seen.tolist(), int(batch.actions[i]), round(float(batch.returns[i]), 5)))
    (whole,) = plain.rollout_buffer.get(None)
    parts = zip(whole.observations.long().tolist(), whole.actions, whole.returns)
    assert sorted(rows) == sorted((*seen, int(action), round(float(total), 5)) for seen, action, total in parts)


def test_a_minibatch_is_as_near_to_its_size_as_segments_allow() -> None:
    packed, _ = collected("TextGym/Copy-v0", 5, 40)
    sizes = [len(batch.actions) for batch in packed.rollout_buffer.get(50)]
    assert len(sizes) == 4
    assert all(43 <= size <= 57 for size in sizes)


def test_memory_grows_with_the_tokens_not_with_their_square() -> None:
    for length in (8, 32):
        env = make_vec_env("TextGen-v0", 4, target="a" * length, alphabet="ab")
        buffer: Any = {"rollout_buffer_class": EpisodeRolloutBuffer}
        model = PPO(CachedTransformerPolicy, env, n_steps=length, batch_size=length, **buffer).learn(4 * length)
        kept = model.rollout_buffer
        assert isinstance(kept, EpisodeRolloutBuffer)
        assert kept.segments == 4
        assert kept.tokens.size == 2 * 4 * length
        assert kept.observations.size == 0


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_it_learns_under_plain_sb3(algorithm: Any) -> None:
    model = algorithm(
        CachedTransformerPolicy,
        make_vec_env("TextGen-v0", 8, seed=0),
        n_steps=12,
        learning_rate=3e-3,
        gamma=1.0,
        rollout_buffer_class=EpisodeRolloutBuffer,
        seed=0,
        device="cpu",
        **({"batch_size": 48} if algorithm is PPO else {"use_rms_prop": False}),
    ).learn(5_000)
    observation, text = np.full(3, 3, np.int32), []
    for place in range(3):
        observation[place] = model.predict(observation, deterministic=True)[0]
        text.append(int(observation[place]))
    assert text == [0, 1, 2]
