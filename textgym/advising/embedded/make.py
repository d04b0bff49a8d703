"""Makes the embedded language model: `model.safetensors`, its configuration and its tokenizer, in this folder.

    python -m textgym.advising.embedded.make                  # some minutes on one core
    python -m textgym.advising.embedded.make --judge          # asks the one that is there

It learns to say what the experts say, in English and in Chinese, of states told in all three forms. One state in eight
is never taught; how often it advises there what the expert does is printed at the end.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from textgym.advising.embedded import FOLDER, KNOWN, prompt_of
from textgym.advising.embedded.lessons import LANGUAGES, Lessons, accuracy, all_lessons

PIECES = r" ?[A-Za-z]+| ?[0-9]+|."  # a word or a number with the blank before it, else one character
SHAPE: dict[str, Any] = {"n_layer": 2, "n_embd": 48, "n_head": 4, "n_positions": 96}
UNKNOWN, END = "[UNK]", "[END]"
SHARES = {"CartPole": 0.5, "MountainCar": 0.2}  # of a minibatch; the lakes have the rest
UNLEARNED = -100
BATCH, RATE = 96, 4e-3


def tokenizer_of(texts: Sequence[str]) -> Any:
    """Return a tokenizer of the pieces of some texts; what it decodes is what it encoded."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = sorted({piece for text in texts for piece in re.findall(PIECES, text)})
    words = {piece: number for number, piece in enumerate([END, UNKNOWN, *pieces])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.decoder = decoders.Fuse()
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, unk_token=UNKNOWN, eos_token=END, pad_token=END)


class Course:
    """Lessons as token ids, and minibatches of them.

    Args:
        tokenizer: whose ids they are.
        taught: the lessons, in one language of answers each; what is held out is left out.
        seed: of the order.
    """

    def __init__(self, tokenizer: Any, taught: Sequence[tuple[Lessons, str]], seed: int) -> None:
        import torch

        self.rng = np.random.default_rng(seed)
        rows, asked, shares = [], [], []
        for lessons, language in taught:
            share = SHARES.get(lessons.title, (1 - sum(SHARES.values())) / (len(KNOWN) - len(SHARES)))
            chosen = np.flatnonzero(~lessons.held_out).tolist()
            answers = lessons.answers(language)
            for i in chosen:
                prompt = tokenizer.encode(prompt_of(lessons.title).format(state=lessons.texts[i]))
                rows.append([*prompt, *tokenizer.encode(" " + answers[i]), tokenizer.eos_token_id])
                asked.append(len(prompt))
                shares.append(share / len(chosen))
        width = max(map(len, rows))
        self.ids = torch.tensor([row + [tokenizer.eos_token_id] * (width - len(row)) for row in rows])
        self.asked, self.lengths = torch.tensor(asked), torch.tensor(list(map(len, rows)))
        self.shares = np.cumsum(shares) / np.sum(shares)

    def batch(self, size: int) -> tuple[Any, Any]:
        """Return ids `(size, width)`, and the same with UNLEARNED in prompts and pads."""
        import torch

        rows = torch.from_numpy(np.searchsorted(self.shares, self.rng.random(size)))
        width = int(self.lengths[rows].max())
        ids, column = self.ids[rows, :width], torch.arange(width)
        learned = (column >= self.asked[rows, None]) & (column < self.lengths[rows, None])
        return ids, ids.masked_fill(~learned, UNLEARNED)


def train(steps: int, seed: int) -> None:
    """Train a model and write it."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    taught = [(one, language) for one in all_lessons() for language in LANGUAGES]
    texts = [prompt_of(one.title).format(state=text) for one, _ in taught for text in one.texts]
    tokenizer = tokenizer_of(texts + [f" {answer}" for one, language in taught for answer in one.answers(language)])
    course = Course(tokenizer, taught, seed)
    end = tokenizer.eos_token_id
    silent: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(
        vocab_size=len(tokenizer), bos_token_id=end, eos_token_id=end, pad_token_id=end, **SHAPE, **silent
    )
    model: Any = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    for step in range(steps):
        ids, labels = course.batch(BATCH)
        read = model.transformer(
            input_ids=ids, attention_mask=torch.ones_like(ids)
        ).last_hidden_state  # pads stand last
        learned = labels[:, 1:] != UNLEARNED
        loss = torch.nn.functional.cross_entropy(model.lm_head(read[:, :-1][learned]), labels[:, 1:][learned])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    model.save_pretrained(FOLDER)
    (FOLDER / "model.safetensors").chmod(0o644)  # safetensors gives its file to its owner alone
    tokenizer.save_pretrained(FOLDER)


def judge(most: int | None) -> None:
    """Print how often the model advises what the expert does, as a Markdown table."""
    print("| scene | told in | answers in | held out | taught |\n| --- | --- | --- | --- | --- |")
    for one in all_lessons():
        for language in LANGUAGES:
            cells = [
                f"{share:.2f} of {count}" if count else ""
                for share, count in (accuracy(one, language, kept, most) for kept in (True, False))
            ]
            print(f"| {one.title} | {one.form} | {language} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Make it, or judge the one that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge", action="store_true", help="ask the one that is there; train none")
    parser.add_argument("--most", type=int, default=400, help="states that each figure is of")
    options = parser.parse_args()
    if not options.judge:
        train(options.steps, options.seed)
    judge(options.most)


if __name__ == "__main__":
    main()
