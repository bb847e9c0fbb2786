"""The project that compose itself derives: one for each user and checkout. Needs its command line tool, no engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.host.backends import commands

ROOT = Path(__file__).resolve().parents[2]
ASK = ["docker", "compose", "--profile", "*", "config", "--format", "json"]

try:
    HAS_COMPOSE = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
except OSError:
    HAS_COMPOSE = False
pytestmark = pytest.mark.skipif(not HAS_COMPOSE, reason="docker compose is not installed")


def config(folder: Path, **env: str) -> dict[str, object]:
    """Return what compose reads in a checkout, for a user whose shell is there."""
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ASK,
        cwd=folder,
        env={**given, "PWD": str(folder), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_project_is_that_of_the_checkout_and_the_user(tmp_path: Path) -> None:
    names = []
    for folder in (tmp_path / "a" / "GPU workspace", tmp_path / "b" / "GPU workspace"):
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "compose.yaml", folder)
        for user in ("j.doe", ""):
            names.append(config(folder, USER=user)["name"])
            assert names[-1] == commands.project(folder, user)
    assert len(set(names)) == 4
    assert config(folder, USER="me", COMPOSE_PROJECT_NAME="mine")["name"] == "mine"
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=from-file\n")
    assert config(folder, USER="me")["name"] == "from-file"


def test_a_checkout_with_a_colon_in_its_path_is_mounted(tmp_path: Path) -> None:
    folder = tmp_path / "at 12:30"
    folder.mkdir()
    shutil.copy(ROOT / "compose.yaml", folder)
    services = config(folder)["services"]
    assert isinstance(services, dict)
    mount = services["dev"]["volumes"][0]
    assert (mount["source"], mount["target"]) == (str(folder), "/workspace")


def test_the_address_of_a_mirror_is_no_part_of_what_compose_builds_with(tmp_path: Path) -> None:
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    assert "planted" not in json.dumps(config(tmp_path, APT_MIRROR="http://me:planted@mirror.example"))
