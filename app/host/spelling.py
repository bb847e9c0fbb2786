"""Find mistyped tasks and options of an `invoke` line. invoke itself only says "No idea what 'trian' is!"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.errors import Problem, did_you_mean

Flags = Mapping[str, bool]  # a task's flag -> whether it takes a value


def correction(
    argv: Sequence[str], tasks: Mapping[str, Flags], bare: Mapping[str, Sequence[str]] | None = None
) -> Problem | None:
    """Return the first word or flag in `argv` that no task has, with the nearest known one; None if all may be right.

    A line that begins with an option of invoke itself is not checked. `bare` lists the flags of each task whose value
    can be given without the flag: the next bare word is that value, even if it is also the name of a task.
    """
    if not argv or argv[0].startswith("-"):
        return None
    task = argv[0]
    if task not in tasks:
        return Problem(f"there is no task {task!r}", _nearest(task, tasks, "invoke --list"))
    missing = list((bare or {}).get(task, ()))
    takes_value = False
    for word in argv[1:]:
        if word == "--":
            break
        if takes_value:
            takes_value = False
        elif missing and (word == "--help" or not word.startswith("-")):
            missing.pop(0)
        elif word in tasks:
            task = word
            missing = list((bare or {}).get(task, ()))
        elif word.startswith("--"):
            flag = word.partition("=")[0]
            missing = [name for name in missing if name != flag]
            if flag not in (*tasks[task], "--help"):
                return Problem(f"{task} has no option {flag}", _nearest(flag, tasks[task], f"invoke --help {task}"))
            takes_value = tasks[task].get(flag, False) and "=" not in word
        elif "=" in word and "--set" in tasks[task]:
            return Problem(f"{task} takes overrides as options, not {word!r}", f"write `--set {word}`")
    return None


def _nearest(word: str, known: Mapping[str, object], table: str) -> str:
    guess = did_you_mean(word, known)
    return f"did you mean `{guess}`? `{table}` shows all" if guess else f"`{table}` shows all"
