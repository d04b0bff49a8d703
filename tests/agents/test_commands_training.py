"""`textgym play`, and what `train` keeps, as a user types it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import pytest

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")

Run = Callable[..., tuple[int, str, str]]


def test_play_shows_each_reward_and_the_end(textgym: Run) -> None:
    status, out, _ = textgym("play", "TextGen-v0", typed="我\n我\n你\n我爱你\n\n")
    assert status == 0
    assert "Tokens: 我 爱 你" in out
    for line in (
        "我   reward +1, return 1",
        "我我   reward -1, return 0",
        "我我你   reward +1, return 1\nNo success.",
        "我爱你   reward +1, return 3\nSuccess!",
    ):
        assert line in out


def test_play_takes_settings_and_the_end_token_and_refuses_what_is_no_token(textgym: Run) -> None:
    arguments = ("play", "TextGym/Copy-v0", "--env", "alphabet=ab", "--env", "max_length=2", "--seed", "0")
    prompt = next(line for line in textgym(*arguments)[1].splitlines() if " → " in line).partition(" → ")[0]
    status, out, _ = textgym(*arguments, typed=f"x\n{prompt}\n$\n\n")
    assert status == 0
    assert "text 'x' has 'x', which is not in the vocabulary 'ab$'" in out
    assert f"{prompt} → {prompt}$" in out
    assert "return 1\nSuccess!" in out


def test_play_says_that_a_symbol_stands_in_prompts_only(textgym: Run) -> None:
    out = textgym("play", "TextGym/Corners-v0", typed="↗\n\n")[1]
    assert "'↗' stands in prompts only; write one of → ← ↑ ↓" in out


def test_settings_of_the_environment_are_kept_in_the_run(textgym: Run, tmp_path: Path) -> None:
    settings = ("--env", "target=ba", "--env", "alphabet=abc", "--env", "reward=terminal", "--env", "horizon=2")
    status, out, _ = textgym("train", "TextGen-v0", "--agent", "q-learning", *settings, "--out", "run")
    assert status == 0
    assert "earns 1.00, success 100%:\nba\n" in out
    config = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert config["env_kwargs"] == {"target": "ba", "alphabet": "abc", "reward": "terminal", "horizon": 2}
    assert json.loads(textgym("eval", "run", "--json")[1])["mean_return"] == 1.0


def test_training_without_a_folder_keeps_nothing(textgym: Run, tmp_path: Path) -> None:
    status, out, _ = textgym("train", "TextGen-v0", "--agent", "q-learning", "--steps", "500")
    assert status == 0
    assert "我爱你" in out
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_replaced_only_when_asked_for(textgym: Run, tmp_path: Path) -> None:
    train = ("train", "TextGen-v0", "--agent", "q-learning", "--steps", "100", "--out", "run", "--seed")
    assert textgym(*train, "1")[0] == 0
    before = (tmp_path / "run" / "config.json").read_bytes()
    status, _, err = textgym(*train, "2")
    assert status == 1
    assert "run holds a run already. Choose another folder, pass --overwrite" in err
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert textgym(*train, "2", "--overwrite")[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))["seed"] == 2


def test_the_same_seed_trains_the_same_agent(textgym: Run, tmp_path: Path) -> None:
    for folder, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        textgym("train", "TextGym/Copy-v0", "--steps", "300", "--seed", seed, "--out", folder)
    a, b, c = ((tmp_path / folder / "policy.safetensors").read_bytes() for folder in "abc")
    assert a == b != c


def test_an_agent_of_the_users_own_beside_them_is_trained_and_named_again(textgym: Run, tmp_path: Path) -> None:
    (tmp_path / "my_own_agent.py").write_text("from agents.tabular.q_learning import make\n")
    status, out, err = textgym("train", "TextGen-v0", "--agent", "my_own_agent:make", "--out", "run")
    assert (status, err) == (0, "")
    assert "我爱你" in out
    status, _, err = textgym("eval", "run")
    assert status == 1
    assert "name it again: --agent my_own_agent:make" in err
    status, out, _ = textgym("eval", "run", "--agent", "my_own_agent:make", "--json")
    assert json.loads(out)["success_rate"] == 1.0


def test_no_arguments_show_the_commands(textgym: Run) -> None:
    out = textgym()[1]
    assert all(name in out for name in ("list", "info", "play", "train", "eval", "check"))


def test_an_environment_of_the_users_own_is_trained_and_evaluated(textgym: Run, tmp_path: Path) -> None:
    (tmp_path / "own_words.py").write_text(
        "import textgym\ntextgym.register('Own/Word-v0', 'textgym.envs.text_gen:text_gen', target='own')\n"
    )
    try:
        status, out, err = textgym("train", "own_words:Own/Word-v0", "--agent", "q-learning", "--out", "run")
        assert (status, err) == (0, "")
        assert "own" in out
        assert json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))["env"] == "Own/Word-v0"
        assert "own" in textgym("eval", "run", "--module", "own_words")[1]
        gymnasium.registry.pop("Own/Word-v0")
        status, _, err = textgym("eval", "run")
        assert status == 1
        assert "no environment is called 'Own/Word-v0'" in err
    finally:
        gymnasium.registry.pop("Own/Word-v0", None)
        sys.modules.pop("own_words", None)


def test_a_file_may_say_all_that_the_command_line_may(textgym: Run, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("env: TextGen-v0\nagent: q-learning\nsteps: 1e3\nalpha: 1e-1\nn_envs: 2\n")
    status, _, err = textgym("train", "--config", "run.yaml", "--env", "target=ba", "--seed", "4", "--out", "run")
    assert (status, err) == (0, "")
    config = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert (config["steps"], config["n_envs"], config["seed"]) == (1000, 2, 4)
    assert (config["settings"]["alpha"], config["env_kwargs"]) == (0.1, {"target": "ba"})
    again = textgym("train", "--config", "run/config.json", "--out", "again")
    assert again[0] == 0
    policies = [(tmp_path / name / "policy.safetensors").read_bytes() for name in ("run", "again")]
    assert policies[0] == policies[1]


def test_no_module_is_imported_by_a_name_in_a_file(textgym: Run, tmp_path: Path) -> None:
    (tmp_path / "trap_of_a_file.py").write_text("raise SystemExit('sprung')")
    (tmp_path / "run.yaml").write_text('env: "trap_of_a_file:TextGen-v0"\n')
    status, _, err = textgym("train", "--config", "run.yaml")
    assert status == 1
    assert "names code to import" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "learnig_rate=1"), "Did you mean 'learning_rate'"),
        (("--set", "policy.d_modell=8"), "Did you mean 'policy.d_model'"),
        (("--set", "batch_size=fast"), "ppo: batch_size='fast' is refused"),
        (("--steps", "0"), "InvalidSize: steps=0"),
        (("--n-envs", "0"), "InvalidSize: n_envs=0"),
        (("--checkpoint-every", "0"), "InvalidSize: checkpoint_every=0"),
        (("--agent", "pp0"), "Did you mean 'ppo'"),
        (("--config", "missing.yaml"), "missing.yaml"),
        (("--resume", "nowhere"), "goes on with what the run says"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, textgym: Run, tmp_path: Path
) -> None:
    status, _, err = textgym("train", "TextGen-v0", "--out", "run", *arguments)
    assert status == 1
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_explain_says_every_setting_and_why(textgym: Run, tmp_path: Path) -> None:
    status, out, _ = textgym("train", "TextGen-v0", "--explain", "--set", "policy.d_model=32", "--out", "run")
    assert status == 0
    assert re.search(r"policy\.d_model +32 +the width of .*\n +given\n", out)
    assert re.search(r"reward_scale +0\.333333 .*\n +the largest of 512 random returns, 3, becomes 1\n", out)
    assert not (tmp_path / "run").exists()
