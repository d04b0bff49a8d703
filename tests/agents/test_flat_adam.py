"""FlatAdam computes what Adam does, whatever is done to the parameters in between; PPO's update is SB3's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO
from torch import nn

from agents import make, make_vec_env
from agents.flat_adam import FlatAdam, clipped_step
from agents.ppo import GuardedPPO
from textgym.errors import NotFinite


class Net(nn.Module):
    """Two layers and a parameter that seldom gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        self.seldom = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: torch.Tensor, whole: bool) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return out * self.seldom.sum() if whole else out


def nothing(net: Net, optimizer: FlatAdam) -> tuple[Net, FlatAdam]:
    return net, optimizer


def copied(net: Net, optimizer: FlatAdam) -> tuple[Net, FlatAdam]:
    return copy.deepcopy((net, optimizer))


def pickled(net: Net, optimizer: FlatAdam) -> tuple[Net, FlatAdam]:
    both: tuple[Net, FlatAdam] = pickle.loads(pickle.dumps((net, optimizer)))
    return both


def loaded(net: Net, optimizer: FlatAdam) -> tuple[Net, FlatAdam]:
    other = Net()
    again = FlatAdam(other.parameters(), lr=1e-2, eps=1e-5)
    other.load_state_dict(net.state_dict())
    again.load_state_dict(optimizer.state_dict())
    return other, again


def replaced(net: Net, optimizer: FlatAdam) -> tuple[Net, FlatAdam]:
    vector = nn.utils.parameters_to_vector(net.parameters()).clone()
    nn.utils.vector_to_parameters(vector, net.parameters())
    return net, optimizer


CHANGES = [(change, True) for change in (nothing, copied, pickled, loaded, replaced)]


@pytest.mark.parametrize(("change", "zero"), [*CHANGES, (nothing, False), (replaced, False)])
def test_it_computes_what_adam_computes(change: Callable[..., Any], zero: bool) -> None:
    torch.manual_seed(0)
    plain = Net()
    flat = copy.deepcopy(plain)
    adam: torch.optim.Optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, eps=1e-5)
    flat_adam = FlatAdam(flat.parameters(), lr=1e-2, eps=1e-5)
    for step in range(12):
        if step == 6:
            flat, flat_adam = change(flat, flat_adam)
        x, whole = torch.randn(4, 5), step not in (2, 3, 7)
        for net, optimizer in ((plain, adam), (flat, flat_adam)):
            if zero:
                optimizer.zero_grad(set_to_none=False)  # 0 counts as a gradient for both
            for part in torch.split(x, 2):
                net(part, whole).pow(2).sum().backward()  # two backward passes add up
            if zero:
                nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
        for mine, theirs in zip(flat.parameters(), plain.parameters()):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_without_a_gradient_nothing_moves() -> None:
    net = Net()
    optimizer, before = FlatAdam(net.parameters()), copy.deepcopy(net.state_dict())
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()
    torch.testing.assert_close(net.state_dict(), before)


def test_a_step_is_seen_by_version_counters() -> None:
    net = Net()
    optimizer = FlatAdam(net.parameters())
    versions = [parameter._version for parameter in net.parameters()]
    net(torch.ones(1, 5), True).sum().backward()
    optimizer.step()
    assert all(parameter._version > version for parameter, version in zip(net.parameters(), versions))


@pytest.mark.parametrize("most", [0.01, 1e6])
def test_it_clips_as_torch_does(most: float) -> None:
    torch.manual_seed(0)
    plain = Net()
    flat = copy.deepcopy(plain)
    optimizer, x = FlatAdam(flat.parameters()), torch.randn(4, 5)
    for net in (plain, flat):
        net(x, True).pow(2).sum().backward()
    nn.utils.clip_grad_norm_(plain.parameters(), most)
    optimizer.clip(most)
    optimizer.spread()
    for mine, theirs in zip(flat.parameters(), plain.parameters()):
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("kind", [torch.optim.Adam, FlatAdam])
def test_a_clipped_step_is_made_with_any_optimiser(kind: Any) -> None:
    torch.manual_seed(0)
    plain = Net()
    net, x = copy.deepcopy(plain), torch.randn(4, 5)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-2)
    optimizer = kind(net.parameters(), lr=1e-2)
    for _ in range(3):
        for one, its in ((plain, adam), (net, optimizer)):
            its.zero_grad()
            one(x, True).pow(2).sum().backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.01)
        adam.step()
        clipped_step(optimizer, 0.01)
    for mine, theirs in zip(net.parameters(), plain.parameters()):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_hooks_see_the_clipped_gradient_before_a_step_and_the_parameters_after_it() -> None:
    torch.manual_seed(0)
    net = Net()
    torch.optim.Adam(Net().parameters())  # after which torch's own step calls hooks, too
    optimizer = FlatAdam(net.parameters())
    net(torch.randn(4, 5), True).pow(2).sum().backward()
    seen, kept = [], copy.deepcopy(net.state_dict())

    def before(*_: Any) -> None:
        assert optimizer.flat.grad is not None
        seen.append(optimizer.flat.grad.norm().item())
        torch.testing.assert_close(net.state_dict(), kept)

    def after(*_: Any) -> None:
        seen.append(sum((net.state_dict()[name] - kept[name]).abs().sum().item() for name in kept))

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    optimizer.step_clipped(0.01)
    assert seen == [pytest.approx(0.01, rel=1e-3), pytest.approx(seen[1])]
    assert seen[1] > 0


def agent(**policy: Any) -> GuardedPPO:
    env = make_vec_env("TextGym/Copy-v0", 6, seed=0)
    small = {"d_model": 16, "n_layers": 1, "n_heads": 2}
    settings = {"n_steps": 20, "batch_size": 30, "n_epochs": 3, "policy": small}
    made: GuardedPPO = make("ppo", env, seed=0, device="cpu", **settings)
    return made


@pytest.mark.parametrize("target_kl", [None, 1e-4])
def test_an_update_is_that_of_sb3s_ppo(target_kl: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = agent(), agent()
    for model, train in ((ours, GuardedPPO.train), (theirs, PPO.train)):
        model.target_kl = target_kl
        monkeypatch.setattr(GuardedPPO, "train", train)
        model.set_random_seed(1)
        _, callback = model._setup_learn(120)
        assert model.env is not None
        model.collect_rollouts(model.env, callback, model.rollout_buffer, 20)
        model.train()
    assert ours._n_updates == theirs._n_updates
    assert (ours._n_updates == 3) is (target_kl is None)  # three epochs, or fewer
    for (name, mine), other in zip(ours.policy.named_parameters(), theirs.policy.parameters()):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4, msg=name)
    logged, expected = ours.logger.name_to_value, theirs.logger.name_to_value
    for name in (name for name in expected if name.startswith("train/")):
        assert logged[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name


def test_a_gradient_that_is_not_finite_is_named() -> None:
    model = agent()
    weight = dict(model.policy.named_parameters())["features_extractor.transformer.token.weight"]
    weight.register_hook(lambda gradient: gradient * float("nan"))  # type: ignore[no-untyped-call]
    with pytest.raises(NotFinite, match=r"the gradient of .* is not finite"):
        model.learn(240)
