"""distill: fits a small policy to what a large one would do, on texts that it writes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors.numpy import save as to_bytes
from torch import Tensor

from textgym.errors import InvalidSetting, NotFinite

from .categorical import divergence
from .comparing import check_same_env
from .config import Start
from .folder import read_json
from .lessons import Lessons, distillation_loss
from .making import make_vec_env
from .pretraining import policy_of, require_task
from .probabilities import acting
from .runs import read_run, restore
from .sb3_state import get_global_chance, set_global_chance
from .settings import Count, NotNegative, Positive, Settings, Share, TransformerSettings
from .state import env_of, parameters
from .table import make
from .teachers import Teacher, texts
from .text_data import Corpus
from .trees import as_array
from .vec_env import bridge_of

Note = Callable[[int, float, float, float], None]
"""Called after each round with its number, the loss, and the held-out agreement and divergence."""


class StudentSettings(TransformerSettings):
    """The policy that is to come of it."""

    agent: str = Field("ppo", description="whose policy it is: ppo, a2c, reinforce, rloo or grpo")
    settings: dict[str, Any] = Field(default_factory=dict, description="the agent's settings, for learning on")


class DistillationSettings(Settings):
    """How a student is fitted to its teacher."""

    tau: Positive | None = Field(
        None,
        description="the teacher's temperature; none for 1, of a dqn's action values for 0.01",
    )
    student_share: Share = Field(
        0.0, description="the chance that the student writes a round's texts itself: 0 the teacher's texts, 1 its own"
    )
    episodes: Count = Field(128, description="the texts that are written for a round")
    reads: Count = Field(2, description="how often a round's texts are read")
    batch_size: Count = Field(256, description="the tokens of a minibatch, about: texts are whole")
    learning_rate: Positive = Field(5e-3, description="the step size of Adam at the start")
    max_grad_norm: Positive = Field(1.0, description="the norm that gradients are clipped to")
    rounds: Count = Field(100, description="the rounds at most")
    patience: Count = Field(8, description="the rounds without a better held-out agreement that end it")
    close: NotNegative = Field(1e-3, description="the nats a token, held out, that with full agreement end it too")
    held_out: Count = Field(128, description="the teacher's texts that are written apart, to decide by")
    seed: int = Field(0, ge=0, lt=2**32, description="the seed of parameters, prompts, draws and order")


@dataclass(frozen=True)
class Distilled:
    """What came of it, held out; divergences are KL(teacher || student) in nats a token."""

    agreement: float  # the share of states where both take the same action greedily, of the parameters that were kept
    kl: float
    agreement_before: float  # of the student as it was
    kl_before: float
    round: int  # after which they were kept; 0 for the start
    rounds: int  # made in all
    tokens: int  # that were written to learn from
    curve: tuple[tuple[float, float, float], ...]  # of each round: the loss, agreement and divergence


def distill(
    teacher: Any,
    into: Mapping[str, Any] | str | Path,
    *,
    env: Any = None,
    device: str = "auto",
    note: Note | None = None,
    **settings: Any,
) -> Any:
    """Return a new agent whose policy, our transformer of a given size, does what a teacher does.

    Policy distillation (Rusu et al., 2016, arXiv:1511.06295): of each state s of texts that the teacher writes, the
    loss is KL(p || pi_student(. | s)) over the whole vocabulary within the mask, with p proportional to
    exp(score / tau): their equation 3, where scores are a DQN's action values; of a policy they are its
    log-probabilities, so that tau = 1 leaves it as it is. With `student_share` the student writes that share of the
    rounds' texts itself, as in on-policy distillation (Agarwal et al., 2024, arXiv:2306.13649, algorithm 1); no
    gradient flows through what is drawn. The parameters with the best agreement on texts of the teacher that are held
    out are kept, of equal ones those with the least divergence; the step size is halved in each round that brings no
    better ones. The value head is not learned.

    Args:
        teacher: a run's folder, or an agent with probabilities or action values.
        into: the student's `StudentSettings`, such as {"d_model": 32, "n_layers": 1, "n_heads": 2}; or a JSON file
            that holds them.
        env: what the student is to learn in later, of the same tokens and widths; None for one like the teacher's.
        device: where torch puts the student.
        note: called after each round.
        settings: of `DistillationSettings`.

    Returns:
        The student. `agents.save` keeps it and of what it was distilled; `made.distillation` says what came of it.

    Raises:
        FileNotFoundError: there is no such run, or no such file.
        InvalidSetting: the teacher has no probabilities, or is another environment's; the sizes make no transformer.
        NotFinite: the loss is not finite.

    Example:
        >>> from agents import distill, evaluate, make, make_vec_env
        >>> teacher = make("ppo", make_vec_env("TextGen-v0", 8), seed=0).learn(4_000)
        >>> student = distill(teacher, {"d_model": 8, "n_layers": 1, "n_heads": 1})
        >>> evaluate(student, deterministic=True).expected_return
        3.0
    """
    known = DistillationSettings.read(settings, "distillation")
    student_settings = read_student(into)
    learned, origin = _read(teacher)
    task = require_task(learned)
    guide = Teacher(learned, task, known.tau)
    own = _env_like(learned, known.seed) if env is None else env
    check_same_env(env_of(learned), own, "the student")
    sizes = {name: getattr(student_settings, name) for name in TransformerSettings.model_fields}
    given = {**student_settings.settings, "policy": sizes}
    student = make(student_settings.agent, own, seed=known.seed, device=device, **given)
    result = _Distilling(guide, student, known).run(note)
    record = {"teacher": origin, "settings": known.model_dump(), **asdict(result)}
    student.made = replace(student.made, distillation={**record, "curve": [list(part) for part in result.curve]})
    return student


def read_student(into: Mapping[str, Any] | str | Path) -> StudentSettings:
    """Return a student's settings, given or read from a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidSetting: it is no JSON; the sizes make no transformer.
        UnknownName: there is no such setting.
    """
    if isinstance(into, Mapping):
        return StudentSettings.read(into, "the student")
    if not isinstance(into, (str, Path)):
        raise InvalidSetting(f"into={into!r} is neither settings nor a file. Give {{'d_model': 32, ...}}, or a path.")
    return StudentSettings.read(read_json(Path(into).read_bytes(), Path(into)), str(into))


def _read(teacher: Any) -> tuple[Any, dict[str, Any]]:
    """Return a teacher, and what a run says of it: its folder, and the sha256 of its parameters."""
    if not isinstance(teacher, (str, Path)):
        named = {name: as_array(value, f"parameter {name}") for name, value in parameters(teacher).items()}
        return teacher, {"folder": None, "sha256": hashlib.sha256(to_bytes(named)).hexdigest()}
    run, chance = read_run(Path(teacher)), get_global_chance()
    try:
        agent = restore(run)[0]
    finally:
        set_global_chance(chance)
    start = Start.read({"folder": str(teacher), "sha256": run.manifest["files"]["policy.safetensors"]}, "the teacher")
    return agent, start.model_dump()


def _env_like(agent: Any, seed: int) -> Any:
    """Return an environment like an agent's, of its own."""
    env = env_of(agent)
    bridge = bridge_of(env)
    if bridge is None or bridge.origin is None:
        return make_vec_env(require_task(agent), env.num_envs, seed=seed)
    kwargs = {name: value for name, value in bridge.origin.kwargs.items() if name != "render_mode"}
    return make_vec_env(bridge.origin.id, env.num_envs, seed=seed, **kwargs)


class _Distilling:
    """One distillation: the student, its optimiser, and the best parameters so far."""

    def __init__(self, teacher: Teacher, student: Any, settings: DistillationSettings) -> None:
        self.teacher, self.settings, self.policy = teacher, settings, policy_of(student)
        self.student = Teacher(student, teacher.task)
        self.rng = np.random.default_rng(settings.seed)
        self.held_out = self._cut(texts(teacher, settings.held_out, self._seed()))
        self.parameters = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        optimizer: Any = self.policy.optimizer_class
        self.optimizer = optimizer(self.parameters, lr=settings.learning_rate, **self.policy.optimizer_kwargs)
        self.tokens = 0

    def run(self, note: Note | None) -> Distilled:
        """Make rounds until none has helped for long, and leave the student with the best parameters."""
        curve: list[tuple[float, float, float]] = []
        before = best = self._measure()
        kept, at, waited = self._copy(), 0, 0
        try:
            while len(curve) < self.settings.rounds and waited < self.settings.patience and not self._is_close(*best):
                loss = self._round()
                found = self._measure()
                curve.append((loss, *found))
                if note is not None:
                    note(len(curve), *curve[-1])
                if (found[0], -found[1]) > (best[0], -best[1]):
                    best, kept, at, waited = found, self._copy(), len(curve), 0
                else:
                    waited += 1
                    self.optimizer.param_groups[0]["lr"] /= 2
        finally:
            self.policy.load_state_dict(kept)
            self.policy.set_training_mode(False)
        return Distilled(*best, *before, at, len(curve), self.tokens, tuple(curve))

    def _is_close(self, agreement: float, kl: float) -> bool:
        return agreement == 1 and kl < self.settings.close

    def _round(self) -> float:
        """Have texts written and learn from them; return the mean loss, as it was while they were read."""
        own = self.rng.random() < self.settings.student_share
        corpus = texts(self.student if own else self.teacher, self.settings.episodes, self._seed())
        self.tokens += corpus.count
        lessons, total = self._cut(corpus), 0.0
        self.policy.set_training_mode(True)
        for _ in range(self.settings.reads):
            for number in self.rng.permutation(len(lessons.parts)).tolist():
                prefixes, said = lessons(number)
                loss = distillation_loss(self.policy, prefixes, said)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
                self.optimizer.step()
                total += self._finite(loss.item()) * len(said)
        return total / (self.settings.reads * corpus.count)

    @torch.no_grad()
    def _measure(self) -> tuple[float, float]:
        """Return agreement and divergence, held out."""
        same, total, count = 0, 0.0, 0
        with acting(self.policy):
            for number in range(len(self.held_out.parts)):
                prefixes, said = self.held_out(number)
                own = self.policy.read(prefixes)[1]
                same += int((said.argmax(dim=1) == own.argmax(dim=1)).sum())
                total += float(divergence(said, own).sum())
                count += len(said)
        return same / count, self._finite(total / count)

    def _cut(self, corpus: Corpus) -> Lessons:
        return Lessons(self.teacher, corpus, self.settings.batch_size, self.policy.device)

    def _seed(self) -> int:
        return int(self.rng.integers(2**32))

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.policy.state_dict().items()}

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            raise NotFinite(
                f"the divergence from the teacher is {value}; the student keeps the best parameters before. Give a "
                "smaller learning_rate or max_grad_norm, or a larger tau."
            )
        return value
