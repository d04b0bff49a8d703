"""`textgym play ID`: write tokens yourself."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from textgym import ControlEnv, TextGenEnv, control_ids, load_task
from textgym.errors import InvalidTarget
from textgym.registration import env_spec

from .settings import EnvSettings, parse_settings


def play(
    id: str,
    env: EnvSettings = None,
    seed: Annotated[int | None, typer.Option(help="Of the prompts.")] = None,
) -> None:
    """Write tokens yourself and see each reward. An empty line or the end of input leaves."""
    if env_spec(id).id in control_ids():
        act(id, parse_settings(env), seed)
        return
    game = TextGenEnv(load_task(id, **parse_settings(env)), render_mode="ansi")
    vocabulary = game.task.vocabulary
    print(f"Tokens: {' '.join(vocabulary.tokens[:60])}{' …' if vocabulary.size > 60 else ''}")
    if vocabulary.eos is not None:
        print(f"{vocabulary.eos} ends the text.")
    while True:
        game.reset(seed=seed)
        seed, total, terminated = None, 0.0, False
        print(f"\n{game.render()}")
        while not terminated:
            try:
                line = input("> ")
            except EOFError:
                line = ""
            if not line:
                return
            for token in _tokens(game, line):
                _, reward, terminated, _, info = game.step(token)
                total += reward
                print(f"{game.render()}   reward {reward:+g}, return {total:g}")
                if terminated:
                    break
        print("The end." if "is_success" not in info else "Success!" if info["is_success"] else "No success.")


def act(id: str, settings: dict[str, Any], seed: int | None) -> None:
    """Act in a control task yourself, by the names of its actions, until an empty line."""
    game = ControlEnv(env_spec(id).kwargs["control"], "ansi", **settings)
    speech = game.control.scene.speeches[game.options.language]
    print(f"Actions: {', '.join(names[0] for names in speech.actions)}")
    while True:
        game.reset(seed=seed)
        seed, total, over = None, 0.0, False
        print(f"\n{game.render()}")
        while not over:
            try:
                line = input("> ")
            except EOFError:
                line = ""
            if not line:
                return
            if (action := speech.advised(line)) is None:
                print(f"{line!r} names no action.")
                continue
            _, reward, terminated, truncated, info = game.step(action)
            over, total = terminated or truncated, total + reward
            print(f"{game.render()}   reward {reward:+g}, return {total:g}")
        print("Success!" if info["is_success"] else "No success.")


def _tokens(game: TextGenEnv, line: str) -> list[int]:
    """Return the token ids of a line; a token of its own name (the end token, say) counts as that token."""
    vocabulary = game.task.vocabulary
    try:
        tokens = [vocabulary.id(line)] if line in vocabulary.ids else vocabulary.encode(line).tolist()
    except InvalidTarget as error:
        print(error)
        return []
    if any(token >= vocabulary.size for token in tokens):
        print(f"{line!r} stands in prompts only; write one of {' '.join(vocabulary.tokens[:60])}.")
        return []
    return tokens
