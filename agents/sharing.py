"""Sharing: copies of a network that hold once what does not learn, and policies that keep what learns alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import torch
from stable_baselines3.common.policies import BaseModel
from torch import Tensor, nn

from textgym.errors import InvalidSetting

Network = TypeVar("Network")
BASE = "base_sha256"


def shares(tuning: Mapping[str, Any]) -> bool:
    """Return whether, by a policy's settings, there is something in the model that does not learn."""
    return tuning.get("lora") is not None or tuning.get("train_layers") is not None


def copied(network: Network, *modules: nn.Module, without: Any = None) -> Network:
    """Return a copy of a network, or of several, in which parameters that do not learn are the very same ones.

    Args:
        network: a module, or a tuple of modules.
        modules: those that it consists of; it alone, if none is given.
        without: what the copy has None in the place of.
    """
    parts = [part for module in modules or (network,) if isinstance(module, nn.Module) for part in module.modules()]
    memo: dict[int, Any] = {id(without): None}
    for part in parts:
        memo |= {id(p): p for p in part._parameters.values() if p is not None and not p.requires_grad}
        memo[id(part._forward_hooks)] = OrderedDict()  # whoever watches the one does not watch the other
    return deepcopy(network, memo)


def share(network: nn.Module, owner: nn.Module) -> None:
    """Let a network hold the very parameters of another that learn in neither and are equal, by their names."""
    held = dict(owner.named_parameters(remove_duplicate=False))
    for name, own in [*network.named_parameters(remove_duplicate=False)]:
        other = held.get(name)
        if other is None or own is other or own.requires_grad or other.requires_grad:
            continue
        if (own.shape, own.dtype, own.device) == (other.shape, other.dtype, other.device) and torch.equal(own, other):
            place, _, last = name.rpartition(".")
            network.get_submodule(place)._parameters[last] = other


class OwnParameters(BaseModel):
    """Mixed into a policy over a pretrained model: its state is what learns, where the rest is in the model's folder.

    The rest is then known by its sha256, which is part of the state; a state of another model is refused. A fresh model
    is nowhere else, and its state is whole. Each parameter is in it once: SB3's policies name one extractor three
    times, heads may be embeddings, and copies share what does not learn.
    """

    borrowed: frozenset[str] = frozenset()  # the names of parameters that the model's folder holds

    def borrow(self, source: Any, sha256: str) -> None:
        """Leave out of the state what does not learn, where the model came from a folder or the hub.

        Args:
            source: where from; a mapping is a fresh model's configuration.
            sha256: of the model.
        """
        if isinstance(source, Mapping):
            return
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        self.borrowed = frozenset(name for name in frozen if not name.endswith("transformer.vector"))  # of its own
        if self.borrowed:
            self.register_buffer(BASE, torch.frombuffer(bytearray.fromhex(sha256), dtype=torch.uint8))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the parameters, each once."""
        whole: dict[str, Any] = super().state_dict(*args, **kwargs)
        once = {*dict(self.named_parameters()), *dict(self.named_buffers())} - self.borrowed
        return {name: value for name, value in whole.items() if name in once}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take parameters that `state_dict` returned.

        Raises:
            InvalidSetting: they belong to another model than the one that this policy was made with.
        """
        own: Tensor | None = getattr(self, BASE, None)
        if own is not None and BASE in state_dict and not torch.equal(state_dict[BASE].cpu(), own.cpu()):
            then, now = (bytes(one.cpu().numpy()).hex() for one in (state_dict[BASE], own))
            raise InvalidSetting(
                f"these parameters began with a model whose sha256 was {then}; this policy's has {now}. Put the model "
                "there that they began with."
            )
        named = [*self.named_parameters(remove_duplicate=False), *self.named_buffers(remove_duplicate=False)]
        first: dict[int, str] = {}
        for name, tensor in named:
            first.setdefault(id(tensor), name)
        given = {**state_dict, **{name: tensor for name, tensor in named if first[id(tensor)] in self.borrowed}}
        whole = {name: given[first[id(tensor)]] for name, tensor in named if first[id(tensor)] in given}
        return super().load_state_dict({**given, **whole}, strict, assign)


class OwnQParameters(nn.Module):
    """Mixed into a Q-network: its `parameters()` are those that learn.

    SB3 hands them to the optimiser, and copies them into the target network, which shares the others: a copy of those
    onto themselves, scaled by 1 - tau, would destroy them.
    """

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Yield them."""
        return (parameter for parameter in super().parameters(recurse) if parameter.requires_grad)
