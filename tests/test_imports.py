"""Who may import whom: design.md's order, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each part of textgym and what stands right below it; it may import all that stands below.
BELOW = {
    "arrays": "",
    "states": "arrays errors",
    "batching": "arrays errors",
    "errors": "",
    "font": "",
    "space": "",
    "actions": "arrays",
    "alignment": "arrays errors",
    "chance": "arrays errors",
    "tokenizers": "errors",
    "vocabulary": "arrays tokenizers",
    "episodes": "vocabulary alignment",
    "ends": "episodes",
    "masks": "episodes",
    "task": "ends",
    "prompts": "task",
    "texts": "errors",
    "reviews": "errors",
    "places": "errors",
    "rewards": "task texts reviews places",
    "registration": "task",
    "rendering": "task font",
    "rollouts": "task",
    "envs": "prompts rewards masks registration chance control",
    "env": "registration rendering actions space chance",
    "vector_env": "env batching",
    "frontier": "task",
    "policies": "episodes",
    "regularised": "frontier policies",
    "following": "frontier policies",
    "evaluating": "solving following",
    "lookahead": "solving",
    "hardness": "lookahead",
    "variants": "hardness envs",
    "solving": "registration rollouts regularised",
    "agreement": "",
    "merging": "rollouts agreement frontier",
    "earning": "solving merging",
    "checking": "vector_env earning",
    "describing": "vocabulary",
    "speech": "errors",
    "spelling": "describing",
    "scenes": "describing speech",
    "advising": "scenes places",
    "guiding": "advising states",
    "wrappers": "guiding batching space spelling",
    "control": "guiding registration rendering batching actions chance space spelling",
}


SCRIPT = "make.py"  # makes what is embedded beside it; nobody imports it


def modules(package: str) -> list[Path]:
    """Return a package's files, but for scripts."""
    return sorted(path for path in (ROOT / package).rglob("*.py") if path.name != SCRIPT)


def imports(path: Path, everywhere: bool = True) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (relative dots, module, names) of a file's imports; in functions too, or only at its top."""
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if everywhere or not (function or for_types):
            nodes += ast.iter_child_nodes(node)  # type: ignore[arg-type]


def part(path: Path) -> str:
    """Return which part of textgym a file belongs to."""
    return path.relative_to(ROOT / "textgym").with_suffix("").parts[0]


def below(name: str) -> set[str]:
    """Return all parts that a part may import: its own, and what stands below."""
    return {name}.union(*(below(lower) for lower in BELOW[name].split()))


def test_parts_of_textgym_import_only_what_stands_below_them() -> None:
    for path in modules("textgym"):
        if part(path) == "__init__":
            continue
        assert part(path) in BELOW, f"{path.name} has no place in the order: give it one in design.md and here"
        for dots, module, names in imports(path):
            assert not dots, f"{path.name}: imports inside textgym are absolute"
            if module.split(".")[0] == "textgym":
                wanted = [module.split(".")[1]] if "." in module else names or ["textgym"]
                assert {*wanted} <= below(part(path)), f"{path.name} imports {wanted}, which stands above it"


def test_nobody_imports_a_script() -> None:
    for package in ("textgym", "agents"):
        for path in modules(package):
            for _, module, names in imports(path):
                assert SCRIPT.removesuffix(".py") not in (module.rpartition(".")[2], *(names if "." in module else ()))


def test_environments_know_no_task_of_ours() -> None:
    for name in ("env", "vector_env", "solving", "rendering"):
        assert not below(name) & {"envs", "rewards", "prompts"}


def test_textgym_itself_needs_only_numpy_and_gymnasium() -> None:
    for path in modules("textgym"):
        tops = {module.split(".")[0] for _, module, _ in imports(path, everywhere=False)}
        assert tops - sys.stdlib_module_names <= {"numpy", "gymnasium", "textgym"}, path.name


def test_nobody_imports_what_stands_above_the_package() -> None:
    for package, above in (("textgym", {"agents", "benchmarks"}), ("agents", {"agents", "benchmarks"})):
        for path in modules(package):
            tops = {module.split(".")[0] for dots, module, _ in imports(path) if not dots}
            assert not tops & above, f"{path} imports {tops & above}; inside agents imports are relative"


def test_agents_use_public_names_of_textgym() -> None:
    for path in modules("agents"):
        for dots, module, names in imports(path):
            if not dots and module.split(".")[0] == "textgym":
                assert not [name for name in (*module.split("."), *names) if name.startswith("_")], path.name


def test_the_transformer_is_plain_torch() -> None:
    tops = {module.split(".")[0] for _, module, _ in imports(ROOT / "agents" / "transformer.py")}
    assert tops - sys.stdlib_module_names == {"torch"}
    assert not any(dots for dots, _, _ in imports(ROOT / "agents" / "transformer.py"))


LIGHT = ("textgym", "agents", "agents.commands", "agents.preference_builders", "textgym.rewards")


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "stable_baselines3", "sb3_contrib", "transformers", "moviepy", "pygame")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")
