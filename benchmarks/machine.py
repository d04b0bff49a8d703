"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path


def machine(*packages: str) -> str:
    """Return the processor, the number of cores, and the versions of Python and of some packages, in one line."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return ", ".join([f"{_processor()}, {os.cpu_count()} cores", f"Python {platform.python_version()}", *versions])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
