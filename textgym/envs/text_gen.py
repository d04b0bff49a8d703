"""TextGen: write a given text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from textgym.ends import EitherEnd, Predicate, reached_target_length, wrote_eos, wrote_error
from textgym.episodes import Prompt
from textgym.errors import InvalidSetting, InvalidTarget, InvalidVocabulary, require_flag, require_positive
from textgym.prompts import ListedPrompts
from textgym.rewards import REWARDS, key_of
from textgym.task import Task
from textgym.vocabulary import Vocabulary


def text_gen(
    target: str | Sequence[str] = "我爱你",
    alphabet: str | Sequence[str] | None = None,
    horizon: int | None = None,
    reward: str = "token",
    stop_on_error: bool = False,
    eos: str | None = None,
    tokenizer: str | None = None,
) -> Task:
    """Write a given text, token by token.

    ## Description
    The smallest task in which writing is a Markov decision process: the state is what has been written, an action
    is the next token. By default the text is 我爱你 over the vocabulary {我, 爱, 你}. Given several targets, one is
    drawn for each episode and shown as the prompt.

    ## Prompts
    One target: none. Several: the target's tokens, each target equally likely.

    ## Actions
    One token of the alphabet, or the end token where there is one: `Discrete(len(alphabet) + (eos is not None))`.

    ## Observation
    `Box(0, pad, (horizon,), int32)`: what has been written, then pads. With several targets the prompt stands
    before it: `(longest target + horizon,)`.

    ## Reward
    By name. `token`: +1 for the right token in its place, -1 for a wrong one or one past the target's end.
    `terminal`: 1 with the last token if the completion is the target, else 0. `shaped`: 1/len(target) for each
    token that continues a faultless completion.

    ## Episode end
    Termination: the end token, or `horizon` tokens. Several targets without an end token: the target's own length.
    With `stop_on_error`, the first wrong token. One target and a longer horizon without an end token: nothing stops
    the writer at the target's end, so no episode is a success and `terminal` is refused.

    ## Arguments
    - `target`: the text, or a list of texts.
    - `alphabet`: the tokens that can be written; the targets' characters in order of first appearance if left out.
    - `horizon`: the most tokens; the longest target, and one more with `eos`, if left out.
    - `reward`: `token`, `terminal` or `shaped`.
    - `stop_on_error`: end the episode with the first wrong token.
    - `eos`: the end token, as in "$"; none if left out. The target then ends with it.
    - `tokenizer`: a path or name for Hugging Face's `AutoTokenizer`; its tokens are then the actions.

    Raises `InvalidTarget` (empty, or not writable with the alphabet), `InvalidVocabulary` (duplicate tokens),
    `InvalidSetting` (a horizon that cannot hold the target, arguments that exclude each other), `InvalidSize`,
    `UnknownName` (a reward that does not exist).

    ## Version history
    v0: initial version.
    """
    targets = [target] if isinstance(target, str) else list(target) if isinstance(target, Sequence) else []
    if not targets or not all(isinstance(text, str) and text for text in targets):
        raise InvalidTarget(
            f"target={target!r} is empty or no text. Give a string, or a list of strings (on the command line, a text "
            "that reads as a number needs quotes of its own: --env 'target=\"2024\"')."
        )
    require_flag(stop_on_error=stop_on_error)
    vocabulary = _vocabulary(targets, alphabet, eos, tokenizer)
    ending = [] if vocabulary.eos_id is None else [vocabulary.eos_id]
    written = [_encode(vocabulary, text, alphabet, tokenizer) for text in targets]
    one = len(targets) == 1
    prompts = ListedPrompts(
        tuple(Prompt(np.array([] if one else ids, np.int32), np.array([*ids, *ending], np.int32)) for ids in written)
    )
    if horizon is None:
        horizon = prompts.max_target
    require_positive(horizon=horizon)
    if one and not ending and reward == "terminal" and horizon > prompts.max_target:
        raise InvalidSetting(
            f"horizon={horizon} is longer than the target and nothing ends an episode earlier, so that reward="
            f"'terminal' could never be paid. Give eos='$', or leave horizon out."
        )
    ends: list[Predicate] = [wrote_eos] if ending else [] if one else [reached_target_length]
    if stop_on_error:
        ends.append(wrote_error)
    paid = REWARDS[reward]
    return Task(vocabulary, prompts, paid, horizon, ends=_either(ends), state_key=key_of(paid))


def _either(ends: list[Predicate]) -> Predicate:
    return EitherEnd(tuple(ends)) if len(ends) > 1 else ends[0] if ends else wrote_eos


def _vocabulary(
    targets: list[str], alphabet: str | Sequence[str] | None, eos: str | None, tokenizer: str | None
) -> Vocabulary:
    if tokenizer is not None:
        if alphabet is not None:
            raise InvalidSetting(
                f"alphabet={alphabet!r} and tokenizer={tokenizer!r} both say what the tokens are. Give one of them."
            )
        vocabulary = Vocabulary.from_pretrained(tokenizer)
        if eos is not None and eos not in vocabulary.ids:
            raise InvalidVocabulary(
                f"eos={eos!r} is no token of tokenizer={tokenizer!r}; its own end token is {vocabulary.eos!r}."
            )
        return replace(vocabulary, eos=eos)
    if alphabet is not None and not isinstance(alphabet, Sequence):
        raise InvalidVocabulary(f"alphabet={alphabet!r} is no text. Give a string of letters, or a list of tokens.")
    tokens = tuple(dict.fromkeys("".join(targets))) if alphabet is None else tuple(alphabet)
    if eos is not None and eos in tokens:
        raise InvalidVocabulary(
            f"eos={eos!r} is also a letter of the alphabet {''.join(tokens)!r}. Give an end token that no text holds."
        )
    return Vocabulary(tokens, eos=eos)


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
