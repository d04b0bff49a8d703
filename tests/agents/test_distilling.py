"""A small policy fitted to a large one: the loss is what the paper says, and the greedy text survives."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from language_models import GPT2

import agents
from agents import compare, distill, load, make, make_vec_env, save
from agents.comparing import agreement, footprint
from agents.distilling import DistillationSettings, StudentSettings
from agents.evaluation import write
from agents.lessons import Lessons, distillation_loss
from agents.prefixes import Prefixes
from agents.teachers import Teacher, corpus_of, texts
from textgym import load_task
from textgym.errors import InvalidSetting, InvalidSize, NotFinite, UnknownName

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")

Textgym = Callable[..., tuple[int, str, str]]
LARGE: dict[str, Any] = {"d_model": 32, "n_layers": 2, "n_heads": 2}
SMALL: dict[str, Any] = {"d_model": 8, "n_layers": 1, "n_heads": 1}


def fresh(name: str = "ppo", policy: dict[str, Any] = LARGE, task: str = "TextGen-v0", **kwargs: Any) -> Any:
    return make(name, make_vec_env(task, 4, seed=0, **kwargs), seed=0, device="cpu", policy=policy)


def task_of(agent: Any) -> Any:
    return agent.env.get_attr("task")[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    save(fresh().learn(1500), folder)
    return folder


def test_the_loss_of_a_worked_example() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    q = torch.tensor([[0.25, 0.25, 0.5], [0.25, 0.75, 0.0]]).log()
    policy = SimpleNamespace(read=lambda prefixes: (None, q))
    prefixes = Prefixes(torch.zeros(1, 1), torch.zeros(2), torch.zeros(2))
    assert distillation_loss(policy, prefixes, p).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_the_gradient_of_the_loss_by_finite_differences() -> None:
    agent = fresh(policy=SMALL, task="TextGym/Brackets-v0")
    corpus = texts(Teacher(agent, task_of(agent)), 4, seed=1)
    policy = agent.policy.double()
    prefixes = corpus.batch(torch.device("cpu"))[0]
    torch.manual_seed(0)
    size = corpus.task.size
    said = torch.randn(corpus.count, size, dtype=torch.float64).masked_fill(~_allowed(prefixes, size), -1e300)
    said = said.log_softmax(dim=1)
    distillation_loss(policy, prefixes, said).backward()  # type: ignore[no-untyped-call]
    trunk = policy.features_extractor.transformer
    for parameter in (policy.action_net.weight, trunk.token.weight, trunk.blocks[0].feed_forward[0].weight):
        flat, at = parameter.data.view(-1), int(parameter.grad.abs().argmax())
        ends = []
        for step in (1e-5, -2e-5):
            flat[at] += step
            ends.append(distillation_loss(policy, prefixes, said).item())
        flat[at] += 1e-5
        assert parameter.grad.view(-1)[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)
    assert policy.value_net.weight.grad is None


def _allowed(prefixes: Prefixes, size: int) -> torch.Tensor:
    assert prefixes.masks is not None
    return prefixes.masks


@pytest.mark.parametrize("name", ["ppo", "dqn", "q-learning"])
def test_a_teacher_is_proportional_to_exp_of_score_over_tau(name: str) -> None:
    agent = make("q-learning", make_vec_env("TextGen-v0", 4), seed=0) if name == "q-learning" else fresh(name)
    agent.learn(200)
    task = task_of(agent)
    corpus = texts(Teacher(agent, task), 5, seed=0)
    prefixes, _ = corpus.batch(torch.device("cpu"))
    found = Teacher(agent, task, 0.5).every(prefixes).exp().numpy()
    for i, (row, length) in enumerate(zip(prefixes.segment.tolist(), prefixes.length.tolist())):
        observation = corpus.tokens[row : row + 1].copy()
        observation[0, task.max_prompt + length :] = task.vocabulary.pad
        if name == "dqn":
            with torch.no_grad():
                scores = agent.policy.q_net(torch.as_tensor(observation)).numpy()[0]
        else:
            scores = np.log(agents.AgentPolicy(agent)(observation, np.ones((1, task.size), np.bool_))[0])
        weights = np.exp(scores.astype(np.float64) / 0.5)
        np.testing.assert_allclose(found[i], weights / weights.sum(), atol=1e-5)


@pytest.mark.parametrize("id", ["TextGym/Brackets-v0", "TextGen-v0"])
def test_texts_are_those_that_were_written_with_their_masks(id: str) -> None:
    agent = fresh(policy=SMALL, task=id)
    task, teacher = task_of(agent), Teacher(agent, task_of(agent))
    corpus = texts(teacher, 16, seed=3)
    np.testing.assert_array_equal(corpus.actions, texts(teacher, 16, seed=3).actions)
    assert (corpus.actions != texts(teacher, 16, seed=4).actions).any()
    rows, _ = write(teacher, task, 16, deterministic=True, seed=5)  # type: ignore[arg-type]
    corpus, (prefixes, actions) = corpus_of(task, rows), corpus_of(task, rows).batch(torch.device("cpu"))
    at = 0
    for row in range(16):
        again = rows.take(np.array([row]))
        while again.length[0]:
            again.erase(np.array([0]))
        for token in rows.completion[row, : rows.length[row]].tolist():
            assert actions[at] == token
            assert prefixes.length[at] == (again.tokens != task.vocabulary.pad).sum()
            if task.mask is not None:
                assert prefixes.masks is not None
                np.testing.assert_array_equal(prefixes.masks[at], task.action_mask(again)[0])
            again.write(np.array([token]))
            at += 1
    assert at == corpus.count == len(actions)


def test_agreement_and_divergence_by_a_plain_loop() -> None:
    first, other = fresh(task="TextGym/Brackets-v0").learn(300), fresh(policy=SMALL, task="TextGym/Brackets-v0")
    task = task_of(first)
    corpus = texts(Teacher(first, task), 6, seed=0)
    same, nats = 0, []
    prefixes, _ = corpus.batch(torch.device("cpu"))
    assert prefixes.masks is not None
    for row, length, mask in zip(prefixes.segment.tolist(), prefixes.length.tolist(), prefixes.masks.numpy()):
        seen = corpus.tokens[row].copy()
        seen[np.cumsum(seen != task.vocabulary.pad) > length] = task.vocabulary.pad
        p, q = (agents.AgentPolicy(one)(seen[None], mask[None])[0] for one in (first, other))
        same += int(p.argmax() == q.argmax())
        nats.append(sum(a * math.log(a / b) for a, b in zip(p, q) if a))
    share, kl = agreement(first, other, corpus)
    assert share == same / corpus.count < 1
    assert kl == pytest.approx(np.mean(nats), rel=1e-4)
    assert agreement(first, first, corpus) == (1.0, 0.0)


def test_lessons_cover_every_state_once_and_keep_what_was_said() -> None:
    agent = fresh(task="TextGym/Brackets-v0")
    teacher = Teacher(agent, task_of(agent))
    corpus = texts(teacher, 20, seed=0)
    lessons = Lessons(teacher, corpus, 16, torch.device("cpu"))
    whole = teacher.every(corpus.batch(torch.device("cpu"))[0])
    assert len(lessons.parts) > 2
    parts = [lessons(number)[1] for number in range(len(lessons.parts))]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-4)
    assert all(lessons(number)[1] is part for number, part in enumerate(parts))


def test_a_student_of_itself_has_nothing_to_learn() -> None:
    agent = fresh(policy=SMALL)
    found = distill(agent, SMALL, rounds=3, held_out=8, episodes=8, seed=0).made.distillation
    assert (found["agreement_before"], found["kl_before"]) == (1.0, pytest.approx(0.0, abs=1e-7))
    assert (found["round"], found["rounds"]) == (0, 0)


@pytest.mark.parametrize("kind", ["ppo", "dqn", "gpt2", "student"])
def test_the_student_keeps_the_greedy_text(kind: str, run: Path) -> None:
    own = {"model": GPT2} if kind == "gpt2" else LARGE
    teacher: Any = str(run) if kind in ("ppo", "student") else fresh("dqn" if kind == "dqn" else "ppo", own).learn(1000)
    share = 1.0 if kind == "student" else 0.0
    rounds: list[tuple[Any, ...]] = []
    student = distill(teacher, SMALL, student_share=share, rounds=25, note=lambda *found: rounds.append(found))
    assert agents.evaluate(student, deterministic=True).success_probability == 1
    found = student.made.distillation
    assert found["agreement"] == 1
    assert found["kl"] < found["kl_before"] / 5
    assert [list(one[1:]) for one in rounds] == found["curve"]
    held_out = [(found["agreement_before"], found["kl_before"]), *[(one[2], one[3]) for one in rounds]]
    assert held_out[found["round"]] == max(held_out, key=lambda pair: (pair[0], -pair[1]))
    assert footprint(student)[1] < footprint(load(run) if isinstance(teacher, str) else teacher)[1] / 4
    if kind == "ppo":
        before, after = agents.evaluate(run).expected_return, agents.evaluate(student).expected_return
        assert after == pytest.approx(before, abs=0.3)


def test_the_same_seed_makes_the_same_student_and_leaves_chance_and_teacher_alone(run: Path) -> None:
    found, teacher = [], load(run)
    before = {name: value.clone() for name, value in teacher.policy.state_dict().items()}
    for seed in (1, 1, 2):
        student = distill(teacher, SMALL, rounds=2, episodes=16, held_out=16, seed=seed)
        found.append(student.policy.action_net.weight.detach().clone())
        torch.rand(3)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert all(torch.equal(value, before[name]) for name, value in teacher.policy.state_dict().items())


def test_from_the_command_line_to_learning_on(run: Path, textgym: Textgym, tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps({**SMALL, "settings": {"gamma": 0.5}}), "utf-8")
    made = ("distill", str(run), "--into", "small.json", "--out", "s", "--episodes", "20", "--rows", "4")
    status, out, errors = textgym(*made, "--fit", "rounds=25")
    assert status == 0, errors
    assert "| student |" in out
    assert "Returns: exact" in out
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text("utf-8"))
    sha256 = hashlib.sha256((run / "policy.safetensors").read_bytes()).hexdigest()
    assert manifest["distilled_from"] == {"folder": str(run), "sha256": sha256}
    assert json.loads(textgym("eval", "s", "--json")[1])["success_rate"] == 1.0
    student = load(tmp_path / "s")
    assert student.gamma == 0.5
    assert student.made.distillation["teacher"]["sha256"] == sha256
    learned = student.learn(256, reset_num_timesteps=False)
    save(learned, tmp_path / "on")
    assert load(tmp_path / "on").made.distillation == student.made.distillation
    assert textgym("train", "TextGen-v0", "--init", "s", "--steps", "256", "--texts", "0", "--out", "t")[0] == 0
    for command, said in (
        (made, "holds a run already"),
        ((*made[:5], "full"), "full is not empty"),
        ((*made[:3], "no.json", "--out", "x"), "No such file"),
        ((*made[:3], "bad.json", "--out", "x"), "bad.json is no JSON"),
        ((*made[:5], "x", "--fit", "round=3"), "Did you mean 'rounds'"),
        ((*made[:5], "x", "--rows", "0"), "rows=0 is not a size"),
        (("distill", "nothing", *made[2:5], "x"), "holds no run"),
        (("train", "--resume", "s"), "no run that could go on"),
        (("train", "--config", "s"), "came of distillation"),
    ):
        (tmp_path / "full").mkdir(exist_ok=True)
        (tmp_path / "full" / "notes.txt").write_text("kept", "utf-8")
        (tmp_path / "bad.json").write_text("{", "utf-8")
        status, _, errors = textgym(*command)
        assert status == 1
        assert said in errors, errors


def test_a_comparison_says_what_is_exact_and_what_was_sampled(run: Path) -> None:
    teacher, task = load(run), load_task("TextGen-v0")
    found = compare({"teacher": teacher, "again": load(run)}, task, episodes=20, rows=4)
    assert [(one.agreement, one.kl) for one in found.agents] == [(1.0, 0.0), (1.0, pytest.approx(0.0, abs=1e-7))]
    assert found.agents[0].sampled.expected_return == pytest.approx(agents.evaluate(teacher).expected_return)
    assert found.agents[0].sampled.standard_error is None
    assert (found.states, found.rows, found.threads) == (60, 4, torch.get_num_threads())
    long = fresh(policy=SMALL, target="abcdefgh", alphabet="abcdefgh")
    sampled = compare({"only": long}, task_of(long), episodes=20, rows=4)
    _, returns = write(long, task_of(long), 20, deterministic=True)
    assert sampled.agents[0].greedy.expected_return == pytest.approx(float(returns.mean()))
    assert sampled.agents[0].sampled.standard_error is not None
    assert "mean ± standard error of 20 episodes" in sampled.markdown()


class Silent:
    """Predicts, and says nothing of probabilities."""

    env: Any = None

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        return np.zeros(len(observation), np.int64), None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, arrays: Any) -> None: ...


def silent() -> Silent:
    agent = Silent()
    agent.env = make_vec_env("TextGen-v0", 2)
    return agent


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda: distill(silent(), SMALL), InvalidSetting, "Silent says neither how likely"),
        (lambda: distill(fresh(), {**SMALL, "n_heads": 3}), InvalidSetting, "n_heads=3 does not divide d_model=8"),
        (lambda: distill(fresh(), {**SMALL, "d_model": 0}), InvalidSetting, "d_model=0 is refused"),
        (lambda: distill(fresh(), {**SMALL, "n_layers": True}), InvalidSetting, "n_layers=True is refused"),
        (lambda: distill(fresh(), {**SMALL, "layers": 2}), UnknownName, "Did you mean 'n_layers'"),
        (lambda: distill(fresh(), {**SMALL, "agent": "dqn"}), InvalidSetting, "dqn has no policy that evaluates"),
        (lambda: distill(fresh(), {**SMALL, "agent": "pp"}), UnknownName, "Did you mean 'ppo'"),
        (lambda: distill(fresh(), cast(Any, 3)), InvalidSetting, "into=3 is neither settings nor a file"),
        (lambda: distill(fresh(), "nothing.json"), FileNotFoundError, "nothing.json"),
        (lambda: distill("nothing", SMALL), FileNotFoundError, "holds no run"),
        (lambda: distill(fresh(), SMALL, tau=0.0), InvalidSetting, "tau=0.0 is refused"),
        (lambda: distill(fresh(), SMALL, tau=float("nan")), InvalidSetting, "tau=nan is refused"),
        (lambda: distill(fresh(), SMALL, student_share=2), InvalidSetting, "student_share=2 is refused"),
        (lambda: distill(fresh(), SMALL, episodes=True), InvalidSetting, "episodes=True is refused"),
        (lambda: Teacher(fresh(), load_task("TextGen-v0"), -1), InvalidSetting, "tau=-1 is no temperature"),
        (
            lambda: distill(fresh(), SMALL, env=make_vec_env("TextGen-v0", 2, target="abc")),
            InvalidSetting,
            "the student is about TextGen-v0 with vocabulary=.*the same tokens",
        ),
        (
            lambda: compare({"a": fresh(), "b": fresh(target="abcd")}, load_task("TextGen-v0")),
            InvalidSetting,
            "b is about TextGen-v0",
        ),
        (lambda: compare({"a": fresh()}, load_task("TextGen-v0"), rows=0), InvalidSize, "rows=0"),
        (lambda: compare({}, load_task("TextGen-v0")), InvalidSetting, "no agent to compare"),
        (lambda: distill(make("ppo", make_vec_env("CartPole-v1", 2)), SMALL), InvalidSetting, "keeps no environment"),
        (lambda: distill(fresh(), SMALL, learning_rate=1e38, rounds=30), NotFinite, "Give a smaller learning_rate"),
    ],
)
def test_bad_input_is_refused(fault: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fault()


def test_every_setting_says_what_it_is() -> None:
    for kind in (DistillationSettings, StudentSettings):
        assert all(field.description for field in kind.model_fields.values())
