"""Prompts that are given: as text, as a conversation, or as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from textgym.errors import InvalidPrompt, InvalidSetting, InvalidTarget
from textgym.vocabulary import Messages, Vocabulary

Given: TypeAlias = str | Sequence[int] | Messages
"""A text, token ids, or a conversation: plain data each."""

FORMS = (
    'Give a text; token ids, as [5, 2]; or, with chat=True, a conversation, as [{"role": "user", "content": "Hello"}]'
)


def prompt_ids(vocabulary: Vocabulary, prompt: Given, chat: bool = False) -> list[int]:
    """Return the token ids of a prompt.

    Args:
        vocabulary: whose ids.
        prompt: a text, token ids, or a conversation.
        chat: a text is what a user says; it, or the conversation, is written by the tokenizer's chat template.

    Raises:
        InvalidPrompt: it is empty or nothing of these; the vocabulary cannot write it, or lacks an id; or the chat
            template refuses it.
        InvalidSetting: a conversation without chat, ids with it, or a vocabulary without a chat template.
    """
    if isinstance(prompt, str) and prompt:
        return _of_text(vocabulary, prompt, chat)
    if _is_conversation(prompt):
        if not chat:
            raise InvalidSetting(f"prompt={prompt!r} is a conversation, and chat=False. Give chat=True, or a text.")
        return _listed(vocabulary.encode_chat(prompt))
    if not is_ids(prompt):
        raise InvalidPrompt(f"prompt={prompt!r} is empty or no prompt. {FORMS}.")
    if chat:
        raise InvalidSetting(f"prompt={prompt!r} are token ids, which no chat template writes. Leave chat out.")
    for token in prompt:
        if not 0 <= token < vocabulary.pad:
            raise InvalidPrompt(
                f"prompt={prompt!r} has {token}; the ids of this vocabulary are 0 to {vocabulary.pad - 1}."
            )
    return _listed(prompt)


def _of_text(vocabulary: Vocabulary, text: str, chat: bool) -> list[int]:
    if chat:
        return _listed(vocabulary.encode_chat([{"role": "user", "content": text}]))
    try:
        return _listed(vocabulary.encode(text))
    except InvalidTarget as error:
        raise InvalidPrompt(f"prompt {text!r} cannot be written: {error}") from error


def _listed(ids: Any) -> list[int]:
    return [int(i) for i in ids]


def is_ids(prompt: object) -> TypeGuard[Sequence[int]]:
    """Whether something is a list of token ids, at least one."""
    listed = isinstance(prompt, Sequence) and not isinstance(prompt, str) and len(prompt) > 0
    return listed and all(isinstance(i, int) and not isinstance(i, bool) for i in prompt)  # type: ignore[attr-defined]


def _is_conversation(prompt: object) -> TypeGuard[Messages]:
    listed = isinstance(prompt, Sequence) and not isinstance(prompt, str) and len(prompt) > 0
    return listed and all(isinstance(message, Mapping) for message in prompt)  # type: ignore[attr-defined]


def one_each(prompt: Given | Sequence[Given], many: int) -> list[Given]:
    """Return what is given as one prompt, or as a list of them, as a list of one for each of `many` targets.

    Raises:
        InvalidPrompt: they are another number.
    """
    alone = isinstance(prompt, str) or is_ids(prompt) or _is_conversation(prompt)
    given: list[Any] = [prompt] if alone or not isinstance(prompt, Sequence) else list(prompt)
    if len(given) != many:
        raise InvalidPrompt(f"prompt={prompt!r} is {len(given)} prompts for {many} targets. Give one for each target.")
    return given
