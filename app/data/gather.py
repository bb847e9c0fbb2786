"""All that is wrong, at once: several readings, and the problems of each that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from app.errors import DataError, Problem

T = TypeVar("T")


def all_of(readings: Iterable[Callable[[], T]]) -> list[T]:
    """What each reading gives. Raises one DataError with the problems of all that fail, each told once."""
    found: list[T] = []
    problems: list[Problem] = []
    for reading in readings:
        try:
            found.append(reading())
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return found
