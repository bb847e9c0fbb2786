"""`invoke lint` checks every shell script, also one without a suffix."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from app.host.lint import lint_commands, shell_scripts
from app.host.probe.machine import ROOT


def test_scripts_are_found_by_suffix_and_by_first_line(tmp_path: Path) -> None:
    folder = tmp_path / "docker" / "build"
    folder.mkdir(parents=True)
    for name, text in {
        "sourced.sh": "x=1\n",
        "plain": "#!/bin/sh\n",
        "env": "#!/usr/bin/env bash\n",
        "spaced": "#! /bin/bash -e\n",
        "check.py": "#!/usr/bin/env python3\n",
        "packages.txt": "# bash\n",
        "fish": "#!/usr/bin/fish\n",
    }.items():
        (folder / name).write_text(text)
    (tmp_path / "app.sh").touch()  # in no folder that has scripts
    assert shell_scripts(tmp_path) == [f"docker/build/{name}" for name in ("env", "plain", "sourced.sh", "spaced")]


def test_every_script_that_git_tracks_is_found() -> None:
    command = ["git", "grep", "--cached", "-lE", "^#!.*[/ ](sh|bash)( |$)"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    scripts = {name for name in tracked if not name.startswith("tests/") and not name.endswith((".py", ".md"))}
    assert scripts and scripts <= set(shell_scripts(ROOT))


def test_shellcheck_finds_nothing() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed: this environment is older than docker/locks/dev.txt; `invoke build`")
    done = subprocess.run(lint_commands(ROOT)[-1], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_fix_rewrites_only_with_ruff() -> None:
    plain, fixing = lint_commands(ROOT), lint_commands(ROOT, fix=True)
    assert ["ruff", "format", "--check", "."] in plain and ["ruff", "check", "--fix", "."] in fixing
    assert plain[2:] == fixing[2:] and [command[0] for command in plain] == ["ruff", "ruff", "mypy", "shellcheck"]
