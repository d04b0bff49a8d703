"""Forty kills, at random moments: what goes on afterwards ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

KILLS = {"q-learning": 7, "sarsa": 5, "dqn": 7, "a2c": 8, "ppo": 7, "reinforce": 6}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs that are killed are forked")
def test_forty_kills_change_no_parameter() -> None:
    wanted = [f"{name}={kills}" for name, kills in KILLS.items()]
    command = [sys.executable, str(Path(__file__).with_name("killing.py")), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    hit: Counter[str] = Counter()
    for name, line in zip(KILLS, done.stdout.splitlines(), strict=True):
        found = json.loads(line)
        assert set(found["runs"]) == {found["whole"]}, name
        hit.update(found["hit"])
    assert hit.total() == sum(KILLS.values()) == 40
    assert all(hit[phase] > 0 for phase in ("rollout", "update", "save")), hit
