"""A recipe is validated completely before anything runs, and every problem has its place and a fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import config
from app.errors import ConfigError
from app.schema import TextClassification

GOOD = """\
about: a test
task: text-classification
model:
  name: some/model
data:
  train: a.tsv
  dev: b.tsv
"""


def recipe_file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def problems_of(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(recipe_file(folder, text), overrides)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", config.shipped_recipes())
def test_every_shipped_recipe_parses_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = config.load(name)
    assert recipe.name == name
    assert recipe.about
    assert config.load(recipe_file(tmp_path, config.to_yaml(recipe))) == recipe


def test_a_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    assert config.load(recipe_file(tmp_path, GOOD)).name == "mine"


def test_overrides_replace_values_and_are_read_as_yaml(tmp_path: Path) -> None:
    recipe = config.load(
        recipe_file(tmp_path, GOOD),
        ["optimizer.lr=1e-3", "trainer.max_epochs=7", "trainer.compile=true", "data.test=x=y.tsv", "trainer.clip=null"],
    )
    assert (recipe.optimizer.lr, recipe.trainer.max_epochs, recipe.trainer.compile) == (1e-3, 7, True)
    assert isinstance(recipe, TextClassification) and recipe.data.test == "x=y.tsv"
    assert recipe.trainer.clip is None


def test_all_problems_are_reported_at_once_with_their_places(tmp_path: Path) -> None:
    text = GOOD.replace("dev: b.tsv", "dve: b.tsv") + "optimizer:\n  lr: -1\ntrainner:\n  max_epochs: 2\n"
    found = problems_of(tmp_path, text, "trainer.precision=int3")
    assert len(found) == 5
    joined = "\n".join(found)
    assert "mine.yaml:7: data.dve: no such key\n  fix: did you mean dev?" in joined
    assert "mine.yaml:5: data.dev: missing" in joined
    assert "mine.yaml:9: optimizer.lr: -1" in joined
    assert "mine.yaml:10: trainner: no such key\n  fix: did you mean trainer?" in joined
    assert "override trainer.precision=int3: trainer.precision: 'int3'" in joined


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.tran=x", "override data.tran=x: data.tran: no such key\n  fix: did you mean train?"),
        ("nonsense", "override nonsense: not of the form key=value"),
        ("seed.deep=1", "override seed.deep=1: seed: {'deep': 1}"),
        ("task=text-clasification", "did you mean text-classification?"),
        ("optimizer.lr=.inf", "finite number"),
    ],
)
def test_a_wrong_override_is_quoted_in_the_error(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in "\n".join(problems_of(tmp_path, GOOD, override))


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    assert "mine.yaml:8: about is written twice" in problems_of(tmp_path, GOOD + "about: again\n")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1,", "mine.yaml:1: not valid YAML"),
        ("- a\n- b\n", "a recipe is `key: value` lines"),
        ("", "a recipe is `key: value` lines"),
        ("about: no task\n", "task: missing"),
    ],
)
def test_a_file_that_is_not_a_recipe_is_an_error(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems_of(tmp_path, text)[0]


def test_a_misspelt_recipe_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean sentiment"):
        config.load("sentimant")


def test_the_fingerprint_depends_on_the_settings_and_not_on_how_they_are_written(tmp_path: Path) -> None:
    plain = config.load(recipe_file(tmp_path, GOOD))
    spelt_out = config.load(recipe_file(tmp_path, GOOD + "seed: 1\n"))
    reworded = config.load(recipe_file(tmp_path, GOOD.replace("a test", "another line")))
    other = config.load(recipe_file(tmp_path, GOOD), ["seed=2"])
    assert config.fingerprint(plain) == config.fingerprint(spelt_out) == config.fingerprint(reworded)
    assert config.fingerprint(plain) != config.fingerprint(other)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("name: 2020-13-45", "name: YAML cannot read '2020-13-45'"),
        ("seed: !!strange 3", "seed: YAML cannot read '3'"),
        ("? {a: b}\n: c", "?: no such key"),
        ("7: 1", "7: no such key"),
        ("seed: &a [*a]", "an alias (*) stands inside its own anchor (&)"),
    ],
)
def test_what_yaml_cannot_read_is_a_problem_with_its_place(tmp_path: Path, line: str, expected: str) -> None:
    (problem,) = problems_of(tmp_path, GOOD + line + "\n")
    assert expected in problem and "mine.yaml" in problem


def test_an_override_that_looks_like_a_date_but_is_not_one_is_text(tmp_path: Path) -> None:
    assert config.load(recipe_file(tmp_path, GOOD), ["about=2020-13-45"]).about == "2020-13-45"


def test_a_beta_of_one_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, GOOD, "optimizer.betas=[0.9,1.0]")
    assert "optimizer.betas.1" in problem and "less than 1" in problem
