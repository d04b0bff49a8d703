"""FiniteGuard: stops learning at the first number that is not finite, while the parameters are still good."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from torch import Tensor, nn

from textgym.errors import NotFinite

from .flat_adam import FlatAdam
from .missing import LeavesMissingOut
from .scaled import scaled
from .state import base_model_of
from .vec_env import name_of

_HOOKS: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()  # of an agent whose learning an error ended

HEADS = (
    "action_net",
    "value_net",
    "q_net",
    "q_net_target",
    "quantile_net",
    "quantile_net_target",
    "actor",
    "critic",
)
"""What SB3's and sb3-contrib's policies call the networks whose outputs are acted upon or learned from."""


class FiniteGuard(BaseCallback):
    """Raises `NotFinite` on an output, a gradient or a parameter that is NaN or infinite, for any SB3 agent.

    It looks at what the policy's heads return, so that SB3 does not meet NaN logits; at the gradients before every
    step of the optimiser, so that no parameter is touched by a bad one; and at the parameters before each rollout and
    at the end of learning. TextGym's agents have one by default.
    """

    def _on_training_start(self) -> None:
        policy = getattr(self.model, "policy", None)
        for handle in _HOOKS.pop(self.model, []):
            handle.remove()
        if not isinstance(policy, nn.Module):
            return
        heads = [head for name in HEADS if isinstance(head := getattr(policy, name, None), nn.Module)]
        hooks: list[Any] = [head.register_forward_hook(self._check_output) for head in heads]
        owned = {getattr(module, "optimizer", None) for module in policy.modules()}
        optimizers = [owner for owner in owned if isinstance(owner, torch.optim.Optimizer)]
        hooks += [optimizer.register_step_pre_hook(self._check_gradients) for optimizer in optimizers]
        _HOOKS[self.model] = hooks

    def _on_rollout_start(self) -> None:
        self._check_parameters()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._check_parameters()
        for handle in _HOOKS.pop(self.model, []):
            handle.remove()

    def _check_output(self, head: nn.Module, inputs: Any, output: Any) -> None:
        if not _all_finite(output if isinstance(output, tuple) else (output,)):
            name = next((name for name, module in self.model.policy.named_modules() if module is head), "?")
            bad = _first_bad(self.model.policy.named_parameters())
            cause = f"parameter {bad} is not finite" if bad else "the parameters have grown too large"
            raise self._error(f"the output of {name} is not finite: {cause}")

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if isinstance(optimizer, FlatAdam):
            optimizer.gather()
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients and not _all_finite(gradients):
            if isinstance(optimizer, FlatAdam):
                optimizer.spread()
            named = self.model.policy.named_parameters()
            bad = _first_bad((name, p.grad) for name, p in named if p.grad is not None)
            losses = getattr(self.model.logger, "name_to_value", {})
            last = ", ".join(f"{k} {v:.3g}" for k, v in losses.items() if "loss" in k and isinstance(v, float))
            raise self._error(
                f"the gradient of {bad} is not finite; its step was not made" + (f" (before: {last})" if last else "")
            )

    def _check_parameters(self) -> None:
        policy = getattr(self.model, "policy", None)
        if isinstance(policy, nn.Module) and not _all_finite([p.data for p in policy.parameters()]):
            raise self._error(f"parameter {_first_bad(policy.named_parameters())} is not finite")

    def _error(self, cause: str) -> NotFinite:
        made = getattr(self.model, "made", None)
        return NotFinite(
            f"{made.agent if made else type(self.model).__name__} on {name_of(self.model.get_env())}, update "
            f"{getattr(self.model, '_n_updates', 0)}, step {self.model.num_timesteps}: {cause}. Nothing of it was "
            f"saved. A smaller learning rate (now {getattr(self.model, 'learning_rate', '?')}), a smaller reward_scale "
            "or a smaller max_grad_norm helps most often."
        )


def _all_finite(tensors: Iterable[Any]) -> bool:
    """Return whether all numbers of all tensors are finite: one small tensor crosses to the CPU, not one each."""
    floats = [tensor.detach() for tensor in tensors if isinstance(tensor, Tensor) and tensor.is_floating_point()]
    if len(floats) == 1 and math.isfinite(floats[0].sum()):  # what is not finite makes a sum that is not
        return True
    if not floats or torch.stack(torch._foreach_norm([tensor.float() for tensor in floats])).isfinite().all():
        return True
    return all(bool(tensor.isfinite().all()) for tensor in floats)  # the norm of finite numbers may overflow


def _first_bad(named: Iterable[tuple[str, Tensor]]) -> str | None:
    return next((name for name, tensor in named if not tensor.isfinite().all()), None)


class Guarded(LeavesMissingOut):
    """Mixed into an SB3 algorithm: learning has a `FiniteGuard`, and environments set later keep the reward's scale.

    Learning with a language model is refused where it does not fit into memory, see `memory.estimate`.
    """

    made: Any = None  # how, where `agents.make` made it
    reward_scale: float = 1.0  # of the rewards that it learns from

    _fits = False  # whether it was found that there is memory to learn in

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if base_model_of(self) is not None and not self._fits:
            from .memory import require_memory

            require_memory(self)
            self._fits = True
        return super()._setup_learn(*args, **kwargs)

    def _init_callback(self, callback: Any, progress_bar: bool = False) -> BaseCallback:
        given = [] if callback is None else callback if isinstance(callback, list) else [callback]
        callbacks = [one if isinstance(one, BaseCallback) else ConvertCallback(one) for one in given]
        listed: BaseCallback = super()._init_callback([FiniteGuard(), *callbacks], progress_bar)
        return listed

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Learn on another environment from now on; a single one becomes one row."""
        rows = self._wrap_env(env, self.verbose)
        super().set_env(scaled(rows, self.reward_scale), force_reset)

    @classmethod
    def load(cls, path: Any, env: Any = None, *args: Any, **kwargs: Any) -> Self:
        """Read SB3's own zip file, which runs whatever code it holds; rewards keep their scale."""
        model: Self = super().load(path, env, *args, **kwargs)
        model.env = None if model.env is None else scaled(model.env, model.reward_scale)
        return model

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "made", "_fits"]
