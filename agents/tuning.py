"""Tuning: which of a language model's parameters learn, and what is kept of a pass for their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from textgym.errors import InvalidSetting

from .lora import add_adapters, is_linear
from .settings import TuningSettings


def tune(model: Any, settings: TuningSettings) -> None:
    """Freeze what does not learn of a language model, put adapters into it, and switch checkpointing on, in place.

    Args:
        model: with its head.
        settings: as asked.

    Raises:
        InvalidSetting, UnknownName, ImportError: it has fewer blocks, no such layers, or cannot be checkpointed; see
            `add_adapters`.
    """
    if settings.lora is not None:
        model.requires_grad_(False)
        add_adapters(model.base_model, settings.lora)
    if settings.train_layers is not None:
        freeze(model, settings.train_layers)
    if settings.gradient_checkpointing:
        if not getattr(model, "supports_gradient_checkpointing", False):
            raise InvalidSetting(f"{type(model).__name__} knows no gradient_checkpointing. Leave it out.")
        body = model.base_model
        switch = getattr(body, "activation_checkpointing_enable", None) or body.gradient_checkpointing_enable
        switch({"use_reentrant": False})
        body.disable_input_require_grads()  # gradients go no further than what learns


def freeze(model: Any, last: int) -> None:
    """Let the last blocks of a language model learn, with what stands behind them in it: in place.

    That is a norm, and a head with weights of its own; a head whose weights are the embeddings stays with them.

    Args:
        model: with its head.
        last: how many blocks.

    Raises:
        InvalidSetting: it has fewer.
    """
    body, blocks = model.base_model, blocks_of(model)
    if last > len(blocks):
        raise InvalidSetting(
            f"train_layers={last}: {type(body).__name__} has {len(blocks)} blocks. Give at most that many, or leave it "
            "out to learn all parameters."
        )
    model.requires_grad_(False)
    parent = next(module for module in body.modules() if blocks in module.children())
    siblings = [*parent.children()]
    for module in (*blocks[len(blocks) - last :], *siblings[siblings.index(blocks) + 1 :]):
        module.requires_grad_(True)
    head = model.get_output_embeddings()
    if head.weight is not body.get_input_embeddings().weight:
        head.requires_grad_(True)


def blocks_of(model: Any) -> nn.ModuleList:
    """Return a language model's blocks.

    Raises:
        InvalidSetting: nothing in it is as many modules as its configuration has layers.
    """
    many = getattr(model.config, "num_hidden_layers", None)
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == many:
            return module
    raise InvalidSetting(f"{type(model).__name__} has no list of blocks. Leave train_layers out.")


def store_halved(body: nn.Module) -> None:
    """Hold in bfloat16 the linear layers that do not learn: in place."""
    for module in body.modules():
        if is_linear(module) and not any(parameter.requires_grad for parameter in module.parameters()):
            module.to(torch.bfloat16)
