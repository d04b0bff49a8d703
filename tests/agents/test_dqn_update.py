"""DQN's whole-episode updates equal step-by-step ones; plain SB3 learns, saves and evaluates with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update
from tabular_envs import masked
from token_envs import Walk, seen

from agents import make, make_vec_env
from agents.dqn import GuardedDQN
from agents.q_policies import CachedTransformerDQNPolicy
from agents.replay import EpisodeReplayBuffer
from textgym import load_task

NAMES = ["TextGym/Copy-v0", "TextGen-v0", "truncated", "scribble", "insert"]


def learner(walk: Walk, use_cache: bool = True) -> DQN:
    """Return a DQN whose steps change nothing, and whose two networks differ."""
    model = DQN(
        CachedTransformerDQNPolicy,
        walk.env,
        learning_rate=0.0,
        buffer_size=8,
        gamma=0.9,
        max_grad_norm=1e9,
        replay_buffer_class=EpisodeReplayBuffer,
        seed=0,
        device="cpu",
        policy_kwargs={"features_extractor_kwargs": {"d_model": 16, "n_heads": 2, "use_cache": use_cache}},
    )
    model._setup_learn(10**6)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def stepwise(batch: ReplayBufferSamples, pad: int) -> ReplayBufferSamples:
    """Return the same transitions, each with its whole observations, as SB3's own buffer has them."""
    observed = (seen(prefixes, pad) for prefixes in (batch.observations, batch.next_observations))
    return batch._replace(**dict(zip(("observations", "next_observations"), observed)))


def update(model: DQN, batch: ReplayBufferSamples, monkeypatch: pytest.MonkeyPatch) -> float:
    """Let a model learn from a minibatch; return its loss, and leave its gradients."""
    monkeypatch.setattr(model.replay_buffer, "sample", lambda batch_size, env: batch)
    model.train(1, len(batch.actions))
    return float(model.logger.name_to_value["train/loss"])


def batch_of(walk: Walk, size: int = 80) -> ReplayBufferSamples:
    """Return a minibatch whose rewards are of the size of values."""
    batch = walk.ours.sample(size)
    return batch._replace(rewards=torch.sin(batch.rewards))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "size", "steps"), [(1, 100, 60), (4, 11, 40)])
def test_loss_and_every_gradient_agree_with_the_step_by_step_update(
    name: str, n: int, size: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(name, n, size).go(steps)  # the second has segments whose beginnings are forgotten
    batch, packed, plain = batch_of(walk), learner(walk), learner(walk, use_cache=False)
    losses = update(packed, batch, monkeypatch), update(plain, stepwise(batch, walk.pad), monkeypatch)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for (key, mine), theirs in zip(packed.q_net.named_parameters(), plain.q_net.parameters()):
        assert mine.grad is not None, key
        assert theirs.grad is not None, key
        assert (mine.grad - theirs.grad).norm() <= 1e-5 * theirs.grad.norm(), key
    assert all(parameter.grad is None for parameter in packed.q_net_target.parameters())


def test_without_a_cache_whole_episodes_are_read_prefix_by_prefix_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk("TextGym/Copy-v0", 3, 20).go(30)
    batch = batch_of(walk)
    losses = [update(learner(walk, use_cache), batch, monkeypatch) for use_cache in (True, False)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("part", ["observations", "next_observations"])
def test_a_length_off_by_one_would_be_seen(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk("TextGym/Copy-v0", 3, 20).go(30)
    batch, model = batch_of(walk), learner(walk)
    right = update(model, batch, monkeypatch)
    prefixes: Any = getattr(batch, part)
    shorter = prefixes._replace(length=(prefixes.length - 1).clamp(min=0))
    wrong = update(model, batch._replace(**{part: shorter}), monkeypatch)
    assert abs(wrong - right) > 1e-3 * right


def test_the_target_network_is_never_read_from_memory_of_other_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk("TextGym/Copy-v0", 3, 20).go(30)
    batch = stepwise(batch_of(walk), walk.pad)
    cached, plain = learner(walk), learner(walk, use_cache=False)
    for model in (cached, plain):
        update(model, batch, monkeypatch)  # with SB3's own buffer, say
        polyak_update(model.q_net.parameters(), model.q_net_target.parameters(), 1.0)  # moves no version counter
    assert update(cached, batch, monkeypatch) == pytest.approx(update(plain, batch, monkeypatch), rel=1e-5)


@pytest.mark.parametrize("n_step", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_an_update_is_that_of_sb3s_dqn(masks: bool, n_step: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("TextGym/Copy-v0")
    models = []
    for train in (GuardedDQN.train, DQN.train):
        env = make_vec_env(masked(task) if masks else task, 6, seed=0)
        small = {"d_model": 16, "n_layers": 1, "n_heads": 2}
        model = make("dqn", env, seed=0, device="cpu", policy=small, learning_starts=10**6, max_grad_norm=0.05)
        model.learn(120)
        sample = model.replay_buffer.sample

        def several(*args: Any, sample: Any = sample, **kwargs: Any) -> Any:
            batch = sample(*args, **kwargs)
            return batch._replace(discounts=torch.full_like(batch.rewards, 0.5)) if n_step else batch

        monkeypatch.setattr(model.replay_buffer, "sample", several)
        monkeypatch.setattr(GuardedDQN, "train", train)
        model.set_random_seed(1)
        model.train(7, 30)
        models.append(model)
    ours, theirs = models
    for (name, mine), other in zip(ours.policy.named_parameters(), theirs.policy.parameters()):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4, msg=name)
        assert (mine.grad is None) is (other.grad is None), name  # the last step's gradients can be looked at
    for name in ("train/n_updates", "train/loss"):
        assert ours.logger.name_to_value[name] == pytest.approx(theirs.logger.name_to_value[name], rel=1e-4), name


def allowed(tokens: torch.Tensor, prompt: int, size: int) -> torch.Tensor:
    """Return what `tabular_envs.all_but_one` allows, from observations alone."""
    written = (tokens[:, prompt:] != tokens.new_tensor(size)).sum(dim=1)
    return torch.arange(size) != (written % size)[:, None]


def test_next_values_are_maxima_over_what_is_allowed_alone() -> None:
    task = masked(load_task("TextGym/Copy-v0"))
    size, prompt, pad = task.size, task.max_prompt, task.vocabulary.pad
    agent = make("dqn", make_vec_env(task, 4, seed=0), seed=0, device="cpu", learning_starts=300).learn(200)
    with torch.no_grad():
        for parameter in agent.q_net_target.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        batch = agent.replay_buffer.sample(300)
        narrowed = agent.q_net_target(batch.next_observations)
        values = agent.q_net_target(seen(batch.next_observations, pad))
    before, after = (allowed(seen(part, pad), prompt, pad) for part in (batch.observations, batch.next_observations))
    assert before[:, :size].gather(1, batch.actions).all()
    going = (batch.dones == 0).flatten()
    best = values.masked_fill(~after[:, :size], -torch.inf)[going].amax(dim=1)
    torch.testing.assert_close(narrowed[going].amax(dim=1), best, atol=1e-5, rtol=1e-5)
    assert (narrowed[going].amax(dim=1) < values[going].amax(dim=1) - 1e-3).any()  # the mask binds somewhere
    assert torch.isfinite(narrowed).all()


def plain_dqn(seed: int = 0) -> DQN:
    return DQN(
        CachedTransformerDQNPolicy,
        make_vec_env("TextGen-v0", 8, seed=seed),
        learning_rate=1e-3,
        learning_starts=256,
        batch_size=64,
        train_freq=1,
        target_update_interval=256,
        exploration_fraction=0.5,
        gamma=0.9,
        buffer_size=5_000,
        replay_buffer_class=EpisodeReplayBuffer,
        seed=seed,
        device="cpu",
    )


def test_it_learns_saves_and_evaluates_under_plain_sb3(tmp_path: Path) -> None:
    model = plain_dqn().learn(2_500)
    env = make_vec_env("TextGen-v0", 3, seed=5)
    assert evaluate_policy(model, env, 6) == (3.0, 0.0)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "memory.pkl")
    twin = DQN.load(tmp_path / "model.zip", env=model.env, device="cpu")
    assert isinstance(twin.policy, CachedTransformerDQNPolicy)
    assert evaluate_policy(twin, env, 6) == (3.0, 0.0)
    twin.load_replay_buffer(tmp_path / "memory.pkl")
    assert isinstance(twin.replay_buffer, EpisodeReplayBuffer)
    drawn = []
    for one in (model, twin):
        np.random.seed(0)  # noqa: NPY002 (SB3's buffers draw from it)
        assert one.replay_buffer is not None
        drawn.append(one.replay_buffer.sample(50).rewards)
    assert torch.equal(*drawn)
    twin.learn(64, reset_num_timesteps=False)
    assert evaluate_policy(twin, env, 6)[0] == 3.0
