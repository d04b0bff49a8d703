"""RewardModel: a sequence classifier that scores texts, with its tokenizer; its scores are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textgym.arrays import FloatArray
from textgym.errors import InvalidSetting, NotFinite, require_positive
from textgym.rewards.loading import SCALE, SHIFT, normalisation_of

from .classifiers import head_of, load_classifier, quiet, window_of
from .device import check_device
from .texts import shown


@dataclass(frozen=True, eq=False)
class RewardModel:
    """A classifier with one output, and the tokenizer that it reads with; it is always in eval mode.

    A text is a prompt with its completion directly behind it. Its score is (output - reward_shift) / reward_scale, two
    numbers of the model's config.json. They are 0 and 1 where the head took them in, as a linear head with a bias does:
    then whoever loads the folder with transformers alone reads the normalised score.

    Args:
        model: a Hugging Face sequence classifier.
        tokenizer: its own.
        origin: where it came from, and which revision.
    """

    model: Any
    tokenizer: Any
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def window(self) -> int:
        """The most tokens that it reads, those that its tokenizer adds among them."""
        return window_of(self.model, self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        found: torch.device = self.model.device
        return found

    def encode(self, texts: Sequence[str], places: Sequence[str] | None = None) -> list[list[int]]:
        """Return the ids of texts.

        Args:
            texts: what is read.
            places: where they stand, for errors.

        Raises:
            InvalidSetting: one is no text, has no token, or more than the window.
        """
        places = [f"text {number}" for number in range(1, len(texts) + 1)] if places is None else places
        for text, place in zip(texts, places):
            if not isinstance(text, str):
                raise InvalidSetting(f"{place} is {text!r}. Give strings.")
        with quiet():  # it warns of long texts, which are refused here
            try:
                ids: list[list[int]] = self.tokenizer(list(texts), truncation=False)["input_ids"] if texts else []
            except (TypeError, UnicodeError) as error:
                raise InvalidSetting(f"the tokenizer cannot read these texts: {error}.") from error
        for one, text, place in zip(ids, texts, places):
            if not one or len(one) > self.window:
                raise InvalidSetting(
                    f"{place}: {shown(text, 60)!r} has {len(one)} tokens; the reward model reads 1 to {self.window}. "
                    "Leave it out (--skip, skip=True), or make the model's window larger."
                )
        return ids

    def outputs(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Return what the model says of texts, `(n,)` float32, not yet normalised; gradients flow."""
        return outputs(self.model, ids, self.tokenizer.pad_token_id)

    def raw(self, ids: Sequence[Sequence[int]], batch_size: int = 64) -> FloatArray:
        """Return outputs without gradients, `(n,)` float64, in batches of texts of about one length."""
        order = np.argsort([len(one) for one in ids], kind="stable")
        found = np.zeros(len(ids))
        self.model.eval()
        with torch.no_grad():
            for first in range(0, len(ids), batch_size):
                rows = order[first : first + batch_size]
                found[rows] = self.outputs([ids[row] for row in rows]).double().cpu().numpy()
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found))[0])
            raise NotFinite(f"the reward model gives text {row + 1} the score {found[row]}.")
        return found

    def scores(self, texts: Sequence[str], batch_size: int = 64) -> FloatArray:
        """Return the scores of texts, `(n,)` float64; they do not depend on what is scored beside them (1e-5).

        Raises:
            InvalidSetting: one is no text, has no token, or more than the window.
            NotFinite: a score is NaN or infinite.
        """
        require_positive(batch_size=batch_size)
        if isinstance(texts, str):
            raise InvalidSetting(f"texts={texts!r} is one text. Give a list.")
        shift, scale = normalisation_of(self.origin.get("from") or "the reward model", self.model.config)
        normalised: FloatArray = (self.raw(self.encode(texts), batch_size) - shift) / scale
        return normalised

    def normalise(self, texts: Sequence[str], batch_size: int = 64) -> dict[str, Any]:
        """Make the scores of some texts have mean m = 0 and standard deviation s = 1.

        A linear head r = w h + b becomes (w / s) h + (b - m) / s. Without a bias it cannot take the mean in, and with
        another end neither: then config.json keeps what is left.

        Returns:
            `mean` and `deviation` of the outputs before, `texts`, and `kept_in`: "head", "head and config", "config".

        Raises:
            InvalidSetting: all outputs are equal.
        """
        ids = self.encode(texts)
        before = self.raw(ids, batch_size)
        mean, deviation = (float(before.mean()), float(before.std())) if len(before) else (0.0, 0.0)
        if not deviation > 1e-8 * max(1.0, abs(mean)):
            raise InvalidSetting(
                f"the reward model gives all {len(before)} reference texts the score {mean:.4g}, so that it cannot be "
                "normalised. Give more of them, or train longer."
            )
        kept_in, left = "config", {SHIFT: mean, SCALE: deviation}
        head = head_of(self.model)
        if head is not None:
            shift = mean if head.bias is not None else 0.0
            weights = {name: value.clone() for name, value in head.state_dict().items()}
            with torch.no_grad():
                for name, parameter in head.named_parameters():
                    parameter.copy_((parameter.double() - (shift if name == "bias" else 0.0)) / deviation)
            if np.allclose(self.raw(ids, batch_size), (before - shift) / deviation, atol=1e-3):
                kept_in = "head" if head.bias is not None else "head and config"
                left = {SHIFT: (mean - shift) / deviation, SCALE: 1.0}
            else:  # something follows it, so that it is not the end
                head.load_state_dict(weights)
        for name, value in left.items():
            setattr(self.model.config, name, value)
        return {"mean": mean, "deviation": deviation, "texts": len(before), "kept_in": kept_in}


def outputs(model: Any, ids: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Return a classifier's output for rows of ids, `(n,)` float32, padded to the longest of them."""
    width = max(map(len, ids))
    tokens = torch.tensor([[*one, *[pad] * (width - len(one))] for one in ids], device=model.device)  # (n, width)
    length = torch.tensor([len(one) for one in ids], device=model.device)
    mask = torch.arange(width, device=model.device) < length[:, None]
    found: Tensor = model(input_ids=tokens, attention_mask=mask.long()).logits[:, 0].float()
    return found


def load_reward_model(name: str | Path, revision: str | None = None, device: str = "auto") -> RewardModel:
    """Return a reward model: what `textgym reward train` kept, or any sequence classifier with one output.

    No code and no pickle of the folder is run.

    Args:
        name: a folder, or a model's name on a hub.
        revision: of a hub's model: a branch, tag or commit.
        device: auto, cpu, cuda, ...

    Raises:
        InvalidSetting: there is none, or it is no such model; the message says why.
    """
    model, tokenizer = load_classifier(name, revision)
    normalisation_of(name, model.config)
    return RewardModel(placed(model, device).eval(), tokenizer, origin(model, name, revision))


def origin(model: Any, name: str | Path, revision: str | None) -> dict[str, Any]:
    """Return where a model came from: its name, the revision asked for, and the commit that it was."""
    return {"from": str(name), "revision": revision, "commit": getattr(model.config, "_commit_hash", None)}


def placed(model: Any, device: str) -> Any:
    """Return a model on a device; "auto" takes a GPU where there is one."""
    check_device(device)
    return model.to(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
