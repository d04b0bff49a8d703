"""Agents as the exact methods read them: what they say, what their networks say, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from torch import nn

from agents import AGENTS, AgentPolicy, TransformerExtractor, evaluate, exact, make, make_vec_env
from agents.evaluation import evaluate as sampled
from textgym import Episodes, Task, load_task
from textgym.arrays import Array, BoolArray, FloatArray, IntArray
from textgym.errors import InvalidSetting

TINY: Any = {"device": "cpu", "policy": {"d_model": 8, "n_layers": 1, "n_heads": 2}}
SIZES: Any = {"d_model": 8, "n_layers": 1, "n_heads": 2}
NETWORK: Any = {
    "features_extractor_class": TransformerExtractor,
    "features_extractor_kwargs": SIZES,
    "net_arch": [],
    "ortho_init": False,
}
SHORT: Any = {"n_steps": 16, "seed": 0, "device": "cpu"}


def even_after_even(episodes: Episodes) -> BoolArray:
    """Every other action, by the length and the first token of the prompt."""
    key = episodes.length + episodes.tokens[:, 0]
    allowed: BoolArray = (np.arange(episodes.vocabulary.size) + key[:, None]) % 2 == 0
    return allowed


FREE = load_task("TextGen-v0")
MASKED: Task = replace(load_task("TextGen-v0", target="abcd", alphabet="abcdef"), mask=even_after_even, state_key=None)


def texts_of(task: Task, n: int = 3) -> tuple[IntArray, BoolArray]:
    """Return some texts, one token long, and their masks."""
    rows = task.blank(n)
    rows.begin(..., task.draw([np.random.default_rng(0)] * n))
    masks = task.action_mask(rows)
    task.step(rows, masks.argmax(axis=1))
    return rows.tokens, task.action_mask(rows)


@pytest.mark.parametrize("task", [FREE, MASKED], ids=["free", "masked"])
@pytest.mark.parametrize("name", [*AGENTS])
def test_the_likeliest_action_is_what_an_agent_predicts(name: str, task: Task) -> None:
    agent = make(name, make_vec_env(task, 4, seed=0), seed=0).learn(100)
    observations, masks = texts_of(task)
    told: Any = {} if task.mask is None else {"action_masks": masks}
    greedy = AgentPolicy(agent, deterministic=True)(observations, masks)
    assert greedy.argmax(axis=1).tolist() == agent.predict(observations, deterministic=True, **told)[0].tolist()
    assert (greedy.max(axis=1) == 1).all()
    p = AgentPolicy(agent)(observations, masks)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert not p[~masks].any()


@pytest.mark.parametrize("task", [FREE, MASKED], ids=["free", "masked"])
@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce", "rloo", "dqn", "q-learning", "tabular-reinforce"])
def test_probabilities_are_how_often_predict_takes_each_action(name: str, task: Task) -> None:
    agent = make(name, make_vec_env(task, 4, seed=0), seed=0).learn(100)
    if name == "dqn":
        agent.exploration_rate = 0.4
    observations, masks = texts_of(task, 1)
    p = AgentPolicy(agent)(observations, masks)[0]
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    batch, calls = (1, 1500) if name == "dqn" else (3000, 1)  # all rows of a batch explore, or none
    many = np.repeat(observations, batch, axis=0)
    told: Any = {} if task.mask is None else {"action_masks": np.repeat(masks, batch, axis=0)}
    drawn = np.concatenate([agent.predict(many, **told)[0] for _ in range(calls)])
    counts, n = np.bincount(drawn, minlength=task.size), len(drawn)
    assert (np.abs(counts - n * p) <= 4 * np.sqrt(n * p * (1 - p)) + 1e-6 * n).all()


@pytest.mark.parametrize("name", ["PPO", "A2C"])
def test_models_of_sb3_with_a_network_of_ours(name: str) -> None:
    model = getattr(sb3, name)("MlpPolicy", make_vec_env(FREE, 4, seed=0), policy_kwargs=NETWORK, **SHORT).learn(64)
    found = evaluate(model)
    torch.manual_seed(0)
    assert abs(found.expected_return - sampled(model, FREE, 5000, False).mean_return) < 3 * 2 / 5000**0.5
    observations, masks = texts_of(FREE)
    with torch.no_grad():
        wanted = model.policy.get_distribution(torch.as_tensor(observations)).distribution.probs
    np.testing.assert_allclose(AgentPolicy(model)(observations, masks), wanted, atol=1e-6)
    assert evaluate(model.policy, FREE).expected_return == found.expected_return
    assert exact.expected_return(model, FREE).item() == pytest.approx(found.expected_return, abs=1e-6)


def test_models_with_one_extractor_for_each_head_and_hidden_layers() -> None:
    network = {**NETWORK, "net_arch": [8], "share_features_extractor": False}
    model = sb3.PPO("MlpPolicy", make_vec_env(FREE, 4), policy_kwargs=network, batch_size=8, **SHORT)
    observations, masks = texts_of(FREE)
    actor = model.policy
    with torch.no_grad():
        features = actor.pi_features_extractor(torch.as_tensor(observations))
        wanted = actor.action_net(actor.mlp_extractor.forward_actor(features)).softmax(dim=1)
    np.testing.assert_allclose(AgentPolicy(model)(observations, masks), wanted, atol=1e-6)


def test_maskable_ppo_within_its_masks() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    env = make_vec_env(MASKED, 4, seed=0)
    model = contrib.MaskablePPO("MlpPolicy", env, policy_kwargs=NETWORK, batch_size=16, **SHORT).learn(64)
    observations, masks = texts_of(MASKED)
    with torch.no_grad():
        wanted = model.policy.get_distribution(torch.as_tensor(observations), masks).distribution.probs
    np.testing.assert_allclose(AgentPolicy(model)(observations, masks), wanted, atol=1e-6)
    greedy, _ = model.predict(observations, deterministic=True, action_masks=masks)
    assert AgentPolicy(model, deterministic=True)(observations, masks).argmax(axis=1).tolist() == greedy.tolist()
    torch.manual_seed(0)
    found = evaluate(model)
    assert abs(found.expected_return - sampled(model, MASKED, 5000, False).mean_return) < 3 * 2 / 5000**0.5
    assert exact.expected_return(model, MASKED).item() == pytest.approx(found.expected_return, abs=1e-6)


@pytest.mark.parametrize("name", ["RecurrentPPO", "QRDQN"])
def test_models_of_sb3_contrib_that_cannot_be_read(name: str) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    env = make_vec_env(FREE, 4, seed=0)
    if name == "RecurrentPPO":
        model = contrib.RecurrentPPO("MlpLstmPolicy", env, batch_size=8, **SHORT)
        for agent in (model, model.policy):
            for deterministic in (True, False):
                with pytest.raises(InvalidSetting, match=r"Recurrent.* remembers what it saw before.*Sample episodes"):
                    evaluate(agent, FREE, deterministic=deterministic)
        return
    model = contrib.QRDQN("MlpPolicy", env, device="cpu", seed=0)
    with pytest.raises(InvalidSetting, match="QRDQN does not say how likely its actions are"):
        evaluate(model)
    assert evaluate(model, deterministic=True).expected_return == sampled(model, FREE, 1, True).mean_return


class Bare(nn.Module):
    """Logits of a row of 3 tokens; in training, noise."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 8)
        self.noise = nn.Dropout(0.5)
        self.head = nn.Linear(24, size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.noise(self.table(tokens).flatten(1)))
        return logits


def test_a_bare_module_is_read_in_evaluation_mode_and_left_in_its_own() -> None:
    torch.manual_seed(0)
    network = Bare()
    observations, masks = texts_of(FREE)
    for training in (True, False):
        network.train(training)
        p = AgentPolicy(network)(observations, masks)
        assert (network.training, network.noise.training) == (training, training)
        with torch.no_grad():
            wanted = network.eval()(torch.as_tensor(observations)).softmax(dim=1)
        np.testing.assert_allclose(p, wanted, atol=1e-6)
    assert -3 < evaluate(network, FREE).expected_return < 3


@pytest.mark.parametrize("training", [True, False])
def test_a_part_that_is_in_another_mode_than_the_whole_is_read_and_left_so(training: bool) -> None:
    torch.manual_seed(0)
    network = Bare().train(training)
    network.noise.train(not training)
    texts = texts_of(FREE)
    first, second = (AgentPolicy(network)(*texts) for _ in range(2))
    np.testing.assert_array_equal(first, second)  # no dropout
    with pytest.raises(InvalidSetting):
        evaluate(network, load_task("TextGen-v0", target="ab", alphabet="abc"))
    assert (network.training, network.noise.training, network.head.training) == (training, not training, training)


def test_a_module_that_gives_no_logits_is_refused() -> None:
    with pytest.raises(
        InvalidSetting, match=r"Bare gave torch.float32 \(1, 4\) for \(1, 3\) token ids; it must give one"
    ):
        evaluate(Bare(4), FREE)
    with pytest.raises(InvalidSetting, match=r"Bare cannot read token ids \(1, 2\), from 0 to 3: .*shapes"):
        evaluate(Bare(), load_task("TextGen-v0", target="ab", alphabet="abc"))
    with pytest.raises(InvalidSetting, match=r"Bare cannot read token ids \(1, 3\), from 0 to 8: index out of range"):
        evaluate(Bare(8), load_task("TextGen-v0", target="abc", alphabet="abcdefgh"))
    with pytest.raises(InvalidSetting, match=r"Identity gave torch.int64 \(1, 3\) .* a float each"):
        exact.expected_return(nn.Identity(), FREE)
    with pytest.raises(InvalidSetting, match="deterministic='yes' is neither True nor False"):
        evaluate(Bare(), FREE, deterministic="yes")  # type: ignore[arg-type]
    broken = Bare()
    nn.init.constant_(broken.head.bias, float("nan"))
    with pytest.raises(InvalidSetting, match="must give probabilities"):
        evaluate(broken, FREE)


class Alternating:
    """An agent of a user's own: the token that follows, in turn."""

    def predict(
        self, observation: Array, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        return (observation != 3).sum(axis=1), state


class Saying(Alternating):
    """One that says how likely its actions are."""

    def action_probabilities(self, observations: IntArray, action_masks: BoolArray, deterministic: bool) -> FloatArray:
        right: FloatArray = np.eye(3)[(observations != 3).sum(axis=1)]
        return right if deterministic else 0.7 * right + 0.1


class Counting(Alternating):
    """One that counts its steps."""

    def predict(
        self, observation: Array, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        steps = np.zeros(len(observation), np.int64) if state is None else state
        return steps, steps + 1


class Masked(Alternating):
    """One that takes masks: the last action that is allowed."""

    def predict(
        self,
        observation: Array,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: BoolArray | None = None,
    ) -> tuple[Array, Any]:
        assert action_masks is not None
        return action_masks.shape[1] - 1 - action_masks[:, ::-1].argmax(axis=1), None


def test_what_an_agent_of_ones_own_predicts_is_all_that_is_known_of_it() -> None:
    assert evaluate(Alternating(), FREE, deterministic=True).expected_return == 3.0
    assert (
        evaluate(Masked(), MASKED, deterministic=True).expected_return == -4.0
    )  # always f or e, which is never wanted
    with pytest.raises(
        InvalidSetting, match=r"Alternating does not say how likely its actions are.*deterministic=True"
    ):
        evaluate(Alternating(), FREE)
    with pytest.raises(InvalidSetting, match="Counting remembers what it saw before"):
        evaluate(Counting(), FREE, deterministic=True)
    with pytest.raises(InvalidSetting, match="keeps no environment"):
        evaluate(Alternating(), deterministic=True)


def test_an_agent_that_says_how_likely_its_actions_are() -> None:
    assert evaluate(Saying(), FREE).expected_return == pytest.approx(3 * (0.8 - 0.2))
    assert evaluate(Saying(), FREE, deterministic=True).expected_return == 3.0


class Wild(Alternating):
    """One that predicts what is no action."""

    def predict(self, observation: Array, *_: Any, **__: Any) -> tuple[Array, Any]:
        return np.full(len(observation), 3), None


def test_what_is_no_action_is_refused() -> None:
    with pytest.raises(Exception, match="3"):
        evaluate(Wild(), FREE, deterministic=True)


@pytest.mark.parametrize("name", ["ppo", "dqn", "q-learning"])
def test_another_tasks_rows_are_refused(name: str) -> None:
    agent = make(name, make_vec_env(FREE, 2, seed=0), seed=0)
    agent.learn(20)
    for target in ("我爱", "我爱你我"):
        with pytest.raises(InvalidSetting, match="rows of"):
            evaluate(agent, "TextGen-v0", alphabet="我爱你", target=target)
    if name != "q-learning":
        with pytest.raises(InvalidSetting, match=r"does Discrete\(3\); this task.*Discrete\(4\) actions"):
            evaluate(agent, "TextGen-v0", alphabet="我爱你好")


def test_many_texts_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("TextGym/Copy-v0", alphabet="ab", max_length=2)
    agent = make("ppo", make_vec_env(task, 2, seed=0), seed=0, **TINY)
    whole = evaluate(agent).expected_return
    monkeypatch.setattr("agents.probabilities.CHUNK", 3)
    assert evaluate(agent).expected_return == pytest.approx(whole, abs=1e-6)
