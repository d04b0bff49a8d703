"""pretrain: fits an agent's policy to text, so that reinforcement learning begins from a language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from textgym import Task
from textgym.errors import InvalidSetting, NotFinite

from .deep import for_width
from .int8 import refuse_learning
from .likelihood import cross_entropy, perplexity, reads_prefixes
from .sampling import Sampling
from .settings import Count, Positive, Settings
from .state import task_of
from .text_data import Corpus, encode
from .texts import given_texts

Note = Callable[[int, float, float], None]
"""Called after each epoch with its number, the cross-entropy of what was learned from, and the held-out one."""


class PretrainingSettings(Settings):
    """How a policy is fitted to text."""

    learning_rate: Positive = Field(5e-3, description="the step size of Adam at the start")
    batch_size: Count = Field(512, description="the tokens of a minibatch, about: texts are whole")
    epochs: Count = Field(200, description="how often the texts are read at most")
    patience: Count = Field(6, description="the epochs without a lower held-out cross-entropy that end the fit")
    held_out: float = Field(0.1, gt=0, lt=1, description="the share of the texts that is held out")
    max_grad_norm: Positive = Field(1.0, description="the norm that gradients are clipped to")
    seed: int = Field(0, ge=0, lt=2**63, description="the seed of the split and of the order of texts")


@dataclass(frozen=True)
class Fit:
    """What came of a fit; cross-entropies are in nats a token, end tokens counted."""

    cross_entropy: float  # held out, of the parameters that were kept
    perplexity: float  # exp of it
    before: float  # the held-out cross-entropy of the policy as it was
    epoch: int  # after which they were kept; 0 for the start
    epochs: int  # made in all
    texts: int  # learned from
    held_out: int  # texts held out
    tokens: int  # learned from in an epoch
    duplicates: int  # removed before the split
    skipped: int  # did not fit, left out
    curve: tuple[tuple[float, float], ...]  # of each epoch: cross-entropy of what is learned from, and held out


def pretrain(
    agent: Any, texts: Corpus | Iterable[str | tuple[str, str]], *, note: Note | None = None, **settings: Any
) -> Fit:
    """Fit an agent's policy to texts by next-token cross-entropy, and keep the parameters of the best epoch.

    The loss is -log pi(token | prompt and all before it), averaged over the tokens of completions and their end tokens;
    a prompt is read, not learned. The distribution is the one that the policy samples from, the task's mask included.
    The head that acts becomes a language model's, the value head keeps its parameters. The step size is halved in
    each epoch that did not lower the held-out cross-entropy, and the best parameters are gone on from.

    Args:
        agent: what `agents.make` made with a policy that evaluates whole texts: `ppo`, `a2c`, `reinforce`, `rloo`,
            `grpo`.
        texts: each a string, or a pair of a prompt and a completion; or what `text_data.encode` returned. Duplicates
            are removed before the split, so that nothing of it leaks: a text that is frequent counts but once.
        note: called after each epoch.
        settings: of `PretrainingSettings`; the step size of a language model is less by its width, if none is given.

    Returns:
        What came of it. `agents.save` keeps the agent, and how it was fitted.

    Raises:
        InvalidSetting: a text does not fit the environment; the agent has no such policy, or one that is cut, by top_k,
            top_p or candidates.
        NotFinite: the loss is not finite; the policy keeps the best parameters before.
    """
    policy, task = policy_of(agent), require_task(agent)
    known = _known(settings, policy)
    corpus = texts if isinstance(texts, Corpus) else encode(given_texts(texts), task)
    learned, held_out = corpus.split(known.held_out, known.seed)
    fit = _Fitting(agent, policy, learned, held_out, known).run(note)
    result = replace(fit, duplicates=corpus.duplicates, skipped=corpus.skipped)
    if getattr(agent, "made", None) is not None:
        record = {"settings": known.model_dump(), **asdict(result), "curve": [list(pair) for pair in result.curve]}
        agent.made = replace(agent.made, pretraining=record)
    return result


def _known(settings: dict[str, Any], policy: Any) -> PretrainingSettings:
    """Return the settings of a fit, with the step size that a language model needs where none was given."""
    known = PretrainingSettings.read(settings, "pretraining")
    if getattr(policy, "start", None) is not None:
        raise InvalidSetting(
            "policy.candidates cuts the policy to what it would have written at first, and texts go beyond that. Leave "
            "it out here, and give it where the policy learns by rewards: train --init DIR --set policy.candidates=K."
        )
    if not hasattr(policy, "base_model") or "learning_rate" in known.model_fields_set:
        return known
    rate = for_width(known.learning_rate, policy.features_extractor.transformer.d_model)
    return known.model_copy(update={"learning_rate": rate})


class _Fitting:
    """One fit: the policy, its optimiser, and the best parameters so far."""

    def __init__(
        self, agent: Any, policy: Any, learned: Corpus, held_out: Corpus, settings: PretrainingSettings
    ) -> None:
        self.agent, self.policy, self.learned, self.held_out, self.settings = agent, policy, learned, held_out, settings
        self.parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        self.rng = np.random.default_rng(settings.seed)
        self.rate = settings.learning_rate
        self.best, self.kept = math.inf, self._copy()
        self._renew()

    def run(self, note: Note | None) -> Fit:
        """Make epochs until none has helped for long, and leave the policy with the best parameters."""
        curve: list[tuple[float, float]] = []
        before = self.best = self._held_out()
        epoch = waited = 0
        try:
            while len(curve) < self.settings.epochs and waited < self.settings.patience:
                curve.append((self._epoch(), self._held_out()))
                if note is not None:
                    note(len(curve), *curve[-1])
                if curve[-1][1] < self.best:
                    self.best, self.kept, epoch, waited = curve[-1][1], self._copy(), len(curve), 0
                else:
                    waited, self.rate = waited + 1, self.rate / 2
                    self._restore()
                    self._renew()
        finally:
            self._restore()
            self.policy.set_training_mode(False)
        return Fit(
            cross_entropy=self.best,
            perplexity=perplexity(self.best),
            before=before,
            epoch=epoch,
            epochs=len(curve),
            texts=len(self.learned),
            held_out=len(self.held_out),
            tokens=self.learned.count,
            duplicates=0,
            skipped=0,
            curve=tuple(curve),
        )

    def _epoch(self) -> float:
        """Read all texts once, in random order; return their mean loss, as it was while they were read."""
        self.policy.set_training_mode(True)
        order = self.rng.permutation(len(self.learned))
        ends = self.learned.length[order].cumsum()
        minibatches = max(1, round(ends[-1] / self.settings.batch_size))
        cuts = np.searchsorted(ends, np.arange(1, minibatches) * ends[-1] / minibatches)
        total = 0.0
        for rows in np.split(order, cuts):
            if len(rows):
                part = self.learned.take(rows)
                total += self._step(part) * part.count
        return total / self.learned.count

    def _step(self, corpus: Corpus) -> float:
        prefixes, actions = corpus.batch(self.policy.device)
        log_prob: Tensor = self.policy.evaluate_actions(prefixes, actions)[1]
        loss = -log_prob.mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        return self._finite(loss.item())

    def _held_out(self) -> float:
        return self._finite(cross_entropy(self.agent, self.held_out))

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            raise NotFinite(
                f"the cross-entropy is {value} at learning_rate={self.rate}; the policy keeps the best parameters "
                "before. Give a smaller learning_rate, or a smaller max_grad_norm."
            )
        return value

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.policy.state_dict().items()}

    def _restore(self) -> None:
        self.policy.load_state_dict(self.kept)

    def _renew(self) -> None:
        """Begin with an optimiser that remembers nothing; the agent's own is left alone."""
        make: Any = self.policy.optimizer_class
        self.optimizer = make(self.parameters, lr=self.rate, **self.policy.optimizer_kwargs)


def policy_of(agent: Any) -> Any:
    """Return a policy that says how likely its actions are, for whole rows at once.

    Raises:
        InvalidSetting: the agent has none, or one whose distribution is cut.
    """
    policy: Any = getattr(agent, "policy", None)
    made = getattr(agent, "made", None)
    if getattr(made, "quantisation", None) is not None:
        refuse_learning()
    if not reads_prefixes(policy):
        raise InvalidSetting(
            f"{made.agent if made else type(agent).__name__} has no policy that evaluates whole texts. Fit "
            'agents.make("ppo", env), "a2c", "reinforce", "rloo" or "grpo"; "dqn" can begin with its transformer: '
            'make("dqn", env, init=DIR).'
        )
    if getattr(policy, "sampling", Sampling()).cuts:
        raise InvalidSetting(
            f"this policy cuts its distribution, {policy.sampling}, and a text with a token that is cut away cannot be "
            "learned from. Fit it without top_k and top_p; what begins from it may have them."
        )
    return policy


def require_task(agent: Any) -> Task:
    """Return the task that an agent writes.

    Raises:
        InvalidSetting: its environment is not TextGym's.
    """
    task = task_of(agent)
    if task is None:
        raise InvalidSetting(
            f"{type(agent).__name__} keeps no environment of TextGym's, whose vocabulary would say what a text is. "
            "Make it with make_vec_env(ID)."
        )
    return task
