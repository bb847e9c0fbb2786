"""Follow a page of docs/how-to: make its edits in a copy of the checkout and run its commands there.

A step of a page is a fenced block. What it is, is in the line above it, which ends with one of

    create `PATH`:
    append to `PATH`:
    in `PATH`, after `LINE`, add:
    in `PATH`, replace `LINE` with:

A block that is appended to a JSON file becomes the last element of the file's only list. A block of ```sh holds
commands. LINE is a whole line without its indentation, and occurs once in the file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conftest import ROOT

BLOCK = re.compile(r"^(?P<intro>[^\n]*)\n\n?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
EDIT = re.compile(
    r"(?:(?P<create>[Cc]reate)|(?P<append>[Aa]ppend to)|[Ii]n) `(?P<path>[^`]+)`"
    r"(?:, (?P<how>after|replace) `(?P<line>[^`]+)`(?:, add| with))?:$"
)


def copy_of_checkout(folder: Path) -> Path:
    """Copy what git tracks, and new files that it does not ignore, into `folder` and return it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("benchmarks/results/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def follow(page: Path, folder: Path, instead: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Do what a page says, in its order, in `folder`. Yield each command with its output.

    `instead`: text of the page to text that takes its place, for what a test cannot have. Raises AssertionError if an
    edit does not fit, or if a command fails.
    """
    text = page.read_text(encoding="utf-8")
    for old, new in (instead or {}).items():
        assert old in text, f"{page.name} does not contain {old!r}"
        text = text.replace(old, new)
    for block in BLOCK.finditer(text):
        edit = EDIT.search(block["intro"])
        if block["language"] == "sh":
            for command in filter(None, (re.sub(r"\s+#.*", "", line) for line in block["body"].splitlines())):
                yield command, run(command, folder)
        else:
            assert edit or not block["intro"].endswith(":"), f"{page.name}: no such step: {block['intro']}"
        if edit:
            make(edit, block["body"], folder / edit["path"])


def make(edit: re.Match[str], body: str, path: Path) -> None:
    """Make one edit. Raises AssertionError if its file is there already, is missing, or lacks the line."""
    if edit["create"]:
        assert not path.exists(), f"{path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
        return
    if body.startswith(("class ", "def ")):
        body = f"\n\n{body}"
    text = path.read_text(encoding="utf-8")
    if edit["append"] and path.suffix == ".json":
        document = json.loads(text)
        (elements,) = [value for value in document.values() if isinstance(value, list)]
        elements.append(json.loads(body))
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    if edit["append"]:
        path.write_text(text + ("\n\n" if body.startswith("@") else "") + body, encoding="utf-8")
        return
    lines = text.splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.strip() == edit["line"].strip()]
    assert len(places) == 1, f"{path}: {edit['line']!r} occurs {len(places)} times"
    first = places[0] if edit["how"] == "replace" else places[0] + 1
    path.write_text("".join([*lines[:first], body, *lines[places[0] + 1 :]]), encoding="utf-8")


def run(command: str, folder: Path) -> str:
    """Run a command in `folder` with the package that is there, and return its output. It has to succeed."""
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    app = programs / "app"
    app.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m app.cli "$@"\n', encoding="utf-8")
    app.chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {
        **os.environ, "PATH": path, "PYTHONPATH": str(folder), "WORKSPACE_CACHE": str(folder / ".cache")
    }  # fmt: skip
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout
