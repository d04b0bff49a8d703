"""LearnedReward: what a trained sequence classifier thinks of a finished text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from textgym.arrays import Array, FloatArray, IntArray
from textgym.episodes import Episodes
from textgym.errors import InvalidModel, InvalidReward, InvalidSetting, is_finite, require_positive
from textgym.reviews import embedded
from textgym.rewards.loading import Pretrained, load_pretrained, normalisation_of, sha256_of
from textgym.rewards.scoring import Scored

PARTS = ("whole", "pair", "completion")
NARROWEST = 8  # columns that rows are padded to at least


@dataclass(frozen=True)
class ModelReward(Scored):
    """A score from a Hugging Face model, loaded from safetensors and known by its hash.

    It is loaded when it is made, an embedded one when it first scores. Pickled or copied, it is its arguments alone:
    the copy loads again from the same place and refuses files with another sha256.

    Rows are padded on the right to a width that depends on their own length alone, masked, and read in eval mode: what
    a text scores does not depend on the texts beside it, but for the last digits of float32 sums. `dtype="float64"`
    gives more of them, where scores are large and must agree to 1e-5.

    Args:
        model: a folder that `save_pretrained` wrote, model and tokenizer; a name on Hugging Face's hub; or an embedded
            one's, as `textgym:gold`.
        revision: of a name.
        sha256: what its files must have; found out where it is left out. See `textgym.rewards.loading.sha256_of`.
        device: where torch puts it; `auto` takes a GPU where there is one.
        dtype: `float32` or `float64`.
        batch_size: the most texts that it reads at once.

    Raises:
        InvalidModel: there is no such model, or it is damaged; see `load_pretrained`.
        InvalidReward: (from a call) a text has more tokens than the model reads.
    """

    model: str
    revision: str | None = None
    sha256: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    batch_size: int = 64
    commit: str | None = field(init=False, repr=False, compare=False)  # of a name

    kind: ClassVar[str] = "classifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(batch_size=self.batch_size)
        own = embedded(self.model)
        if own is not None:  # it is whole, and can wait until torch is needed
            object.__setattr__(self, "sha256", self.sha256 or sha256_of(own))
        else:
            object.__setattr__(self, "sha256", self._loaded.sha256)
        object.__setattr__(self, "commit", None if own is not None else self._loaded.revision)

    @cached_property
    def _loaded(self) -> Pretrained:
        options: dict[str, Any] = {"revision": self.revision, "sha256": self.sha256}
        loaded = load_pretrained(self.model, self.kind, device=self.device, dtype=self.dtype, **options)
        self._check_model(loaded)
        return loaded

    def _all_scores(self, part: Episodes) -> FloatArray:
        _ = self._loaded  # where it cannot be loaded, that is the fault, not a score that is missing
        return super()._all_scores(part)

    def _check_model(self, loaded: Pretrained) -> None:
        """Raise `InvalidModel` where the model is another kind than wanted."""

    @property
    def fingerprints(self) -> tuple[dict[str, str | None], ...]:
        """Which weights score: the model's place, its commit where it came by a name, and its sha256."""
        return ({"model": str(self.model), "revision": self.commit, "sha256": self.sha256},)

    def _check_length(self, length: int, text: str) -> None:
        if length > self._loaded.window:
            raise InvalidReward(
                f"{self.model} reads at most {self._loaded.window} tokens, and {text!r} has {length} of its tokens. "
                "Give shorter prompts, a shorter horizon, or a model with a longer window."
            )

    def _batches(self, ids: Sequence[Sequence[int]]) -> Iterator[tuple[IntArray, int]]:
        """Yield numbers of texts `(k,)` that are read at once, and the width that they are padded to."""
        widths = np.array([padded_width(len(text), self._loaded.window) for text in ids])
        for width in np.unique(widths).tolist():
            alike = np.flatnonzero(widths == width)
            for first in range(0, len(alike), self.batch_size):
                yield alike[first : first + self.batch_size], width

    def _tensor(self, rows: Sequence[Sequence[int]], width: int, fill: int) -> Any:
        import torch

        padded = np.full((len(rows), width), fill, np.int64)
        for row, text in zip(padded, rows):
            row[: len(text)] = text
        return torch.as_tensor(padded, device=self._loaded.model.device)


def padded_width(length: int, window: int) -> int:
    """Return the width that a text of so many tokens is padded to: little more, and the same whatever is beside it.

    Example:
        >>> [padded_width(length, 512) for length in (1, 8, 9, 100, 511)]
        [8, 8, 16, 112, 512]
    """
    step = max(NARROWEST, 2 ** (length.bit_length() - 3))
    return int(min(window, max(1, -(-length // step)) * step))


@dataclass(frozen=True)
class ClassifierReward(ModelReward):
    """What a sequence classifier says of finished texts.

    Args:
        text: what it reads: `whole`, prompt and completion as one text; `pair`, both as the tokenizer joins two texts;
            or the `completion` alone. The end token is no part of a text.
    """

    text: str = "whole"

    def __post_init__(self) -> None:
        if self.text not in PARTS:
            raise InvalidSetting(f"text={self.text!r} is no part of an episode. Give one of {', '.join(PARTS)}.")
        super().__post_init__()

    def _logits(self, finished: Episodes) -> FloatArray:
        """Return the outputs for rows that have all ended, `(n, labels)` float64."""
        decode = finished.vocabulary.decode
        completions = [decode(row) for row in finished.completion]
        if self.text == "pair":
            return self._read([decode(row) for row in finished.prompt], completions)
        return self._read(completions if self.text == "completion" else [decode(row) for row in finished.tokens])

    def _read(self, texts: list[str], pairs: list[str] | None = None) -> FloatArray:
        """Return the model's outputs for texts, `(n, labels)` float64."""
        import torch

        tokenizer, model = self._loaded.tokenizer, self._loaded.model
        encoded = dict(tokenizer(texts, pairs, return_attention_mask=True, verbose=False))
        for i, ids in enumerate(encoded["input_ids"]):
            self._check_length(len(ids), texts[i] if pairs is None else texts[i] + pairs[i])
            if not ids:  # an empty text is the token that rows are filled with
                for name in encoded:
                    encoded[name][i] = [0]
                ids[:], encoded["attention_mask"][i] = [tokenizer.pad_token_id], [1]
                encoded["input_ids"][i] = ids
        outputs = np.zeros((len(texts), model.config.num_labels))
        for numbers, width in self._batches(encoded["input_ids"]):
            inputs = {
                name: self._tensor(
                    [rows[i] for i in numbers], width, tokenizer.pad_token_id if name == "input_ids" else 0
                )
                for name, rows in encoded.items()
            }
            with torch.inference_mode():
                outputs[numbers] = model(**inputs).logits.double().cpu().numpy()
        return outputs


@dataclass(frozen=True)
class LearnedReward(ClassifierReward):
    """A reward model's score of each finished row: (score - mean) / deviation.

    Any sequence classifier with one output will do, as `AutoModelForSequenceClassification` loads it. Its score is its
    output, or, where its config.json has `reward_shift` and `reward_scale` as `textgym reward train` may write them,
    (output - shift) / scale.

    Args:
        mean: of its scores on reference texts, where it is not normalised itself.
        deviation: likewise.

    Example:
        `LearnedReward("models/reward", on_missing="drop")`, or as a registered argument
        `{"name": "learned", "model": "models/reward", "on_missing": "drop"}`.
    """

    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if not is_finite(self.mean):
            raise InvalidSetting(f"mean={self.mean!r} is no finite number.")
        if not is_finite(self.deviation) or self.deviation <= 0:
            raise InvalidSetting(f"deviation={self.deviation!r} is no deviation. Give a number above 0.")
        super().__post_init__()

    def _check_model(self, loaded: Pretrained) -> None:
        if (labels := loaded.model.config.num_labels) != 1:
            raise InvalidModel(
                f"{self.model} has {labels} outputs, and a reward is one number. Train it with num_labels=1; for the "
                "probability of a label as a safety term, use Toxicity(model, label=...)."
            )
        normalisation_of(self.model, loaded.model.config)

    def _scores(self, finished: Episodes) -> Array:
        shift, scale = normalisation_of(self.model, self._loaded.model.config)
        scores: Array = ((self._logits(finished)[:, 0] - shift) / scale - self.mean) / self.deviation
        return scores
