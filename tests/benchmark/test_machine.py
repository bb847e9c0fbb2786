"""The machine is recorded with its results."""

from __future__ import annotations

import subprocess
import sys

import torch

from app.benchmark.machine import device_memory, hardware, software, state

CPU = torch.device("cpu")


def test_a_cpu_is_described_by_the_hardware_that_changes_its_figures() -> None:
    facts = hardware(CPU)
    assert {"device", "memory", "processor", "threads", "last-level cache"} == facts.keys()
    assert all(facts.values()) and facts["threads"] == str(torch.get_num_threads())
    assert device_memory(CPU) > 1 << 28
    assert "load" in state(CPU)


def test_versions_are_those_that_are_loaded() -> None:
    versions = software(CPU)
    assert versions["torch"] == torch.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_help_needs_no_torch() -> None:
    code = """
import sys
from app.cli import main
try:
    main(["bench", "--help"])
except SystemExit:
    pass
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "--budget" in done.stdout and "compare" in done.stdout
