"""The clipped surrogate: what autograd makes of the formula, by another way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents.surrogate import Surrogate

N = 200


def drawn(seed: int, ent_coef: float = 0.02, weighted: bool = False, valued: bool = True) -> tuple[Surrogate, Tensor]:
    """Return a surrogate, and what it is of: log-probabilities, entropies and values, `(3, N)`, with gradients."""
    torch.manual_seed(seed)
    old, advantages, returns = torch.randn(3, N, dtype=torch.float64)
    log_prob = old + 0.3 * torch.randn(N, dtype=torch.float64)  # ratios on both sides of the range, and within
    seen = torch.stack([log_prob, torch.rand(N, dtype=torch.float64), torch.randn(N, dtype=torch.float64)])
    weight = torch.rand(N, dtype=torch.float64) if weighted else 1 / N
    of = Surrogate(old, advantages, 0.2, weight, ent_coef, 0.5, returns if valued else None)
    return of, seen.requires_grad_()


def by_autograd(of: Surrogate, seen: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the loss and what is recorded, from the formula in the docstring."""
    log_prob, entropy, values = seen
    log_ratio = log_prob - of.old_log_prob
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - of.clip_range, 1 + of.clip_range)
    policy = -(of.weight * torch.min(ratio * of.advantages, clipped * of.advantages)).sum()
    value = torch.zeros(()) if of.returns is None else ((values - of.returns) ** 2).mean()
    fraction = ((ratio - 1).abs() > of.clip_range).double().mean()
    details = [policy, value, -entropy.mean(), (ratio - 1 - log_ratio).mean(), fraction]
    return policy - of.ent_coef * entropy.mean() + of.vf_coef * value, details


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("ent_coef", [0.0, 0.02])
def test_loss_gradient_and_records_are_those_of_the_formula(weighted: bool, valued: bool, ent_coef: float) -> None:
    for seed in range(20):
        of, seen = drawn(seed, ent_coef, weighted, valued)
        expected, details = by_autograd(of, seen)
        (gradient,) = torch.autograd.grad(3 * expected, seen)
        loss, recorded = of(*seen)
        (mine,) = torch.autograd.grad(3 * loss, seen)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(mine, gradient)
        torch.testing.assert_close(recorded, torch.stack(details).double().detach())
        assert not recorded.requires_grad
        assert 0.1 < recorded[4] < 0.9  # some were clipped, some not


def test_by_hand() -> None:
    """Three ratios, 1.5, 1.5 and 0.5, of range 0.2, with advantages 2, -2 and 1: the first alone is clipped away."""
    log_prob = torch.tensor([1.5, 1.5, 0.5]).log().requires_grad_()
    entropy, values = torch.ones(3, requires_grad=True), torch.tensor([1.0, 0.0, 0.0], requires_grad=True)
    of = Surrogate(torch.zeros(3), torch.tensor([2.0, -2.0, 1.0]), 0.2, 1 / 3, 0.3, 0.5, torch.zeros(3))
    loss, details = of(log_prob, entropy, values)
    policy = -(1.2 * 2 + 1.5 * -2 + 0.5 * 1) / 3
    assert loss.item() == pytest.approx(policy - 0.3 + 0.5 / 3, abs=1e-6)
    assert details[:3].tolist() == pytest.approx([policy, 1 / 3, -1.0], abs=1e-6)
    assert details[4].item() == 1.0  # all ratios are out of range, though the gradient of two is not cut
    loss.backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is not None
    assert entropy.grad is not None
    assert values.grad is not None
    assert log_prob.grad.tolist() == pytest.approx([0.0, 1.0, -0.5 / 3], abs=1e-6)
    assert entropy.grad.tolist() == pytest.approx([-0.1] * 3)
    assert values.grad.tolist() == pytest.approx([1 / 3, 0, 0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e4])
def test_a_ratio_that_is_not_finite_is_seen_in_the_gradient(bad: float) -> None:
    of, seen = drawn(0)
    with torch.no_grad():
        seen[0, 7] = bad
    loss, _ = of(*seen)
    (gradient,) = torch.autograd.grad(loss, seen)
    assert not gradient[0, 7].isfinite()
