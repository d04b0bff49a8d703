"""What `textgym reward` does: from a file of preferences to a reward model's folder, and from there to scores."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgym.errors import require_positive
from textgym.rewards.combining import combine

from .preferences import read_labelled, read_preferences
from .progress import Epochs
from .reward_card import lines
from .reward_folder import check_out, ensemble_accuracy, load_ensemble, save_reward_model
from .reward_losses import LOSSES
from .reward_settings import RewardSettings
from .reward_training import train_reward_model
from .texts import read_texts


def train(
    data: Path,
    out: Path,
    settings: Mapping[str, Any],
    held_out: Path | None = None,
    reference: Path | None = None,
    base: str | None = None,
    revision: str | None = None,
    members: int = 1,
    skip: bool = False,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Fit a reward model, or an ensemble, to a file; keep it, and print what it is worth.

    Args:
        data: JSON lines, of preferences or, where the loss is of these, of labelled texts.
        out: the folder.
        settings: of `RewardSettings`.
        held_out: a file like it, of what is held out.
        reference: the texts that scores are normalised on, as `read_texts` has them.
        base: a folder or a model's name to begin with.
        revision: of a model on a hub.
        members: how many reward models; several are an ensemble.
        skip: leave out records that are too long.
        device: where torch puts the model.
        overwrite: replace a reward model that is there.
    """
    require_positive(members=members)
    known = RewardSettings.read(settings, "the reward model")
    read = read_labelled if LOSSES[known.loss].labelled else read_preferences
    records = read(data)
    given: dict[str, Any] = {"base": base, "revision": revision, "skip": skip, "device": device, **settings}
    given["held_out_records"] = None if held_out is None else read(held_out)
    texts = None if reference is None else [sample.prompt + sample.completion for sample in read_texts(reference)]
    check_out(out, overwrite)
    start, trained = time.perf_counter(), []
    for member in range(members):
        with Epochs(known.epochs) as epochs:
            trained.append(train_reward_model(records, reference=texts, member=member, note=epochs.losses, **given))
    seconds = time.perf_counter() - start
    origin = {"name": data.name, "sha256": hashlib.sha256(data.read_bytes()).hexdigest()}
    save_reward_model(trained[0] if members == 1 else trained, out, overwrite, origin)
    for member, one in enumerate(trained):
        print(*[f"member {member}"] * (members > 1), *[f"{k:19} {v}" for k, v in lines(one.figures).items()], sep="\n")
    if members > 1:
        found = {how: share for how, share in ensemble_accuracy(trained).items() if how != "members"}
        print("together, pairs ranked rightly:", ", ".join(f"{how} {share:.1%}" for how, share in found.items()))
    print(f"It is in {out}, after {seconds:.1f} s: textgym reward score {out} --text ...")


def score(
    name: str, texts: Sequence[str], data: Path | None, how: str, penalty: float, device: str, as_json: bool
) -> None:
    """Print the score of each text, or of an ensemble its members' scores as one."""
    given = [*texts, *([] if data is None else [one.prompt + one.completion for one in read_texts(data)])]
    members = load_ensemble(name, device)
    scores = np.array([member.scores(given) for member in members]).reshape(len(members), len(given))
    together = combine(scores, how, penalty)
    if as_json:
        print(json.dumps({"scores": together.tolist(), "members": scores.tolist()}))
        return
    for value, text in zip(together, given):
        print(f"{value:7.3f}  {text}")
