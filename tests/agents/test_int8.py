"""Linear layers in int8: the integers are what they should be, and little is lost by them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import GPT2, LLAMA
from signing import configure
from torch import nn

import agents
from agents import load, make, make_vec_env, pretrain, quantise, save
from agents.comparing import footprint
from agents.evaluation import write
from agents.int8 import Int8Linear, quantise_layers
from textgym.errors import InvalidSetting

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")

Textgym = Callable[..., tuple[int, str, str]]
SMALL: dict[str, Any] = {"d_model": 32, "n_layers": 2, "n_heads": 2}
POLICIES: dict[str, dict[str, Any]] = {"ours": SMALL, "gpt2": {"model": GPT2}, "llama": {"model": LLAMA}}


def fresh(name: str = "ppo", policy: dict[str, Any] = SMALL, task: str = "TextGym/Brackets-v0", **kwargs: Any) -> Any:
    return make(name, make_vec_env(task, 4, seed=0, **kwargs), seed=0, device="cpu", policy=policy)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "run"
    save(fresh(task="TextGen-v0").learn(1500), folder)
    return folder


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_sum_of_integers_and_near_to_the_floats(bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 7, bias=bias)
    x = torch.randn(2, 5, 24) * torch.logspace(-3, 3, 5)[:, None]
    layer = Int8Linear(plain.weight, plain.bias)
    w, rows = plain.weight.detach().numpy(), x.reshape(-1, 24).numpy()
    s, t = np.abs(w).max(axis=1) / 127, np.abs(rows).max(axis=1) / 127
    for r, row in enumerate(rows):
        for j, weights in enumerate(w):
            integers = sum(int(a) * int(b) for a, b in zip(np.rint(row / t[r]), np.rint(weights / s[j])))
            exact = t[r] * s[j] * integers + (plain.bias[j].item() if bias else 0.0)
            found = layer(x).reshape(-1, 7)[r, j].item()
            assert found == pytest.approx(exact, rel=1e-5, abs=1e-6)
            bound = (t[r] * np.abs(weights).sum() + s[j] * np.abs(row).sum()) / 2 + 24 * t[r] * s[j] / 4
            assert abs(found - plain(x).reshape(-1, 7)[r, j].item()) <= bound * 1.001


def test_what_comes_of_a_row_depends_on_no_other_row() -> None:
    torch.manual_seed(0)
    layer, x = Int8Linear(torch.randn(6, 16)), torch.randn(9, 16)
    whole = layer(x)
    x[1:] *= 1000
    assert torch.equal(layer(x)[0], whole[0])
    assert torch.equal(layer(x[:1])[0], whole[0])
    assert layer(x[:0]).shape == (0, 6)
    assert torch.equal(Int8Linear(torch.zeros(2, 16), torch.ones(2))(torch.zeros(1, 16)), torch.ones(1, 2))
    assert Int8Linear(torch.ones(2, 16))(torch.full((1, 16), torch.nan)).isnan().all()


@pytest.mark.parametrize("kind", POLICIES)
def test_a_quantised_policy_is_near_and_reads_alike_with_and_without_a_cache(kind: str) -> None:
    agent, q = fresh(policy=POLICIES[kind]), quantise(fresh(policy=POLICIES[kind]))
    task = agent.env.get_attr("task")[0]
    rows, _ = write(q, task, 24, deterministic=True)
    masks = np.ones((24, task.size), np.bool_)
    near, exact = (agents.AgentPolicy(one)(rows.tokens, masks) for one in (q, agent))
    assert 0 < np.abs(near - exact).max() < 0.02
    plain = quantise(fresh(policy={**POLICIES[kind], "use_cache": False}))
    plain.policy.load_state_dict(q.policy.state_dict())
    again, _ = write(plain, task, 24, deterministic=True)
    np.testing.assert_array_equal(rows.tokens, again.tokens)
    np.testing.assert_allclose(near, agents.AgentPolicy(plain)(rows.tokens, masks), atol=2e-3)


def test_the_size_is_what_the_layers_say() -> None:
    agent, q = fresh(), quantise(fresh())
    many, size = footprint(agent)
    assert size == 4 * many == 4 * sum(p.numel() for p in agent.policy.parameters())
    d, layers, v = 32, 2, agent.action_space.n
    weights = layers * 12 * d * d + v * d
    outputs = layers * (3 * d + d + 4 * d + d) + v
    assert footprint(q) == (many, size - 3 * weights + 4 * outputs)
    assert all(layer.weight.dtype == torch.int8 for layer in q.policy.modules() if isinstance(layer, Int8Linear))
    assert isinstance(q.policy.value_net, nn.Linear)


def test_a_language_models_own_head_and_embeddings_stay() -> None:
    for kind, layers in (("gpt2", 2 * 4), ("llama", 2 * 7)):
        agent = fresh(policy=POLICIES[kind])
        head = agent.policy.action_net.output
        assert quantise_layers(agent.policy) == layers
        assert agent.policy.action_net.output is head
        assert head.weight.is_floating_point()


@pytest.mark.parametrize("name", ["ppo", "dqn"])
@pytest.mark.parametrize("kind", ["ours", "gpt2"])
def test_a_quantised_run_is_read_as_it_was_written(name: str, kind: str, tmp_path: Path) -> None:
    agent = quantise(fresh(name, POLICIES[kind], "TextGen-v0"))
    save(agent, tmp_path)
    again = load(tmp_path)
    assert agents.evaluate(again).lower == agents.evaluate(agent).lower
    assert again.made.quantisation == "int8"
    own = again.policy.state_dict()
    assert {str(value.dtype) for value in own.values()} == {"torch.int8", "torch.float32"}
    assert all(torch.equal(value, own[key]) for key, value in agent.policy.state_dict().items())


def test_a_trained_run_keeps_its_text_from_the_command_line(run: Path, textgym: Textgym) -> None:
    status, out, _ = textgym("quantise", str(run), "--out", "q", "--episodes", "20", "--rows", "4")
    assert status == 0
    assert "| int8 |" in out
    assert "Returns: exact" in out
    before, after = (path.stat().st_size for path in (run / "policy.safetensors", Path("q") / "policy.safetensors"))
    assert f"{after:,} bytes, before {before:,}" in out
    assert after < before / 2.5
    greedy = agents.evaluate("q", deterministic=True)
    assert greedy.success_probability == 1
    assert agents.evaluate("q").expected_return == pytest.approx(agents.evaluate(run).expected_return, abs=0.01)
    status, out, _ = textgym("eval", "q", "--json")
    assert json.loads(out)["success_rate"] == 1.0
    for command, said in (
        (("train", "--resume", "q"), "for inference alone"),
        (("train", "TextGen-v0", "--init", "q"), "nothing can be learned on"),
        (("train", "--config", "q"), "came of quantisation"),
        (("quantise", "q", "--out", "q2"), "int8 already"),
        (("quantise", str(run), "--out", "q"), "holds a run already"),
        (("quantise", str(run), "--out", str(run), "--overwrite"), "is the run itself"),
        (("train", "TextGen-v0", "--set", "kl_coefficient=1", "--set", "reference=q"), "Give the run that it was made"),
    ):
        status, _, errors = textgym(*command)
        assert status == 1
        assert said in errors, errors


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda: quantise(fresh()).learn(8), "for inference alone"),
        (lambda: pretrain(quantise(fresh()), ["a", "b"]), "for inference alone"),
        (lambda: quantise(quantise(fresh())), "int8 already"),
        (lambda: quantise(make("q-learning", make_vec_env("TextGen-v0", 2))), "q-learning has no network"),
        (lambda: quantise(object()), "object was not made by agents.make"),
    ],
)
def test_what_cannot_be_done_is_refused(fault: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        fault()


def test_a_weight_that_is_not_finite_has_no_scale() -> None:
    agent = fresh()
    with torch.no_grad():
        agent.policy.action_net.weight[0, 0] = torch.inf
    with pytest.raises(InvalidSetting, match="action_net is not finite"):
        quantise(agent)


def test_floats_that_claim_to_be_integers_are_refused(run: Path, tmp_path: Path) -> None:
    for path in run.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    configure(tmp_path, quantisation="int8")
    with pytest.raises(InvalidSetting, match="does not hold this agent's parameters"):
        load(tmp_path)
