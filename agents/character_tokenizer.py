"""A tokenizer whose tokens are characters, for Chinese above all, which transformers saves and loads as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from textgym.errors import InvalidSetting, require_positive

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def character_tokenizer(texts: Iterable[str], window: int = 128, min_count: int = 1) -> Any:
    """Return a Hugging Face tokenizer of the characters that stand in texts.

    A text becomes [CLS], its characters, [SEP]; every other character is [UNK]. Nothing is normalised, and a text that
    spells a special token is its characters. `AutoTokenizer.from_pretrained` loads what its `save_pretrained` wrote.

    Args:
        texts: whose characters, in order of first appearance.
        window: the most tokens of a text, [CLS] and [SEP] among them.
        min_count: how often a character stands there at least.

    Returns:
        A `PreTrainedTokenizerFast`.

    Raises:
        InvalidSetting: one is no text; no character is frequent enough.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    require_positive(window=window, min_count=min_count)
    counts = Counter[str]()
    for text in [texts] if isinstance(texts, str) else texts:
        if not isinstance(text, str):
            raise InvalidSetting(f"{text!r} is no text.")
        counts.update(text)
    characters = [character for character, count in counts.items() if count >= min_count]
    if not characters:
        raise InvalidSetting(f"no character stands min_count={min_count} times in the texts. Give more of them.")
    ids = {token: i for i, token in enumerate([*SPECIAL.values(), *characters])}
    cls, sep = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL["unk_token"]))
    # "." would leave out the line feed
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(cls, ids[cls]), (sep, ids[sep])]
    )
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=tokenizer, model_max_length=window, split_special_tokens=True, padding_side="right", **SPECIAL
    )
