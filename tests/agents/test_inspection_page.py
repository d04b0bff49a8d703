"""The page and the table of an inspection: the same numbers, all text escaped, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agents import inspect_completion, inspect_completions, make, make_vec_env
from agents.inspection import Inspection, shown
from agents.inspection_page import page
from agents.inspection_table import origin, rendered
from textgym import load_task

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SMALL: Any = {"device": "cpu", "policy": {"d_model": 8, "n_layers": 2, "n_heads": 2}}
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def inspections() -> list[Inspection]:
    env = make_vec_env("TextGym/Reverse-v0", 4, alphabet="我爱你<", max_length=3)
    return inspect_completions(make("ppo", env, seed=0, **SMALL), 2, prompt="我<爱", sample=True)


class Cells(HTMLParser):
    """The text of every cell of every table, row by row, and of every token of the heat map."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.chips: list[str] = []
        self._into: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") or "chip" in (dict(attrs).get("class") or ""):
            self._into = self.chips if tag in ("a", "span") else self.rows[-1]
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "a") or (tag == "span" and self._into is self.chips):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def test_the_page_is_a_plain_table_without_javascript(inspections: list[Inspection]) -> None:
    found = Cells(page(inspections))
    rows = [row for row in found.rows if row[0].isdecimal()]
    expected = []
    for one in inspections:
        columns = [column.values for column in one.columns()]
        for place, token in enumerate(one.completion.tolist()):
            numbers = ["" if values is None else shown(float(values[place])) for values in columns]
            expected.append([str(place + 1), one.show(token), *numbers])
    assert [row[: len(expected[0])] for row in rows] == expected
    assert found.rows[0][2:8] == ["probability", "entropy", "value", "advantage", "reward", "KL"]
    texts = [["(start)", *map(one.show, [*one.prompt, *one.completion])] for one in inspections]
    assert found.chips == [*texts[0], *texts[1]]
    assert found.chips[1:4] == ["我", "<", "爱"]


def test_the_page_needs_nothing_else_and_escapes_all_text(inspections: list[Inspection]) -> None:
    text = page(inspections)
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|src=|@import|url\(|<link", text)
    assert text.count("<script>") == 1
    inside = re.sub(r"<style>.*?</style>|<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"<(?!/?[a-z]|!DOCTYPE)", inside)
    assert inside.count("&lt;") > 4


def test_a_hostile_token_stays_a_token() -> None:
    nasty = "</script><img src=x onerror=alert(1)>"
    env = make_vec_env(load_task("TextGen-v0", target="a" + nasty, alphabet=["a", nasty]), 2)
    text = page([inspect_completion(make("q-learning", env, seed=0), completion="a" + nasty)])
    assert "<img" not in text
    assert text.count("</script>") == 2
    assert nasty in Cells(text).chips


def test_colours_go_from_nothing_to_the_greatest(inspections: list[Inspection]) -> None:
    one = inspections[0]
    styles = re.findall(r'style="(--c0[^"]*)"', page([one]))
    colours = [{key: float(value) for key, value in (part.split(":") for part in style.split(";"))} for style in styles]
    columns = one.columns()
    assert columns[0].values is not None
    assert [row["--c0"] for row in colours] == pytest.approx(columns[0].values, abs=1e-3)
    for i, column in enumerate(columns[1:], 1):
        assert column.values is not None
        most = np.abs(column.values).max()
        assert [row[f"--c{i}"] for row in colours] == pytest.approx(column.values / (most or 1), abs=1e-3)


def test_the_page_holds_every_weight_of_attention(inspections: list[Inspection]) -> None:
    one = inspections[1]
    assert one.attention is not None
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page([one]))[0])
    numbers = np.frombuffer(base64.b64decode(data["attention"]), "<u2") / 65535
    expected = [
        one.attention[layer, place, key]
        for layer in range(2)
        for place in range(len(one.completion))
        for key in range(len(one.prompt) + place + 1)
    ]
    np.testing.assert_allclose(numbers, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.500"),
        (-0.1234, "-0.123"),
        (0.0, "0.000"),
        (-1e-13, "0.000"),
        (1e-5, "1.0e-05"),
        (2.5e7, "2.5e+07"),
        (float("nan"), ""),
        (None, ""),
        (float("-inf"), "-∞"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_the_table_shows_every_number_and_why_some_are_missing(inspections: list[Inspection]) -> None:
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(rendered(inspections[0]))
    lines = console.export_text().splitlines()
    assert lines[0].startswith("我<爱 → ")
    assert lines[1].split()[:7] == ["token", "probability", "entropy", "value", "advantage", "reward", "KL"]
    for place, line in enumerate(lines[2 : 2 + len(inspections[0].completion)]):
        cells = [shown(float(c.values[place])) for c in inspections[0].columns() if c.values is not None]
        assert line.split()[2 : 2 + len(cells)] == cells
    values = inspect_completion(make("q-learning", make_vec_env("TextGen-v0", 2), seed=0))
    console.print(rendered(values))
    shown_text = console.export_text()
    assert "no entropy: q-learning acts by action values, and says no probabilities." in shown_text
    assert "action value" in shown_text
    assert origin(values) == "q-learning, 0 steps, greedy"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_a_browser_shows_a_token_that_is_clicked(inspections: list[Inspection], tmp_path: Path) -> None:
    clicks = "<script>document.querySelectorAll('#completion0 a.chip')[1].click()</script></body>"
    (tmp_path / "page.html").write_text(page(inspections).replace("</body>", clicks), encoding="utf-8")
    command = [CHROMIUM or "", *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    one = inspections[0]
    first, second = re.findall(r"<aside.*?</aside>", done.stdout, flags=re.DOTALL)
    assert f"token 2 of {len(one.completion)}" in first
    assert "token 1 of" in second  # shown at first
    for column in one.columns():
        assert column.values is not None
        assert f"<dt>{column.title}</dt><dd>{shown(float(column.values[1]))}</dd>" in first
    assert one.attention is not None
    strips = re.findall(r'<div class="strip">(.*?)</div>', first)
    weights = [[float(w) for w in re.findall(r'title="[^"]* ([\d.]+)"', strip)] for strip in strips]
    assert np.array(weights) == pytest.approx(one.attention[:, 1, : len(one.prompt) + 2], abs=1e-3)
    marked = re.findall(r"data-seen=", done.stdout.partition('id="completion1"')[0])
    assert len(marked) == len(one.prompt) + 2
    assert len(Cells(done.stdout).rows) == 2 + sum(len(each.completion) for each in inspections)
