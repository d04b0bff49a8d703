"""Hugging Face sequence classifiers with one output, and their tokenizers: made small, or loaded and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from textgym.errors import InvalidSetting
from textgym.reviews import embedded
from textgym.rewards.loading import require_whole

TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
WANTED = "a folder that `save_pretrained` of a sequence classifier with one output and of its tokenizer wrote"


def small_classifier(tokenizer: Any, window: int, d_model: int, n_layers: int, n_heads: int, dropout: float) -> Any:
    """Return a fresh BERT (Devlin et al., 2019) with one output, of chosen sizes.

    It reads in both directions, and its head is linear over a summary of the first token, with a bias.

    Args:
        tokenizer: whose tokens it reads.
        window: the most tokens of a text.
        d_model: the width; `n_heads` divide it.
        n_layers: blocks.
        n_heads: attention heads.
        dropout: the share of activations that is left out while it learns.
    """
    from transformers import BertConfig, BertForSequenceClassification

    make: Any = BertConfig
    config = make(
        vocab_size=len(tokenizer),
        hidden_size=d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=4 * d_model,
        max_position_embeddings=window,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    return BertForSequenceClassification(config)


def load_classifier(name: str | Path, revision: str | None = None, new_head: bool = False) -> tuple[Any, Any]:
    """Return a classifier with one output, in float32 on the CPU, and its tokenizer. No code or pickle of it is run.

    Args:
        name: a folder, a model's name on a hub, or an embedded one's, as `textgym:proxy`.
        revision: of a hub's model: a branch, tag or commit.
        new_head: whether a model without a classifier's head gets a fresh one, to be trained.

    Raises:
        InvalidSetting: there is none; it has no safetensors, or a broken one; it has several outputs, or no head; its
            tokenizer does not fit it. The message names the place.
    """
    own = embedded(name)
    place = str(name if own is None else own)
    if Path(place).is_dir():
        _check_folder(Path(place))
    elif Path(place).exists() or place.startswith((".", "/", "~")) or place.count("/") > 1:
        raise InvalidSetting(f"{place} is no folder. Give {WANTED}, or a model's name.")
    model, missing = _load_model(place, revision, new_head)
    if missing and not new_head:
        raise InvalidSetting(
            f"{place} lacks {', '.join(sorted(missing)[:3])}: it is no trained classifier. Give {WANTED}."
        )
    tokenizer = _load_tokenizer(place, revision)
    _check_fit(model, tokenizer, place)
    return model, tokenizer


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InvalidSetting(f"{folder} has no config.json. Give {WANTED}.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(path.name for ending in PICKLES for path in folder.glob(ending))
        found = f"only {', '.join(pickles)}, a pickle, which could run code when read" if pickles else "no weights"
        raise InvalidSetting(
            f"{folder} has no model.safetensors, {found}. Load it where you trust it, and write it again with "
            "model.save_pretrained(DIR)."
        )
    require_whole(folder, folder)
    for path in weights:
        try:
            with safe_open(path, "pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise InvalidSetting(f"{path} is cut or damaged: {error}. Use another copy.") from error
    if not any((folder / name).is_file() for name in TOKENIZERS):  # transformers would make an empty one up
        raise InvalidSetting(f"{folder} has no tokenizer. Write it there with tokenizer.save_pretrained(DIR).")


def _load_model(place: str, revision: str | None, new_head: bool) -> tuple[Any, set[str]]:
    """Return a classifier, and the names of parameters that were not there."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    where: dict[str, Any] = {"revision": revision} if revision is not None else {}
    where["trust_remote_code"] = False
    try:
        with quiet():
            config = AutoConfig.from_pretrained(place, **where)
            outputs = _outputs(config)
            if outputs not in (None, 1) or (outputs is None and not new_head):
                found = "no head of a classifier" if outputs is None else f"{outputs} outputs"
                raise InvalidSetting(f"{place} has {found}; a reward model has one output. Give {WANTED}.")
            config.num_labels = 1
            model, info = AutoModelForSequenceClassification.from_pretrained(
                place, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **where
            )
    except InvalidSetting:
        raise
    except Exception as error:  # whatever a damaged folder makes transformers raise
        fault = " ".join(str(error).split())
        raise InvalidSetting(f"{place} could not be loaded: {fault}. Give {WANTED}, or a model's name.") from error
    return model, {*info["missing_keys"]}


def _outputs(config: Any) -> int | None:
    """Return how many outputs a model's classifier has; None where it has no classifier."""
    if not any("SequenceClassification" in name for name in config.architectures or []):
        return None
    return int(config.num_labels)


def _load_tokenizer(place: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    where: dict[str, Any] = {"revision": revision} if revision is not None else {}
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **where)
    except Exception as error:
        fault = " ".join(str(error).split())
        raise InvalidSetting(f"{place} has a tokenizer that could not be loaded: {fault}.") from error


def _check_fit(model: Any, tokenizer: Any, place: str) -> None:
    """Raise where a tokenizer is not the model's; let the model know the pad, at which some find a text's end."""
    embedding = model.get_input_embeddings()
    known, most = embedding.num_embeddings, max(tokenizer.get_vocab().values(), default=-1)
    if most >= known:
        raise InvalidSetting(
            f"{place} has a tokenizer with ids to {most}, and a model that knows {known} tokens: it is another "
            "model's. Put the model's own tokenizer there."
        )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise InvalidSetting(
                f"{place} has a tokenizer without a pad token, so that texts cannot be read side by side. Give it one, "
                "tokenizer.pad_token = ..., and save it again."
            )
        tokenizer.pad_token = tokenizer.eos_token
    elif embedding.padding_idx not in (None, tokenizer.pad_token_id):
        raise InvalidSetting(
            f"{place} has a tokenizer whose pad is {tokenizer.pad_token_id}, and a model whose pad is "
            f"{embedding.padding_idx}: it is another model's. Put the model's own tokenizer there."
        )
    tokenizer.padding_side = "right"
    model.config.pad_token_id = tokenizer.pad_token_id


def window_of(model: Any, tokenizer: Any) -> int:
    """Return the most tokens that a classifier reads."""
    sizes = [int(tokenizer.model_max_length), getattr(model.config, "max_position_embeddings", None)]
    for name, module in model.named_modules():
        if "position_embeddings" in name and isinstance(module, nn.Embedding):  # some begin behind their pad's position
            sizes.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    return min(size for size in sizes if size is not None)


def head_of(model: nn.Module) -> nn.Linear | None:
    """Return the linear layer that a classifier ends with; None where it ends otherwise."""
    linear: Iterable[nn.Linear] = (module for module in model.modules() if isinstance(module, nn.Linear))
    return next((layer for layer in reversed([*linear]) if layer.out_features == 1), None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal: bars, reports, advice."""
    from transformers.utils import logging as own

    logging: Any = own
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
