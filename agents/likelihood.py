"""How likely an agent is to write given texts, token by token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from textgym import Episodes, Task
from textgym.arrays import FloatArray

from .categorical import at_once
from .fitting import check_env
from .folder import MANIFEST, read_json
from .making import make_vec_env
from .policies import PrefixPolicy
from .prefixes import Prefixes
from .probabilities import AgentPolicy, acting, network_of
from .runs import read_run, restore
from .sb3_state import get_global_chance, set_global_chance
from .text_data import Corpus, written

CHUNK = 8192  # tokens that a network reads at once


def token_log_probabilities(agent: Any, corpus: Corpus) -> FloatArray:
    """Return log pi(token | all before it) of each token to be written, `(N,)` float64 in nats, text by text.

    A policy that evaluates whole rows reads each text once (`reads_prefixes`); of any other agent that
    says how likely its actions are, every prefix is read. Both are what the agent samples from, within the task's mask;
    -inf where it would never write the token.

    Args:
        agent: what `AgentPolicy` takes.
        corpus: the texts.
    """
    network = network_of(agent)
    packed = reads_prefixes(network)
    rows = max(1, at_once(CHUNK, corpus.task.size) // corpus.tokens.shape[1])
    parts = [corpus.take(np.arange(first, min(first + rows, len(corpus)))) for first in range(0, len(corpus), rows)]
    return np.concatenate([np.zeros(0), *[(_packed if packed else _one_by_one)(agent, part) for part in parts]])


def reads_prefixes(network: Any) -> bool:
    """Return whether a policy's `evaluate_actions` takes `Prefixes`; it says so by `reads_prefixes = True`."""
    own = getattr(network, "reads_prefixes", False) is True
    return own and isinstance(network.action_space, spaces.Discrete)


def _packed(agent: Any, corpus: Corpus) -> FloatArray:
    network = network_of(agent)
    with torch.no_grad(), acting(network):
        prefixes, actions = corpus.batch(network.device)
        if isinstance(network, PrefixPolicy) and network.cuts:  # which an update takes every action to be in
            within, taken = prefixes._replace(masks=None), actions[:, None]
            log_probs = network.read(within, prefixes.masks)[1].gather(1, taken)[:, 0]
        else:
            log_probs = network.evaluate_actions(prefixes, actions)[1]
        found: FloatArray = log_probs.double().cpu().numpy()
    # a masked token's logit is the least finite number
    return np.where(found < -1e30, -np.inf, found)


def _one_by_one(agent: Any, corpus: Corpus) -> FloatArray:
    prefixes, actions = corpus.batch(torch.device("cpu"))
    size = corpus.task.size
    masks = np.ones((len(actions), size), np.bool_) if prefixes.masks is None else prefixes.masks.numpy()
    given = AgentPolicy(agent)(prefix_rows(prefixes, corpus.task.vocabulary.pad), masks)
    with np.errstate(divide="ignore"):
        logs: FloatArray = np.log(given[np.arange(len(actions)), actions.numpy()])
    return logs


def prefix_rows(prefixes: Prefixes, pad: int) -> Any:
    """Return the observations that prefixes stand for, `(N, L)` int32."""
    rows = prefixes.tokens[prefixes.segment]  # (N, L)
    later = (rows != pad).cumsum(dim=1) > prefixes.length[:, None]
    return rows.masked_fill(later, pad).numpy().astype(np.int32)


def cross_entropy(agent: Any, corpus: Corpus) -> float:
    """Return -1/N sum_i log pi(token_i | all before it), in nats a token; infinite where a text is impossible."""
    return float(-token_log_probabilities(agent, corpus).mean())


def perplexity(cross_entropy: float) -> float:
    """Return exp of a cross-entropy in nats a token: among how many equally likely tokens one would be as unsure."""
    return math.exp(cross_entropy) if cross_entropy < 700 else math.inf


def perplexity_under(model: str | Path, task: Task, rows: Episodes) -> float:
    """Return the perplexity of what finished episodes wrote, end tokens counted, under a policy.

    Args:
        model: a run's folder, of `textgym train` or `textgym pretrain`; it may have had other rewards. Or that of a
            Hugging Face causal language model: the policy that begins as it, over the task's tokens and within its
            mask.
        task: whose episodes they are; of the model's vocabulary, prompt width and horizon.
        rows: the episodes.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: the run is another vocabulary's, width's or horizon's; the model cannot be read.
        InvalidVocabulary: the task's tokens are not the model's.
    """
    pad = task.vocabulary.pad
    texts = [
        ([token for token in prompt if token != pad], completion[:length])
        for prompt, completion, length in zip(rows.prompt.tolist(), rows.completion.tolist(), rows.length.tolist())
    ]
    chance = get_global_chance()
    try:
        agent = _policy_at(Path(model), task)
    finally:
        set_global_chance(chance)
    return perplexity(cross_entropy(agent, written(task, texts)[0]))


def _is_language_model(folder: Path) -> bool:
    """Return whether a folder holds a Hugging Face model, and no run."""
    path = folder / "config.json"
    return path.is_file() and not (folder / MANIFEST).exists() and "model_type" in read_json(path.read_bytes(), path)


def _policy_at(folder: Path, task: Task) -> Any:
    """Return a run's agent, or the policy that begins as a language model."""
    env = make_vec_env(task, 1)
    if _is_language_model(folder):
        from .causal_lm import CausalLMPolicy

        spaces_of = env.observation_space, env.action_space
        learner = torch.optim.SGD  # it learns nothing: no memory for moments
        return CausalLMPolicy(*spaces_of, lambda _: 0.0, model=str(folder), optimizer_class=learner)
    run = read_run(folder)
    check_env(run.folder, run.config, run.manifest, env, any_width=True)
    return restore(run)[0]
