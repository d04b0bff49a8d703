"""Action masks: what they forbid is never done, counted or learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tabular_envs import Recorder, cut_task
from token_envs import seen

from agents import EpisodeRolloutBuffer, TransformerExtractor, make, make_vec_env
from agents.categorical import chosen_and_entropy, draw, entropy, log_probabilities, masked, packed, unpacked
from agents.evaluation import evaluate
from agents.masked import masks_of
from textgym import Episodes, Task, load_task
from textgym.errors import InvalidSetting

ON_POLICY = ["ppo", "a2c", "reinforce", "rloo", "grpo"]
SMALL: Any = {"policy": {"d_model": 16, "n_heads": 2}}
SOON: Any = {"learning_starts": 80, "exploration_fraction": 1.0, "exploration_final_eps": 0.0, "train_freq": 2}
Masks = npt.NDArray[np.bool_]


def allowed(tokens: npt.NDArray[Any], size: int, pad: int) -> Masks:
    """Return every third action, by what rows `(n, L)` hold."""
    real = tokens != pad
    key = (tokens * real).sum(axis=1) + real.sum(axis=1)
    masks: Masks = (np.arange(size) + key[:, None]) % 3 == 0
    return masks


def every_third(episodes: Episodes) -> Masks:
    return allowed(episodes.tokens, episodes.vocabulary.size, episodes.vocabulary.pad)


def task_of(name: str, **kwargs: Any) -> Task:
    return replace(load_task(name, **kwargs), mask=every_third)


TASKS: dict[str, Callable[[], Task]] = {  # 9 actions, prompts of all lengths and an end token; 26 actions; 8
    "Copy": lambda: task_of("TextGym/Copy-v0"),
    "hello": lambda: task_of("TextGen-v0", target="hello", alphabet="abcdefghijklmnopqrstuvwxyz"),
    "eight": lambda: task_of("TextGen-v0", target="abcd", alphabet="abcdefgh"),
}


def assert_obeyed(recorder: Recorder) -> None:
    assert recorder.rounds
    for happened in recorder.rounds:
        assert happened.allowed[np.arange(len(happened.actions)), happened.actions].all()


@pytest.mark.parametrize("name", [*ON_POLICY, "dqn"])
@pytest.mark.parametrize("task", ["Copy", "hello"])
def test_no_agent_does_what_is_masked(name: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = TASKS[task]()
    recorder = Recorder(make_vec_env(rules, 4, seed=0))
    agent = make(name, recorder, seed=0, device="cpu", **SMALL, **(SOON if name == "dqn" else {})).learn(300)
    assert_obeyed(recorder)  # dqn: random steps, steps that explore, greedy ones
    assert all(torch.isfinite(parameter).all() for parameter in agent.policy.parameters())

    step, taken = Task.step, 0

    def checked(self: Task, episodes: Episodes, actions: Any, *more: Any, **named: Any) -> Any:
        nonlocal taken
        taken += len(actions)
        assert self.action_mask(episodes)[np.arange(len(actions)), actions].all()
        return step(self, episodes, actions, *more, **named)

    monkeypatch.setattr(Task, "step", checked)
    for deterministic in (True, False):
        evaluate(agent, rules, 20, deterministic)
    assert taken > 40


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_rows_with_environments_of_their_own_are_masked_too(name: str) -> None:
    recorder = Recorder(cut_task(TASKS["Copy"](), 3, limit=2))
    agent = make(
        name, recorder, seed=0, device="cpu", **({"learning_starts": 30} if name == "dqn" else {"n_steps": 40})
    )
    agent.learn(240)
    assert_obeyed(recorder)


def test_where_nothing_is_masked_no_masks_are_asked_for() -> None:
    assert masks_of(make_vec_env("TextGen-v0", 2)) is None
    assert masks_of(make_vec_env(TASKS["Copy"](), 2)) is not None
    agent = make("ppo", make_vec_env("TextGen-v0", 2), n_steps=8, batch_size=16, device="cpu").learn(16)
    assert agent.rollout_buffer.masks is None


@pytest.mark.parametrize("name", ON_POLICY)
@pytest.mark.parametrize("task", list(TASKS))
def test_rollout_and_update_see_the_masked_distribution(name: str, task: str) -> None:
    rules = TASKS[task]()
    length = {} if name in ("rloo", "grpo") else {"n_steps": 13}
    agent = make(name, make_vec_env(rules, 5, seed=0), seed=0, device="cpu", **length)
    _, callback = agent._setup_learn(10**6)
    buffer = agent.rollout_buffer
    assert isinstance(buffer, EpisodeRolloutBuffer)
    agent.collect_rollouts(agent.env, callback, buffer, 13)
    agent.policy.set_training_mode(True)
    many = 0
    for batch in buffer.get(20):
        observations, actions = seen(batch.observations, rules.vocabulary.pad), batch.actions.long().flatten()
        masks = torch.as_tensor(allowed(observations.numpy(), rules.size, rules.vocabulary.pad))
        assert torch.equal(batch.observations.masks, masks)  # type: ignore[attr-defined]
        policy = agent.policy
        with torch.no_grad():
            logits = policy.action_net(policy.features_extractor(observations))
        p = logits.exp() * masks
        p = p / p.sum(dim=1, keepdim=True)
        wanted = p.gather(1, actions[:, None])[:, 0].log()
        torch.testing.assert_close(batch.old_log_prob, wanted, atol=1e-5, rtol=0)
        _, log_prob, entropies = policy.evaluate_actions(batch.observations, actions)
        torch.testing.assert_close(log_prob, wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(entropies, -torch.xlogy(p, p).sum(dim=1), atol=1e-5, rtol=0)
        (log_prob.mean() + entropies.mean()).backward()
        many += len(actions)
    assert many == (65 if length else buffer.length.size)
    assert all(torch.isfinite(p.grad).all() for p in agent.policy.parameters() if p.grad is not None)


def test_what_is_masked_has_no_probability_no_entropy_and_no_gradient() -> None:
    logits = torch.tensor([[1.0, 50.0, 2.0], [0.0, 0.0, 0.0], [3.0, -1e30, 1e30]], requires_grad=True)
    masks = torch.tensor([[True, False, True], [False, True, False], [True, True, False]])
    log_probs = log_probabilities(logits, masks)
    odds = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    np.testing.assert_allclose(log_probs.exp().detach(), [[odds[0], 0, odds[1]], [0, 1, 0], [1, 0, 0]], atol=1e-6)
    found = entropy(log_probs)
    np.testing.assert_allclose(found.detach(), [-(odds * np.log(odds)).sum(), 0, 0], atol=1e-6)
    (found.sum() + log_probs.gather(1, torch.tensor([[0], [1], [0]])).sum()).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[~masks].any()
    values = masked(torch.tensor([[5.0, 9.0]]), torch.tensor([[True, False]]))
    assert (0 * values == 0).all()  # DQN multiplies what follows an end by 0


@pytest.mark.parametrize("weight", [0.0, 0.1], ids=["chosen alone", "entropies too"])
@pytest.mark.parametrize("is_masked", [False, True])
def test_chosen_and_entropy_are_those_of_all_log_probabilities_and_so_are_gradients(
    is_masked: bool, weight: float
) -> None:
    torch.manual_seed(0)
    logits, chosen = 5 * torch.randn(7, 9), torch.arange(7)
    masks = (torch.rand(7, 9) < 0.5).scatter(1, chosen[:, None], True) if is_masked else None
    by_hand, by_one = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    log_probs = log_probabilities(by_hand, masks)
    wanted = log_probs.gather(1, chosen[:, None])[:, 0], entropy(log_probs)
    found = chosen_and_entropy(masked(by_one, masks), chosen)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)
    for log_prob, spread in (wanted, found):
        (torch.arange(7.0) * log_prob - weight * torch.arange(7.0).flip(0) * spread).sum().backward()  # type: ignore[no-untyped-call]
    assert by_one.grad is not None
    assert by_one.grad.isfinite().all()
    torch.testing.assert_close(by_one.grad, by_hand.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 16, 17, 100])
def test_masks_come_back_from_their_bits(size: int) -> None:
    masks = np.random.default_rng(size).random((4, 3, size)) < 0.5
    bits = packed(masks)
    assert bits.shape == (4, 3, -(-size // 8))
    assert np.array_equal(unpacked(bits, size, torch.device("cpu")), masks)


@pytest.mark.parametrize("number", [0.0, 2**-24, 0.5, 1 - 2**-24, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e30])
def test_the_impossible_is_never_drawn(number: float, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, number))
    torch.manual_seed(0)
    for size in (1, 3, 9, 300, 5000):
        masks = torch.rand(200, size) < torch.rand(200, 1)
        masks[torch.arange(200), torch.randint(size, (200,))] = True
        masks[:5, -2:], masks[5:10, :1] = torch.arange(size)[-2:] == 0, size == 1  # the ends, too
        masks[~masks.any(dim=1), size // 2] = True
        log_probs = log_probabilities(scale * torch.randn(200, size), masks)
        chosen = draw(log_probs)
        assert masks[torch.arange(200), chosen].all()
        assert (log_probs.exp()[torch.arange(200), chosen] > 0).all()
        assert masks[torch.arange(200), draw(log_probs, deterministic=True)].all()


def test_draws_follow_the_probabilities() -> None:
    torch.manual_seed(0)
    masks = torch.tensor([True, False, True, True, True, False])
    log_probs = log_probabilities(torch.tensor([[0.0, 9.0, 1.0, -2.0, 0.5, 3.0]]), masks[None])
    n = 100_000
    counts = torch.bincount(draw(log_probs.expand(n, -1)), minlength=6).double()
    p = log_probs[0].exp().double()
    assert not counts[~masks].any()
    assert ((counts - n * p)[masks].abs() < 4 * (n * p * (1 - p))[masks].sqrt()).all()


def test_rows_are_drawn_independently() -> None:
    torch.manual_seed(0)
    first, second = draw(torch.full((20_000, 4), 0.25).log()).view(2, -1)
    together = torch.bincount(4 * first + second, minlength=16)
    assert ((together - 625).abs() < 5 * 625**0.5).all()


def test_predict_within_masks_of_one_row_and_of_several() -> None:
    env = make_vec_env(TASKS["Copy"](), 3, seed=0)
    observations = np.asarray(env.reset())
    only = np.arange(9) == np.array([[4], [0], [8]])
    for name in ("ppo", "dqn"):
        agent = make(name, env, seed=0, device="cpu")  # dqn still explores in every step
        for deterministic in (True, False):
            told: dict[str, Any] = {"deterministic": deterministic}
            assert agent.predict(observations, action_masks=only, **told)[0].tolist() == [4, 0, 8]
            assert agent.predict(observations[0], action_masks=only[0], **told)[0] == 4
            assert np.ndim(agent.predict(observations[0], action_masks=only[0], **told)[0]) == 0


def test_maskable_ppo_works_with_the_extractor_and_the_bridge() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    recorder = Recorder(make_vec_env(TASKS["hello"](), 4, seed=0))
    network = {"features_extractor_class": TransformerExtractor, "net_arch": [], "ortho_init": False}
    sizes = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "seed": 0, "device": "cpu"}
    contrib.MaskablePPO("MlpPolicy", recorder, policy_kwargs=network, **sizes).learn(192)
    assert_obeyed(recorder)


def nothing_after_the_first(episodes: Episodes) -> Masks:
    masks = every_third(episodes)
    masks[episodes.length == 1] = False
    return masks


@pytest.mark.parametrize("name", [*ON_POLICY, "dqn"])
def test_a_mask_that_leaves_nothing_is_refused(name: str) -> None:
    task = replace(load_task("TextGen-v0"), mask=nothing_after_the_first)
    env, settings = make_vec_env(task, 4, seed=0), {**SMALL, **(SOON if name == "dqn" else {})}
    with pytest.raises(InvalidSetting, match="the task's mask leaves row 0 no action, 1 tokens after its prompt"):
        make(name, env, seed=0, device="cpu", **settings).learn(300)
