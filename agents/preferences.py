"""Preferences: which completion of a prompt is better, and labels of single ones; read from JSON lines, and split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from textgym.errors import InvalidSetting, is_finite, require_flag, require_natural

from .texts import read_lines, read_object, shown

PAIR = '{"prompt": "...", "chosen": "...", "rejected": "..."}'
RANKING = '{"prompt": "...", "ranking": ["best", ..., "worst"]}'
LABELLED = '{"prompt": "...", "completion": "...", "label": 1}'


@dataclass(frozen=True)
class Preference:
    """Completions of one prompt, best first; of a pair, the chosen and the rejected one.

    Args:
        prompt: what is completed; "" for none.
        ranking: at least two completions, all different.
        margin: by how much the chosen one of a pair is better, where that is known; not below 0.
        place: where it stands, for errors.

    Raises:
        InvalidSetting: it is none; equal completions prefer nothing.
    """

    prompt: str
    ranking: tuple[str, ...]
    margin: float | None = None
    place: str = "a preference"

    def __post_init__(self) -> None:
        if isinstance(self.ranking, str) or not isinstance(self.ranking, Sequence) or len(self.ranking) < 2:
            raise InvalidSetting(f"{self.place}: ranking={self.ranking!r} is no list of at least two completions.")
        object.__setattr__(self, "ranking", tuple(self.ranking))
        _check_texts(self.prompt, self.ranking, self.place)
        for i, completion in enumerate(self.ranking):
            if completion in self.ranking[:i]:
                names = "chosen and rejected are" if len(self.ranking) == 2 else "two of the ranking are"
                raise InvalidSetting(
                    f"{self.place}: {names} both {shown(completion)!r}, so that nothing is preferred. Leave it out."
                )
        if self.margin is not None and not (is_finite(self.margin) and self.margin >= 0 and len(self.ranking) == 2):
            raise InvalidSetting(
                f"{self.place}: margin={self.margin!r} of {len(self.ranking)} completions. A pair may have one, a "
                "number of at least 0."
            )

    @property
    def texts(self) -> tuple[str, ...]:
        """Each completion behind its prompt: what a reward model reads."""
        return tuple(self.prompt + completion for completion in self.ranking)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a line of a file has it."""
        if len(self.ranking) > 2:
            return {"prompt": self.prompt, "ranking": list(self.ranking)}
        margin = {} if self.margin is None else {"margin": self.margin}
        return {"prompt": self.prompt, "chosen": self.ranking[0], "rejected": self.ranking[1], **margin}


@dataclass(frozen=True)
class Labelled:
    """One completion, and what it is worth.

    Args:
        prompt: what is completed; "" for none.
        completion: the text.
        label: a number; for binary cross-entropy from 0, bad, to 1, good.
        place: where it stands, for errors.

    Raises:
        InvalidSetting: it is none.
    """

    prompt: str
    completion: str
    label: float
    place: str = "a labelled text"

    def __post_init__(self) -> None:
        _check_texts(self.prompt, (self.completion,), self.place)
        label = int(self.label) if isinstance(self.label, bool) else self.label
        if not is_finite(label):
            raise InvalidSetting(f"{self.place}: label={self.label!r} is no finite number.")
        object.__setattr__(self, "label", float(label))

    @property
    def texts(self) -> tuple[str, ...]:
        """The completion behind its prompt: what a reward model reads."""
        return (self.prompt + self.completion,)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a line of a file has it."""
        return {"prompt": self.prompt, "completion": self.completion, "label": self.label}


Record: TypeAlias = Preference | Labelled
Kind = TypeVar("Kind", Preference, Labelled)


def _check_texts(prompt: Any, completions: tuple[Any, ...], place: str) -> None:
    for text in (prompt, *completions):
        if not isinstance(text, str):
            raise InvalidSetting(f"{place}: {text!r} is no text. Prompts and completions are strings.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidSetting(f"{place}: {shown(text)!a} holds half of a character: {error.reason}.") from None
    if not all(prompt + completion for completion in completions):
        raise InvalidSetting(f"{place}: prompt and completion are both empty. Leave it out.")


def read_preferences(path: str | Path) -> list[Preference]:
    """Return a file's preferences: in each line `{"prompt", "chosen", "rejected"}` or `{"prompt", "ranking"}`.

    A pair may have a `"margin"`. Lines of both kinds may stand in one file.

    Raises:
        FileNotFoundError: it is not there.
        InvalidSetting: it is empty, or a line is none; the message names the line.
    """
    return _read(Path(path), Preference)


def read_labelled(path: str | Path) -> list[Labelled]:
    """Return a file's labelled texts: in each line `{"prompt", "completion", "label"}`.

    Raises:
        FileNotFoundError: it is not there.
        InvalidSetting: it is empty, or a line is none; the message names the line.
    """
    return _read(Path(path), Labelled)


def _read(path: Path, kind: type[Kind]) -> list[Kind]:
    shape = LABELLED if kind is Labelled else f"{PAIR} or {RANKING}"
    lines = read_lines(path)
    if not lines:
        raise InvalidSetting(f"{path} is empty. Write {shape}, one in each line.")
    return [_of(read_object(line, shape), kind, line.place) for line in lines]


def given_records(records: Iterable[Kind | Mapping[str, Any]], kind: type[Kind]) -> list[Kind]:
    """Return records of one kind, which may be given as mappings with the keys of a line.

    Raises:
        InvalidSetting: there is none, or one is of another kind.
    """
    if isinstance(records, (str, Path, Mapping)) or not isinstance(records, Iterable):
        raise InvalidSetting(
            f"{records!r} is no list of records. Read a file with read_preferences or read_labelled first."
        )
    shape = LABELLED if kind is Labelled else f"{PAIR} or {RANKING}"
    found = []
    for number, record in enumerate(records, 1):
        if isinstance(record, Mapping):
            found.append(_of(record, kind, f"record {number}"))
        elif isinstance(record, kind):
            found.append(record)
        else:
            raise InvalidSetting(f"record {number} is {shown(repr(record))}. Give {shape}.")
    if not found:
        raise InvalidSetting(f"there is no record to learn from. Give {shape}.")
    return found


def _of(found: Mapping[str, Any], kind: type[Kind], place: str) -> Kind:
    """Return the record that an object's keys make."""
    if kind is Labelled:
        _check_keys(found, {"prompt", "completion", "label"}, set(), LABELLED, place)
        return kind(**found, place=place)
    if "ranking" in found:
        _check_keys(found, {"prompt", "ranking"}, set(), RANKING, place)
        return kind(**found, place=place)
    _check_keys(found, {"prompt", "chosen", "rejected"}, {"margin"}, PAIR, place)
    given: dict[str, Any] = {"ranking": (found["chosen"], found["rejected"]), "margin": found.get("margin")}
    return kind(prompt=found["prompt"], place=place, **given)


def _check_keys(found: Mapping[str, Any], needed: set[str], besides: set[str], shape: str, place: str) -> None:
    missing, extra = sorted(needed - found.keys()), sorted(map(str, found.keys() - needed - besides))
    if missing or extra:
        faults = [f"lacks {', '.join(missing)}"] if missing else []
        faults += [f"has {', '.join(extra)} besides"] if extra else []
        none = ' Where there is no prompt, write "".' if "prompt" in missing else ""
        raise InvalidSetting(f"{place}, {' and '.join(faults)}. Write {shape}.{none}")


def write_records(path: str | Path, records: Iterable[Record], overwrite: bool = False) -> None:
    """Write records as JSON lines, which `read_preferences` or `read_labelled` reads.

    Raises:
        InvalidSetting: the file is there, and `overwrite` is not set.
    """
    require_flag(overwrite=overwrite)
    lines = [json.dumps(record.to_dict(), ensure_ascii=False) + "\n" for record in records]
    if Path(path).exists() and not overwrite:
        raise InvalidSetting(f"{path} is there already. Choose another name, or pass overwrite=True.")
    Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")


def split(records: Sequence[Kind], held_out: float, seed: int) -> tuple[list[Kind], list[Kind]]:
    """Return the records to learn from, and about a share of them that is held out; no text stands in both.

    Records that share a text, directly or through others, stay together; groups are held out in random order as long
    as they fit the share.

    Args:
        records: at least two.
        held_out: the share, above 0 and below 1.
        seed: of the order.

    Raises:
        InvalidSetting: all records hang together, so that none can be held out.
    """
    if not is_finite(held_out) or not 0 < held_out < 1:
        raise InvalidSetting(f"held_out={held_out!r} is no share above 0 and below 1.")
    require_natural(seed=seed)
    groups: list[list[int]] = _groups(records)
    if len(groups) < 2:
        raise InvalidSetting(
            f"the {len(records)} records share their texts, directly or through others: none can be held out without "
            "a text of it being learned. Give a held-out part of your own (--held-out FILE, held_out_records=...), or "
            "records that share fewer texts."
        )
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    most, out = min(max(1, round(held_out * len(records))), len(records) - 1), set[int]()
    for group in order:
        if len(out) + len(group) <= most:
            out.update(group)
    out = out or {*min(groups, key=len)}  # every group is larger than the share
    return ([r for i, r in enumerate(records) if i not in out], [r for i, r in enumerate(records) if i in out])


def _groups(records: Sequence[Record]) -> list[list[int]]:
    """Return the indices of records that share texts, group by group."""
    above: dict[str, str] = {}

    def top(text: str) -> str:
        while (higher := above.setdefault(text, text)) != text:
            above[text] = above[higher]  # halves the way
            text = higher
        return text

    for record in records:
        for text in record.texts:
            above[top(text)] = top(record.texts[0])
    groups: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        groups.setdefault(top(record.texts[0]), []).append(i)
    return list(groups.values())


def require_apart(learned: Sequence[Record], held_out: Sequence[Record]) -> None:
    """Raise `InvalidSetting` where a text stands in both of two parts; the message says where."""
    known = {text: record.place for record in learned for text in record.texts}
    for record in held_out:
        for text in record.texts:
            if text in known:
                raise InvalidSetting(
                    f"{record.place}: {shown(text)!r} is held out, and learned from too, in {known[text]}. Leave it "
                    "out of one of them."
                )
