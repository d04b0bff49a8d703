"""Frozen blocks, checkpointing, bfloat16 and minibatches in parts: what learns, and that the gradients are the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import ARCHITECTURES, GPT2, LLAMA, saved
from safetensors.numpy import load_file
from stable_baselines3 import PPO

from agents import CausalLMPolicy, evaluate, load, make, make_vec_env, quantise, save
from agents.accumulating import parts
from agents.causal_extractor import CausalLMExtractor
from textgym.errors import InvalidSetting
from textgym.space import TokenBox

architectures = pytest.mark.parametrize("kind", ARCHITECTURES.keys())
ON_POLICY = ("ppo", "a2c", "reinforce", "rloo", "grpo")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a saved model of each architecture."""
    place, letters = tmp_path_factory.mktemp("models"), [*"我爱你"]
    return {kind: saved(place / kind, own, letters, initializer_range=0.2) for kind, own in ARCHITECTURES.items()}


def made(model: Any, agent: str = "ppo", policy: dict[str, Any] | None = None, **settings: Any) -> Any:
    small = {"dqn": {"learning_starts": 16}, "grpo": {}, "rloo": {}}.get(agent, {"n_steps": 8})
    env = make_vec_env("TextGen-v0", 8, seed=0)
    return make(agent, env, policy={"model": model, **(policy or {})}, seed=0, device="cpu", **{**small, **settings})


def note(noted: list[torch.Tensor], optimizer: Any, *_: Any) -> None:
    """Keep the gradients of a step."""
    optimizer.gather()
    noted.append(optimizer.flat.grad.clone())


def copies(agent: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in agent.policy.named_parameters()}


def collected(agent: Any) -> Any:
    """Collect a rollout; return all of it as one minibatch."""
    _, callback = agent._setup_learn(10**6)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)
    agent.policy.set_training_mode(True)
    (batch,) = agent.rollout_buffer.get(None)
    return batch


def gradients(policy: Any, batch: Any) -> torch.Tensor:
    """Return the gradient of a loss of everything that an update reads."""
    policy.zero_grad()
    values, log_prob, entropy = policy.evaluate_actions(batch.observations, batch.actions.flatten())
    (values.square().sum() + log_prob.sum() - 0.1 * entropy.sum()).backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


class TestFreezing:
    """All but the last blocks stay as they are."""

    @architectures
    @pytest.mark.parametrize("name", ["ppo", "dqn"])
    def test_the_last_block_and_what_is_behind_it_learn(self, name: str, kind: str, folders: dict[str, str]) -> None:
        agent = made(folders[kind], name, {"train_layers": 1})
        before = copies(agent)
        agent.learn(64)
        moved = {n for n, p in agent.policy.named_parameters() if not torch.equal(before[n], p)}
        block = "body.h.1." if kind == "gpt2" else "body.layers.1."
        behind = (block, "body.ln_f", "body.norm", "value_net", "q_net.0")
        head = () if kind == "gpt2" or name == "dqn" else ("action_net",)  # GPT-2's are its embeddings
        assert all(any(part in n for part in (*behind, *head)) for n in moved)
        assert {part for part in (*behind[:1], *head) if any(part in n for n in moved)} == {block, *head}
        assert all(p.grad is None for p in agent.policy.parameters() if not p.requires_grad)
        learned = {id(p) for p in agent.policy.parameters() if p.requires_grad}
        members = agent.policy.optimizer.members
        assert {id(p) for p in members} <= learned
        assert agent.policy.optimizer.flat.numel() == sum(p.numel() for p in members)

    def test_no_block_at_all(self, folders: dict[str, str]) -> None:
        agent = made(folders["gpt2"], policy={"train_layers": 0})
        learned = {name for name, p in agent.policy.named_parameters() if p.requires_grad}
        assert {name.rpartition("body.")[2] for name in learned if "body." in name} == {"ln_f.weight", "ln_f.bias"}

    def test_more_blocks_than_there_are(self, folders: dict[str, str]) -> None:
        with pytest.raises(InvalidSetting, match=r"train_layers=3: GPT2Model has 2 blocks\. Give at most that many"):
            made(folders["gpt2"], policy={"train_layers": 3})
        with pytest.raises(InvalidSetting, match=r"policy\.train_layers=-1 is refused"):
            made(folders["gpt2"], policy={"train_layers": -1})

    def test_adapters_or_blocks(self, folders: dict[str, str]) -> None:
        both = {"lora": {}, "train_layers": 1}
        with pytest.raises(
            InvalidSetting, match=r"with lora, adapters learn in the place of blocks\. Leave train_layers"
        ):
            made(folders["gpt2"], policy=both)
        with pytest.raises(InvalidSetting, match="adapters learn in the place of blocks"):
            CausalLMExtractor(TokenBox(3, 0, 3), GPT2, tuning=both)

    @pytest.mark.parametrize("name", ["ppo", "dqn"])
    def test_a_run_holds_what_learns_and_goes_on_exactly(
        self, name: str, folders: dict[str, str], tmp_path: Path
    ) -> None:
        kl: dict[str, Any] = {} if name == "dqn" else {"kl_coefficient": 0.1}
        first = made(folders["llama"], name, {"train_layers": 1}, **kl).learn(64)
        if name == "ppo":  # the reference shares what is frozen
            own, start = (dict(p.named_parameters()) for p in (first.policy, first.kl_control.reference.policy))
            assert {n for n, p in start.items() if p is own[n]} == {n for n, p in own.items() if not p.requires_grad}
        save(first, tmp_path / "run")
        held = load_file(tmp_path / "run" / "policy.safetensors")
        assert not any("layers.0." in key or "embed_tokens" in key for key in held)
        assert any("layers.1." in key for key in held)
        second = load(tmp_path / "run", device="cpu")
        assert all(torch.equal(a, b) for a, b in zip(copies(first).values(), copies(second).values()))
        second.learn(64, reset_num_timesteps=False)
        load(tmp_path / "run", device="cpu")  # sets all chance to what it was
        first.learn(64, reset_num_timesteps=False)
        assert all(torch.equal(a, b) for a, b in zip(copies(first).values(), copies(second).values()))
        env = make_vec_env("TextGen-v0", 8)
        begun = make(name, env, init=tmp_path / "run")
        assert begun.made.settings["policy"]["train_layers"] == 1
        with pytest.raises(InvalidSetting, match=r"run has policy\.train_layers=1, .* Leave it out"):
            make(name, env, init=tmp_path / "run", policy={"train_layers": 2})

    @pytest.mark.parametrize("tuning", [{"train_layers": 1}, {"lora": {"r": 2}}])
    def test_it_is_quantised(self, tuning: dict[str, Any], folders: dict[str, str], tmp_path: Path) -> None:
        agent = made(folders["llama"], policy=tuning).learn(64)
        save(quantise(agent), tmp_path / "run")
        again = load(tmp_path / "run", device="cpu")
        assert evaluate(again).expected_return == evaluate(agent).expected_return


class TestCheckpointing:
    """Blocks are computed twice, and less is kept."""

    @architectures
    @pytest.mark.parametrize("tuning", [{}, {"lora": {"r": 4}}, {"train_layers": 1}], ids=["all", "lora", "frozen"])
    def test_gradients_are_the_same_and_less_is_kept(
        self, kind: str, tuning: dict[str, Any], folders: dict[str, str]
    ) -> None:
        found, kept = [], []
        for again in (False, True):
            agent = made(folders[kind], policy={**tuning, "gradient_checkpointing": again})
            batch = collected(agent)
            sizes: list[int] = []

            def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
                sizes.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                agent.policy.evaluate_actions(batch.observations, batch.actions.flatten())
            kept.append(sum(sizes))
            found.append(gradients(agent.policy, batch))
        torch.testing.assert_close(*found, atol=1e-6, rtol=1e-5)
        assert found[0].abs().max() > 1e-2
        assert kept[1] < (0.8 if tuning.get("train_layers") else 0.6) * kept[0]

    def test_gradients_go_no_further_than_what_learns(self, folders: dict[str, str]) -> None:
        policy = made(folders["gpt2"], policy={"train_layers": 1, "gradient_checkpointing": True}).policy.train()
        assert not policy.features_extractor.transformer.embedded(torch.tensor([[0, 1, 3]])).requires_grad

    def test_it_learns(self, folders: dict[str, str]) -> None:
        agents = [made(folders["gpt2"], policy={"gradient_checkpointing": again}).learn(64) for again in (False, True)]
        for one, other in zip(*(copies(agent).values() for agent in agents)):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


class TestHalfPrecision:
    """Blocks compute in bfloat16; heads, logits and losses do not."""

    @architectures
    @pytest.mark.parametrize("tuning", [{}, {"lora": {"r": 4}}], ids=["all", "lora"])
    def test_it_says_nearly_the_same_and_learns_in_float32(
        self, kind: str, tuning: dict[str, Any], folders: dict[str, str]
    ) -> None:
        exact, half = (made(folders[kind], policy={**tuning, "dtype": dtype}) for dtype in ("float32", "bfloat16"))
        half.policy.load_state_dict(exact.policy.state_dict())
        batch = collected(half)
        with torch.no_grad():
            _, log_prob, _ = exact.policy.evaluate_actions(batch.observations, batch.actions.flatten())
            found = half.policy.evaluate_actions(batch.observations, batch.actions.flatten())
        assert {tensor.dtype for tensor in found} == {torch.float32}
        torch.testing.assert_close(found[1], log_prob, atol=0.1, rtol=0)
        assert not torch.equal(found[1], log_prob)
        torch.testing.assert_close(found[1], batch.old_log_prob, atol=0.1, rtol=0)  # with a cache, in bfloat16 too
        half.policy.set_training_mode(False)
        with torch.no_grad():
            half.policy(torch.as_tensor(half._last_obs))
        (cache,) = half.policy.features_extractor._followed._held
        assert {keys.dtype for keys, _ in cache.memory.held} == {torch.bfloat16}
        assert {p.dtype for p in half.policy.parameters() if p.requires_grad} == {torch.float32}
        frozen = {n for n, p in half.policy.named_parameters() if p.dtype == torch.bfloat16}
        assert bool(frozen) == bool(tuning)
        assert not any("wte" in name or "embed" in name or "norm" in name for name in frozen)
        half.learn(64)
        assert all(p.isfinite().all() for p in half.policy.parameters())

    @pytest.mark.parametrize("model", ["folder", "fresh"])
    def test_a_run_of_it(self, model: str, folders: dict[str, str], tmp_path: Path) -> None:
        source: Any = folders["gpt2"] if model == "folder" else GPT2
        policy = {"lora": {"r": 4}, "dtype": "bfloat16"}
        first = made(source, policy=policy, kl_coefficient=0.1).learn(64)
        save(first, tmp_path / "run")
        second = load(tmp_path / "run", device="cpu")
        second.learn(64, reset_num_timesteps=False)
        load(tmp_path / "run", device="cpu")  # sets all chance to what it was
        first.learn(64, reset_num_timesteps=False)
        assert all(torch.equal(a, b) for a, b in zip(copies(first).values(), copies(second).values()))

    def test_no_other_precision(self, folders: dict[str, str]) -> None:
        for dtype in ("float16", 16, None):
            with pytest.raises(InvalidSetting, match=r"policy\.dtype=.* is refused"):
                made(folders["gpt2"], policy={"dtype": dtype})
        kwargs = {"model": GPT2, "dtype": "half"}
        with pytest.raises(InvalidSetting, match=r"policy: dtype='half' is refused"):
            PPO(CausalLMPolicy, make_vec_env("TextGen-v0", 2), policy_kwargs=kwargs, device="cpu")


class TestParts:
    """A minibatch in parts has the gradient of the whole one."""

    @pytest.mark.parametrize("size", [None, 1, 7, 20, 10**6])
    def test_each_transition_is_in_one_part_with_its_prefix(self, size: int | None) -> None:
        agent = made(GPT2, n_steps=7)  # episodes of 3
        batch = collected(agent)
        prefixes, many = batch.observations, len(batch.actions)
        found = [(torch.arange(many)[chosen], part) for chosen, part in parts(batch, size)]
        assert torch.cat([chosen for chosen, _ in found]).sort()[0].tolist() == [*range(many)]
        for chosen, part in found:
            assert len(chosen) <= max(3, (size or many) + 2)
            own = part.observations
            assert torch.equal(own.tokens[own.segment], prefixes.tokens[prefixes.segment[chosen]])
            assert torch.equal(own.length, prefixes.length[chosen])
            assert torch.equal(part.advantages, batch.advantages[chosen])
            assert len(own.tokens) == len(own.segment.unique())
        assert (len(found) > 1) == (size in (1, 7, 20))

    @pytest.mark.parametrize("name", ON_POLICY)
    @pytest.mark.parametrize("kl", [{}, {"kl_coefficient": 0.3, "kl": "k3"}], ids=["alone", "k3"])
    def test_gradients_of_parts_add_up_to_those_of_whole_minibatches(
        self, name: str, kl: dict[str, Any], folders: dict[str, str]
    ) -> None:
        found, logged = [], []
        more: dict[str, Any] = {"length_normalisation": "episode"} if name in ("rloo", "grpo") else {"n_steps": 7}
        more = {"ppo": {**more, "batch_size": 28, "n_epochs": 2}, "a2c": {**more, "normalize_advantage": True}}.get(
            name, more
        )
        for size in (None, 5):
            agent = made(folders["llama"], name, micro_batch_size=size, max_grad_norm=1e9, **kl, **more)
            noted: list[torch.Tensor] = []
            agent.policy.optimizer.register_step_pre_hook(partial(note, noted))
            agent.learn(56)
            found.append(torch.cat(noted))
            logged.append({key: value for key, value in agent.logger.name_to_value.items() if "loss" in key})
        assert found[0].norm() > 0.1
        torch.testing.assert_close(*found, atol=2e-5, rtol=1e-4)
        shared = logged[0].keys() & logged[1].keys()
        assert [logged[0][key] for key in shared] == pytest.approx([logged[1][key] for key in shared], abs=1e-4)

    def test_one_part_is_read_at_a_time(self, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        agent, seen = made(folders["gpt2"], n_steps=9, batch_size=72, micro_batch_size=9), []
        read = CausalLMExtractor.read_prefixes

        def noted(own: CausalLMExtractor, prefixes: Any) -> torch.Tensor:
            seen.append(len(prefixes.tokens))
            return read(own, prefixes)

        monkeypatch.setattr(CausalLMExtractor, "read_prefixes", noted)
        agent.learn(72)
        assert seen == [3] * 8 * agent.n_epochs  # nine transitions each, of 24 episodes

    def test_observations_of_no_tokens(self) -> None:
        env = make_vec_env("CartPole-v1", 2, seed=0)
        learned = []
        for size in (None, 10):
            agent = make("reinforce", env, seed=0, device="cpu", n_steps=16, micro_batch_size=size).learn(32)
            learned.append(torch.nn.utils.parameters_to_vector(agent.policy.parameters()))
        torch.testing.assert_close(*learned, atol=1e-5, rtol=0)
        agent = make("ppo", make_vec_env("Pendulum-v1", 2), n_steps=8, batch_size=8, micro_batch_size=4)
        with pytest.raises(InvalidSetting, match="micro_batch_size needs discrete actions"):
            agent.learn(16)
        with pytest.raises(InvalidSetting, match="micro_batch_size=0 is refused"):
            make("ppo", env, micro_batch_size=0)


def test_all_of_it_together(folders: dict[str, str], tmp_path: Path) -> None:
    policy = {"lora": {"r": 4}, "gradient_checkpointing": True, "dtype": "bfloat16", "critic": "separate"}
    agent = made(LLAMA, "ppo", policy, micro_batch_size=8, kl_coefficient=0.1).learn(128)
    save(agent, tmp_path / "run")
    assert evaluate(load(tmp_path / "run", device="cpu")).expected_return == evaluate(agent).expected_return
