"""What a figure was measured on."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from pathlib import Path

from agents.device import check_device
from textgym.errors import InvalidSetting


def machine(*packages: str) -> str:
    """Return the processor, the number of cores, and the versions of Python and of some packages, in one line."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return ", ".join([f"{_processor()}, {os.cpu_count()} cores", f"Python {platform.python_version()}", *versions])


def device_option(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark the option `--device`, which refuses one that is not here."""

    def here(device: str) -> str:
        try:
            return check_device(device)
        except InvalidSetting as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    parser.add_argument("--device", type=here, default="cpu")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
