"""initialise: lets an agent begin with the policy of a run, pretrained on text or trained by rewards."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import load as from_bytes

from textgym.errors import InvalidSetting

from .config import Start
from .fitting import check_base, check_env, check_size
from .layers import merged, nested
from .recipe import Recipe
from .runs import Run, read_run, refusing
from .settings import DeepSettings, TransformerSettings
from .state import base_model_of, env_of, parameters, set_parameters
from .transformer import CausalTransformer
from .trees import as_array

Arrays = Mapping[str, npt.NDArray[Any]]

BEGUN = "start."  # what a language model began as, where its candidates come from
SIZES = ("d_model", "n_layers", "n_heads", "residual_scale")
DEFAULTS = {"residual_scale": TransformerSettings().residual_scale}  # of runs that do not say
TUNING = ("lora", "train_layers")  # which of a language model's parameters there are, and learn
TRUNK = re.compile(r".*features_extractor\.(.+)")  # of SB3's policies: one, or one each of actor, critic or target
ACTING = re.compile(r"(?:q_net\.)?features_extractor\.(.+)")  # the one that acts


def initialise(agent: Any, init: str | Path | Start) -> Any:
    """Give an agent the policy of a run to begin with; nothing in the run is executed.

    An agent of the same kind takes all but the value head: the network and the head that acts, so that it begins as
    exactly the policy of the run; temperature and cuts of a language model stay the agent's. A critic with a network of
    its own gets that, too. Between the kinds, as from `textgym pretrain` to `dqn`, the transformer alone goes over. A
    value head, the optimiser, the environment and chance are the agent's own. What it began from is kept in its run.

    Args:
        agent: what `agents.make` made, before it learns.
        init: the run's folder; a `Start` with a hash must be that very run.

    Returns:
        The agent.

    Raises:
        FileNotFoundError: no run is there.
        InvalidSetting: the run is damaged, or is about another vocabulary or size, shorter prompts or a shorter horizon
            (a language model's may be of any widths); the agent or the run has no transformer; the agent has learned
            already.
    """
    run, start = _read(init)
    if getattr(agent, "num_timesteps", 0):
        raise InvalidSetting(
            f"this agent has learned for {agent.num_timesteps} steps already, and {start.folder} would replace its "
            "policy. Make a new one: make(name, env, init=DIR)."
        )
    if (env := env_of(agent)) is None:
        raise InvalidSetting(f"{type(agent).__name__} has no environment, so that nobody knows what its tokens are.")
    check_env(run.folder, run.config, run.manifest, env, any_width=True, cuts=True)
    with refusing(f"{run.folder} holds no run's parameters"):
        learned = from_bytes(run.files["policy.safetensors"])
    check_size(run.folder, run.config, env, learned)
    _check_sizes(agent, run)
    if "base_model" in run.manifest and base_model_of(agent) is not None:  # whose ids may mean other tokens
        check_base(run.folder, run.manifest, agent)
    own = {name: as_array(value, f"parameter {name}") for name, value in parameters(agent).items()}
    given = _narrowed(learned, run, env)
    with refusing(f"{run.folder} cannot be what {_name(agent)} begins with"):
        set_parameters(agent, {**own, **_shared(own, given)})
    if hasattr(agent.policy, "begin"):
        agent.policy.begin()
    if getattr(agent, "made", None) is not None:
        agent.made = replace(agent.made, init=start)
    return agent


def sized(builder: Callable[..., Any], init: str | Path | Start, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent's settings, the network being that of a run where it is left open.

    Args:
        builder: of the agent.
        init: the run's folder.
        settings: nested, as the user gave them.

    Raises:
        InvalidSetting: TextGym's agent of that name has no transformer; the run has a language model and the settings
            have none, but sizes, or the other way round.
    """
    if not isinstance(builder, Recipe):
        return dict(settings)
    if not issubclass(builder.settings, DeepSettings):
        raise InvalidSetting(f"{builder.name} has no transformer that could begin with another run's. Leave init out.")
    run, own = _read(init)[0], settings.get("policy")
    own = own if isinstance(own, Mapping) else {}
    shape = _shape(run)
    if "model" not in shape:
        if "model" in own:
            raise InvalidSetting(
                f"{run.folder} has a small transformer, and policy.model={own['model']!r} is a language model: the one "
                "cannot begin as the other. Leave the model out, or init."
            )
        return merged({"policy": _sizes(run)}, settings)
    if sizes := [name for name in SIZES if name in own]:
        raise InvalidSetting(
            f"{run.folder} has a language model, whose sizes are its own. Leave out {', '.join(sizes)} of the policy."
        )
    known = {name: shape[name] for name in builder.settings.trunk.model_fields if name in shape}
    for name in TUNING:
        if name in own and (asked := merged(known, own)[name]) != known.get(name):
            raise InvalidSetting(
                f"{run.folder} has policy.{name}={known.get(name)!r}, and its parameters are what learned so; "
                f"policy.{name}={asked!r} is other ones. Leave it out: it is then the run's."
            )
    if "model" in own:
        known = {name: value for name, value in known.items() if name not in ("model", "revision")}
    return merged({"policy": known}, settings)


def _read(init: str | Path | Start) -> tuple[Run, Start]:
    """Return a run that has learned something, and what another run says of it."""
    asked = init if isinstance(init, Start) else Start.read({"folder": str(init)}, "init")
    run = read_run(Path(asked.folder))
    if not run.learned:
        raise InvalidSetting(f"{asked.folder} holds a run that has learned nothing yet, nothing to begin with.")
    if run.config.quantisation is not None:
        raise InvalidSetting(
            f"{asked.folder} is quantised to {run.config.quantisation}, for inference alone: nothing can be learned on "
            "from it. Begin with the run that it was made of."
        )
    found = run.manifest["files"]["policy.safetensors"]
    if asked.sha256 not in (None, found):
        raise InvalidSetting(
            f"{asked.folder} is not what this run began from: its policy.safetensors has been replaced. Put that back, "
            "or begin a new run."
        )
    return run, Start(folder=asked.folder, sha256=found)


def _shape(run: Run) -> dict[str, Any]:
    """Return what a run's settings say of its policy."""
    shape = nested(run.config.settings).get("policy")
    return shape if isinstance(shape, dict) else {}


def _sizes(run: Run) -> dict[str, Any]:
    sizes = {name: value for name, value in _shape(run).items() if name in SIZES}
    return {**DEFAULTS, **sizes} if sizes else {}


def _check_sizes(agent: Any, run: Run) -> None:
    """Refuse a transformer of another size; other heads or another residual_scale would fit, and mean another thing."""
    modules = agent.policy.modules() if hasattr(getattr(agent, "policy", None), "modules") else ()
    transformer = next((module for module in modules if isinstance(module, CausalTransformer)), None)
    if transformer is None:
        return
    blocks: Any = transformer.blocks
    first = blocks[0]
    own = (transformer.token.embedding_dim, len(blocks), first.attention.n_heads, first.residual_scale)
    for name, value in zip(SIZES, own):
        if (given := _sizes(run).get(name, value)) != value:
            raise InvalidSetting(
                f"{run.folder} has policy.{name}={given!r}, and this agent policy.{name}={value}. Leave the policy's "
                "sizes out: they are then the run's."
            )


def _narrowed(learned: Arrays, run: Run, env: Any) -> Arrays:
    """Return a transformer's parameters for shorter prompts and horizons: what rows that fit are read by.

    Its positions count from a row's first token, and its columns stand on both sides of the prompt's end.

    Raises:
        InvalidSetting: the run's prompts or horizon are the shorter ones.
    """
    columns = {name for name in learned if name.endswith("transformer.column.weight")}
    wide, start = run.manifest.get("max_prompt"), getattr(env.observation_space, "max_prompt", None)
    if not columns or not isinstance(wide, int) or start is None:
        return learned
    width = env.observation_space.shape[0]
    for name in columns:
        longest = len(learned[name]) - wide
        if start > wide or width - start > longest:
            raise InvalidSetting(
                f"{run.folder} writes after prompts of at most {wide} tokens, at most {longest} more; here prompts "
                f"have up to {start}, and the horizon is {width - start}. Give shorter ones, or a run of your own: "
                "textgym pretrain, train --init DIR."
            )
    cut = {"column.weight": slice(wide - start, wide - start + width), "position.weight": slice(width + 1)}
    return {
        name: array[next((part for end, part in cut.items() if name.endswith(f"transformer.{end}")), slice(None))]
        for name, array in learned.items()
    }


def _shared(own: Arrays, given: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Return what an agent takes of a run's parameters, by its own names.

    Raises:
        InvalidSetting: they share nothing.
    """
    own, given = ({name: a for name, a in held.items() if not name.startswith(BEGUN)} for held in (own, given))
    if own.keys() == given.keys():
        return {name: array for name, array in given.items() if not name.startswith("value_net.")}
    trunk = {match[1]: array for name, array in given.items() if (match := ACTING.fullmatch(name))}
    wanted = {name: match[1] for name in own if (match := TRUNK.fullmatch(name))}
    if not wanted or {*wanted.values()} != {*trunk}:
        raise InvalidSetting("the two have no transformer in common")
    acting = {name: given[name] for name in own if name.startswith("action_net.") and name in given}
    return {**{name: trunk[part] for name, part in wanted.items()}, **acting}


def _name(agent: Any) -> str:
    made = getattr(agent, "made", None)
    return made.agent if made else type(agent).__name__
