"""Nothing in the package unpickles, or asks a library to: a pickle runs its author's code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [*sorted((ROOT / "app").rglob("*.py")), ROOT / "tasks.py"]
PICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
LOADERS = {
    "torch.load", "torch.hub.load", "torch.jit.load", "torch.package", "torch.export.load",
    "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle", "Unpickler",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""


def pickling(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module can unpickle."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PICKLING)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if module.split(".")[0] in PICKLING or name in LOADERS)
        elif isinstance(node, ast.Call):
            name, keywords = dotted(node.func), {k.arg: k.value for k in node.keywords}
            refused = isinstance(off := keywords.get("allow_pickle"), ast.Constant) and off.value is False
            if name.endswith(tuple(LOADERS)) and not (name in ("np.load", "numpy.load") and refused):
                yield name
            if name.startswith(("torchvision.datasets.", "datasets.MNIST", "datasets.CIFAR")):
                yield name  # its readers unpickle


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles(path: Path) -> None:
    assert not list(pickling(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "from torch import load",
        "torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torchvision.datasets.MNIST(folder)",
    ],
)
def test_what_would_unpickle_is_seen(code: str) -> None:
    assert list(pickling(ast.parse(code)))
