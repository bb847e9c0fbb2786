"""What `invoke lint` runs: ruff, mypy, and shellcheck on the shell scripts."""

from __future__ import annotations

import re
from pathlib import Path

FOLDERS = (".ci", ".devcontainer", "deploy", "docker")  # the folders that have shell scripts
SHEBANG = re.compile(rb"#!\s*/\S*?(?:/|env )(?:sh|bash|dash)\b")


def lint_commands(root: Path, fix: bool = False) -> list[list[str]]:
    """Return the commands that check the checkout at `root`, to be run there; with `fix` ruff rewrites what it can."""
    return [
        ["ruff", "check", *(["--fix"] if fix else []), "."],
        ["ruff", "format", *([] if fix else ["--check"]), "."],
        ["mypy"],
        ["shellcheck", *shell_scripts(root)],
    ]


def shell_scripts(root: Path) -> list[str]:
    """Return the paths of the shell scripts below `root`, relative to it: by suffix, or by the first line."""
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.is_file()]
    return [str(path.relative_to(root)) for path in files if path.suffix == ".sh" or _has_shebang(path)]


def _has_shebang(path: Path) -> bool:
    with path.open("rb") as file:
        return SHEBANG.match(file.readline(100)) is not None
