"""The README is true: its tables agree with the code, and every command in it runs, in order, as a newcomer would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import shipped_recipes
from app.host.variants import VARIANTS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTEAD = {
    # The address is the reader's; the checkout itself stands for it.
    "git clone REPOSITORY gpu-workspace && cd gpu-workspace": f"git clone -q {ROOT} cloned && cd cloned && git status",
    # The suite cannot run itself: one file of it stands for the rest.
    "invoke test --fast": "invoke test --fast --path tests/test_errors.py",
}


def commands(text: str) -> list[str]:
    """Lines of the ```sh blocks without their remarks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def table(heading: str) -> dict[str, list[str]]:
    """Rows of the first table under a heading: the names in the first cell to the other cells."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {name: row[1:] for row in rows[2:] for name in re.findall(r"`([\w-]+)`", row[0])}


def test_tasks_table_is_the_list_of_tasks() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"], capture_output=True, text=True, check=True
    ).stdout
    assert set(table("Tasks")) == set(re.findall(r"^  (\w+)  ", listed, re.M))


def test_recipes_table_is_what_ships() -> None:
    assert set(table("Recipes")) == set(shipped_recipes())


def test_variants_table_is_the_one_in_the_code() -> None:
    rows = table("Variants")
    assert list(rows) == list(VARIANTS)
    for name, (torch, wheels, gpus, driver) in rows.items():
        variant = VARIANTS[name]
        assert variant.torch.split("+")[0] in torch
        assert (wheels, gpus) == (variant.wheels, variant.gpus)
        if variant.drivers:
            assert driver == f"{variant.drivers.floor} or later; {variant.drivers.native} native"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of what git tracks, and the environment of someone who has Python and nothing else."""
    place = tmp_path_factory.mktemp("newcomer")
    copy = place / "gpu-workspace"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run([sys.executable, "-m", "venv", place / "python"], check=True)
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "WORKSPACE_", "DOCKER_HOST"))
    }
    environment |= {"PATH": f"{place / 'python' / 'bin'}:{os.environ['PATH']}", "WORKSPACE_BACKEND": "native"}
    yield copy, environment
    shutil.rmtree(place)  # 5 GB of environment


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("command", commands(README))
def test_command_runs_natively_in_a_fresh_copy(command: str, clone: tuple[Path, dict[str, str]]) -> None:
    copy, environment = clone
    done = subprocess.run(
        INSTEAD.get(command, command), shell=True, cwd=copy, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Traceback" not in done.stdout
