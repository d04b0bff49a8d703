"""Which of a language model's tokens an environment's tokens are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from textgym.errors import InvalidSetting, InvalidVocabulary


def model_ids(pieces: tuple[str, ...], eos: str | None, pad: int, tokenizer: Any, size: int) -> list[int]:
    """Return the model's token for each of the environment's tokens and symbols.

    They are the same ids where the environment was made with the model's own tokenizer, or where there is none. Others
    are found by their text, which must be one token of the tokenizer's; the end token is the tokenizer's own.

    Args:
        pieces: the environment's tokens and symbols; empty where nobody says.
        eos: its end token; None for none.
        pad: how many they are.
        tokenizer: the model's; None where it has none.
        size: the model's tokens.

    Raises:
        InvalidVocabulary: a text is no single token, or two of them are the same one.
    """
    if tokenizer is None or not pieces or _same(pieces, tokenizer):
        if tokenizer is not None and pad > size:
            raise InvalidVocabulary(f"the tokenizer has {pad} tokens, the model {size}: it is another model's.")
        return list(range(pad))
    found = [_id(piece, piece == eos, tokenizer) for piece in pieces]
    split = [piece for piece, one in zip(pieces, found) if one is None or one >= size]
    if split:
        example = tokenizer.tokenize(split[0])
        raise InvalidVocabulary(
            f"the environment's tokens {split[:5]} are no single tokens of the model ({split[0]!r} is {example}). Make "
            "the environment with the model's tokenizer, tokenizer=DIR (of a TextObservation: "
            "vocabulary=Vocabulary.from_pretrained(DIR)), or with tokens that the model has."
        )
    ids = [one for one in found if one is not None]
    twice = [one for one, many in Counter(ids).items() if many > 1]
    if twice:
        same = [piece for piece, one in zip(pieces, ids) if one == twice[0]]
        raise InvalidVocabulary(
            f"the environment's tokens {same} are one token of the model, {twice[0]}. Take one of them out."
        )
    return ids


def word_ids(words: Sequence[str], pieces: Sequence[str], pad: int, tokenizer: Any, size: int) -> list[int]:
    """Return the token that each action's word begins with, where actions are no tokens of the environment.

    A blank before the words counts, as a tokenizer's " left" is another token than "left"; but where all begin with one
    blank that is a token by itself, it is left out. Where there is no tokenizer, a word is the environment's token of
    that text, or a token of its own behind the environment's.

    Args:
        words: as they are written behind a text.
        pieces: the environment's tokens and symbols.
        pad: how many they are.
        tokenizer: the model's; None where it has none.
        size: the model's tokens.

    Raises:
        InvalidSetting: a word is no text, or empty.
        InvalidVocabulary: a word has no token, or two begin with the same one.
    """
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise InvalidSetting(f"action_words={list(words)!r}: {word!r} is no word. Give one text for each action.")
    bare = [word.strip() for word in words]
    if tokenizer is None:
        ids = [pieces.index(word) if word in pieces else pad + k for k, word in enumerate(bare)]
    else:
        ids = _first_ids(words, tokenizer)
        if len({*ids}) < len(ids) and all(word[0].isspace() for word in words):
            ids = _first_ids(bare, tokenizer)
    if lost := [word for word, one in zip(words, ids) if not 0 <= one < size]:
        raise InvalidVocabulary(
            f"the action words {lost} have no token of the model, which has {size}. Give words that it has, "
            'action_words=["left", "right"], or a model with a tokenizer that knows them.'
        )
    for one, many in Counter(ids).items():
        if many > 1:
            same = [word for word, other in zip(words, ids) if other == one]
            token = one if tokenizer is None else tokenizer.convert_ids_to_tokens(one)
            raise InvalidVocabulary(
                f"the action words {same} begin with the same token of the model, {token!r}, so that it could not "
                'choose between them. Give words that begin differently: action_words=["left", "right"].'
            )
    return ids


def _first_ids(words: Sequence[str], tokenizer: Any) -> list[int]:
    """Return the first token of each word; -1 where it has none."""
    found = [tokenizer.encode(word, add_special_tokens=False)[:1] for word in words]
    return [ids[0] if ids and ids[0] != tokenizer.unk_token_id else -1 for ids in found]


def begin_id(tokenizer: Any, config: Any) -> int | None:
    """Return the token that a row begins with: the begin token, else the end token; None where there is none."""
    for name in ("bos_token_id", "eos_token_id"):
        for owner in (tokenizer, config):
            found = getattr(owner, name, None)
            found = found[0] if isinstance(found, list) and found else found
            if isinstance(found, int) and 0 <= found < config.vocab_size:
                return found
    return None


def _same(pieces: tuple[str, ...], tokenizer: Any) -> bool:
    """Return whether an environment's first tokens are all of a tokenizer's."""
    own = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return len(pieces) >= len(own) and all(piece == one for piece, one in zip(pieces, own) if one)


def _id(piece: str, ends: bool, tokenizer: Any) -> int | None:
    """Return the one token that a piece is: by its text, or by the tokenizer's own name of it."""
    if ends and tokenizer.eos_token_id is not None:
        end: int = tokenizer.eos_token_id
        return end
    ids: list[int] = tokenizer.encode(piece, add_special_tokens=False)
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return ids[0]
    named: int | None = tokenizer.get_vocab().get(piece)
    return named
