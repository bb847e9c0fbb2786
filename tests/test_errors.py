"""The error tree: every problem at once, each with its place and what to type."""

from __future__ import annotations

import pytest

from app import errors


def test_an_error_prints_all_its_problems_with_place_and_fix() -> None:
    error = errors.DataError(
        errors.Problem("3 columns where 2 belong", "remove the third", "train.tsv:7"),
        errors.Problem("the file is empty", "write a row"),
    )
    assert str(error) == (
        "error: train.tsv:7: 3 columns where 2 belong\n  fix: remove the third\n"
        "error: the file is empty\n  fix: write a row"
    )


def test_a_warning_is_printed_to_stderr_with_place_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    errors.print_warning(errors.Problem("the file is empty", "write a row", "train.tsv:7"))
    errors.print_warning(errors.Problem("the driver is old", "update it"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "warning: train.tsv:7: the file is empty\n  fix: write a row\nwarning: the driver is old\n  fix: update it\n"
    )


def test_a_user_error_needs_a_problem() -> None:
    with pytest.raises(ValueError, match="at least one"):
        errors.WorkspaceError()


@pytest.mark.parametrize("kind", ["HostError", "ConfigError", "DataError", "ModelError", "RunError"])
def test_every_kind_is_a_workspace_error_and_drawn_in_the_tree(kind: str) -> None:
    assert issubclass(getattr(errors, kind), errors.WorkspaceError)
    assert errors.__doc__ and kind in errors.__doc__
