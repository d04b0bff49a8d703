"""What is said of every token, computed another way."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import GPT2, LLAMA, saved
from transformers import AutoModelForCausalLM

from agents import AgentPolicy, evaluate, inspect_completion, inspect_completions, make, make_vec_env, save
from agents.evaluation import write
from agents.likelihood import token_log_probabilities
from agents.text_data import written
from textgym import Episodes, Prompt, Task, load_task
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.errors import InvalidPrompt, InvalidReward, InvalidSetting, InvalidSize, InvalidTarget

SMALL: Any = {"device": "cpu", "policy": {"d_model": 8, "n_layers": 2, "n_heads": 2}}
TASK = load_task("TextGen-v0", target="ab", alphabet="abc")
ENDS = load_task("TextGen-v0", target="ab", alphabet="ab", eos="$", horizon=5)
ON_POLICY = ("ppo", "a2c", "reinforce", "rloo", "grpo")


def not_the_newest(episodes: Episodes) -> BoolArray:
    allowed = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    if episodes.longest:
        allowed[np.arange(len(episodes)), episodes.newest] = False
    return allowed


def learned(name: str = "ppo", task: Any = TASK, env: Any = None, steps: int = 16, **settings: Any) -> Any:
    """An agent that has learned, and was stirred, so that nothing about it is near 0."""
    agent = make(name, env or make_vec_env(task, 4, seed=0), seed=0, **{**SMALL, **settings}).learn(steps)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(steps)
        for parameter in agent.policy.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return agent


def registered(n: int = 4) -> Any:
    """Return an environment of the same task that a run can name."""
    return make_vec_env("TextGen-v0", n, seed=0, target="ab", alphabet="abc")


def prefixes(task: Task, completion: IntArray, prompt: IntArray | None = None) -> tuple[Any, Any]:
    """Return what was seen before each token, and what the mask left, row by row."""
    rows = task.blank(1)
    tokens = np.zeros(0, np.int32) if prompt is None else prompt
    rows.begin(..., [Prompt(tokens, np.zeros(0, np.int32))])
    seen, masks = [], []
    for token in completion.tolist():
        seen.append(rows.tokens[0].copy())
        masks.append(task.action_mask(rows)[0])
        rows.write(np.array([token]))
    return np.stack(seen), np.stack(masks)


@pytest.mark.parametrize("name", ON_POLICY)
def test_the_product_of_probabilities_is_the_likelihood_of_what_is_written(name: str) -> None:
    agent = learned(name, ENDS)
    found = inspect_completion(agent)
    rows, returns = write(agent, ENDS, 1)
    assert found.completion.tolist() == rows.completion[0, : rows.length[0]].tolist()
    assert found.rewards is not None
    assert found.rewards.sum() == pytest.approx(returns[0])
    likelihood = token_log_probabilities(agent, written(ENDS, [([], found.completion.tolist())])[0])
    assert found.log_probabilities == pytest.approx(likelihood, abs=1e-5)
    assert found.total["log_likelihood"] == pytest.approx(likelihood.sum(), abs=1e-5)
    seen, masks = prefixes(ENDS, found.completion)
    p = AgentPolicy(agent)(seen, masks)
    assert found.entropy == pytest.approx([-sum(q * math.log(q) for q in row) for row in p], abs=1e-5)
    assert found.alternatives.tolist() == np.argsort(-p, axis=1).tolist()
    assert found.alternative_scores == pytest.approx(-np.sort(-p, axis=1), abs=1e-5)


def test_over_all_texts_probabilities_sum_to_1_and_divergences_to_that_of_the_policies(tmp_path: Path) -> None:
    other = learned(steps=32, env=registered())
    save(other, tmp_path / "run")
    agent = learned()
    texts = ["".join(text) for text in itertools.product("abc", repeat=2)]
    found = [inspect_completion(agent, completion=text, reference=tmp_path / "run") for text in texts]
    weights = [math.exp(one.total["log_likelihood"] or 0.0) for one in found]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    exact = evaluate(agent, reference=other).kl
    assert exact is not None
    assert exact > 0.01
    assert sum(w * (one.total["kl"] or 0.0) for w, one in zip(weights, found)) == pytest.approx(exact, abs=1e-4)
    ratios = [float(one.log_ratios.sum()) for one in found if one.log_ratios is not None]
    assert sum(w * ratio for w, ratio in zip(weights, ratios)) == pytest.approx(exact, abs=1e-4)


def by_hand(rewards: Any, values: Any, last: float, gamma: float, lam: float) -> list[float]:
    """Generalised advantages as their definition has them: a sum over all that follows, for each token anew."""
    worth = [*values, last]
    delta = [rewards[t] + gamma * worth[t + 1] - worth[t] for t in range(len(rewards))]
    return [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, len(delta))) for t in range(len(delta))]


@pytest.mark.parametrize("text", ["abab$", "aba$", "a"])
def test_advantages_are_a_plain_loop_over_values_and_rewards_at_the_environments_scale(text: str) -> None:
    agent = learned(task=ENDS, gamma=0.9, gae_lambda=0.7, reward_scale=0.25, kl_coefficient=0.5, reference="uniform")
    whole = replace(ENDS, vocabulary=replace(ENDS.vocabulary))
    found = inspect_completion(agent, completion=text)
    seen, _ = prefixes(whole, found.completion)
    with torch.no_grad():
        values = agent.policy.predict_values(torch.as_tensor(seen))[:, 0].numpy() / 0.25
    assert found.values == pytest.approx(values, abs=1e-4)
    assert found.log_probabilities is not None
    assert found.penalties == pytest.approx(-0.5 * (found.log_probabilities + math.log(3)), abs=1e-5)
    assert found.rewards is not None
    expected = by_hand(found.rewards + found.penalties, values, 0.0, 0.9, 0.7)
    assert found.advantages == pytest.approx(expected, abs=1e-4)


def test_what_an_unfinished_completion_may_still_earn_is_the_critics_word() -> None:
    agent = learned(gamma=0.9, gae_lambda=0.7, reward_scale=0.5)
    found = inspect_completion(agent, completion="a")
    assert not found.finished
    seen, _ = prefixes(TASK, np.array([0, 0], np.int32))
    with torch.no_grad():
        first, after = (agent.policy.predict_values(torch.as_tensor(seen))[:, 0] / 0.5).tolist()
    assert found.advantages == pytest.approx([1.0 + 0.9 * after - first], abs=1e-4)


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_agents_without_a_critic_have_no_values(name: str) -> None:
    found = inspect_completion(learned(name))
    assert found.values is None
    assert found.advantages is None
    assert found.notes["value"] == f"{name} learns no value of states"
    assert found.to_dict()["tokens"][0]["value"] is None


@pytest.mark.parametrize("kind", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_temperature_masks_and_cuts_are_those_of_what_is_sampled(kind: dict[str, Any]) -> None:
    task = replace(load_task("TextGen-v0", target="aba", alphabet="abcd"), mask=not_the_newest, state_key=None)
    policy = {"model": kind, "temperature": 0.7, "top_k": 2}
    agent = learned(task=task, policy=policy, steps=32)
    found = inspect_completion(agent, sample=True, seed=3)
    seen, masks = prefixes(task, found.completion)
    p = AgentPolicy(agent)(seen, masks)
    assert (p > 0).sum(axis=1).tolist() == [2, 2, 2]
    assert found.probabilities == pytest.approx(p[np.arange(3), found.completion], abs=1e-5)
    assert np.isfinite(found.alternative_scores).sum(axis=1).tolist() == [2, 2, 2]
    never = inspect_completion(agent, completion="aab")  # the mask bars the second
    assert never.probabilities is not None
    assert never.probabilities[1] == 0
    assert never.total["log_likelihood"] == -math.inf
    assert never.to_dict()["tokens"][1]["log_probability"] is None


@pytest.mark.parametrize("kind", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_attention_is_that_of_transformers_and_nothing_that_is_sampled_changes(
    kind: dict[str, Any], tmp_path: Path
) -> None:
    folder = saved(tmp_path / "model", kind, [*"我爱你"])
    agent = make(
        "ppo",
        make_vec_env("TextGen-v0", 4, tokenizer=folder, horizon=4),
        seed=0,
        device="cpu",
        policy={"model": folder},
    )
    kernel = agent.policy.features_extractor.transformer.body.config._attn_implementation
    row = agent.env.reset()[:1]
    before = agent.policy.scores(torch.as_tensor(row))
    found = inspect_completion(agent, completion="我爱你我")
    assert torch.equal(agent.policy.scores(torch.as_tensor(row)), before)
    assert agent.policy.features_extractor.transformer.body.config._attn_implementation == kernel == "sdpa"
    maker: Any = AutoModelForCausalLM
    model = maker.from_pretrained(folder, attn_implementation="eager").eval()
    trunk = agent.policy.features_extractor.transformer
    ids = torch.tensor([[trunk.begin, *trunk.ids[found.completion[:-1]].tolist()]])
    with torch.no_grad():
        layers = model(ids, output_attentions=True).attentions
    expected = torch.stack([layer[0].mean(dim=0) for layer in layers]).numpy()
    assert found.attention is not None
    assert found.attention.shape == expected.shape
    np.testing.assert_allclose(found.attention, expected, atol=1e-5)


def test_attention_of_our_transformer_by_hand() -> None:
    task = load_task("TextGym/Reverse-v0", alphabet="abc", max_length=3)
    agent = learned(task=task)
    found = inspect_completion(agent, prompt="cb", completion="bc")
    assert found.attention is not None
    assert found.attention.shape == (2, 3, 2 + 3)
    assert found.attention.sum(axis=2) == pytest.approx(np.ones((2, 3)), abs=1e-9)
    assert (np.triu(found.attention[:, :, :], k=3) == 0).all()  # start, c, b; then one more at each token
    network = agent.policy.features_extractor.transformer
    row = torch.tensor([[found.vocabulary.pad, *found.prompt.tolist(), *found.completion[:-1].tolist()]])
    row = torch.nn.functional.pad(row, (0, task.max_prompt + task.horizon - row.shape[1]), value=found.vocabulary.pad)
    ids, columns = network.align(row)
    with torch.no_grad():
        x = network.token(ids) + network.position.weight[1:5] + network.column(columns)
        x = torch.cat([network.first()[None, None], x], dim=1)
        block = network.blocks[0]
        layer = block.attention
        q, k, _ = layer.project(block.norm_attention(x))[0].split(8, dim=1)
    for place in range(3):
        at, weights = 2 + place, []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            scores = [float(q[at, part] @ k[j, part]) / 2 for j in range(at + 1)]
            weights.append(np.exp(scores) / np.exp(scores).sum())
        assert found.attention[0, place, : at + 1] == pytest.approx(np.mean(weights, axis=0), abs=1e-5)


def test_dqn_shows_what_actions_are_worth() -> None:
    agent = learned("dqn", learning_starts=8, reward_scale=0.5)
    found = inspect_completion(agent, completion="cb")
    seen, _ = prefixes(TASK, found.completion)
    with torch.no_grad():
        worth = agent.policy.q_net(torch.as_tensor(seen)).numpy() / 0.5
    assert found.probabilities is None
    assert found.action_values == pytest.approx(worth[[0, 1], [2, 1]], abs=1e-5)
    assert found.values == pytest.approx(worth.max(axis=1), abs=1e-5)
    assert found.advantages == pytest.approx(worth[[0, 1], [2, 1]] - worth.max(axis=1), abs=1e-5)
    assert found.alternatives.tolist() == np.argsort(-worth, axis=1).tolist()
    assert found.kl is None
    assert inspect_completion(agent).advantages == pytest.approx([0, 0])


@pytest.mark.parametrize("name", ["q-learning", "sarsa", "expected-sarsa"])
def test_tables_of_action_values_are_shown_as_they_are(name: str) -> None:
    agent = make(name, make_vec_env(TASK, 4, seed=0), seed=0).learn(400)
    found = inspect_completion(agent)
    seen, _ = prefixes(TASK, found.completion)
    states = {tuple(state): values for state, values in zip(*agent.state_dict().values())}
    worth = np.stack([states[tuple(row)] for row in seen])
    assert found.action_values == pytest.approx(worth.max(axis=1))
    assert found.alternative_scores == pytest.approx(-np.sort(-worth, axis=1))
    assert found.attention is None


@pytest.mark.parametrize(("name", "lam"), [("tabular-actor-critic", 0.0), ("tabular-reinforce", 1.0)])
def test_tabular_policies_have_probabilities_values_and_a_known_start(name: str, lam: float) -> None:
    agent = make(name, make_vec_env(TASK, 4, seed=0), seed=0, gamma=0.8).learn(40)
    found = inspect_completion(agent, completion="ab")
    seen, masks = prefixes(TASK, found.completion)
    p = agent.action_probabilities(seen, masks)
    states = {tuple(state): value for state, value in zip(agent.state_dict()["states"], agent.state_dict()["values"])}
    values = [states[tuple(row)] for row in seen]
    assert found.probabilities == pytest.approx(p[[0, 1], [0, 1]])
    assert found.values == pytest.approx(values)
    assert found.advantages == pytest.approx(by_hand([1.0, 1.0], values, 0.0, 0.8, lam))
    assert found.reference == "start"
    assert found.kl == pytest.approx([sum(q * math.log(3 * q) for q in row if q) for row in p])


def test_the_start_is_what_learning_began_with(tmp_path: Path) -> None:
    first = make("ppo", registered(), seed=5, **SMALL)
    save(first, tmp_path / "before")
    assert inspect_completion(first).kl == pytest.approx([0, 0], abs=1e-9)
    save(first.learn(128), tmp_path / "after", overwrite=True)
    to_start = inspect_completion(tmp_path / "after", completion="ab")
    to_run = inspect_completion(tmp_path / "after", completion="ab", reference=str(tmp_path / "before"))
    assert to_start.reference == "start"
    assert to_start.kl is not None
    assert to_start.kl.min() > 1e-4
    assert to_start.kl == pytest.approx(to_run.kl, abs=1e-9)


def test_a_reference_that_learning_stays_near_to_is_the_default_and_is_kept() -> None:
    agent = learned(kl_coefficient=0.1, kl="exact")
    found = inspect_completion(agent)
    assert found.reference == "start"
    assert found.penalties is None  # it is part of the loss, not of the reward
    kept = agent.kl_control.reference.policy
    seen, masks = prefixes(TASK, found.completion)
    p, q = (AgentPolicy(one)(seen, masks) for one in (agent, kept))
    assert found.kl == pytest.approx((p * np.log(p / q)).sum(axis=1), abs=1e-5)
    uniform = inspect_completion(agent, reference="uniform")
    assert uniform.kl == pytest.approx((p * np.log(3 * p)).sum(axis=1), abs=1e-5)


@pytest.mark.parametrize("name", ["ppo", "dqn", "tabular-reinforce"])
def test_looking_changes_nothing(name: str) -> None:
    own = {} if name.startswith("tabular") else SMALL
    learned = []
    for looks in (False, True):
        agent = make(name, make_vec_env(TASK, 4, seed=0), seed=0, **own).learn(40)
        if looks:
            inspect_completions(agent, 2, sample=True)
        agent.learn(40, reset_num_timesteps=False)
        learned.append({key: np.asarray(value) for key, value in getattr(agent, "policy", agent).state_dict().items()})
    assert all(np.array_equal(learned[0][key], learned[1][key]) for key in learned[0])


def test_samples_are_drawn_by_their_seed_as_often_as_they_are_likely() -> None:
    agent = learned()
    one, again, other = (inspect_completions(agent, 40, sample=True, seed=seed) for seed in (1, 1, 2))
    texts = [[found.text for found in many] for many in (one, again, other)]
    assert texts[0] == texts[1] != texts[2]
    p = AgentPolicy(agent)(*prefixes(TASK, one[0].completion))[0]
    drawn = np.bincount([found.completion[0] for found in one], minlength=3) / 40
    assert np.abs(drawn - p).max() < 0.25  # three deviations


@dataclass(frozen=True)
class TwoParts:
    """Half a point for any a, and one for each place less than 3."""

    def parts(self, episodes: Episodes) -> dict[str, FloatArray]:
        return {"letter": np.where(episodes.newest == 0, 0.5, 0.0), "place": 3.0 - episodes.length}

    def __call__(self, episodes: Episodes) -> FloatArray:
        return np.add(*self.parts(episodes).values())


@dataclass(frozen=True)
class Broken(TwoParts):
    def parts(self, episodes: Episodes) -> dict[str, FloatArray]:
        return {"letter": np.zeros(7), "place": np.zeros(7)}

    def __call__(self, episodes: Episodes) -> FloatArray:
        return np.zeros(len(episodes))


def test_rewards_say_their_parts() -> None:
    agent = learned(task=replace(TASK, reward=TwoParts()))
    found = inspect_completion(agent, completion="ba")
    assert {name: values.tolist() for name, values in found.parts.items()} == {"letter": [0.0, 0.5], "place": [2, 1]}
    assert found.rewards == pytest.approx([2, 1.5])
    assert found.metrics == {"success": 0.0}
    assert [column.title for column in found.columns()][5:7] == ["letter", "place"]
    with pytest.raises(InvalidReward, match="part 'letter' of the reward gave"):
        inspect_completion(learned(task=replace(TASK, reward=Broken())))


@dataclass(frozen=True)
class Unlisted:
    """One letter, to be written again; nobody can list the prompts."""

    max_length: int = 2
    max_target: int = 1

    def __call__(self, rng: np.random.Generator) -> Prompt:
        token = rng.integers(3, size=1, dtype=np.int32)
        return Prompt(token, token)


def test_a_prompt_is_known_by_its_text() -> None:
    reverse = learned(task=load_task("TextGym/Reverse-v0", alphabet="abc", max_length=3))
    found = inspect_completion(reverse, prompt="abc", completion="cba")
    assert found.text == "abc → cba$"
    assert found.total["return"] == pytest.approx(1)
    drawn = inspect_completions(reverse, 6, seed=4)
    assert len({one.text.partition(" ")[0] for one in drawn}) > 2
    unlisted = learned(task=replace(TASK, prompts=Unlisted(), horizon=1, state_key=None))
    assert inspect_completion(unlisted).rewards is not None
    found = inspect_completion(unlisted, prompt="bc")
    assert found.rewards is None
    assert found.total["return"] is None
    assert "target of this prompt is not known" in found.notes["reward"]


class OnlyPredicts:
    """An agent that says nothing of how likely its actions are."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def learn(self, steps: int) -> None:
        """Learn nothing."""

    def predict(self, observation: Any, *args: Any, deterministic: bool = False) -> tuple[Any, None]:
        return np.zeros(len(observation), np.int64), None


@pytest.mark.parametrize(
    ("asking", "error", "message"),
    [
        ({"prompt": "abx"}, InvalidPrompt, r"prompt 'abx' cannot be read: .*has 'x', which is not in the vocabulary"),
        ({"prompt": "abcabc"}, InvalidPrompt, "has 6 tokens, and this environment's prompts have 3 at most"),
        ({"prompt": 3}, InvalidPrompt, "prompt=3 is no text"),
        ({"completion": "abcabc"}, InvalidSetting, "has 6 tokens, and the horizon is 4"),
        ({"completion": "ax"}, InvalidTarget, "has 'x', which is not in the vocabulary"),
        ({"completion": "a$b"}, InvalidSetting, "ends this completion after 2 of its 3 tokens"),
        ({"completion": 3}, InvalidSetting, "completion=3 is no text"),
        ({"completion": "a", "n": 2}, InvalidSetting, "a completion that is given is one"),
        ({"completion": "a", "sample": True}, InvalidSetting, "a completion that is given is one"),
        ({"reference": "strat"}, InvalidSetting, "reference='strat' is neither 'start' nor 'uniform', and no run"),
        ({"reference": ""}, InvalidSetting, "reference='' is no name"),
        ({"reference": 3}, InvalidSetting, "reference=3 is no name"),
        ({"n": 0}, InvalidSize, "n=0"),
        ({"n": True}, InvalidSize, "n=True"),
        ({"alternatives": 0}, InvalidSize, "alternatives=0"),
        ({"seed": -1}, InvalidSetting, "seed=-1"),
        ({"sample": 1}, InvalidSetting, "sample=1"),
        ({"agent": "ppo"}, InvalidSetting, "names the agent of a run"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(asking: dict[str, Any], error: type[Exception], message: str) -> None:
    agent = make("ppo", make_vec_env("TextGym/Reverse-v0", 2, alphabet="abc", max_length=3), seed=0, **SMALL)
    with pytest.raises(error, match=message):
        inspect_completions(agent, **asking)


def test_agents_and_runs_that_cannot_be_looked_at_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        inspect_completion(tmp_path / "nowhere")
    with pytest.raises(InvalidSetting, match="does not say how likely its actions are, or what they are worth"):
        inspect_completion(OnlyPredicts(make_vec_env(TASK, 2)))
    with pytest.raises(InvalidSetting, match="keeps no environment of TextGym's"):
        inspect_completion(object())
    with pytest.raises(InvalidSetting, match="acts in a control task: it writes no text that could be looked into"):
        inspect_completion(make("ppo", make_vec_env("TextGym/FrozenLake-v0", 2), seed=0, **SMALL))
    with pytest.raises(InvalidPrompt, match=r"prompts have 0 at most. Give none: it asks nothing"):
        inspect_completion(learned(), prompt="a")
    with pytest.raises(InvalidSetting, match="no token to look at"):
        inspect_completion(learned(), completion="")


def test_a_reference_without_probabilities_or_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    save(make("q-learning", registered(2), seed=0), tmp_path / "values")
    save(make("ppo", make_vec_env("TextGen-v0", 2), seed=0, **SMALL), tmp_path / "other")
    agent = learned()
    with pytest.raises(InvalidSetting, match="trained by q-learning, which has no probabilities to compare with"):
        inspect_completion(agent, reference=tmp_path / "values")
    with pytest.raises(InvalidSetting, match="was trained on 'TextGen-v0' with vocabulary="):
        inspect_completion(agent, reference=tmp_path / "other")
    with pytest.raises(InvalidSetting, match=r"acts by action values has no probabilities to compare. Leave it out"):
        inspect_completion(make("q-learning", make_vec_env(TASK, 2), seed=0), reference="uniform")
    unseeded = make("ppo", make_vec_env(TASK, 4), **SMALL).learn(32)
    assert "made without a seed" in inspect_completion(unseeded).notes["kl"]
    with pytest.raises(InvalidSetting, match="the start of this agent is not known: it was made without a seed"):
        inspect_completion(unseeded, reference="start")
