"""Looking inside a policy: what it thought of every token of a completion."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgym import Task
from textgym.arrays import BoolArray, FloatArray
from textgym.errors import InvalidSetting, require_flag, require_natural, require_positive
from textgym.policies import divergence, entropy

from .asking import Scored, asked, given, score, write
from .attention import attention, looked_at, reader_of
from .beginning import Compared, compared, says_probabilities
from .estimates import advantages_of, finite, penalties_of, scale_of
from .inspection import Inspection
from .prefixes import Prefixes
from .probabilities import acting, network_of
from .probe import is_control
from .reading import Reading, read, reference_log_probabilities
from .runs import read_run, restore
from .sb3_state import get_global_chance, set_global_chance
from .state import env_of, task_of


def inspect_completion(run_or_agent: Any, **asking: Any) -> Inspection:
    """Return what a policy thought of every token of one completion: the first of `inspect_completions`."""
    return inspect_completions(run_or_agent, 1, **asking)[0]


def inspect_completions(
    run_or_agent: Any,
    n: int = 1,
    *,
    prompt: str | None = None,
    completion: str | None = None,
    seed: int = 0,
    sample: bool = False,
    reference: str | Path | None = None,
    alternatives: int = 5,
    agent: str | None = None,
    device: str = "auto",
) -> list[Inspection]:
    """Return what a policy thought of every token of some completions.

    Neither the policy nor any chance is changed by being looked at.

    Args:
        run_or_agent: the folder of a run, or an agent in an environment of TextGym's.
        n: how many completions; prompts are drawn by `seed` where none is given.
        prompt: the text that is to be continued.
        completion: look at this one; the end token follows it where there is one. None for what the policy writes.
        seed: of prompts and samples.
        sample: sample tokens; else take the likeliest.
        reference: what divergences are to: 'start', 'uniform', or the folder of a run. None for the reference that
            learning is kept near to, else the start, else none.
        alternatives: how many of the likeliest tokens are kept at each place.
        agent: the run's own agent, named again: 'package.module:make'.
        device: where torch puts a run's policy.

    Raises:
        FileNotFoundError: no run is there.
        InvalidPrompt: a prompt that the environment cannot ask.
        InvalidTarget: a completion that the vocabulary cannot write.
        InvalidSetting: a completion longer than the horizon, or more than one; a reference that is not known; an agent
            that says neither how likely its actions are nor what they are worth.
        InvalidSize: n or alternatives below 1.
    """
    require_positive(n=n, alternatives=alternatives)
    require_natural(seed=seed)
    require_flag(sample=sample)
    if completion is not None and (n > 1 or sample):
        raise InvalidSetting("a completion that is given is one, and not sampled. Leave n and sample out.")
    looked, about = _agent(run_or_agent, agent, device)
    task = _written(looked)
    to, why = _reference(looked, task, reference)
    rng = np.random.default_rng(seed)
    prompts = [(drawn, True) for drawn in task.draw([rng] * n)] if prompt is None else [asked(task, prompt)] * n
    if completion is None:
        network = network_of(looked)
        with nullcontext() if network is None else acting(network):  # for all steps, so that it remembers its rows
            rows = write(looked, task, [one for one, _ in prompts], not sample, seed)
        texts = [text[:length] for text, length in zip(rows.completion, rows.length)]
    else:
        texts = [given(task, completion)]
    how = "given" if completion is not None else "sampled" if sample else "greedy"
    about = {**about, "how": how, "gamma": _discount(looked), "gae_lambda": getattr(looked, "gae_lambda", None)}
    scored = [score(task, one, text, known) for (one, known), text in zip(prompts, texts)]
    return [_inspected(looked, task, one, about, to, why, alternatives) for one in scored]


def _agent(given: Any, name: str | None, device: str) -> tuple[Any, dict[str, Any]]:
    """Return an agent and what is said about it; chance is as it was."""
    if isinstance(given, (str, Path)):
        run, chance = read_run(Path(given)), get_global_chance()
        try:
            agent = restore(run, agent=name, device=device)[0]
        finally:
            set_global_chance(chance)
        return agent, {"env": run.config.env, "agent": run.config.agent, "steps": run.manifest.get("steps")}
    if name is not None:
        raise InvalidSetting(f"agent={name!r} names the agent of a run, and {given!r} is none. Leave it out.")
    made = getattr(given, "made", None)
    kind = type(given).__name__ if made is None else made.agent
    return given, {"env": None, "agent": kind, "steps": getattr(given, "num_timesteps", None)}


def _written(agent: Any) -> Task:
    """Return the task that an agent writes; raises `InvalidSetting` where there is none."""
    task = task_of(agent)
    if task is not None:
        return task
    kind, env = type(agent).__name__, env_of(agent)
    raise InvalidSetting(
        f"{kind} acts in a control task: it writes no text that could be looked into. `textgym eval` says what it "
        "earns, and shows what it does."
        if env is not None and is_control(env)
        else f"{kind} keeps no environment of TextGym's, so nobody knows what it writes."
    )


def _discount(agent: Any) -> float | None:
    found = getattr(agent, "gamma", getattr(getattr(agent, "settings", None), "gamma", None))
    return None if found is None else float(found)


def _reference(agent: Any, task: Task, name: str | Path | None) -> tuple[Compared | None, str]:
    """Return what the agent is compared with, or why nothing."""
    if not says_probabilities(agent):
        why = "an agent that acts by action values has no probabilities to compare"
        if name is not None:
            raise InvalidSetting(f"reference={str(name)!r}: {why}. Leave it out.")
        return None, why
    try:
        return compared(agent, task, name), ""
    except InvalidSetting as error:
        if name is not None:
            raise
        return None, str(error)


def _inspected(
    agent: Any, task: Task, scored: Scored, about: dict[str, Any], to: Compared | None, why: str, k: int
) -> Inspection:
    """Return what is said of one completion."""
    pad, many = task.vocabulary.pad, int(scored.rows.length[0])
    prompt = scored.rows.prompt[0][scored.rows.prompt[0] != pad]
    completion = scored.rows.completion[0, :many].copy()
    prefixes = _prefixes(scored, len(prompt), many)
    said = read(agent, prefixes, task.size, pad)
    logs = None if said.log_probabilities is None else said.log_probabilities[:many]
    at = np.arange(many), completion
    ratios = kl = None
    if to is not None and logs is not None:
        before = Prefixes(prefixes.tokens, prefixes.segment[:many], prefixes.length[:many])
        near = reference_log_probabilities(to.agent, before, said.drawn[:many], pad)
        kl, ratios = divergence(np.exp(logs), np.exp(near)), _difference(logs[at], near[at])
    worth = None if said.action_values is None else said.action_values[:many] / scale_of(agent)
    penalties = penalties_of(agent, to, ratios)
    values, advantages = advantages_of(agent, said, scored, penalties, about)
    best, scores = _best(np.exp(logs) if logs is not None else worth, said.drawn[:many], k)
    reader = reader_of(network_of(agent))
    return Inspection(
        about=about,
        vocabulary=task.vocabulary,
        text=scored.text,
        prompt=prompt.copy(),
        completion=completion,
        finished=bool(scored.rows.finished[0]),
        log_probabilities=None if logs is None else logs[at],
        action_values=None if worth is None else finite(worth[at]),
        entropy=None if logs is None else entropy(np.exp(logs)),
        values=values,
        advantages=advantages,
        rewards=scored.rewards,
        parts=scored.parts,
        penalties=penalties,
        metrics=scored.metrics,
        kl=kl,
        log_ratios=ratios,
        reference=None if to is None else to.name,
        alternatives=best,
        alternative_scores=scores,
        attention=_attention(agent, prefixes.tokens, len(prompt), many),
        notes=_notes(about["agent"], said, scored, values, advantages, reader is not None, why),
    )


def _prefixes(scored: Scored, prompt: int, many: int) -> Prefixes:
    """Return what was seen before each token, and after the last where the episode goes on."""
    rows, ended = scored.rows, bool(scored.rows.finished[0])
    tokens = rows.tokens.copy()
    if ended:  # the last token is read by nobody
        tokens[0, rows.max_prompt + many - 1] = rows.vocabulary.pad
    length = torch.arange(prompt, prompt + many + (not ended))
    masks = None if scored.masks is None else torch.as_tensor(scored.masks[: len(length)])
    return Prefixes(torch.as_tensor(tokens).long(), torch.zeros_like(length), length, masks)


def _best(scores: FloatArray | None, drawn: BoolArray, k: int) -> tuple[Any, FloatArray]:
    """Return the k best actions that can be drawn, `(T, k)` int32, and their scores, NaN where there are fewer."""
    assert scores is not None
    k = min(k, scores.shape[1])
    ranked = np.where(drawn, scores, -np.inf)
    order = np.argsort(-ranked, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(ranked, order, axis=1)
    return order.astype(np.int32), finite(found)


def _difference(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return one less the other; NaN where both are never drawn, or one is."""
    with np.errstate(invalid="ignore"):
        return finite(one - other)


def _attention(agent: Any, tokens: torch.Tensor, prompt: int, many: int) -> FloatArray | None:
    network = network_of(agent)
    reader = reader_of(network)
    if reader is None:
        return None
    with acting(network):
        return looked_at(attention(reader, tokens.to(network.device)), prompt, many)


def _notes(
    name: str,
    said: Reading,
    scored: Scored,
    values: FloatArray | None,
    advantages: FloatArray | None,
    reads: bool,
    why: str,
) -> dict[str, str]:
    """Return why columns are empty."""
    notes = {}
    if said.action_values is not None:
        notes["entropy"] = f"{name} acts by action values, and says no probabilities"
    if values is None:
        notes["value"] = notes["advantage"] = f"{name} learns no value of states"
    elif advantages is None and scored.rewards is not None:
        notes["advantage"] = f"{name} says no gamma and gae_lambda to estimate it by"
    if scored.rewards is None:
        notes["reward"] = "the target of this prompt is not known, and with it what a token earns"
        notes.setdefault("advantage", notes["reward"])
    if why:
        notes["kl"] = why
    if not reads:
        notes["attention"] = f"{name} reads with no transformer"
    return notes
