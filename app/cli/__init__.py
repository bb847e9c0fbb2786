"""`app VERB ...`: the table of verbs and what each exit code means.

A verb is a function that takes its arguments and returns an exit code. Its module is imported when it is called and not
before, so that `app --help` answers at once. Exit codes: 0 done, 1 a bug, 2 a user's mistake, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import WorkspaceError, did_you_mean
from app.host.explain import advice

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports
Function = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Verb:
    """Where the function of a verb is, and one line about it."""

    function: str
    """`module:function`"""
    about: str

    def load(self) -> Function:
        module, _, name = self.function.partition(":")
        function: Function = getattr(importlib.import_module(module), name)
        return function


VERBS: dict[str, Verb] = {
    "train": Verb("app.cli.finetune_command:train", "fine-tune a model by a recipe: app train sentiment"),
    "evaluate": Verb("app.cli.finetune_command:evaluate", "score a trained run: app evaluate RUN"),
    "predict": Verb("app.cli.finetune_command:predict", "run a trained model over a file or stdin, JSONL out"),
    "generate": Verb("app.cli.generate:generate", "go on with a text: app generate gpt-char --prompt TEXT"),
    "export": Verb("app.cli.finetune_command:export", "write a run's model to a folder that from_pretrained loads"),
    "runs": Verb("app.cli.runs:runs", "list what was trained: status and scores"),
    "reproduce": Verb("app.finetune.reproduce:reproduce", "train a recorded run again and compare to the last bit"),
    "recipes": Verb("app.cli.finetune_command:recipes", "list the recipes, show one, print the JSON Schema"),
    "bench": Verb("app.cli.bench:bench", "measure this machine and the recipes' steps on it; compare, check"),
    "doctor": Verb("app.cli.doctor:doctor", "check this environment; app doctor explain TEXT: what an error means"),
}


def help_text() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {name:<{width}}  {verb.about}" for name, verb in VERBS.items())
    more = "`app VERB --help` says what a verb takes. Settings of a recipe are given as key=value."
    return f"usage: app VERB ...\n\n{rows}\n\n{more}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the console script's entry point."""
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
    try:
        return VERBS[name].load()(arguments[1:])
    except WorkspaceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away: `app predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # a bug, or the environment under us: the traceback, and below it what is known of it
        text = traceback.format_exc()
        print(text, file=sys.stderr)
        if known := advice(text):
            print(known, file=sys.stderr)
        return 1
