"""Loading a Hugging Face tokenizer: no remote code, and each folder read once while it stays as it is."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from textgym.errors import InvalidVocabulary

FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""A folder with none of them holds no tokenizer: transformers would make up an empty one for a model's."""


def load_tokenizer(path_or_name: str | os.PathLike[str]) -> Any:
    """Return what `transformers.AutoTokenizer` reads.

    Args:
        path_or_name: a folder that `save_pretrained` wrote, or the name of a model. No remote code is run.

    Raises:
        ImportError: transformers is not installed (`pip install "textgym[agents]"`).
        InvalidVocabulary: the path or name holds no tokenizer.
    """
    if not isinstance(path_or_name, (str, os.PathLike)):
        raise _refused(path_or_name, f"it is of type {type(path_or_name).__name__}")
    named, folder = os.fspath(path_or_name), Path(path_or_name)
    if not folder.is_dir():
        return _read(named, ())
    held = sorted(path for path in folder.iterdir() if path.is_file())
    if not {path.name for path in held}.intersection(FILES):
        raise _refused(named, "the folder has no tokenizer's files")
    stats = [(path.name, path.stat()) for path in held if path.suffix != ".safetensors"]
    return _read(str(folder.resolve()), tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


@functools.lru_cache(maxsize=4)
def _read(path_or_name: str, state: tuple[tuple[str, int, int], ...]) -> Any:
    """Return a tokenizer; `state` tells a folder that has changed from one that has not."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path_or_name, trust_remote_code=False)
    except ImportError:
        raise
    except Exception as error:  # whatever tokenizers' parsers raise, which is a bare Exception too
        raise _refused(path_or_name, " ".join(str(error).split())[:400]) from error


def _refused(given: object, cause: str) -> InvalidVocabulary:
    return InvalidVocabulary(
        f"tokenizer={given!r} could not be loaded: give a folder that a tokenizer's `save_pretrained` wrote, or the "
        f"name of a model. ({cause})"
    )
