"""The processor as /proc/cpuinfo and the system describe it."""

from __future__ import annotations

import os
import platform

from app.hardware.cpu import bf16_instructions, cpu_flags, cpu_name, usable_cores

TWO_CORES = """\
processor\t: 0
model name\t: Intel(R) Xeon(R)  Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu avx512_bf16 amx_bf16

processor\t: 1
model name\t: Intel(R) Xeon(R)  Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu avx512_bf16 amx_bf16
vmx flags\t: vnmi ept
"""


def test_the_name_is_the_model_with_single_spaces() -> None:
    assert cpu_name(TWO_CORES) == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"


def test_without_a_model_the_platform_names_it() -> None:
    assert cpu_name("") == platform.processor() or platform.machine()
    assert cpu_name()


def test_flags_are_the_processors_own() -> None:
    assert cpu_flags(TWO_CORES) == {"fpu", "avx512_bf16", "amx_bf16"}
    assert cpu_flags("") == frozenset()
    flags = cpu_flags()
    assert not flags or all(" " not in flag for flag in flags)


def test_the_fastest_bfloat16_instructions_come_first() -> None:
    assert bf16_instructions(cpu_flags(TWO_CORES)) == "amx_bf16"
    assert bf16_instructions(frozenset({"avx512_bf16"})) == "avx512_bf16"
    assert bf16_instructions(frozenset({"avx2"})) is None


def test_cores_are_those_of_the_affinity() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)
