"""What a terminal shows while an agent learns, and that showing it changes nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.text import Text
from stable_baselines3.common.callbacks import ConvertCallback

from agents import AGENTS, make, make_vec_env
from agents.metrics import Metrics
from agents.watch import Watch, written
from textgym import Task, load_task

TINY = {"policy.d_model": 8, "policy.n_layers": 1, "policy.n_heads": 1}
SHORT = {"ppo": {"n_steps": 8, "batch_size": 16}, "dqn": {"learning_starts": 16}}
COPY = {"alphabet": "ab", "max_length": 2}


def agent_of(name: str, id: str = "TextGen-v0", **kwargs: Any) -> Any:
    deep = {**TINY, **SHORT.get(name, {})} if name in ("dqn", "a2c", "ppo", "reinforce", "rloo", "grpo") else {}
    return make(name, make_vec_env(id, 4, seed=0, **kwargs), seed=0, device="cpu", **deep)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=100, record=True)


def watched(agent: Any, task: Task | None, console: Console, total: int = 600, texts: int = 1) -> Metrics:
    metrics = Metrics(total)
    with Watch(total, metrics, task, texts, console) as watch:
        agent.learn(total, callback=[metrics, watch])
    return metrics


def test_a_terminal_shows_the_bar_the_newest_metrics_and_texts() -> None:
    console, task = terminal(), load_task("TextGen-v0")
    agent = agent_of("q-learning")
    metrics = watched(agent, task, console)
    last = console.export_text(clear=False).splitlines()[-3:]
    assert "600/600" in last[0]
    row = metrics.rows[-1]
    assert f"return {row['return']:.3g}" in last[1]
    assert f"success {row['success']:.3g}" in last[1]
    assert "steps per second" in last[1]
    assert last[2].strip() == "我爱你"


def test_the_bar_of_a_run_that_goes_on_begins_where_it_stood() -> None:
    console, agent = terminal(), agent_of("q-learning")
    agent.learn(400)
    with Watch(600, Metrics(600), None, 0, console) as watch:
        agent.learn(200, callback=watch, reset_num_timesteps=False)
    text = console.export_text()
    assert "404/600" in text
    assert "600/600" in text.splitlines()[-1]


class Writes:
    """An agent that writes one given token after the other."""

    def __init__(self, *actions: int) -> None:
        self.actions = actions

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        length = int((observation[0] < 3).sum())
        return [self.actions[length]], None


def styled(line: Text) -> list[tuple[str, str]]:
    return [(line.plain[span.start : span.end], str(span.style)) for span in line.spans]


def test_a_text_is_green_where_it_is_paid_red_where_it_costs_and_grey_where_it_does_neither() -> None:
    (line,) = written(Writes(0, 0, 2), load_task("TextGen-v0"))
    assert styled(line) == [("我", "green"), ("我", "red"), ("你", "green")]
    (line,) = written(Writes(0, 1, 2), load_task("TextGen-v0", reward="terminal"))
    assert styled(line) == [("我", "bright_black"), ("爱", "bright_black"), ("你", "green")]


def test_colours_reach_the_terminal() -> None:
    console = terminal()
    console.print(*written(Writes(0, 0, 2), load_task("TextGen-v0")))
    assert console.export_text(styles=True).strip() == "\x1b[32m我\x1b[0m\x1b[31m我\x1b[0m\x1b[32m你\x1b[0m"


def test_prompts_stand_before_their_texts() -> None:
    lines = written(agent_of("sarsa", "TextGym/Copy-v0", **COPY), load_task("TextGym/Copy-v0", **COPY), n=4)
    assert len(lines) == 4
    for line in lines:
        prompt, arrow, text = line.plain.partition(" → ")
        assert arrow
        assert set(prompt) <= set("ab")
        assert text


def test_what_is_no_terminal_is_shown_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    pipe = io.StringIO()
    watched(agent_of("ppo"), load_task("TextGen-v0"), Console(file=pipe), total=64)
    assert (pipe.getvalue(), *capsys.readouterr()) == ("", "", "")


def test_without_texts_none_are_written() -> None:
    console = terminal()
    watched(agent_of("q-learning"), load_task("TextGen-v0"), console, texts=0)
    assert "我" not in console.export_text(clear=False)
    watched(agent_of("q-learning"), None, console)
    assert "我" not in console.export_text()


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_watching_changes_nothing_that_is_learned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.watch.EVERY", -1.0)  # a frame at every step
    learned = []
    for texts in (0, 1):
        agent = agent_of(name, "TextGym/Copy-v0", **COPY)
        console = terminal()
        watched(agent, load_task("TextGym/Copy-v0", **COPY), console, 200, texts)
        assert ("→" in console.export_text()) == bool(texts)
        found = agent.state_dict() if hasattr(agent, "state_dict") else agent.policy.state_dict()
        learned.append({key: torch.as_tensor(value).clone() for key, value in found.items()})
    before, after = learned
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]), key


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_terminal_as_it_was(error: type[BaseException]) -> None:
    console = terminal()

    def stop(*_: Any) -> bool:
        raise error

    with pytest.raises(error), Watch(10, Metrics(10), None, 0, console) as watch:
        agent_of("q-learning").learn(10, callback=[watch, ConvertCallback(stop)])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
