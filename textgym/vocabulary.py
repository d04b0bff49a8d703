"""Vocabulary: the tokens that can be written, the symbols that can only be read, and their ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np

from textgym.arrays import Array, IntArray
from textgym.errors import InvalidPrompt, InvalidSetting, InvalidTarget, InvalidVocabulary
from textgym.tokenizers import load_tokenizer

Messages: TypeAlias = Sequence[Mapping[str, str]]
"""A conversation: `{"role": "user", "content": "..."}` and so on."""

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4  # bytes in UTF-8


class Codec(Protocol):
    """How text becomes token ids and token ids become text."""

    def encode(self, vocabulary: Vocabulary, text: str) -> list[int]:
        """Return the ids of a text; raise `InvalidTarget` where it has none."""

    def decode(self, vocabulary: Vocabulary, ids: Sequence[int]) -> str:
        """Return the text of ids, which hold neither pad nor end token."""


@dataclass(frozen=True)
class _Characters:
    """Text is its tokens side by side; it is cut greedily into the longest tokens that fit."""

    def encode(self, vocabulary: Vocabulary, text: str) -> list[int]:
        ids, start = [], 0
        while start < len(text):
            for end in range(min(len(text), start + vocabulary.longest), start, -1):
                if (token := text[start:end]) in vocabulary.ids:
                    break
            ids.append(vocabulary.id(token, within=text))
            start = end
        return ids

    def decode(self, vocabulary: Vocabulary, ids: Sequence[int]) -> str:
        return "".join([vocabulary.pieces[i] for i in ids])


@dataclass(frozen=True)
class _Words:
    """Text is its tokens with one blank between them."""

    def encode(self, vocabulary: Vocabulary, text: str) -> list[int]:
        return [vocabulary.id(word, within=text) for word in text.split()]

    def decode(self, vocabulary: Vocabulary, ids: Sequence[int]) -> str:
        return " ".join([vocabulary.pieces[i] for i in ids])


@dataclass(frozen=True)
class _Pretrained:
    """Text is whatever a Hugging Face tokenizer says; incomplete UTF-8 decodes to U+FFFD."""

    tokenizer: Any

    def encode(self, vocabulary: Vocabulary, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and unknown in ids and unknown != vocabulary.eos_id:
            raise InvalidTarget(
                f"text {text!r} has characters that this tokenizer does not know (they become "
                f"{self.tokenizer.unk_token!r}). Write it with other characters or another tokenizer."
            )
        return ids

    def decode(self, vocabulary: Vocabulary, ids: Sequence[int]) -> str:
        # the tokenizer does not know the task's own symbols: they stand between what it decodes
        text = ""
        for own, run in itertools.groupby(ids, key=lambda i: i >= vocabulary.size):
            part = list(run)
            text += (
                "".join([vocabulary.pieces[i] for i in part])
                if own
                else self.tokenizer.decode(part, clean_up_tokenization_spaces=False)
            )
        return text

    def chat(self, messages: Messages) -> list[int]:
        """Return the ids of a conversation by the tokenizer's template, up to where the answer begins."""
        if not self.tokenizer.chat_template:
            raise InvalidSetting(
                "this tokenizer has no chat template, so that nobody knows how a conversation is written. Leave chat "
                "out, and write the prompt as the model has learned it; or give a tokenizer of a chat model."
            )
        from jinja2 import TemplateError

        said = [dict(message) for message in messages]
        try:
            ids = self.tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise InvalidPrompt(f"the tokenizer's chat template refuses {said!r}: {error}.") from error
        begun = bool(ids) and ids[0] == self.tokenizer.bos_token_id
        return list(ids[1:] if begun else ids)  # a network begins every row with the begin token by itself


CHARACTERS: Codec = _Characters()
WORDS: Codec = _Words()


@dataclass(frozen=True)
class Vocabulary:
    """What can be written and read, and the id of each.

    Ids run through the tokens (`0 .. size - 1`, the actions), then the prompt-only symbols, then `pad`, which
    nobody writes. The end token is an action; where `tokens` does not name it, it comes after them.

    Args:
        tokens: the tokens that can be written, in the order of their ids.
        symbols: what stands only in prompts: a separator, a position, a question mark.
        eos: the end token; None where episodes end by another rule.
        codec: how text is cut into tokens and put together again: `CHARACTERS`, `WORDS`, or a tokenizer's.

    Raises:
        InvalidVocabulary: no tokens, duplicate or empty tokens, something that is no string.

    Example:
        >>> vocabulary = Vocabulary.from_characters("我爱你", eos="$")
        >>> vocabulary.encode("爱我").tolist(), vocabulary.size, vocabulary.pad
        ([1, 0], 4, 4)
        >>> vocabulary.decode([0, 1, 2, 3])
        '我爱你'
    """

    tokens: tuple[str, ...]
    symbols: tuple[str, ...] = ()
    eos: str | None = None
    codec: Codec = CHARACTERS

    def __post_init__(self) -> None:
        tokens, symbols = tuple(self.tokens), tuple(self.symbols)
        if not tokens:
            raise InvalidVocabulary("a vocabulary needs at least one token; got none.")
        if self.eos is not None and self.eos not in tokens:
            tokens = (*tokens, self.eos)
        for token in (*tokens, *symbols):
            if not isinstance(token, str) or not token:
                raise InvalidVocabulary(f"token {token!r} is not a string of at least one character.")
        if len(set(tokens + symbols)) < len(tokens + symbols):
            twice = next(t for t in tokens + symbols if (tokens + symbols).count(t) > 1)
            raise InvalidVocabulary(f"token {twice!r} is given twice; every token and symbol needs its own id.")
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "symbols", symbols)

    @classmethod
    def from_characters(cls, text: Iterable[str], eos: str | None = None, symbols: Sequence[str] = ()) -> Vocabulary:
        """Take each character of `text` once, in order of first appearance."""
        return cls(tuple(dict.fromkeys(text)), tuple(symbols), eos)

    @classmethod
    def from_words(cls, text: str | Iterable[str], eos: str | None = None, symbols: Sequence[str] = ()) -> Vocabulary:
        """Take each word of `text` (cut at blanks, or given one by one) once, in order of first appearance."""
        words = text.split() if isinstance(text, str) else text
        return cls(tuple(dict.fromkeys(words)), tuple(symbols), eos, WORDS)

    @classmethod
    def from_pretrained(cls, path_or_name: str, symbols: Sequence[str] = ()) -> Vocabulary:
        """Take a Hugging Face tokenizer's whole vocabulary, its ids and its end token.

        Args:
            path_or_name: what `transformers.AutoTokenizer.from_pretrained` takes. No remote code is run.
            symbols: prompt-only symbols of the task's own, after the tokenizer's tokens.

        Raises:
            ImportError: transformers is not installed (`pip install "textgym[agents]"`).
            InvalidVocabulary: the path or name holds no tokenizer.
        """
        tokenizer = load_tokenizer(path_or_name)
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        names = tuple(piece or f"<unused {i}>" for i, piece in enumerate(pieces))
        return cls(names, tuple(symbols), tokenizer.eos_token, _Pretrained(tokenizer))

    @property
    def size(self) -> int:
        """The number of actions: tokens that can be written, the end token among them."""
        return len(self.tokens)

    @property
    def pad(self) -> int:
        """The id that fills what is not written yet; no action, and one past everything else."""
        return len(self.tokens) + len(self.symbols)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Tokens and symbols to ids."""
        return {token: i for i, token in enumerate(self.pieces)}

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Ids to tokens and symbols; a byte-level tokenizer's pieces are not text."""
        return self.tokens + self.symbols

    @cached_property
    def longest(self) -> int:
        """Characters in the longest token or symbol."""
        return max(map(len, self.pieces))

    @cached_property
    def eos_id(self) -> int | None:
        """The end token's id; None where there is none."""
        return None if self.eos is None else self.tokens.index(self.eos)

    def id(self, token: str, within: str | None = None) -> int:
        """Return the id of one token or symbol.

        Raises:
            InvalidTarget: there is no such token; the message names it and the text it stood in.
        """
        if (found := self.ids.get(token)) is None:
            alphabet = "".join(self.tokens) if self.longest == 1 else " ".join(self.tokens[:50])
            raise InvalidTarget(
                f"text {token if within is None else within!r} has {token!r}, which is not in the "
                f"vocabulary {alphabet!r}. Add it to the vocabulary, or write without it.",
                token,
            )
        return found

    def encode(self, text: str) -> IntArray:
        """Return the ids of a text, `(length,)` int32, without an end token.

        Raises:
            InvalidTarget: the text has something that the vocabulary lacks.
        """
        return np.array(self.codec.encode(self, text), dtype=np.int32)

    def encode_chat(self, messages: Messages) -> IntArray:
        """Return the ids of a conversation, `(length,)` int32, up to where the next answer begins.

        They are what the tokenizer's chat template makes of it, without the begin token that some templates write: a
        network begins every row with one by itself.

        Raises:
            InvalidSetting: the vocabulary is no pretrained tokenizer's, or that has no chat template.
            InvalidPrompt: the template refuses the conversation.
        """
        if not isinstance(self.codec, _Pretrained):
            raise InvalidSetting("chat templates are pretrained tokenizers'. Give tokenizer=DIR, or leave chat out.")
        return np.array(self.codec.chat(messages), dtype=np.int32)

    def decode(self, ids: Array | Sequence[int]) -> str:
        """Return the text of ids, `(length,)`, leaving out pads and end tokens.

        Whatever the ids, it is a text: where a byte-level tokenizer's pieces are no whole character, U+FFFD stands.
        """
        silent = (self.pad, self.eos_id)
        return self.codec.decode(self, [i for i in np.asarray(ids).tolist() if i not in silent])

    def show(self, token: int) -> str:
        """Return one id as a person may read it: its text, the end token and symbols by their names."""
        if token in (self.pad, self.eos_id) or token >= self.size:
            return "" if token == self.pad else self.pieces[token]
        return self.codec.decode(self, [token])

    def spell(self, ids: Array | Sequence[int]) -> list[str]:
        """Return what each of some ids adds to their text, `(length,)`, as `show` has it.

        A character of several pieces stands with the last of them; what is incomplete at the end is U+FFFD.
        """
        if not isinstance(self.codec, _Pretrained):
            return [self.show(i) for i in np.asarray(ids).tolist()]
        texts: list[str] = []
        held: list[int] = []  # pieces of a character that is not whole yet
        for i in np.asarray(ids).tolist():
            plain = i < self.size and i != self.eos_id
            text = self.codec.decode(self, [*held, i]) if plain else self.show(i)
            if plain and text.endswith(INCOMPLETE) and len(held) < LONGEST_CHARACTER - 1:
                held, text = [*held, i], ""
            else:
                if held and not plain:
                    texts[-1] = self.codec.decode(self, held)
                held = []
            texts.append(text)
        if held:
            texts[-1] = self.codec.decode(self, held)
        return texts
