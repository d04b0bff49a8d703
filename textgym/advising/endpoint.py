"""Endpoint: an adviser behind a URL that speaks OpenAI's chat protocol."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from textgym.errors import InvalidSetting, is_finite, require_positive

LARGEST = 1_000_000  # bytes of an answer
PROMPT = "{state}\nWhat should be done? Answer with one of: {actions}."


def check_prompt(prompt: str) -> str:
    """Return a prompt template, or raise `InvalidSetting` where it has no `{state}`, or other places to fill."""
    try:
        filled = prompt.format(state="\0", actions="")
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InvalidSetting(f"prompt={prompt!r} has places other than {{state}} and {{actions}}: {error}.") from error
    if "\0" not in filled:
        raise InvalidSetting(f"prompt={prompt!r} does not show the state. Write {{state}} where its description goes.")
    return prompt


@dataclass(frozen=True)
class Endpoint:
    """An adviser that asks a language model by HTTP: `POST {url}/chat/completions`, as OpenAI's servers have it.

    What fails (no answer in time, a status that is no 200, an answer of another form) is None, which is counted and is
    no guidance.

    Args:
        url: up to `/v1`, http or https.
        model: the model's name there.
        actions: the names that it is to choose from, for the prompt.
        prompt: with `{state}` and, where wanted, `{actions}` in it.
        timeout: seconds for a whole answer.
        key_variable: the environment variable that holds the key, if the endpoint wants one; a key is no argument, so
            that it is never kept with a run.
        max_tokens: of an answer.
        workers: questions that are asked at once.

    Raises:
        InvalidSetting: the URL is none, the prompt shows no state, the time limit is no positive number.
        InvalidSize: `max_tokens` or `workers` is no positive integer.
    """

    url: str
    model: str
    actions: tuple[str, ...]
    prompt: str = PROMPT
    timeout: float = 10.0
    key_variable: str | None = None
    max_tokens: int = 32
    workers: int = 8

    def __post_init__(self) -> None:
        parts = urlsplit(self.url) if isinstance(self.url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidSetting(f"url={self.url!r} is no address of an endpoint, such as http://localhost:8000/v1.")
        if not is_finite(self.timeout) or self.timeout <= 0:
            raise InvalidSetting(f"timeout={self.timeout!r} is no number of seconds above 0.")
        require_positive(max_tokens=self.max_tokens, workers=self.workers)
        check_prompt(self.prompt)

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        """Return what the model says about each text; None where it failed."""
        with ThreadPoolExecutor(min(self.workers, len(texts))) as pool:
            return list(pool.map(self._ask, texts))

    def _ask(self, text: str) -> str | None:
        try:
            answer: Any = json.loads(self._post(text))
            said = answer["choices"][0]["message"]["content"]
        except (OSError, ValueError, LookupError, TypeError):  # URLError, timeouts and JSON's errors among them
            return None
        return said if isinstance(said, str) else None

    def _post(self, text: str) -> bytes:
        content = self.prompt.format(state=text, actions=", ".join(self.actions))
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        if self.key_variable is not None:
            headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"
        url = f"{self.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        until, parts, size = time.monotonic() + self.timeout, [], 0
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            # the socket's limit holds between two pieces; a server that drips must end in time too
            while piece := response.read1(65_536):
                parts.append(piece)
                size += len(piece)
                if time.monotonic() > until or size > LARGEST:
                    raise TimeoutError("the answer takes too long")
        return b"".join(parts)
