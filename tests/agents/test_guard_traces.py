"""A guard leaves no trace: learning is the same with it, no hook stays, and models are zips and copies as before."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from guarded import DEEP, PLAIN, agent_of, plain
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm

from agents import make_vec_env
from agents.guard import FiniteGuard, _all_finite


def hooks_of(agent: Any) -> int:
    modules = [*agent.policy.modules()]
    owned = {id(o): o for m in modules if (o := getattr(m, "optimizer", None)) is not None}.values()
    return sum(len(m._forward_hooks) for m in modules) + sum(len(o._optimizer_step_pre_hooks) for o in owned)


@pytest.mark.parametrize("kind", PLAIN)
def test_what_is_finite_is_left_alone_and_learning_is_the_same(kind: type[BaseAlgorithm]) -> None:
    assert _all_finite([torch.full((4,), 3e38), torch.tensor([1])])  # their norm is infinite
    assert not _all_finite([torch.zeros(3), torch.tensor([0.0, float("inf")])])
    agent = plain(kind).learn(128, callback=FiniteGuard())
    other = plain(kind).learn(128)
    for key, value in agent.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[key]), key


@pytest.mark.parametrize("name", DEEP)
def test_no_hook_is_left_after_learning_or_after_an_error_and_new_learning(name: str) -> None:
    agent = agent_of(name)
    agent.learn(64)
    assert hooks_of(agent) == 0

    def stop(*_: Any) -> bool:
        assert hooks_of(agent) > 0
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        agent.learn(64, callback=stop)
    agent.learn(64)
    assert hooks_of(agent) == 0


@pytest.mark.parametrize("kind", PLAIN)
def test_a_guarded_model_is_still_a_zip_and_can_be_copied(kind: Any, tmp_path: Path) -> None:
    agent = plain(kind)
    agent.learn(64, callback=FiniteGuard())
    buffer = io.BytesIO()
    agent.save(buffer)
    buffer.seek(0)
    twins = [kind.load(buffer, env=make_vec_env("TextGen-v0", 4))]
    if kind is DQN:  # the others' policies hold a last distribution, which torch does not copy
        twins.append(copy.deepcopy(agent))
    for twin in twins:
        for key, value in agent.policy.state_dict().items():
            assert torch.equal(value, twin.policy.state_dict()[key]), key
        twin.learn(64)


@pytest.mark.parametrize("name", DEEP)
def test_an_agent_of_the_table_is_still_a_zip(name: str, tmp_path: Path) -> None:
    agent = agent_of(name)
    agent.learn(64)
    agent.save(tmp_path / "model")
    twin = type(agent).load(tmp_path / "model", env=make_vec_env("TextGen-v0", 4))
    for key, value in agent.policy.state_dict().items():
        assert torch.equal(value, twin.policy.state_dict()[key]), key
    twin.learn(64)
