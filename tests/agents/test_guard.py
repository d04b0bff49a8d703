"""Numbers that are not finite stop learning before anything of them is kept, in any SB3 agent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from guarded import DEEP, PLAIN, agent_of, plain
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents import Config, SB3VecEnv, load, save
from agents.folder import read_files
from agents.guard import FiniteGuard, _all_finite
from agents.training import train
from textgym.errors import InvalidReward, NotFinite


class Poison(BaseCallback):
    """Makes one number of a parameter NaN or infinite: at a step, at the start of a rollout, at its end, or at the end.

    Args:
        when: which of them.
        value: the number.
        after: not before this step.
    """

    def __init__(self, when: str, value: float = float("nan"), after: int = 64) -> None:
        super().__init__()
        self.when, self.value, self.after = when, value, after

    def _strike(self, when: str) -> bool:
        if when == self.when and self.model.num_timesteps >= self.after:
            with torch.no_grad():
                next(self.model.policy.parameters()).view(-1)[:] = self.value
        return True

    def _on_step(self) -> bool:
        return self._strike("step")

    def _on_rollout_start(self) -> None:
        self._strike("rollout start")

    def _on_rollout_end(self) -> None:
        self._strike("rollout end")

    def _on_training_end(self) -> None:
        self._strike("end")


@pytest.mark.parametrize("name", DEEP)
def test_a_learning_rate_beyond_all_measure_is_named(name: str) -> None:
    agent = agent_of(name, learning_rate=1e30)
    with pytest.raises(
        NotFinite,
        match=rf"^{name} on TextGen-v0, update \d+, step \d+: .* A smaller learning rate \(now 1e\+30\)",
    ):
        agent.learn(400)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("when", ["step", "rollout start", "rollout end"])
@pytest.mark.parametrize("name", DEEP)
def test_a_poisoned_parameter_stops_learning_in_the_rollout_or_in_the_update(
    name: str, when: str, value: float
) -> None:
    agent = agent_of(name)
    bad = next(key for key, _ in agent.policy.named_parameters())
    with pytest.raises(NotFinite, match=rf"^{name} on TextGen-v0, update \d+, step \d+: .*{bad}"):
        agent.learn(400, callback=Poison(when, value))
    assert 64 <= agent.num_timesteps <= 100


@pytest.mark.parametrize("name", DEEP)
def test_a_poisoned_gradient_is_named_and_its_step_is_not_made(name: str) -> None:
    agent = agent_of(name)
    agent.learn(64)
    parameter = list((agent.q_net.q_net if name == "dqn" else agent.policy.action_net).parameters())[-1]
    parameter.register_hook(lambda grad: torch.full_like(grad, float("nan")))
    before = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    with pytest.raises(NotFinite, match=rf"{name} on TextGen-v0.*the gradient of .* is not finite; its step was not"):
        agent.learn(64)
    assert all(torch.equal(value, before[key]) for key, value in agent.policy.state_dict().items())


@pytest.mark.parametrize("name", DEEP)
def test_what_is_poisoned_last_is_found_at_the_end_of_learning(name: str) -> None:
    agent = agent_of(name)
    poison, guard = Poison("end", after=0), FiniteGuard()
    with pytest.raises(NotFinite, match=r"parameter .* is not finite\. Nothing of it was saved"):
        agent.learn(64, callback=[poison, guard])


def test_the_last_good_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(env="TextGen-v0", agent="a2c", settings={"policy": {"d_model": 8}}, steps=2000, n_envs=4)
    strike = Poison("rollout end", after=512)
    monkeypatch.setattr("agents.training.Watch._on_rollout_start", lambda watch: strike.init_callback(watch.model))
    monkeypatch.setattr("agents.training.Watch._on_rollout_end", lambda watch: strike.on_rollout_end())
    with pytest.raises(NotFinite, match="a2c on TextGen-v0"):
        train(config, tmp_path, device="cpu", checkpoint_every=128, texts=0)
    manifest, _ = read_files(tmp_path)
    assert 256 <= manifest["steps"] < 512
    agent = load(tmp_path)
    assert _all_finite(agent.policy.parameters())
    agent.learn(64, reset_num_timesteps=False)


def test_parameters_that_are_not_finite_are_not_saved_by_hand_either(tmp_path: Path) -> None:
    agent = agent_of("ppo")
    save(agent, tmp_path)
    before = read_files(tmp_path)
    with torch.no_grad():
        next(agent.policy.parameters())[:] = float("inf")
    with pytest.raises(NotFinite, match=r"ppo's parameter .* is not finite; nothing was saved"):
        save(agent, tmp_path)
    assert read_files(tmp_path) == before


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("when", ["step", "rollout end", "rate"])
def test_the_guard_is_a_callback_for_sb3s_own_agents(kind: type[BaseAlgorithm], when: str) -> None:
    agent = plain(kind, **({"learning_rate": 1e30} if when == "rate" else {}))
    with pytest.raises(NotFinite, match=rf"^{kind.__name__} on TextGen-v0, update \d+, step \d+: "):
        agent.learn(600, callback=[FiniteGuard(), Poison(when)])


def test_an_actor_and_a_critic_with_optimisers_of_their_own_are_guarded() -> None:
    agent = SAC("MlpPolicy", "Pendulum-v1", device="cpu", learning_starts=8, policy_kwargs={"net_arch": [8]})
    agent.learn(16, callback=FiniteGuard())
    parameter: Any = next(agent.actor.parameters())
    parameter.register_hook(lambda grad: torch.full_like(grad, float("nan")))
    with pytest.raises(NotFinite, match=r"SAC on .*the gradient of actor\."):
        agent.learn(64, callback=FiniteGuard())


class Pays(VectorWrapper[Any, Any, Any, Any]):
    """Two CartPoles whose third step pays something else."""

    def __init__(self, rewards: Any) -> None:
        pole = partial(gymnasium.make, "CartPole-v1")
        super().__init__(SyncVectorEnv([pole, pole], autoreset_mode=AutoresetMode.SAME_STEP))
        self.rewards, self.steps = rewards, 0

    def step(self, actions: Any) -> Any:
        self.steps += 1
        observations, rewards, *rest = self.env.step(actions)
        return (observations, self.rewards if self.steps == 3 else rewards, *rest)


@pytest.mark.parametrize(
    ("rewards", "fault"),
    [
        (np.array([1.0, np.nan]), "paid nan in row 1, step 3 of its episode. A reward must be finite"),
        ([np.inf, 0.0], "paid inf in row 0, step 3"),
        (np.array([-np.inf, np.nan], np.float32), "paid -inf in row 0, step 3"),
        (np.zeros((2, 1)), r"an agent needs one number a row, shape \(2,\)"),
        (np.zeros(3), "an agent needs one number a row"),
        (1.0, "paid 1.0; an agent needs one number a row"),
        (np.array(["1", "2"]), "an agent needs one number a row"),
        (np.array([1.0, None]), "an agent needs one number a row"),
        (np.array([1j, 2]), "an agent needs one number a row"),
    ],
)
def test_a_foreign_environments_reward_that_is_no_finite_number_is_refused(rewards: Any, fault: str) -> None:
    agent = PPO("MlpPolicy", SB3VecEnv(Pays(rewards)), n_steps=8, batch_size=16, device="cpu")
    with pytest.raises(InvalidReward, match=fault):
        agent.learn(16)


@pytest.mark.parametrize("rewards", [[1, 2], (True, False), np.array([1, 2], np.int8), np.ones(2, np.float16)])
def test_a_foreign_environment_may_pay_any_real_numbers(rewards: Any) -> None:
    env = SB3VecEnv(Pays(rewards))
    env.reset()
    paid = [env.step(np.zeros(2, int))[1] for _ in range(3)][2]
    assert paid.dtype == np.float32
    assert paid.tolist() == [float(reward) for reward in rewards]
