"""What the catalogue and the checks tell people to type exists: tasks, verbs, options, settings, files, variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tasks
from app.cli import VERBS
from app.config import load, shipped_recipes
from app.errors import ConfigError
from app.host.explain import catalogue
from app.host.probe.machine import ROOT

ADVICE = sorted({line for known in catalogue() for line in (*known.type, known.why)})
SOURCES = [*(ROOT / "app" / "doctor").rglob("*.py"), *(ROOT / "app" / "host" / "checks").glob("*.py")]
SECTIONS = "trainer|model|data|optimizer|schedule"


def advice_texts() -> list[str]:
    """Return the lines of the catalogue, and the source of the checks, which has their fixes."""
    return [*ADVICE, *(path.read_text(encoding="utf-8") for path in SOURCES)]


def options(command: str) -> set[tuple[str, str]]:
    """Return the pairs of a sub-command and an option that ADVICE names for `command`, without its comments."""
    lines = [re.sub(r"\s{2,}#.*", "", line) for line in ADVICE]
    used = {m for line in lines for m in re.findall(rf"(?<![\w/.-]){command} ([a-z]+)([^;&,`]*)", line)}
    return {(name, option) for name, rest in used for option in re.findall(r"(?<= )--([a-z][a-z-]*)", rest)}


def test_tasks_exist() -> None:
    named = {m for text in advice_texts() for m in re.findall(r"\binvoke ([a-z]+)\b", text)}
    assert named - {"app", "doctor"}, "the pattern finds nothing"
    assert named <= set(tasks.ns.task_names)


def test_options_of_tasks_exist() -> None:
    used = options("invoke")
    assert ("up", "variant") in used, "the pattern finds nothing"
    for name, option in used:
        known = {part for argument in tasks.ns[name].get_arguments() for part in argument.names}
        assert option in {part.replace("_", "-") for part in known}, f"invoke {name} --{option}"


def test_verbs_exist() -> None:
    named = {m for text in ADVICE for m in re.findall(r"(?<![\w/.-])app ([a-z]+)\b", text)}
    assert "train" in named and named <= set(VERBS)


def test_options_of_verbs_exist() -> None:
    used = options("app")
    assert ("train", "resume") in used, "the pattern finds nothing"
    for name, option in used:
        assert f"--{option}" in VERBS[name].load().parser().format_help(), f"app {name} --{option}"


@pytest.mark.parametrize(
    "override",
    sorted({o for text in advice_texts() for o in re.findall(rf"\b(?:{SECTIONS})\.[\w.]+=[\w./\[\],-]+", text)}),
)
def test_overrides_are_accepted(override: str) -> None:
    if override.endswith("=..."):
        return
    assert any(accepts(recipe, override.rstrip(".,")) for recipe in shipped_recipes()), override


def accepts(recipe: str, override: str) -> bool:
    try:
        load(recipe, [override])
    except ConfigError:
        return False
    return True


def test_tasks_of_recipes_exist() -> None:
    for name in {m for text in ADVICE for m in re.findall(r"\btask=([\w-]+)", text)}:
        assert load("sentiment", [f"task={name}"]).task == name


def test_settings_in_advice_have_a_value_that_was_looked_up() -> None:
    """A key without a value, or of a section that does not exist, would escape the test above."""
    for line in ADVICE:
        for section, key in re.findall(r"(?<![\w.])([a-z]+)\.([a-z_.]+)=", line):
            assert section in SECTIONS.split("|") or f"{section}.{key}" in OTHERS_SETTINGS, line


OTHERS_SETTINGS = {"tokenizer.pad_token", "model.config.pad_token_id", "native.cgroupdriver"}


def test_files_of_this_project_exist() -> None:
    named = {m for text in ADVICE for m in re.findall(r"(?<![\w/.])(?:deploy|docker|docs|app)/[\w./-]+\w", text)}
    assert named and all((ROOT / name).is_file() for name in named), named


def test_variables_are_read_somewhere() -> None:
    named = {m for text in advice_texts() for m in re.findall(r"\bWORKSPACE_[A-Z_]+\b", text)}
    readers = [
        *(ROOT / "app").rglob("*.py"),
        ROOT / "compose.yaml",
        ROOT / "docker" / "Dockerfile",
        ROOT / "docker" / "entrypoint.sh",
        *(ROOT / "docker").glob("*.yaml"),
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in map(Path, readers)}
    for name in named:
        assert any(name in text for path, text in texts.items() if path not in SOURCES), name
