"""Arguments that verbs share, and sub-verbs of which one may be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.cli import VERBS, bench
from app.cli.arguments import parse_subverb, subverbs


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict", "generate", "export", "runs", "reproduce"])
def test_runs_means_the_same_everywhere(verb: str) -> None:
    actions = {action.dest: action for action in VERBS[verb].load().parser()._actions}
    assert actions["runs"].default == Path("runs") and actions["runs"].metavar == "FOLDER"
    if "run" in actions:
        assert actions["run"].help == "folder of a run, or the name of a recipe for its newest run"


@pytest.mark.parametrize("name", [[], ["measure"]])
def test_overrides_may_stand_between_options(name: list[str]) -> None:
    given = ["seed=1", "--recipe", "ner", "seed=2", "--json", "seed=3", "--recipe", "gpt2"]
    options = parse_subverb(bench.parser(), [*name, *given], default="measure")
    assert options.overrides == ["seed=1", "seed=2", "seed=3"]
    assert (options.recipe, options.json, options.run) == (["ner", "gpt2"], True, bench.measure)


@pytest.mark.parametrize(
    ("argv", "function", "values"),
    [
        ([], bench.measure, {"overrides": [], "budget": bench.DEFAULT_BUDGET}),
        (["--budget", "60s"], bench.measure, {"budget": "60s"}),
        (["compare", "a.json", "--anyway", "b.json"], bench.compare, {"a": Path("a.json"), "b": Path("b.json")}),
        (["check", "--result", "now.json", "base.json"], bench.check, {"baseline": Path("base.json")}),
    ],
)
def test_a_subverb_is_found_by_the_first_word(argv: list[str], function: Any, values: dict[str, Any]) -> None:
    options = parse_subverb(bench.parser(), argv, default="measure")
    assert options.run is function
    assert {name: getattr(options, name) for name in values} == values


def test_help_of_the_verb_lists_its_subverbs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_subverb(bench.parser(), ["--help"], default="measure")
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"    {name} " in shown for name in subverbs(bench.parser())) and "--budget" in shown


def test_a_verb_without_subverbs_has_none() -> None:
    assert not subverbs(VERBS["train"].load().parser())
