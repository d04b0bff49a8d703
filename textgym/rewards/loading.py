"""Loading a Hugging Face model that judges text: safetensors alone, nothing of it executed, known by its sha256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from textgym.errors import InvalidModel, InvalidSetting, is_finite
from textgym.places import folder_of
from textgym.reviews import embedded

READ = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)
"""What a score depends on; nothing else of a repository is fetched or read."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
ADAPTER = "adapter_config.json"
SHIFT, SCALE = "reward_shift", "reward_scale"
"""Names in a reward model's config.json: its score is (output - shift) / scale. Left out, 0 and 1."""

KINDS = {"classifier": "AutoModelForSequenceClassification", "language model": "AutoModelForCausalLM"}


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A model and its tokenizer, in eval mode."""

    place: str  # the folder or name that it was asked for by
    revision: str | None  # the commit, where it came by a name
    sha256: str  # of its files
    model: Any
    tokenizer: Any
    window: int  # the most tokens that it reads


_HELD: WeakValueDictionary[tuple[str, ...], Pretrained] = WeakValueDictionary()  # one copy of weights, whoever asks


def load_pretrained(
    place: str,
    kind: str,
    *,
    revision: str | None = None,
    sha256: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> Pretrained:
    """Return the model in a folder, or of a name on Hugging Face's hub.

    Weights that are held already, with the same hash on the same device, are not held twice.

    Args:
        place: a folder that `save_pretrained` wrote, a name, or `textgym:` and the name of an embedded model. Only
            safetensors are read, and no code.
        kind: of `KINDS`.
        revision: the branch, tag or commit of a name; None for its newest.
        sha256: what its files must have, as `sha256_of` says; None for any.
        device: where torch puts it; `auto` takes a GPU where there is one.
        dtype: of its numbers.

    Raises:
        ImportError: transformers is not installed.
        InvalidModel: there is no such model, it is damaged, or its hash is another; the message names the place.
        InvalidSetting: another argument is refused.
    """
    device = _device(device)
    folder, commit = _folder(place, revision)
    _check_files(place, folder)
    found = sha256_of(folder)
    if sha256 not in (None, found):
        raise InvalidModel(
            f"{place} has been replaced: its files have sha256 {found}, and {sha256} was asked for. Put the model back "
            "that was there, or name another folder."
        )
    key = (kind, place, found, device, dtype)
    if (held := _HELD.get(key)) is None:
        tokenizer, model = _read(place, folder, kind, dtype)
        window = _window(tokenizer, model.config)
        held = Pretrained(place, commit, found, model.to(device).eval().requires_grad_(False), tokenizer, window)
        _HELD[key] = held
    return held


def sha256_of(folder: Path) -> str:
    """Return the sha256 of what `sha256sum` prints of the files that are read, in the order of their names."""
    lines = ""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in READ):
            with path.open("rb") as file:
                lines += f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n"
    return hashlib.sha256(lines.encode()).hexdigest()


def _folder(place: str, revision: str | None) -> tuple[Path, str | None]:
    """Return the folder of a model, and the commit that it is of where it came by a name."""
    if not isinstance(place, (str, os.PathLike)) or not str(place):
        raise InvalidSetting(f"model={place!r} names no model. Give a folder, or a name on Hugging Face's hub.")
    own = embedded(place)
    path = folder_of(place) if own is None else own
    if path is not None:
        if revision is not None:
            raise InvalidSetting(f"revision={revision!r} is of a name on a hub; {place} is a folder. Leave it out.")
        return path, None
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise ImportError(f'a model by name needs {error.name}: pip install "textgym[agents]".') from error
    try:
        folder = Path(snapshot_download(str(place), revision=revision, allow_patterns=list(READ)))
    except Exception as error:  # of the network, of the hub, of the name: many types
        raise InvalidModel(
            f"{place!r} is no folder here, and no model of that name could be fetched (revision={revision!r}): "
            f"{_line(error)}"
        ) from error
    return folder, folder.name


def _check_files(place: str, folder: Path) -> None:
    """Refuse a folder that lacks a part before anything is read."""
    if not (folder / "config.json").is_file():
        if (folder / "ensemble.json").is_file():
            raise InvalidModel(
                f"{place} holds an ensemble. Use EnsembleReward, {{'name': 'ensemble', 'model': {place!r}}}."
            )
        raise InvalidModel(
            f"{place} holds no model: it has no config.json. Give a folder that `save_pretrained` wrote."
        )
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for pattern in PICKLES for path in folder.glob(pattern)]
        why = f"only {pickles[0]}, a pickle, which could run code and is not read" if pickles else "no weights"
        raise InvalidModel(
            f"{place} holds {why}. Where you trust it, write it anew elsewhere: "
            "model.save_pretrained(folder) writes model.safetensors."
        )
    require_whole(place, folder)
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "spiece.model", "tokenizer.model")
    if not any(any(folder.glob(name)) for name in names):
        raise InvalidModel(f"{place} holds no tokenizer. Save it beside the model: tokenizer.save_pretrained(folder).")


def require_whole(place: str | Path, folder: Path) -> None:
    """Raise `InvalidModel` where a folder holds an adapter, which transformers would add from files of any kind."""
    if (folder / ADAPTER).is_file():
        raise InvalidModel(
            f"{place} holds an adapter, {ADAPTER}, beside a model. Join them and write the whole elsewhere: "
            "model.merge_and_unload().save_pretrained(folder)."
        )


def normalisation_of(place: str | Path, config: Any) -> tuple[float, float]:
    """Return the shift and the scale of a reward model's scores, (output - shift) / scale.

    Raises:
        InvalidModel: its config.json gives what is no such number.
    """
    shift, scale = getattr(config, SHIFT, 0.0), getattr(config, SCALE, 1.0)
    for name, value, fits in ((SHIFT, shift, True), (SCALE, scale, is_finite(scale) and scale > 0)):
        if not is_finite(value) or not fits:
            raise InvalidModel(f"{place}: {name} is {value!r} in config.json, no number that scores can have.")
    return float(shift), float(scale)


def _read(place: str, folder: Path, kind: str, dtype: str) -> tuple[Any, Any]:
    """Return tokenizer and model, both whole and made for each other."""
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise _lacking(error) from error
    if dtype not in ("float32", "float64"):
        raise InvalidSetting(f"dtype={dtype!r}: fewer digits than float32 keep no score. Give float32 or float64.")
    loader = getattr(transformers, KINDS[kind])
    options: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    try:
        with _quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            model, report = loader.from_pretrained(str(folder), dtype=getattr(torch, dtype), **options)
    except Exception as error:  # of safetensors, JSON, tokenizers and torch: many types
        raise InvalidModel(f"{place} holds no {kind} that can be read: {_line(error)}") from error
    if lacking := sorted(report["missing_keys"]):
        raise InvalidModel(
            f"{place} was saved as another kind of model: a {kind} of {type(model).__name__} also has "
            f"{', '.join(map(str, lacking[:3]))}, which would be random numbers. Train it as a {kind} and save it anew."
        )
    _check_tokenizer(place, tokenizer, model)
    return tokenizer, model


def _lacking(error: ModuleNotFoundError) -> ImportError:
    return ImportError(f'a learned reward needs {error.name}: pip install "textgym[agents]".')


def _check_tokenizer(place: str, tokenizer: Any, model: Any) -> None:
    """Refuse a tokenizer whose ids the model does not know, and find a token to fill rows with."""
    rows = int(model.get_input_embeddings().num_embeddings)
    most = max(tokenizer.get_vocab().values(), default=-1)
    if not 0 <= most < rows:
        raise InvalidModel(
            f"{place} holds a tokenizer that does not fit its model: its ids go to {most}, and the model knows "
            f"0 to {rows - 1}. Save the tokenizer that the model was trained with."
        )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise InvalidModel(
                f"{place} holds a tokenizer without a token to fill rows with. Name one, tokenizer.pad_token = ..., "
                "and save it again."
            )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"  # a row's own tokens then have the same positions, however long the row
    model.config.pad_token_id = tokenizer.pad_token_id  # by which models of the GPT family find a row's end


def _window(tokenizer: Any, config: Any) -> int:
    """Return the most tokens that a model reads, special ones included."""
    limits = [tokenizer.model_max_length]
    if positions := getattr(config, "max_position_embeddings", None):
        offset = 2 if "roberta" in config.model_type or config.model_type == "camembert" else 0  # pads take two
        limits.append(positions - offset)
    return int(min(limits))


def _device(device: str) -> str:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise _lacking(error) from error
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InvalidSetting(f"device={device!r} is none that torch sees here. Give auto, cpu, cuda, ...") from error
    return device


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers' bars and reports of a load to itself: what is wrong is raised."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) < 400 else text[:400] + " ..."
