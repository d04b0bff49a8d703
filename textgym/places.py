"""Where a model is: in a folder here, or on a hub, by name."""

from __future__ import annotations

import os
from pathlib import Path

from textgym.errors import InvalidModel


def folder_of(place: str | os.PathLike[str]) -> Path | None:
    """Return the folder that a model is in; None where what is given can only be its name on a hub.

    Raises:
        InvalidModel: it is a path, and no folder is there.
    """
    path, named = Path(place).expanduser(), os.fspath(place)
    if path.is_dir():
        return path
    if path.exists() or path.is_absolute() or named.count("/") > 1 or named[:1] in ("", ".", "~"):
        raise InvalidModel(f"{named} is no folder. Give one that `save_pretrained` wrote, or a name as 'owner/model'.")
    return None
