"""Follow a page of docs/how-to in a copy of the checkout: make its files, run its commands.

A line that ends with "create `PATH`:" or "append to `PATH`:" names the file of the next fenced block. A block that is
appended to a JSON file becomes the last element of the file's only list. A ```sh block holds commands, which run at the
root of the copy. `app` and `python` are this environment's. Blocks of other languages are for the reader alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EDIT = re.compile(r"\b(create|append to) `([^`\n]+)`:\s*\Z", re.IGNORECASE)
SECONDS = 60  # that the commands of one block may take


@dataclass(frozen=True)
class Edit:
    """A block of text for a file. `append`: to its end; else the file is new."""

    path: str
    text: str
    append: bool


@dataclass(frozen=True)
class Commands:
    """A block of shell commands."""

    text: str


def steps(page: str) -> Iterator[Edit | Commands]:
    """Yield the edits and commands of a page's text, in their order."""
    for block in FENCE.finditer(page):
        language, text = block.groups()
        edit = EDIT.search(page, 0, block.start())
        if edit:
            yield Edit(edit[2], text, append=edit[1].lower() == "append to")
        elif language == "sh":
            yield Commands(text)


def copy_checkout(folder: Path) -> Path:
    """Copy what git tracks, and new files that it does not ignore, to `folder`. Skips outside a git checkout."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def apply(edit: Edit, root: Path) -> None:
    """Make an edit in a copy of the checkout. A file to create must be new, a file to append to must be there."""
    path = root / edit.path
    assert path.exists() == edit.append, edit.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if not edit.append:
        path.write_text(edit.text, encoding="utf-8")
    elif path.suffix == ".json":
        document = json.loads(path.read_text(encoding="utf-8"))
        _only_list(document).append(json.loads(edit.text))
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        gap = "\n\n" if path.suffix == ".py" else ""
        path.write_text(path.read_text(encoding="utf-8") + gap + edit.text, encoding="utf-8")


def _only_list(document: Any) -> list[Any]:
    lists = [value for value in document.values() if isinstance(value, list)] if isinstance(document, dict) else []
    assert isinstance(document, list) or len(lists) == 1
    return document if isinstance(document, list) else lists[0]


def run(commands: str, root: Path) -> str:
    """Run shell commands at the root of a copy of the checkout; return what they print. The first failure fails."""
    programs = root.parent / "bin"
    programs.mkdir(exist_ok=True)
    for name, module in (("app", " -m app.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(root), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-e"], input=commands, cwd=root, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def follow(page: Path, folder: Path) -> tuple[Path, list[str]]:
    """Follow a page in a copy of the checkout under `folder`; return the copy and the output of each sh block."""
    root = copy_checkout(folder / "checkout")
    printed = []
    for step in steps(page.read_text(encoding="utf-8")):
        if isinstance(step, Edit):
            apply(step, root)
        else:
            printed.append(run(step.text, root))
    return root, printed
