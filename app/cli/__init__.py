"""`app VERB ...`: the table of verbs and the meaning of each exit code.

A verb is a module of this folder with two functions, `parser()` and `main(argv)`. It is imported when the verb is
called, and imports torch and the rest inside `main`, so that `app --help` answers at once.

Exit codes: 0 done, 1 a bug, 2 a user's mistake, 130 Ctrl-C, 143 SIGTERM. `bench check`, `doctor` and `doctor explain`
also return 1 for a negative answer.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Protocol

from app.errors import Problem, WorkspaceError, did_you_mean
from app.fileio import refusal
from app.signals import STOP, Stopped

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class VerbModule(Protocol):
    """A module of this folder that implements one verb."""

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the verb's arguments."""

    def main(self, argv: Sequence[str]) -> int:
        """Run the verb with these arguments and return its exit code."""


@dataclass(frozen=True)
class Verb:
    """A verb: one line about it, and the function that imports its module."""

    about: str
    load: Callable[[], VerbModule]


def _train() -> VerbModule:
    from app.cli import train

    return train


def _evaluate() -> VerbModule:
    from app.cli import evaluate

    return evaluate


def _predict() -> VerbModule:
    from app.cli import predict

    return predict


def _generate() -> VerbModule:
    from app.cli import generate

    return generate


def _export() -> VerbModule:
    from app.cli import export

    return export


def _runs() -> VerbModule:
    from app.cli import runs

    return runs


def _reproduce() -> VerbModule:
    from app.cli import reproduce

    return reproduce


def _recipes() -> VerbModule:
    from app.cli import recipes

    return recipes


def _bench() -> VerbModule:
    from app.cli import bench

    return bench


def _doctor() -> VerbModule:
    from app.cli import doctor

    return doctor


def _completion() -> VerbModule:
    from app.cli import completion

    return completion


VERBS: dict[str, Verb] = {
    "train": Verb("train or fine-tune a model from a recipe: app train sentiment", _train),
    "evaluate": Verb("score the model of a run: app evaluate sentiment", _evaluate),
    "predict": Verb("apply the model of a run to a file or stdin, JSONL out", _predict),
    "generate": Verb("continue a prompt: app generate gpt-char --prompt TEXT", _generate),
    "export": Verb("write the model of a run to a folder that from_pretrained loads", _export),
    "runs": Verb("list the runs with their status and scores", _runs),
    "reproduce": Verb("repeat a run and compare the results bit for bit", _reproduce),
    "recipes": Verb("list the recipes, show one, print the JSON Schema", _recipes),
    "bench": Verb("measure this machine and the training steps of the recipes", _bench),
    "doctor": Verb("check this environment; app doctor explain TEXT explains an error", _doctor),
    "completion": Verb("print a script that completes `app` in bash, zsh or fish", _completion),
}


def help_text() -> str:
    """Return the text of `app --help`: one line for each verb."""
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {name:<{width}}  {verb.about}" for name, verb in VERBS.items())
    more = "`app VERB --help` shows the arguments of a verb. Settings of a recipe are given as key=value."
    return f"usage: app VERB ...\n\n{rows}\n\n{more}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; the console script's entry point."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if name not in VERBS:
        guess = did_you_mean(name, VERBS)
        fix = f"did you mean `app {guess}`?" if guess else "`app --help` lists the verbs"
        print(f"error: no verb is called {name!r}\n  fix: {fix}", file=sys.stderr)
        return 2
    in_main_thread = threading.current_thread() is threading.main_thread()  # the only one that may handle signals
    try:
        with STOP.handled() if in_main_thread else nullcontext():
            code = VERBS[name].load().main(arguments[1:])
            sys.stdout.flush()  # a full disk shows here, and not in a traceback after the end
            return code
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SystemExit as end:
        if isinstance(end.__cause__, Stopped) and name not in ("train", "reproduce"):  # a training says more itself
            print(f"\nstopped by {end.__cause__}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has closed it: `app predict ... | head`
        _drop_output()
        return 0
    except Exception as error:  # a bug, or a broken environment: the traceback, then the catalogue's entry that fits it
        if number := refusal(error):
            print(refused(error, number), file=sys.stderr)
            _drop_output()
            return 2
        from app.host.explain import advice

        text = traceback.format_exc()
        print(text, file=sys.stderr)
        if known := advice(text):
            print(known, file=sys.stderr)
        return 1


def refused(error: Exception, number: int) -> Problem:
    """Return what to tell the user if the system refused a file with this error number, wherever that was."""
    place = getattr(error, "filename", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        fix = "make room on that disk"
    elif number == errno.EFBIG:
        fix = "raise the limit on the size of a file: ulimit -f unlimited"
    elif number == errno.EIO:
        fix = "check the disk or network that it is on"
    else:
        fix = "give yourself access to it"
    fix += "; WORKSPACE_CACHE=FOLDER puts the cache elsewhere, --runs and --out the results"
    return Problem(os.strerror(number), fix, place if isinstance(place, str) else "")


def _drop_output() -> None:
    """Let what is still to be printed go nowhere: Python would try again at the end, and print a traceback."""
    with suppress(OSError, ValueError):  # stdout is no file, as in a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
