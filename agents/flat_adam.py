"""FlatAdam: Adam over all of a network's parameters as one tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version


class FlatAdam(torch.optim.Adam):
    """torch's fused Adam over one flat tensor, of which the parameters are parts.

    It computes what `torch.optim.Adam` does. A small network has dozens of small parameters, and what a step costs is
    their number; here a step, a norm and the check that gradients are finite are one operation each. Parameters that
    were moved, copied or replaced since the last step are taken as they are and made parts again.

    A parameter without a gradient counts as one whose gradient is 0. There is one group of parameters, and the
    optimiser's state is that of one parameter, in the order in which they were given.

    Args:
        params: parameters of one dtype and one device.
        lr: the step size.
        kwargs: as `torch.optim.Adam` has them.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1e-3, **kwargs: Any) -> None:
        self.members = list(params)
        flat = nn.Parameter(torch.cat([member.detach().flatten() for member in self.members]))
        super().__init__([flat], lr=lr, **{"fused": True, **kwargs})
        self._parts: list[Tensor] = []  # of the flat tensor, one for each member

    @property
    def flat(self) -> nn.Parameter:
        """All parameters side by side, with their gradient where `gather` has put it."""
        flat: nn.Parameter = self.param_groups[0]["params"][0]
        return flat

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, whatever `set_to_none` says."""
        self.flat.grad = None
        for member in self.members:
            member.grad = None

    def step(self, closure: Any = None) -> Any:
        """Make a step; the parameters then have their gradients again. `closure` is as `torch.optim.Adam` has it."""
        self.gather()
        loss = self._stepped(closure)
        self.spread()
        return loss

    def step_clipped(self, most: float) -> None:
        """Clip the gradient to a norm of `most` and make a step, with less around it: a small network's step shows it.

        Hooks of this optimiser are called as by `step`; a profiler's mark is not set, and gradients stay in one tensor,
        until `spread`.
        """
        self.clip(most)
        for before in [*self._optimizer_step_pre_hooks.values()]:
            before(self, (), {})
        self._stepped()
        for after in [*self._optimizer_step_post_hooks.values()]:
            after(self, (), {})

    def _stepped(self, closure: Any = None) -> Any:
        frozen = [(member, member.detach().clone()) for member in self.members if not member.requires_grad]
        loss = super().step(closure) if closure is not None or not self._made_step() else None
        for member, before in frozen:  # its momentum has moved it
            member.data.copy_(before)
        increment_version(self.members)  # what remembers results of theirs looks at it
        return loss

    @torch.no_grad()
    def _made_step(self) -> bool:
        """Call torch's fused kernel as its `Adam.step` does, less what that costs around it; False where it cannot."""
        group, flat = self.param_groups[0], self.flat
        plain = group["fused"] and not (group["amsgrad"] or group["maximize"] or group["capturable"])
        if not plain or isinstance(group["lr"], Tensor):
            return False
        if flat.grad is None:
            return True
        state = self.state[flat]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=flat.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(flat), torch.zeros_like(flat)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        numbers: Any = {name: group[name] for name in ("lr", "weight_decay", "eps", "amsgrad", "maximize")}
        moments = [state["exp_avg"]], [state["exp_avg_sq"]]
        torch._fused_adam_([flat], [flat.grad], *moments, [], [state["step"]], beta1=beta1, beta2=beta2, **numbers)
        return True

    @torch.no_grad()
    def gather(self) -> None:
        """Take the parameters' gradients, where there are some, and put them side by side into `flat.grad`."""
        if all(member.grad is None for member in self.members):
            return
        if len(self._parts) != len(self.members) or any(
            member.data_ptr() != part.data_ptr() for member, part in zip(self.members, self._parts)
        ):
            self._tie()
        gradients = [torch.zeros_like(member) if member.grad is None else member.grad for member in self.members]
        gathered = torch.cat([gradient.flatten() for gradient in gradients])
        self.flat.grad = gathered if self.flat.grad is None else self.flat.grad + gathered
        for member in self.members:
            member.grad = None

    @torch.no_grad()
    def clip(self, most: float) -> None:
        """Scale the gradient down to a norm of `most` where it is longer, as `clip_grad_norm_` does, in one place."""
        self.gather()
        if self.flat.grad is not None:
            norm = torch.linalg.vector_norm(self.flat.grad)
            self.flat.grad.mul_((most / (norm + 1e-6)).clamp_(max=1.0))

    def spread(self) -> None:
        """Give the parameters their gradients back, for those who look for them there."""
        if self.flat.grad is not None:
            parts = torch.split(self.flat.grad, [member.numel() for member in self.members])
            for member, part in zip(self.members, parts):
                member.grad = part.view_as(member)
            self.flat.grad = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the parts: whoever gets a copy has members of its own."""
        return {**super().__getstate__(), "members": self.members, "_parts": []}

    def _tie(self) -> None:
        """Make the members, as they are now, parts of the flat tensor."""
        flat, device = self.flat, self.members[0].device
        gradient = None if flat.grad is None else flat.grad.to(self.members[0].data)
        flat.grad = None
        flat.data = torch.cat([member.data.flatten() for member in self.members])
        flat.grad = gradient
        if flat in self.state:
            kept = self.state[flat]
            self.state[flat] = {name: value.to(device if name == "step" else flat.data) for name, value in kept.items()}
        parts = torch.split(flat.data, [member.numel() for member in self.members])
        self._parts = [part.view_as(member) for part, member in zip(parts, self.members)]
        for member, part in zip(self.members, self._parts):
            member.data = part


def clipped_step(optimizer: torch.optim.Optimizer, most: float) -> None:
    """Make a step along the gradient, scaled down to a norm of `most` where it is longer, as SB3's agents do."""
    if isinstance(optimizer, FlatAdam):
        optimizer.step_clipped(most)
        optimizer.spread()
    else:
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(learned, most)
        optimizer.step()
