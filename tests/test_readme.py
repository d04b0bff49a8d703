"""The README keeps what it promises: its Python runs, its table is the registry's, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agents.commands import list as listing

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_table_of_environments_is_what_the_command_prints() -> None:
    table = README.partition("<!-- environments")[2].partition("\n")[2].partition("<!-- end -->")[0]
    assert table.splitlines() == listing.as_markdown(listing.table())


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.strip().splitlines()[-1][:40])
def test_a_snippet_runs_and_prints_what_it_says(snippet: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    for said in re.findall(r"print\(.*\)  # (\S+)", snippet):
        assert said in done.stdout


def test_every_command_named_exists() -> None:
    from agents.commands import app

    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert set(re.findall(r"^textgym (\w+)", README, flags=re.MULTILINE)) <= known
