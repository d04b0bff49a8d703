"""Dynamic int8 quantisation: weights of 8 bits for inference on a CPU, activations quantised as they come."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from textgym.errors import InvalidSetting

from .lora import halves_of

LEVELS = 127  # the largest integer on either side of 0
INT8 = "int8"


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8, each output with a scale of its own, and whose inputs become int8.

    With s_j = max_i |W_ji| / 127 of each output and t = max_i |x_i| / 127 of each row of inputs, it computes

        y_j = t s_j sum_i round(x_i / t) round(W_ji / s_j) + b_j,

    the sum in integers (Dettmers et al., 2022, arXiv:2208.07339, section 2.1, "row-wise"). A row's scale is its own, so
    that what comes of a row depends on no other: a text is written alike in any batch. An input moves by at most t / 2,
    a weight by at most s_j / 2, and so y_j by at most sum_i (t |W_ji| + s_j |x_i|) / 2 + d t s_j / 4.

    Args:
        weight: `(out, in)` float.
        bias: `(out,)`; None for none.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        scale = weight.detach().abs().amax(dim=1) / LEVELS  # (out,)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (weight.detach() / scale[:, None]).round().to(torch.int8))  # (out, in)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., out)` of `(..., in)`."""
        rows = x.reshape(-1, self.in_features)  # (R, in)
        if not len(rows):
            return x.new_zeros(*x.shape[:-1], self.out_features)
        level = rows.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo(x.dtype).tiny) / LEVELS  # (R, 1)
        whole = (rows / level).round_().to(torch.int8)
        y = torch._int_mm(whole, self.weight.t()) * level  # (R, out), the product in int32
        y.mul_(self.scale)
        return (y if self.bias is None else y.add_(self.bias)).view(*x.shape[:-1], self.out_features)


def quantise(agent: Any) -> Any:
    """Turn an agent's linear layers into int8, in place; it writes as before, nearly, and can learn no more.

    Embeddings, normalisations and the value head stay as they are, and so do a language model's own head, whose weights
    are mostly its embeddings, and adapters. What is in bfloat16 becomes float32.

    Args:
        agent: what `agents.make` or `agents.load` returned, on the CPU.

    Returns:
        The agent. `agents.save` keeps it, `agents.load` reads it.

    Raises:
        InvalidSetting: it is int8 already, has no linear layers, is not on the CPU, or was not made by `agents.make`.
    """
    made, policy = getattr(agent, "made", None), getattr(agent, "policy", None)
    if made is None:
        raise InvalidSetting(f"{type(agent).__name__} was not made by agents.make or agents.load. Make it so first.")
    if made.quantisation is not None:
        raise InvalidSetting(f"this {made.agent} is {made.quantisation} already. Quantise the run that it was made of.")
    if not isinstance(policy, nn.Module):
        raise InvalidSetting(f"{made.agent} has no network that could be quantised. Give a run of ppo, dqn, ...")
    if (device := next(policy.parameters()).device).type != "cpu":
        raise InvalidSetting(f"int8 is for inference on the CPU; this {made.agent} is on {device}. Load it there.")
    policy.float()
    bodies: list[Any] = [module for module in policy.modules() if hasattr(module, "halved")]  # a language model's
    for body in bodies:
        body.halved = False
    if not quantise_layers(policy):
        raise InvalidSetting(f"{made.agent}'s network, {type(policy).__name__}, has no linear layers to quantise.")
    policy.requires_grad_(False)
    policy.set_training_mode(False)  # type: ignore[operator]
    policy.optimizer = None  # type: ignore[assignment]
    agent.kl_control = None  # nothing is kept near a reference any more
    agent.learn = refuse_learning
    agent.made = replace(made, quantisation=INT8)
    return agent


def refuse_learning(*args: Any, **kwargs: Any) -> NoReturn:
    """Raise `InvalidSetting`: what `learn` of a quantised agent is."""
    raise InvalidSetting(
        "this agent is quantised to int8, for inference alone: its weights are integers, which no gradient moves. "
        "Train the run that it was made of, and quantise that again."
    )


def quantise_layers(network: nn.Module) -> int:
    """Replace a network's linear layers by int8 ones, in place, and return how many there were.

    Left as they are: a layer that shares its weights with another module, a layer that is read through its weights (see
    `causal_extractor.ActionHead`), an adapter's, and one of a single output.

    Raises:
        InvalidSetting: a weight is not finite.
    """
    owners = Counter(id(p) for module in network.modules() for p in module._parameters.values() if p is not None)
    made: dict[int, Int8Linear] = {}
    halves = halves_of(network)
    for parent in list(network.modules()):
        if (hasattr(parent, "ids") and hasattr(parent, "output")) or parent in halves:
            continue
        for name, layer in list(parent.named_children()):
            weight = _weight(layer)
            if weight is None or len(weight) == 1 or owners[id(layer.weight)] > 1:
                continue
            if not weight.isfinite().all():
                raise InvalidSetting(f"a weight of {name} is not finite, so that it has no scale. Use another run.")
            bias: Any = layer.bias
            setattr(parent, name, made.setdefault(id(layer), Int8Linear(weight, bias)))
    return len(made)


def _weight(layer: Any) -> Tensor | None:
    """Return a linear layer's weights `(out, in)`; None of any other module."""
    if type(layer) is nn.Linear:
        return layer.weight
    if type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"):  # GPT-2's linear layers, in transformers
        turned: Tensor = layer.weight.t()
        return turned
    return None
