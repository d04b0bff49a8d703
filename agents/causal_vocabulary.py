"""Which of a language model's tokens an environment's tokens are."""

from __future__ import annotations

from collections import Counter
from typing import Any

from textgym.errors import InvalidVocabulary


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
            "the environment with the model's tokenizer, tokenizer=DIR, or with tokens that the model has."
        )
    ids = [one for one in found if one is not None]
    twice = [one for one, many in Counter(ids).items() if many > 1]
    if twice:
        same = [piece for piece, one in zip(pieces, ids) if one == twice[0]]
        raise InvalidVocabulary(
            f"the environment's tokens {same} are one token of the model, {twice[0]}. Take one of them out."
        )
    return ids


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
