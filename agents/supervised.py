"""What `textgym pretrain` does: from a file of texts to a folder that a run can begin from."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textgym import Vocabulary
from textgym.errors import InvalidSetting

from .evaluation import evaluate
from .likelihood import perplexity
from .pretraining import Fit, PretrainingSettings, policy_of, pretrain
from .progress import Epochs
from .runs import check_free, save
from .text_data import encode
from .texts import Sample, read_texts
from .training import fresh, plan


def run(
    data: Path,
    out: Path,
    asked: Mapping[str, Any],
    settings: Mapping[str, Any],
    fitting: Mapping[str, Any],
    skip: bool = False,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Fit a new agent's policy to a file's texts, keep it, and print what came of it.

    Args:
        data: the file, as `read_texts` has it.
        out: the folder, written as a run's, whose `config.json` says how the policy was fitted.
        asked: the environment, the agent and the seed, as `training.plan` takes them; without an environment, it is
            `for_texts`.
        settings: of the agent.
        fitting: of `PretrainingSettings`; its seed is the agent's.
        skip: leave out texts that do not fit.
        device: where torch puts the policy.
        overwrite: replace a run that is there.
    """
    known = PretrainingSettings.read({**fitting, "seed": asked["seed"]}, "pretraining")
    samples = read_texts(data)
    if asked["env"] is None:
        given = asked["env_kwargs"]
        own = for_texts(samples, given.get("tokenizer", settings.get("policy.model")))
        asked = {**asked, "env": "TextGen-v0", "env_kwargs": {**own, **given}}
    config = plan(asked, settings, bare=True)
    task = config.task()
    corpus = encode(samples, task, skip)
    agent = fresh(config, device)
    policy_of(agent)
    check_free(out, overwrite=overwrite)
    start = time.perf_counter()
    with Epochs(known.epochs) as epochs:
        fit = pretrain(agent, corpus, note=epochs.note, **known.model_dump(exclude_unset=True))
    seconds = time.perf_counter() - start
    origin = {"data": data.name, "sha256": hashlib.sha256(data.read_bytes()).hexdigest()}
    agent.made = replace(agent.made, pretraining={**origin, **agent.made.pretraining})
    save(agent, out, overwrite=overwrite)
    _report(fit, seconds)
    print("\n".join(["it writes", *[f"  {text}" for text in evaluate(agent, task, 5, deterministic=False).samples]]))
    given = [f"--env={name}={_shown(value)}" for name, value in config.env_kwargs.items()]
    print(f"It is in {out}:", shlex.join(["textgym", "train", str(config.env), *given, "--init", str(out)]))


def for_texts(samples: Sequence[Sample], tokenizer: object) -> dict[str, Any]:
    """Return arguments of TextGen-v0 with which it holds all texts: its target and prompt are the longest ones.

    Args:
        samples: the texts.
        tokenizer: whose tokens they are; its end token, where it has one, ends them.

    Raises:
        InvalidSetting: there is no tokenizer's name, or no text.
        InvalidVocabulary: there is no such tokenizer.
    """
    if not isinstance(tokenizer, str):
        raise InvalidSetting(
            "nothing says what the tokens are. Give the environment, --task ID, or a language model with its "
            "tokenizer, --model DIR; for a fresh model of a configuration, --env tokenizer=DIR."
        )
    vocabulary = Vocabulary.from_pretrained(tokenizer)
    target = max([sample.completion for sample in samples], key=lambda text: len(vocabulary.encode(text)), default="")
    prompt = max([sample.prompt for sample in samples], key=lambda text: len(vocabulary.encode(text)), default="")
    if not target:
        raise InvalidSetting("there is no text to learn from.")
    where = str(Path(tokenizer).resolve()) if Path(tokenizer).is_dir() else tokenizer  # it serves from anywhere
    own = {"tokenizer": where, "target": target, "eos": vocabulary.eos is not None}
    return {**own, "prompt": prompt} if prompt else own


def _shown(value: Any) -> str:
    """Return a value as the command line reads it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _report(fit: Fit, seconds: float) -> None:
    left_out = [f"{fit.duplicates} duplicates removed"] if fit.duplicates else []
    left_out += [f"{fit.skipped} skipped, which do not fit"] if fit.skipped else []
    print(f"{fit.texts} texts learned from, {fit.held_out} held out", *left_out, sep=", ")
    print(f"kept          epoch {fit.epoch} of {fit.epochs}, {seconds:.1f} s")
    print(f"held out      {fit.cross_entropy:.4f} nats a token, before {fit.before:.4f}")
    print(f"perplexity    {fit.perplexity:.3f}, before {perplexity(fit.before):.3f}")
