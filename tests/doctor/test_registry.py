"""A function under @check in one of the doctor's modules is a check, without another place that names it."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

import pytest

from app.doctor import registry
from app.doctor.checks import devices

MODULES = (*registry.WITH_TORCH, *registry.WITHOUT_TORCH)
EVERY = (*registry.ISOLATED, *registry.IN_PROCESS)


def decorated(module: ModuleType) -> list[str]:
    """Return the names of the functions under @check in a module's source."""
    tree = ast.parse(inspect.getsource(module))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return [f.name for f in functions if any(ast.unparse(d).startswith("check(") for d in f.decorator_list)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_decorated_function_is_a_check_in_the_order_of_its_lines(module: ModuleType) -> None:
    assert [check.look.__name__ for check in registry.checks_of(module)] == decorated(module)
    assert set(registry.checks_of(module)) <= set(EVERY)


def test_an_imported_check_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "borrowed", registry.IN_PROCESS[-1], raising=False)
    assert registry.IN_PROCESS[-1] not in registry.checks_of(devices)


def test_no_check_of_the_first_group_runs_in_the_doctors_process_unless_it_is_quick() -> None:
    with_torch = {check for module in registry.WITH_TORCH for check in registry.checks_of(module)}
    assert all(check.quick for check in registry.IN_PROCESS if check in with_torch)
    assert not any(check.quick for check in registry.ISOLATED)
