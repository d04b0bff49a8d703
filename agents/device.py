"""Refusing a device that is not here, where SB3 would take the CPU in silence."""

from __future__ import annotations

from textgym.errors import InvalidSetting


def check_device(device: str) -> str:
    """Return a device's name.

    Raises:
        InvalidSetting: torch knows no such device, or this machine has none.
    """
    import torch

    try:
        kind = "cpu" if device == "auto" else torch.device(device).type
    except RuntimeError as error:
        raise InvalidSetting(f"device={device!r} does not exist. Give auto, cpu, cuda, cuda:0, mps, ...") from error
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(kind, True):
        raise InvalidSetting(f"device={device!r}, but torch sees no such device here. Give cpu, or auto.")
    return device
