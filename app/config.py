"""Read a recipe by name or path, with `key=value` overrides, into a validated `Recipe`.

All problems are reported at once, each with its file and line. The resolved recipe in canonical form (`canonical`)
identifies a run: two runs with the same canonical recipe, data and versions are the same run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from app.errors import ConfigError, Problem, did_you_mean
from app.paths import SHIPPED
from app.schema import RECIPES, Recipe

Key = tuple[Any, ...]
MAX_BYTES = 1_000_000  # of a recipe's file; the shipped ones have one kilobyte
MAX_VALUES = 10_000  # of a recipe; the shipped ones have thirty
MAX_NAME = 100  # characters of a name that a message repeats


@dataclass
class Source:
    """Plain values of a recipe, the place that each was read from, and the problems found before validation."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    size: int = 0
    """Values read so far, an alias counted each time."""

    def place(self, key: Key) -> str:
        """Return where `key` was written, or else the nearest section above it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, "")


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a shipped name or a YAML file, with `section.key=value` overrides applied.

    Raises ConfigError with every problem: unknown keys with the nearest known name, wrong types and values, each with
    its `file:line` or its override.
    """
    path = recipe_path(name_or_path)
    source = read_yaml(path)
    for override in overrides:
        apply_override(source, override)
    source.values.setdefault("name", path.stem)
    return validate(source)


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return every setting of a recipe as plain values, defaults included."""
    return recipe.model_dump(mode="json")


def canonical(recipe: Recipe) -> str:
    """Return the canonical form of a recipe: JSON with sorted keys, defaults filled in, and `about` left out."""
    return json.dumps({k: v for k, v in resolved(recipe).items() if k != "about"}, sort_keys=True)


def fingerprint(recipe: Recipe) -> str:
    """Return the sha256 of the canonical form."""
    return hashlib.sha256(canonical(recipe).encode()).hexdigest()


def to_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML, from which `load` reads the same recipe."""
    return yaml.safe_dump(resolved(recipe), sort_keys=False, allow_unicode=True)


def recipe_path(name_or_path: str) -> Path:
    """Return the file of a recipe given by name or path. Raises ConfigError if there is none."""
    if name_or_path in shipped_recipes():
        return SHIPPED / f"{name_or_path}.yaml"
    try:
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):  # too long for a path, a NUL, the home of nobody
        pass
    guess = did_you_mean(name_or_path[:MAX_NAME], shipped_recipes())
    others = f"use one of {', '.join(shipped_recipes())}, or a path to a .yaml file"
    fix = f"did you mean {guess}?" if guess else others
    shown = repr(name_or_path) if len(name_or_path) <= MAX_NAME else f"{name_or_path[:MAX_NAME]!r}..."
    raise ConfigError(Problem(f"no recipe and no file is called {shown}", fix))


def read_yaml(path: Path) -> Source:
    """Return the values of a YAML file with the line of each key. Raises ConfigError if it is not valid YAML."""
    try:
        if path.stat().st_size > MAX_BYTES:
            what = f"the file is larger than {MAX_BYTES // 1000} kB, which no recipe is"
            raise ConfigError(Problem(what, "name a recipe", str(path)))
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        what = f"the recipe cannot be read: {error.strerror or error}"
        raise ConfigError(Problem(what, "give yourself access to it, or name another", str(path))) from error
    except RecursionError as error:
        raise ConfigError(Problem("the recipe is nested too deeply", "write a flat recipe", str(path))) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem("the recipe is not UTF-8 text", "save it as UTF-8", str(path))) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(error, "problem", None) or "cannot be read"
        raise ConfigError(Problem(f"not valid YAML: {what}", "correct this line", where)) from error
    source = Source()
    source.places[()] = str(path)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(Problem("a recipe is `key: value` lines", "see `app recipes hello-linear`", str(path)))
    try:
        source.values = _to_python(root, (), source, path)
    except RecursionError as error:
        what = "an alias (*) stands inside its own anchor (&)"
        raise ConfigError(Problem(what, "write it out", str(path))) from error
    return source


def _to_python(node: yaml.Node, key: Key, source: Source, path: Path) -> Any:
    """Return the Python value of a YAML node; note in `source` the line of each key, and keys written twice.

    Raises ConfigError for more than `MAX_VALUES` values: a few lines of aliases of aliases expand to any number.
    """
    source.size += 1
    if source.size > MAX_VALUES:
        what = f"more than {MAX_VALUES:,} values, with each alias (*) counted where it is used"
        raise ConfigError(Problem(what, "write a recipe of a page", str(path)))
    if isinstance(node, yaml.MappingNode):
        values: dict[Any, Any] = {}
        for name_node, value_node in node.value:
            # The key as it is written, because YAML would read `on` as true.
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else "?"
            where = f"{path}:{name_node.start_mark.line + 1}"
            below = (*key, name)
            if name in values:
                source.problems.append(Problem(f"{_dotted(below)} is written twice", "keep one of the two", where))
            source.places[below] = where
            values[name] = _to_python(value_node, below, source, path)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_to_python(item, (*key, i), source, path) for i, item in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError):  # an unknown tag, a 13th month
        what, fix = f"{_dotted(key)}: YAML cannot read {node.value!r}", "put it in quotes if it is text"
        source.problems.append(Problem(what, fix, f"{path}:{node.start_mark.line + 1}"))
        return node.value


def apply_override(source: Source, override: str) -> None:
    """Set one `section.key=value` in `source`; the value is read as YAML: `3`, `true`, `null`, `[a, b]`."""
    name, equals, text = override.partition("=")
    where = f"override {override}"
    if not equals or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", name):
        source.problems.append(Problem("not of the form key=value", "write for example optimizer.lr=1e-4", where))
        return
    value = _override_value(text, where)
    *sections, last = name.split(".")
    values, key = source.values, Key()
    for section in sections:
        key = (*key, section)
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            what = f"{_dotted(key)} is a value, not a section"
            source.problems.append(Problem(what, f"set {_dotted(key)}=...", where))
            return
        source.places.setdefault(key, where)
        values = inner
    values[last] = value
    key = (*key, last)
    source.places[key] = where


def _override_value(text: str, where: str) -> Any:
    """Return the value of an override as YAML reads it; the text itself if YAML cannot read it."""
    alone = Source()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = None if node is None else _to_python(node, (), alone, Path(where[:MAX_NAME]))
    except (yaml.YAMLError, RecursionError):
        return text
    return text if alone.problems else value


def validate(source: Source) -> Recipe:
    """Return the recipe of the task that the values name. Raises ConfigError with every problem."""
    task = source.values.get("task")
    kind = RECIPES.get(task) if isinstance(task, str) else None
    if kind is None:
        guess = did_you_mean(str(task), list(RECIPES))
        what = f"task: {task!r} is not a task" if task is not None else "task: missing"
        fix = f"did you mean {guess}?" if guess else f"use one of {', '.join(RECIPES)}"
        raise ConfigError(*source.problems, Problem(what, fix, source.place(("task",))))
    try:
        recipe = kind.model_validate(source.values)
    except ValidationError as invalid:
        problems = [_explain(dict(error), kind, source) for error in invalid.errors(include_url=False)]
        raise ConfigError(*source.problems, *dict.fromkeys(problems)) from invalid
    if source.problems:
        raise ConfigError(*source.problems)
    return recipe


def _explain(error: dict[str, Any], kind: type[Recipe], source: Source) -> Problem:
    """Return one pydantic error as a problem with its place and a fix."""
    key = tuple(part for part in error["loc"] if not str(part).startswith(("literal[", "function-", "constrained-")))
    name, given, where = _dotted(key), error["input"], source.place(key)
    if error["type"] == "extra_forbidden":
        known = _fields(kind, key[:-1])
        guess = did_you_mean(str(key[-1]), known)
        fix = f"did you mean {guess}?" if guess else f"known here: {', '.join(known)}"
        return Problem(f"{name}: no such key", fix, where)
    if error["type"] == "missing":
        return Problem(f"{name}: missing", f"add {name}, here or as {name}=...", where)
    message = error["msg"][:1].lower() + error["msg"][1:]
    return Problem(f"{name}: {given!r}: {message}", f"see `app recipes --schema` for what {name} takes", where)


def _fields(kind: type[BaseModel], key: Key) -> list[str]:
    """Return the names of the keys of the section at `key` in a recipe class; for a union, of all its members."""
    classes: list[type[BaseModel]] = [kind]
    for part in key:
        annotations = [c.model_fields[part].annotation for c in classes if part in c.model_fields]
        classes = [found for annotation in annotations for found in _model_classes(annotation)]
    return sorted({name for c in classes for name in c.model_fields})


def _model_classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _model_classes(inner)]


def _dotted(key: Key) -> str:
    return ".".join(map(str, key))
