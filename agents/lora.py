"""LoRA: small matrices beside a language model's frozen ones, which alone learn."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from textgym.errors import InvalidSetting, unknown

from .settings import LoRASettings

CONV1D = "Conv1D"  # GPT-2's linear layers, in transformers, whose weights are `(in, out)`


def add_adapters(body: nn.Module, settings: LoRASettings) -> None:
    """Freeze a model's body and put an adapter beside some of its linear layers, in place, through `peft`.

    A layer W x then computes W x + (alpha / r) B A x, with A `(r, in)` random and B `(out, r)` zero at first, so that
    the model begins as it was (Hu et al., 2022, arXiv:2106.09685, section 4.1). There is no dropout.

    Args:
        body: a language model without its head.
        settings: rank, scale and layers.

    Raises:
        ImportError: `peft` is not installed.
        UnknownName: there is no linear layer of that name; the nearest is suggested.
        InvalidSetting: nobody knows which layers an architecture's adapters are best put beside.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError('policy.lora needs peft: pip install "textgym[lora]".') from error
    linear = {name: type(module).__name__ for name, module in body.named_modules() if is_linear(module)}
    targets = _default(body, linear) if settings.targets is None else settings.targets
    for target in targets:
        if not any(_is_meant(name, target) for name in linear):
            raise unknown(f"linear layer of {type(body).__name__} for an adapter", target, _kinds(linear))
    turned = any(_is_meant(name, target) and linear[name] == CONV1D for name in linear for target in targets)
    body.requires_grad_(False)
    alpha: Any = settings.alpha  # any number serves
    config = LoraConfig(
        r=settings.r, lora_alpha=alpha, target_modules=[*targets], lora_dropout=0.0, fan_in_fan_out=turned
    )
    with warnings.catch_warnings():  # of layers of both kinds side by side, which it then reads rightly
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        inject_adapter_in_model(config, body)


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer of torch's or of transformers'."""
    return type(module) is nn.Linear or type(module).__name__ == CONV1D


def halves_of(network: nn.Module) -> list[nn.Module]:
    """Return what holds the matrices A and B of a network's adapters."""
    found = [getattr(module, name, None) for module in network.modules() for name in ("lora_A", "lora_B")]
    return [half for half in found if isinstance(half, nn.Module)]


def switch_off_idle(network: nn.Module) -> None:
    """Let adapters that add nothing, as at their start, not be computed: in place, of what will not learn."""
    for module in network.modules():
        layers: Any = getattr(module, "lora_B", None)
        if layers is not None and not any(layer.weight.any() for layer in layers.values()):
            module.enable_adapters(False)  # type: ignore[operator]


def _is_meant(name: str, target: str) -> bool:
    """Return whether a layer is meant by its name, or by the end of it."""
    return name == target or name.endswith(f".{target}")


def _kinds(linear: dict[str, str]) -> set[str]:
    return {name.rpartition(".")[2] for name in linear}


def _default(body: Any, linear: dict[str, str]) -> list[str]:
    """Return the layers that `peft` adapts in an architecture, where it names some."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    known = DEFAULTS.get(body.config.model_type)
    if not isinstance(known, list) or not any(_is_meant(name, target) for name in linear for target in known):
        raise InvalidSetting(
            f"lora: peft names no layers of {body.config.model_type} to adapt. Give them by name, policy.lora.targets, "
            f"of {', '.join(sorted(_kinds(linear)))}."
        )
    return [target for target in known if any(_is_meant(name, target) for name in linear)]
