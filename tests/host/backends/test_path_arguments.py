"""The tables of path_arguments.py say what the verbs' parsers say."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from app.cli import VERBS
from app.cli.arguments import FILE, FOLDER, RECIPE, RUN, subverbs
from app.host.backends.path_arguments import KEYS, OTHER, READ, SUBVERBS, WORDS, WRITTEN
from app.schema import models
from app.schema.data import LabelledImages, RunningText, TaggedFiles, TextFiles

NAMES_A_FILE = (FILE, RUN, RECIPE, "A", "B", "BASELINE")
NAMES_ONLY = ("runs",)  # its RECIPE is a name that runs are filtered by


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for verb, row in VERBS.items():
        parser = row.load().parser()
        found = subverbs(parser)
        yield from ((f"{verb} {name}", each) for name, each in found.items()) if found else [(verb, parser)]


@pytest.mark.parametrize(("verb", "parser"), [*parsers()], ids=[verb for verb, _ in parsers()])
def test_every_argument_is_in_the_right_table(verb: str, parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        for option in action.option_strings:
            if option.startswith("--") and action.nargs != 0:
                kind = action.metavar
                expected = WRITTEN if kind == FOLDER else READ if kind in NAMES_A_FILE else OTHER
                assert option in expected, f"{verb} {option}"
            elif option.startswith("--"):
                assert option not in (*READ, *WRITTEN, *OTHER)
    named = any(action.metavar in NAMES_A_FILE for action in parser._actions if not action.option_strings)
    assert (verb in WORDS) is (named and verb not in NAMES_ONLY)


def test_every_sub_verb_is_known_and_the_default_comes_first() -> None:
    found = {verb: tuple(subverbs(row.load().parser())) for verb, row in VERBS.items()}
    assert {verb: names for verb, names in found.items() if names} == SUBVERBS


def test_every_key_of_a_recipe_that_takes_a_path_is_known() -> None:
    data = {f"data.{name}" for name in ("train", "dev", "test")}
    for section in (TextFiles, TaggedFiles, RunningText, LabelledImages):
        assert {f"data.{name}" for name in section.model_fields} >= data
    assert {"name", "tokenizer"} <= set(models.CausalLM.model_fields)
    assert set(KEYS) == data | {"model.name", "model.tokenizer"}
