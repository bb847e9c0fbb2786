"""A checkpoint comes back as it went in, and a damaged one is never loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import RunError
from app.runs import checkpoints

PLAIN = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8)
NESTED = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=6), inner, max_size=3)
        | st.dictionaries(st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(value=st.dictionaries(st.text(max_size=6), NESTED, max_size=4))
def test_nested_plain_values_come_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("checkpoint") / "step-1"
    checkpoints.save(value, path)
    assert checkpoints.load(path) == value


def test_tensors_come_back_the_same_whatever_their_form(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = [
        base,
        base.t(),
        base[:, 1],
        base,
        torch.tensor(7),
        torch.ones(2, dtype=torch.bfloat16),
        torch.empty(0, 3),
    ]
    checkpoints.save({"all": tensors, "state": {5: {"exp_avg": base}}}, tmp_path / "step-1")
    found = checkpoints.load(tmp_path / "step-1")
    for before, after in zip(tensors, found["all"]):
        assert torch.equal(before, after) and before.dtype == after.dtype
    assert torch.equal(found["state"][5]["exp_avg"], base)


def test_what_is_no_plain_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold PosixPath at /here"):
        checkpoints.save({"here": Path("x")}, tmp_path / "step-1")
    assert not list(tmp_path.iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", [checkpoints.TENSORS, checkpoints.STATE, checkpoints.CHECKSUMS])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_found(name: str, damage: Any, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoints.save({"weights": torch.full((64,), float(step))}, tmp_path / f"step-{step:08d}")
    damage(tmp_path / "step-00000003" / name)
    with pytest.raises(RunError):
        checkpoints.load(tmp_path / "step-00000003")
    newest, damaged = checkpoints.newest(tmp_path)
    assert newest == tmp_path / "step-00000002"
    assert [problem.where for problem in damaged] == [str(tmp_path / "step-00000003")]


def test_none_is_whole(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) == (None, [])


def test_going_back_removes_later_checkpoints_and_half_written_ones(tmp_path: Path) -> None:
    for name in ("step-00000002", "step-00000004", "best-00000002", "best-00000004", ".step-00000006.x1y2"):
        (tmp_path / name).mkdir()
    checkpoints.forget_after(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-00000002", "step-00000002"]
