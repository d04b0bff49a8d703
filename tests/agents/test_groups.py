"""Groups of completions: one prompt for all of a group, whole completions alone, and advantages worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import CachedTransformerPolicy, evaluate, make, make_vec_env
from agents.group_relative import advantages, returns_onward, token_weights
from agents.groups import GroupRolloutBuffer
from agents.grpo import GRPO
from agents.rloo import RLOO
from agents.sampling import Sampling
from textgym import Prompt, load_task
from textgym.errors import InvalidSetting

SMALL: Any = {"device": "cpu", "policy": {"d_model": 8, "n_layers": 1, "n_heads": 2}}
COPY: Any = {"alphabet": "abc", "max_length": 3}


def collected(agent: Any) -> GroupRolloutBuffer:
    """Return one rollout of an agent."""
    _, callback = agent._setup_learn(10**6)
    assert agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    buffer: GroupRolloutBuffer = agent.rollout_buffer
    return buffer


def bridged() -> Any:
    return make_vec_env("TextGym/Copy-v0", 6, seed=0, **COPY)


def single() -> Any:
    return DummyVecEnv([lambda: gymnasium.make("TextGym/Copy-v0", **COPY)] * 6)


@pytest.mark.parametrize("rows", [bridged, single])
@pytest.mark.parametrize("group_size", [2, 3, 6])
def test_a_group_answers_one_prompt_and_other_groups_others(rows: Callable[[], Any], group_size: int) -> None:
    agent = make("rloo", rows(), seed=0, group_size=group_size, episodes=20, **SMALL)
    buffer = collected(agent)
    task = load_task("TextGym/Copy-v0", **COPY)
    prompts: dict[int, bytes] = {}
    for completion, segment in zip(buffer.completion, buffer.segment[:, 0]):
        prompts[int(completion)] = buffer.tokens[segment, : task.max_prompt].tobytes()
    assert sorted(prompts) == list(range(120))
    groups = [[prompts[first + i] for i in range(group_size)] for first in range(0, 120, group_size)]
    assert all(len({*group}) == 1 for group in groups)
    assert len({group[0] for group in groups}) > 10
    before = [prompts[first] for first in range(0, 120, group_size)]
    collected(agent)  # the next rollout asks something else
    asked = buffer.tokens[:, : task.max_prompt]
    assert before != [asked[buffer.segment[buffer.completion == i, 0][0]].tobytes() for i in range(0, 120, group_size)]


def test_a_rollout_holds_the_first_completions_of_each_row_whole() -> None:
    agent = make("grpo", bridged(), seed=0, group_size=3, episodes=5, **SMALL)
    buffer = collected(agent)
    task = load_task("TextGym/Copy-v0", **COPY)
    assert buffer.segments == 30 == len({*buffer.completion.tolist()})
    rewards, at = buffer.table(buffer.rewards)
    np.testing.assert_array_equal(rewards[at], buffer.rewards[:, 0])
    lengths = np.bincount(buffer.completion)
    assert lengths.min() < lengths.max()  # ragged
    for completion in range(30):
        mine = np.flatnonzero(buffer.completion == completion)
        assert at[1][mine].tolist() == list(range(len(mine)))
        (segment,) = {*buffer.segment[mine, 0].tolist()}
        seen = buffer.tokens[segment]
        prompt = seen[: task.max_prompt]
        target = np.append(prompt[prompt != task.vocabulary.pad], task.vocabulary.eos_id or 0)
        rows = task.blank(1)
        rows.begin(..., [Prompt(prompt[prompt != task.vocabulary.pad], target)])
        paid = [float(task.step(rows, buffer.actions[i].astype(np.int64)[0])[0]) for i in mine]
        assert rows.finished[0]  # whole
        np.testing.assert_allclose(buffer.rewards[mine, 0] / agent.reward_scale, paid, rtol=1e-6)


@pytest.mark.parametrize("env", ["TextGym/Copy-v0", "TextGym/Brackets-v0"], ids=["free", "masked"])
@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_an_update_reads_the_cut_that_was_drawn_from(name: str, env: str) -> None:
    agent = make(name, make_vec_env(env, 6, seed=0), seed=0, **SMALL)
    agent.policy.sampling = Sampling(top_k=2)
    with torch.no_grad():
        agent.policy.action_net.weight.mul_(8.0)
    (batch,) = collected(agent).get(None)
    prefixes: Any = batch.observations
    taken = batch.actions.flatten().long()
    assert (prefixes.masks.sum(dim=1) <= 2).all()
    log_prob = agent.policy.evaluate_actions(prefixes, taken)[1]
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)
    with torch.no_grad():
        agent.policy.action_net.weight.neg_()  # others are likeliest then
    features = agent.policy.features_extractor.read_prefixes(prefixes)
    logits = agent.policy.action_net(features).masked_fill(~prefixes.masks, -torch.inf)
    log_prob = agent.policy.evaluate_actions(prefixes, taken)[1]
    wanted = logits.log_softmax(1).gather(1, taken[:, None])[:, 0]
    torch.testing.assert_close(log_prob, wanted, atol=1e-5, rtol=1e-5)


def test_which_completions_are_used_does_not_depend_on_their_lengths() -> None:
    task = load_task("TextGen-v0", target="aaaa", alphabet="a", eos="$")  # a random text ends with half of its tokens
    agent = make("rloo", make_vec_env(task, 4, seed=0), seed=0, episodes=400, **SMALL)
    with torch.no_grad():
        agent.policy.action_net.weight.zero_()
        agent.policy.action_net.bias.zero_()
    buffer = collected(agent)
    lengths = np.bincount(np.bincount(buffer.completion), minlength=6)[1:]
    np.testing.assert_allclose(lengths / 1600, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16], atol=0.045)


def test_advantages_worked_out_by_hand() -> None:
    onward = np.array([[3.0, 1.0], [1.0, 0.0], [2.0, 2.0], [10.0, 0.0], [10.0, 0.0], [10.0, 5.0]])
    told: Any = {"group_size": 3, "leave_one_out": True}
    found = advantages(onward, **told)
    np.testing.assert_allclose(found[:3, 0], [3 - 1.5, 1 - 2.5, 2 - 2.0])
    np.testing.assert_allclose(found[:, 1], found[:, 0])
    np.testing.assert_allclose(found[3:], 0)
    each = advantages(onward, per_token=True, **told)
    np.testing.assert_allclose(each[:, 0], found[:, 0])
    np.testing.assert_allclose(each[:3, 1], [1 - 1.0, 0 - 1.5, 2 - 0.5])
    np.testing.assert_allclose(each[3:, 1], [-2.5, -2.5, 5.0])
    mean = advantages(onward, 3, leave_one_out=False)
    np.testing.assert_allclose(mean, found * 2 / 3)
    scaled = advantages(onward, 3, leave_one_out=False, normalise_std=True)
    np.testing.assert_allclose(scaled[:3, 0], np.array([1.0, -1.0, 0.0]) / 1.0001)
    np.testing.assert_allclose(scaled[3:], 0)


def test_returns_are_summed_from_each_token_on() -> None:
    np.testing.assert_allclose(returns_onward(np.array([[1.0, 2.0, 4.0]]), 0.5), [[3.0, 4.0, 4.0]])


def test_what_a_token_counts() -> None:
    segment = torch.tensor([0, 1, 1, 1])
    assert token_weights(segment, 2, "none").tolist() == [0.5] * 4
    assert token_weights(segment, 2, "token").tolist() == [0.25] * 4
    torch.testing.assert_close(token_weights(segment, 2, "episode"), torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6]))


@pytest.mark.parametrize("kind", [RLOO, GRPO])
def test_the_classes_stand_alone_as_sb3s_do(kind: type[Any], tmp_path: Any) -> None:
    env = make_vec_env("TextGen-v0", 8, seed=0)
    model = kind(CachedTransformerPolicy, env, group_size=4, seed=0, device="cpu")
    critic = [parameter.clone() for parameter in model.policy.value_net.parameters()]
    model.learn(2000)
    assert model.predict(env.reset(), deterministic=True)[0].shape == (8,)
    assert all(torch.equal(one, other) for one, other in zip(model.policy.value_net.parameters(), critic))
    model.save(tmp_path / "model")
    assert kind.load(tmp_path / "model", env).group_size == 4


# What is refused


@pytest.mark.parametrize("name", ["rloo", "grpo"])
@pytest.mark.parametrize(("rows", "size", "hint"), [(8, 3, "n_envs=9, or group_size=2"), (4, 8, "n_envs=8, or group")])
def test_rows_that_make_no_whole_groups_are_refused_with_what_fits(name: str, rows: int, size: int, hint: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"{rows} rows do not make groups of group_size={size}: .*Give {hint}"):
        make(name, make_vec_env("TextGen-v0", rows), group_size=size)


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_one_row_is_too_few(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"1 rows do not make groups of group_size=8: .*Give n_envs=8\."):
        make(name, make_vec_env("TextGen-v0", 1))


@pytest.mark.parametrize("rows", [2, 3, 7, 12, 13])
def test_the_size_of_groups_fits_the_rows(rows: int) -> None:
    agent = make("rloo", make_vec_env("TextGen-v0", rows), **SMALL)
    assert rows % agent.group_size == 0
    assert 2 <= agent.group_size <= max(8, rows)
    agent.learn(1)


class Unseeded(gymnasium.Env[Any, Any]):
    """It draws its prompts from somewhere else than its seed; without prompts, it forgets what was written."""

    observation_space = spaces.Box(0, 4, (3,), np.int32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, chance: np.random.Generator, forgets: bool = False) -> None:
        self.chance, self.forgets = chance, forgets

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.row, self.length = np.full(3, 4, np.int32), 1
        self.row[0] = 0 if self.forgets else self.chance.integers(4)
        return self.row.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.forgets:
            self.row[:] = [1, 2, self.length]
        else:
            self.row[self.length] = int(action)
        self.length += 1
        return self.row.copy(), 1.0, self.length == 3, False, {}


def test_prompts_that_do_not_come_of_the_seed_are_found_out() -> None:
    chance = np.random.default_rng(0)
    env = DummyVecEnv([lambda: Unseeded(chance)] * 4)
    with pytest.raises(InvalidSetting, match=r"reset with one seed, and their episodes number \d begin with different"):
        make("grpo", env, **SMALL).learn(100)


def test_observations_that_forget_are_found_out() -> None:
    env = DummyVecEnv([lambda: Unseeded(np.random.default_rng(0), forgets=True)] * 4)
    with pytest.raises(InvalidSetting, match=r"observations of one episode do not extend each other"):
        make("grpo", env, **SMALL).learn(100)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="holds no tokens"):
        make("rloo", make_vec_env("CartPole-v1", 4), device="cpu")
    env = DummyVecEnv([lambda: Unseeded(np.random.default_rng(0))] * 4)
    env.action_space = spaces.Box(-1, 1, (1,))
    with pytest.raises(InvalidSetting, match=r"RLOO writes tokens, one an action: Discrete\(size\), not Box"):
        make("rloo", env, device="cpu")


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_a_task_is_learned_in_ragged_groups(name: str) -> None:
    task = load_task("TextGen-v0", target=["ab", "ba", "a"], alphabet="ab", eos="$", reward="shaped")
    agent = make(name, make_vec_env(task, 8, seed=0), seed=0, device="cpu", group_size=4).learn(10_000)
    assert evaluate(agent, deterministic=True).success_probability == 1.0
