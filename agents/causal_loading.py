"""Loading a Hugging Face causal language model: no remote code, no pickles, no dropout, and what it was known by."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from textgym.errors import InvalidSetting, InvalidVocabulary

FILES = ("*.json", "*.safetensors", "*.model", "*.txt")  # what is read of a hub's repository: no code, no pickles
REFUSED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers may raise of a folder or a configuration that is no model's."""

AUTO: Any = AutoModelForCausalLM
TRAINED = 4  # copies of a parameter while it is learned: itself, its gradient, Adam's two moments


@dataclass(frozen=True)
class BaseModel:
    """Which model a policy began as."""

    source: str | Mapping[str, Any]  # a folder, a name on the hub, or a configuration
    revision: str | None  # the hub's commit
    sha256: str  # of config and weights; of a fresh model, of its configuration


@dataclass(frozen=True)
class Loaded:
    """A model as it was read, its tokenizer where it has one, and which it is."""

    model: nn.Module
    tokenizer: Any
    base: BaseModel


def load_causal_lm(
    model: str | os.PathLike[str] | Mapping[str, Any],
    pad: int,
    width: int,
    revision: str | None = None,
    copies: float = 1,
) -> Loaded:
    """Return a causal language model in float32, without dropout.

    Args:
        model: a folder that `save_pretrained` wrote, a name on the hub, or a configuration with its `model_type`, for a
            fresh model; its `vocab_size` and positions are the environment's where it leaves them out.
        pad: the ids that the environment has.
        width: the tokens of the longest row.
        revision: of a name on the hub; None for the newest.
        copies: how many of it there will be, for the estimate of memory.

    Raises:
        InvalidSetting: there is no such model, it has no causal head or no weights, the rows are longer than its
            positions, or it does not fit into memory.
        InvalidVocabulary: it has fewer tokens than the environment.
    """
    if isinstance(model, Mapping):
        if revision is not None:
            raise InvalidSetting(f"revision={revision!r} is a hub's; a fresh model of a configuration has none.")
        config = _fresh_config(dict(model), pad, width)
        text = json.dumps(model, sort_keys=True, default=str).encode()
        base, folder = BaseModel(dict(model), None, hashlib.sha256(text).hexdigest()), None
    else:
        folder, revision = _folder(model, revision)
        config = _config(folder)
        source = str(folder) if revision is None else str(model)
        weights = _weights(folder)
    _check_lengths(config, pad, width)
    _check_memory(config, copies)
    if folder is None:
        with _refusing(f"model={model!r} makes no model"):
            return Loaded(AUTO.from_config(config, dtype=torch.float32), None, base)
    base = BaseModel(source, revision, _sha256(folder / "config.json", *weights))
    return Loaded(_pretrained(folder, config), _tokenizer(folder), base)


def read_config(model: str | os.PathLike[str] | Mapping[str, Any], revision: str | None = None) -> Any:
    """Return a model's configuration; raises as `load_causal_lm` does."""
    if isinstance(model, Mapping):
        return _fresh_config(dict(model), 1, 1)
    return _config(_folder(model, revision)[0])


@contextmanager
def _refusing(fault: str) -> Iterator[None]:
    try:
        yield
    except (InvalidSetting, InvalidVocabulary):
        raise
    except REFUSED as error:
        cause = " ".join(str(error).split())
        raise InvalidSetting(f"{fault}: {cause[:400]}") from error


def _folder(named: str | os.PathLike[str], revision: str | None) -> tuple[Path, str | None]:
    """Return where a model's files are, and the hub's commit where they come from there."""
    if not isinstance(named, (str, os.PathLike)) or not (model := os.fspath(named)):
        raise InvalidSetting(
            f"model={named!r} names no model. Give a folder that save_pretrained wrote, a name on the hub, or a "
            'configuration such as {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 2}.'
        )
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise InvalidSetting(f"revision={revision!r} is a hub's; {model!r} is a folder here. Leave it out.")
        return path.resolve(), None
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or path.exists():
        raise InvalidSetting(f"model={model!r} is no folder here. Give one that a model's save_pretrained wrote.")
    with _refusing(f"model={model!r} is neither a folder here nor a name that the hub could be asked for"):
        found = Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES)))
    return found, found.name


def _config(folder: Path) -> Any:
    """Return a folder's configuration, without dropout."""
    if not (folder / "config.json").is_file():
        raise InvalidSetting(f"{folder} has no config.json: it holds no model. Write one with save_pretrained.")
    with _refusing(f"{folder / 'config.json'} describes no model that can be read without code of its own"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    known = {name for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in _names(names)}
    architectures = config.architectures or []
    other = architectures and not known.intersection(architectures)
    if other or config.model_type not in _causal_types() or not hasattr(config, "vocab_size"):
        raise InvalidSetting(
            f"{folder} holds {architectures or config.model_type}, a model without a causal head. Give a causal "
            "language model, as AutoModelForCausalLM reads it: GPT2LMHeadModel, LlamaForCausalLM, ..."
        )
    return _without_dropout(config)


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _causal_types() -> set[str]:
    return {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}


def _fresh_config(given: dict[str, Any], pad: int, width: int) -> Any:
    """Return a configuration with the environment's numbers where it has none of its own."""
    kind = given.pop("model_type", None)
    if not isinstance(kind, str) or kind not in _causal_types():
        raise InvalidSetting(
            f"model_type={kind!r} is no causal language model's. Give one that AutoModelForCausalLM knows, such as "
            "'gpt2', 'llama' or 'qwen2'."
        )
    ends = {name: given.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with _refusing(f"model={given!r} is no configuration of {kind}"):
        names = AutoConfig.for_model(kind).attribute_map
        sizes = {"vocab_size": pad, "max_position_embeddings": width + 1}
        own = {name: size for name, size in sizes.items() if not {name, names.get(name)} & given.keys()}
        unknown = [name for name in given if not hasattr(AutoConfig.for_model(kind), name)]
        if unknown:
            raise InvalidSetting(f"{unknown} are no settings of {kind}'s configuration.")
        return _without_dropout(AutoConfig.for_model(kind, **{**ends, **own, **given}))


def _without_dropout(config: Any) -> Any:
    """Set every dropout of a configuration to 0: what was drawn with it could not be told from what was written."""
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def _check_lengths(config: Any, pad: int, width: int) -> None:
    """Refuse fewer tokens or positions than the environment's rows need."""
    if config.vocab_size < pad:
        raise InvalidVocabulary(
            f"the environment has {pad} tokens and symbols, the model {config.vocab_size}. Give a model of that "
            "vocabulary, or make the environment with the model's own tokenizer: tokenizer=DIR."
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions < width + 1:
        raise InvalidSetting(
            f"an observation has {width} tokens and one begins the row; the model has {positions} positions. Give a "
            "smaller horizon, a shorter prompt or text, or a model of more positions."
        )


def _check_memory(config: Any, copies: float) -> None:
    """Refuse a model whose parameters, gradients and Adam's moments do not fit into what is free."""
    with _refusing("the model could not be sized"), torch.device("meta"):
        sized = AUTO.from_config(config)
    many = copies * sum(parameter.numel() for parameter in sized.parameters())
    asked, free = 4 * TRAINED * many, free_memory()
    if free is not None and asked > free:
        raise InvalidSetting(
            f"too little memory: {many / 1e6:.0f} million parameters take {asked / 1e9:.1f} GB with their gradients "
            f"and Adam's moments, and {free / 1e9:.1f} GB are free. Give a smaller model, or critic='shared'."
        )


def free_memory() -> int | None:
    """Return the bytes of memory that are free for use; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _weights(folder: Path) -> list[Path]:
    """Return a folder's weights."""
    if found := sorted(folder.glob("*.safetensors")):
        return found
    pickles = [path.name for path in sorted(folder.glob("*.bin"))]
    cause = f"{pickles} are pickles, which are not read: they can hold code" if pickles else "there is a config alone"
    raise InvalidSetting(
        f"{folder} has no weights as safetensors: {cause}. Write them with model.save_pretrained(DIR); for a fresh "
        "model give the configuration itself as a dictionary."
    )


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _pretrained(folder: Path, config: Any) -> nn.Module:
    """Return a folder's model; refuse one that its weights do not fill."""
    model: Any
    found: Any
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with _refusing(f"{folder} holds no model's weights"):
            model, found = AUTO.from_pretrained(
                folder,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    missing = sorted({*found["missing_keys"]} | {str(key) for key in found["mismatched_keys"]})
    if missing:
        raise InvalidSetting(
            f"the weights in {folder} lack {missing[:3]}: they are no causal language model's, or another one's than "
            "config.json describes."
        )
    read: nn.Module = model
    return read


def _tokenizer(folder: Path) -> Any:
    """Return a folder's tokenizer; None where there is none."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        return None
    with _refusing(f"the tokenizer in {folder} cannot be read"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
