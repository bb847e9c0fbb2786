"""What the release workflow asks of docker/bake.hcl is there. By the files' text: no engine is needed."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.host.backends.lockfiles import lock_hash
from app.host.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
BAKE = (ROOT / "docker" / "bake.hcl").read_text()
JOB: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["images"]
(STEP,) = [step for step in JOB["steps"] if "docker buildx bake" in step.get("run", "")]


def baked() -> set[str]:
    """The targets of the file's matrix."""
    lists = {name: re.findall(r'"(\w+)"', items) for name, items in re.findall(r"(\w+)\s*= \[(.*)\]", BAKE)}
    assert 'name = "${variant}-${stage}"' in BAKE
    return {f"{variant}-{stage}" for variant, stage in itertools.product(lists["variant"], lists["stage"])}


def run(tmp_path: Path, variant: str) -> list[list[str]]:
    """The step's script as the runner has it, with a `docker` that notes how it was called."""
    note = tmp_path / "docker"
    note.write_text(f'#!/bin/sh\necho "$LOCK_HASH $REGISTRY $CREATED $*" >>{tmp_path}/calls\n')
    note.chmod(0o755)
    script = STEP["run"].replace("${{ matrix.variant }}", variant)
    env = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "REGISTRY": "ghcr.io/Some-One/"}
    subprocess.run(["bash", "-e", "-c", script], cwd=ROOT, env=env, check=True, timeout=60)
    return [line.split() for line in (tmp_path / "calls").read_text().splitlines()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: the release is of a commit")
@pytest.mark.parametrize("variant", JOB["strategy"]["matrix"]["variant"])
def test_each_target_is_baked_with_its_own_lock(tmp_path: Path, variant: str) -> None:
    calls = run(tmp_path, variant)
    assert [call[-1] for call in calls] == [f"{variant}-runtime", f"{variant}-dev"]
    assert {call[-1] for call in calls} <= baked()
    hashes = [lock_hash(ROOT / "docker" / "locks", variant, dev) for dev in (False, True)]
    assert [call[0] for call in calls] == hashes
    assert all(call[1] == "ghcr.io/some-one/" and re.match(r"\d{4}-\d\d-\d\dT", call[2]) for call in calls)


def test_every_variant_is_released() -> None:
    assert JOB["strategy"]["matrix"]["variant"] == list(VARIANTS)


def test_every_variable_that_is_given_is_one_of_the_file() -> None:
    exported = re.findall(r"^export (.+)$", STEP["run"], re.M)
    given = {*STEP["env"], *itertools.chain.from_iterable(line.split() for line in exported)}
    assert {"REGISTRY", "TAG", "REVISION", "CREATED", "LOCK_HASH"} <= given
    assert given <= set(re.findall(r'^variable "(\w+)"', BAKE, re.M))


def test_every_variable_of_the_file_is_used() -> None:
    for name in re.findall(r'^variable "(\w+)"', BAKE, re.M):
        assert len(re.findall(rf"\b{name}\b", BAKE)) > 1, name
