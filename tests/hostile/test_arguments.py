"""Every verb against bad arguments and recipes: no traceback, no hang, and something to type."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest

from app import cli
from app.config import shipped_recipes
from tests.hostile.conftest import Answer

Run = Callable[..., Answer]
NAMES = {
    "absolute": "/not/there",
    "relative": "../../not/there",
    "home of nobody": "~nobody-at-all/x.yaml",
    "long": "x" * 5000,
    "long path": "/".join(["y" * 200] * 40),
    "NUL": "a\0b",
    "newline": "a\nb",
    "empty": "",
    "a glob": "*",
    "brackets": "[a-",
    "a folder": "/",
    "a device": "/dev/null",
    "unicode": "模型/不存在",
    "surrogate": "\udcff",
    "dashes": "--",
    "braces": "{}",
    "percent": "%s%n%d",
}
VERBS_WITH_A_RUN = {
    "evaluate": ["evaluate", "NAME"],
    "predict": ["predict", "NAME"],
    "generate": ["generate", "NAME"],
    "export": ["export", "NAME", "OUT"],
    "reproduce": ["reproduce", "NAME"],
    "resume": ["train", "--resume", "NAME"],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", VERBS_WITH_A_RUN)
def test_a_run_that_is_none(verb: str, name: str, tmp_path: Path, run: Run) -> None:
    words = [{"NAME": NAMES[name], "OUT": str(tmp_path / "out")}.get(word, word) for word in VERBS_WITH_A_RUN[verb]]
    run(*words, "--runs", str(tmp_path / "runs"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", ["train", "recipes"])
def test_a_recipe_that_is_none(verb: str, name: str, tmp_path: Path, run: Run) -> None:
    if verb == "recipes" and NAMES[name] in ("", "--"):
        return  # no name lists all of them
    run(verb, NAMES[name], *(["--dry"] if verb == "train" else []))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_to_predict_that_is_none(name: str, finished: Path, run: Run) -> None:
    if NAMES[name] == "--":
        return  # argparse's own separator
    run("predict", "sentiment", "--runs", str(finished), NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_data_that_is_none(name: str, run: Run) -> None:
    run("train", "sentiment", f"data.train={NAMES[name]}", "--dry")


OVERRIDES = [
    "lr", "=", "=1", "optimizer.lr", "optimizer.lr=", "optimizer.lr=fast", "optimizer.lr=1e308", "optimizer.lr=-1",
    "optimizer.lr=nan", "optimizer.lr=.inf", "optimizer=7", "optimizer.lr.x=7", "trainer=[]", "trainer.batch_size=0",
    "trainer.batch_size=-3", "trainer.batch_size=1.5", "trainer.max_epochs=1e9", "trainer.devices=many",
    "trainer.precision=fp64", "seed=-1", "seed=99999999999999999999", "name=../../out/x", "name=/abs", "name=",
    "name=a\0b", "name=" + "x" * 300, "name=..", "name=.", "name=~", "task=nothing", "task=[1]", "model=",
    "model.kind=gpt", "data.features=10000000000000", "data.examples=1e15", "data.noise=inf", "schedule.name=cosin",
    "optimizer.betas=[1]", "optimizer.betas=[0.9, 1.5]", "trainer.patience=0", "trainer.eval_batches=-1",
    "tracking=[nothing]", "a.b.c.d=e", "__class__=1", "trainer.__init__=1", "!!python/object/apply:os.system=[ls]",
    "model.kind=!!python/object/apply:os.system [ls]", "trainer.accelerator=tpu", "x" * 5000,
    "optimizer.lr=" + "[" * 500,
    "optimizer.lr={a: &a [1, *a]}", "trainer.log_every=2001-13-45", "trainer.clip=[", "trainer.clip={",
]  # fmt: skip


@pytest.mark.parametrize("override", OVERRIDES, ids=[o[:40].encode("unicode_escape").decode() for o in OVERRIDES])
def test_an_override_that_is_none(override: str, run: Run) -> None:
    run("train", "hello-linear", override, "--dry")


def bomb(levels: int) -> str:
    """YAML of a few lines that aliases expand to 9 ** levels values."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


RECIPES = {
    "empty": "",
    "a list": "- a\n- b\n",
    "a text": "hello\n",
    "an alias bomb": bomb(9),
    "a bomb in a value": bomb(9) + "task: linear-regression\nabout: *a8\n",
    "deep": "a: " + "[" * 5000,
    "deep blocks": "\n".join(" " * n + "k:" for n in range(2000)),
    "an alias of itself": "a: &a [*a]\n",
    "a tag": "task: !!python/object/apply:os.system [ls]\n",
    "two documents": "task: a\n---\ntask: b\n",
    "tabs": "task:\t\n\t- x\n",
    "binary": "\x00\x01\x02",
    "a merge": "<<: {task: linear-regression}\n",
    "a number as key": "1: 2\ntask: linear-regression\n",
    "keys of lists": "? [a, b]\n: c\n",
    "a date": "task: 2001-01-01\n",
    "name with a path": "task: linear-regression\nname: ../../x\n",
    "unknown keys": "task: linear-regression\nmodle: {}\ndata: {exmples: 3}\n",
    "a huge number": "task: linear-regression\ndata: {examples: " + "9" * 4000 + "}\n",
}


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("verb", ["recipes", "train"])
def test_a_recipe_file_that_is_none(verb: str, kind: str, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPES[kind])
    run(verb, str(path), *(["--dry"] if verb == "train" else []))


@pytest.mark.parametrize("size", [1_000_001, 50_000_000])
def test_a_recipe_of_megabytes(size: int, tmp_path: Path, run: Run) -> None:
    (tmp_path / "mine.yaml").write_text("# " + "x" * size)
    assert "larger than" in run("recipes", str(tmp_path / "mine.yaml")).err


def test_a_recipe_that_may_not_be_read(tmp_path: Path, run: Run) -> None:
    (tmp_path / "mine.yaml").mkdir()
    run("recipes", str(tmp_path / "mine.yaml"))


FLAGS = ["--nothing", "--runs", "--json=7", "--dry=maybe", "-x", "--split=tset", "--dtype=fp8", "--max-tokens=-1",
         "--temperature=hot", "--samples=0", "--top-p=7", "--budget=never", "--seed=x", "--resume"]  # fmt: skip


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("verb", [v for v in cli.VERBS if v not in ("doctor", "completion")])
def test_a_flag_that_is_none(verb: str, flag: str, finished: Path, tmp_path: Path, run: Run) -> None:
    """Verbs that know the flag may accept it; whatever they answer, it is no traceback and no hang."""
    subject = {"train": "hello-linear", "recipes": "hello-linear", "runs": "hello-linear", "bench": "compare"}
    extra = [str(tmp_path / "out")] if verb == "export" else []
    words = [verb, subject.get(verb, "sentiment"), *extra, flag]
    if verb in ("reproduce", "train"):
        words.append("--nothing-either")
    run(*words, refused=False)


@pytest.mark.parametrize("seed", range(40))
def test_words_at_random(seed: int, tmp_path: Path, run: Run) -> None:
    """Arguments that somebody's cat typed."""
    cat = random.Random(seed)
    letters = string.ascii_letters + string.digits + "=.-_/~[]{}'\"\\ *?&|;$\u00e9\u4e2d"
    verb = cat.choice([v for v in cli.VERBS if v not in ("doctor", "bench", "reproduce")])
    words = ["".join(cat.choices(letters, k=cat.randint(1, 30))) for _ in range(cat.randint(1, 4))]
    run(verb, *words, *(["--dry"] if verb == "train" else []), refused=False)


@pytest.mark.parametrize("recipe", shipped_recipes())
@pytest.mark.parametrize("override", ["trainer.batch_size=1000000000", "data.max_length=0", "data.length=99999999999"])
def test_sizes_of_a_fool(recipe: str, override: str, run: Run) -> None:
    if recipe in ("gpt2", "ner", "sentiment"):
        return  # these ask for a model first
    run("train", recipe, override, "--dry", refused=False)
