"""LanguageModelAdvisor: any Hugging Face causal language model, asked about states in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from textgym.advising.endpoint import PROMPT, check_prompt
from textgym.errors import InvalidSetting, is_finite, require_positive, unknown

Mode = Literal["score", "generate"]


@dataclass
class LanguageModelAdvisor:
    """An adviser that is a causal language model.

    With `mode="score"` it says the candidate that it finds likeliest after the prompt, by the log-likelihood of its
    tokens; with `"generate"` whatever it writes, greedily. The model is loaded when it is first asked, and left out of
    copies and pickles.

    Args:
        path: a folder that `save_pretrained` wrote, or a model's name. No remote code is run.
        candidates: the advices that it may choose from.
        prompt: with `{state}` and, where wanted, `{actions}` in it.
        mode: how it answers.
        normalised: whether a candidate's log-likelihood is divided by its tokens, so that a long one is not unlikely
            for its length alone.
        max_new_tokens: of an answer that it writes.
        max_time: seconds after which writing stops; what was written until then is the answer.
        batch_size: prompts that are read at once.
        device: as torch has them.

    Raises:
        UnknownName: there is no such mode.
        InvalidSetting: fewer than two candidates, or a prompt without a state.
        ImportError, OSError: (when asked) torch or transformers is missing, or the folder holds no model; a
            `Consultation` counts it, `load()` raises it.
    """

    path: str
    candidates: tuple[str, ...]
    prompt: str = PROMPT
    mode: Mode = "score"
    normalised: bool = True
    max_new_tokens: int = 16
    max_time: float = 30.0
    batch_size: int = 16
    device: str = "cpu"
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise unknown("mode of a language model's advice", self.mode, get_args(Mode))
        self.candidates = tuple(self.candidates)
        if len(self.candidates) < 2 or any(not isinstance(one, str) or not one.strip() for one in self.candidates):
            raise InvalidSetting(f"candidates={self.candidates!r} leave no choice. Give at least two texts.")
        if not isinstance(self.path, str) or not self.path:
            raise InvalidSetting(f"path={self.path!r} names no model. Give a folder or a model's name.")
        if not is_finite(self.max_time) or self.max_time <= 0:
            raise InvalidSetting(f"max_time={self.max_time!r} is no number of seconds above 0.")
        require_positive(max_new_tokens=self.max_new_tokens, batch_size=self.batch_size)
        check_prompt(self.prompt)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Return what the model says about each text."""
        self.load()
        answer = self._score if self.mode == "score" else self._generate
        prompts = [self.prompt.format(state=text, actions=", ".join(self.candidates)) for text in texts]
        parts = [prompts[at : at + self.batch_size] for at in range(0, len(prompts), self.batch_size)]
        return [said for part in parts for said in answer(part)]

    def load(self) -> None:
        """Load the model, if it has not been; raises `ImportError` or `OSError` where that fails."""
        if self._loaded is not None:
            return
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        tokenizer = AutoTokenizer.from_pretrained(self.path, trust_remote_code=False, padding_side="left")
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model = AutoModelForCausalLM.from_pretrained(self.path, trust_remote_code=False, use_safetensors=True)
        finally:
            if shown:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._loaded = tokenizer, model.to(self.device).eval()  # type: ignore[arg-type]

    def scores(self, prompts: Sequence[str]) -> list[list[float]]:
        """Return the log-likelihood of each candidate after each prompt, `(prompts, candidates)`."""
        import torch

        self.load()
        assert self._loaded is not None
        tokenizer, model = self._loaded
        count = len(self.candidates)
        asked = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in prompts]
        said = [tokenizer.encode(" " + one, add_special_tokens=False) for one in self.candidates] * len(prompts)
        wide, most = max(map(len, asked)), max(map(len, said))
        read = torch.tensor([[0] * (wide - len(a)) + a for a in asked], device=self.device)
        real = torch.tensor([[0] * (wide - len(a)) + [1] * len(a) for a in asked], device=self.device)
        ids = torch.tensor([b + [0] * (most - len(b)) for b in said], device=self.device)  # (pairs, most)
        written = torch.tensor([[1] * len(b) + [0] * (most - len(b)) for b in said], device=self.device)
        ends = real.sum(1, keepdim=True).repeat_interleave(count, 0)
        with torch.no_grad():  # a prompt is read once, whatever the number of candidates
            places = (real.cumsum(1) - 1).clamp(min=0)
            first = model(input_ids=read, attention_mask=real, position_ids=places, use_cache=True)
            first.past_key_values.batch_repeat_interleave(count)
            rest = model(
                input_ids=ids,
                attention_mask=torch.cat([real.repeat_interleave(count, 0), written], 1),
                position_ids=ends + torch.arange(most, device=self.device),
                past_key_values=first.past_key_values,
            ).logits
        logits = torch.cat([first.logits[:, -1:].repeat_interleave(count, 0), rest[:, :-1]], 1)  # (pairs, most, size)
        log_probs = logits.log_softmax(-1).gather(2, ids[..., None])[..., 0] * written
        scores = log_probs.sum(1) / (written.sum(1) if self.normalised else 1)
        rows: list[list[float]] = scores.view(len(prompts), count).tolist()
        return rows

    def _score(self, prompts: list[str]) -> list[str]:
        return [self.candidates[max(range(len(row)), key=row.__getitem__)] for row in self.scores(prompts)]

    def _generate(self, prompts: list[str]) -> list[str]:
        import torch

        assert self._loaded is not None
        tokenizer, model = self._loaded
        asked = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        with torch.no_grad():
            written = model.generate(
                input_ids=asked["input_ids"],
                attention_mask=asked["attention_mask"],
                do_sample=False,
                max_new_tokens=self.max_new_tokens,
                max_time=self.max_time,
                pad_token_id=tokenizer.pad_token_id,
            )
        answers: list[str] = tokenizer.batch_decode(written[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        return answers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}
