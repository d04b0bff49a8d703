"""TextGen: write a given text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from textgym.ends import EitherEnd, Predicate, reached_target_length, wrote_eos, wrote_error
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting, InvalidTarget, InvalidVocabulary, require_flag, require_positive
from textgym.masks import Candidates
from textgym.masks import candidates as candidates_of
from textgym.prompts import ListedPrompts, prompt_ids
from textgym.prompts.texts import Given, one_each
from textgym.rewards import REWARDS, exact_text, key_of, same_text, text_prefix
from textgym.task import SUCCESS, Task
from textgym.vocabulary import Vocabulary


def text_gen(
    target: str | Sequence[str] = "我爱你",
    alphabet: str | Sequence[str] | None = None,
    horizon: int | None = None,
    reward: str = "token",
    stop_on_error: bool = False,
    eos: str | bool | None = None,
    tokenizer: str | None = None,
    prompt: Given | Sequence[Given] | None = None,
    chat: bool = False,
    candidates: str | Sequence[str] | None = None,
) -> Task:
    """Write a given text, token by token.

    ## Description
    The smallest task in which writing is a Markov decision process: the state is what has been written, an action
    is the next token. By default the text is 我爱你 over the vocabulary {我, 爱, 你}. Given several targets, one is
    drawn for each episode and shown as the prompt.

    ## Prompts
    One target: none. Several: the target's tokens, each target equally likely. Or what `prompt` gives.

    ## Actions
    One token of the alphabet, or the end token where there is one: `Discrete(len(alphabet) + (eos is not None))`; with
    a tokenizer, one of its tokens. `candidates` are then a mask: the others can be written, but are not worth it.

    ## Observation
    `Box(0, pad, (horizon,), int32)`: what has been written, then pads. Where there are prompts, they stand before it:
    `(longest prompt + horizon,)`.

    ## Reward
    By name. `token`: +1 for the right token in its place, -1 for a wrong one or one past the target's end.
    `terminal`: 1 with the last token if the completion is the target, else 0. `shaped`: 1/len(target) for each
    token that continues a faultless completion. These compare ids; on decoded text, which a tokenizer can write in
    several ways, `text`: 1 with the last token if the completion reads as the target; `shaped_text`: 1/(c + 1) for
    each further one of the target's c characters, and for the right end. Success is then of the text, too.

    ## Episode end
    Termination: the end token, or `horizon` tokens. Several targets without an end token: the target's own length.
    With `stop_on_error`, the first wrong token. One target and a longer horizon without an end token: nothing stops
    the writer at the target's end, so no episode is a success and `terminal` is refused.

    ## Arguments
    - `target`: the text, or a list of texts.
    - `alphabet`: the tokens that can be written; the targets' characters in order of first appearance if left out.
    - `horizon`: the most tokens; the longest target, and one more with `eos`, if left out.
    - `reward`: `token`, `terminal`, `shaped`, `text` or `shaped_text`.
    - `stop_on_error`: end the episode with the first wrong token.
    - `eos`: the end token, as in "$", or true for the tokenizer's own; none if left out. The target then ends with it.
    - `tokenizer`: a path or name for Hugging Face's `AutoTokenizer`; its tokens are then the actions.
    - `prompt`: a text, or a list of token ids; for several targets, a list with one for each. Characters that are not
      in the alphabet become prompt-only symbols.
    - `chat`: the prompt is what a user says, or a list of messages, and the tokenizer's chat template writes it.
    - `candidates`: words, each with the tokens that it is written with, to which a mask narrows what is written; the
      end token is among them. All tokens if left out.

    Raises `InvalidTarget` (empty, or not writable with the alphabet or the candidates), `InvalidVocabulary` (duplicate
    tokens, a tokenizer that cannot be read, a candidate that is no tokens), `InvalidPrompt` (a prompt that is none),
    `InvalidSetting` (a horizon that cannot hold the target, a tokenizer without a chat template, no candidates,
    arguments that exclude each other), `InvalidSize`, `UnknownName` (a reward that does not exist).

    ## Version history
    v0: initial version.
    """
    targets = [target] if isinstance(target, str) else list(target) if isinstance(target, Sequence) else []
    if not targets or not all(isinstance(text, str) and text for text in targets):
        raise InvalidTarget(
            f"target={target!r} is empty or no text. Give a string, or a list of strings (on the command line, a text "
            "that reads as a number needs quotes of its own: --env 'target=\"2024\"')."
        )
    require_flag(stop_on_error=stop_on_error, chat=chat)
    if chat and prompt is None:
        raise InvalidSetting("chat=True says how a prompt is written, and there is none. Give prompt='...'.")
    one, given = len(targets) == 1, None if prompt is None else one_each(prompt, len(targets))
    vocabulary = _vocabulary(targets, alphabet, eos, tokenizer, given)
    ending = [] if vocabulary.eos_id is None else [vocabulary.eos_id]
    written = [_encode(vocabulary, text, alphabet, tokenizer) for text in targets]
    mask = None if candidates is None else _mask(vocabulary, candidates, targets, written)
    asked = ([[]] if one else written) if given is None else [prompt_ids(vocabulary, text, chat) for text in given]
    prompts = ListedPrompts(
        tuple(Prompt(np.array(a, np.int32), np.array([*b, *ending], np.int32)) for a, b in zip(asked, written))
    )
    if horizon is None:
        horizon = prompts.max_target
    require_positive(horizon=horizon)
    if one and not ending and reward in ("terminal", "text") and horizon > prompts.max_target:
        raise InvalidSetting(
            f"horizon={horizon} is longer than the target and nothing ends an episode earlier, so that reward="
            f"{reward!r} could never be paid. Give eos='$', or leave horizon out."
        )
    ends: list[Predicate] = [wrote_eos] if ending else [] if one else [reached_target_length]
    if stop_on_error:
        ends.append(wrote_error)
    paid = REWARDS[reward]
    success = {"success": same_text} if paid in (exact_text, text_prefix) else SUCCESS
    return Task(vocabulary, prompts, paid, horizon, _either(ends), success, mask, key_of(paid))


def _either(ends: list[Predicate]) -> Predicate:
    return EitherEnd(tuple(ends)) if len(ends) > 1 else ends[0] if ends else wrote_eos


def _vocabulary(
    targets: list[str],
    alphabet: str | Sequence[str] | None,
    eos: str | bool | None,
    tokenizer: str | None,
    prompts: list[Given] | None,
) -> Vocabulary:
    if tokenizer is not None:
        if alphabet is not None:
            raise InvalidSetting(
                f"alphabet={alphabet!r} and tokenizer={tokenizer!r} both say what the tokens are. Give one of them."
            )
        return pretrained(tokenizer, eos)
    if isinstance(eos, bool):
        raise InvalidVocabulary(
            f"eos={eos!r} is for a tokenizer's own end token. Give one, as eos='$', or leave it out."
        )
    if alphabet is not None and not isinstance(alphabet, Sequence):
        raise InvalidVocabulary(f"alphabet={alphabet!r} is no text. Give a string of letters, or a list of tokens.")
    tokens = tuple(dict.fromkeys("".join(targets))) if alphabet is None else tuple(alphabet)
    if eos is not None and eos in tokens:
        raise InvalidVocabulary(
            f"eos={eos!r} is also a letter of the alphabet {''.join(tokens)!r}. Give an end token that no text holds."
        )
    unknown = (c for text in prompts or [] if isinstance(text, str) for c in text if c not in (*tokens, eos))
    return Vocabulary(tokens, tuple(dict.fromkeys(unknown)), eos)


def pretrained(tokenizer: str, eos: str | bool | None) -> Vocabulary:
    """Return a tokenizer's vocabulary, with the end token that was asked for."""
    vocabulary = Vocabulary.from_pretrained(tokenizer)
    if eos is True and vocabulary.eos is None:
        raise InvalidVocabulary(f"eos=True, but tokenizer={tokenizer!r} has no end token. Name one of its tokens.")
    if not isinstance(eos, bool) and eos is not None and eos not in vocabulary.ids:
        raise InvalidVocabulary(
            f"eos={eos!r} is no token of tokenizer={tokenizer!r}; its own end token is {vocabulary.eos!r}."
        )
    return vocabulary if eos is True else replace(vocabulary, eos=eos or None)


def _mask(
    vocabulary: Vocabulary, words: str | Sequence[str], targets: list[str], written: list[list[int]]
) -> Candidates:
    """Return the candidates; refuse those that cannot write a target."""
    found = candidates_of(vocabulary, words)
    for text, ids in zip(targets, written):
        if lacking := [vocabulary.tokens[i] for i in ids if i not in found.ids]:
            raise InvalidTarget(
                f"target {text!r} has the token {lacking[0]!r}, which no candidate has. Add {text!r} to `candidates`.",
                lacking[0],
            )
    return found


def _encode(
    vocabulary: Vocabulary, text: str, alphabet: str | Sequence[str] | None, tokenizer: str | None
) -> list[int]:
    try:
        ids: list[int] = vocabulary.encode(text).tolist()
    except InvalidTarget as error:
        if tokenizer is not None:
            raise
        raise InvalidTarget(
            f"target {text!r} has {error.token!r}, which is not in the alphabet {alphabet!r}. Add it to `alphabet`, or "
            "leave `alphabet` out to take the target's own characters.",
            error.token,
        ) from error
    if vocabulary.eos_id in ids:
        raise InvalidTarget(f"target {text!r} holds the end token {vocabulary.eos!r}. Leave it out: it is appended.")
    return ids
