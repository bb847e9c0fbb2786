"""Which words of a command line name files or folders: those that the verb of `app` declares, and no free text.

A test compares these tables with the verbs' parsers, which the host's Python may not be able to import.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile

READ = ("--resume", "--recipe", "--result")  # options of `app` whose value is a file or folder to read
WRITTEN = ("--runs", "--out")  # and a folder to write into
OTHER = (  # and anything else
    *("--split", "--dtype", "--prompt", "--max-tokens", "--temperature", "--top-k", "--top-p", "--seed", "--samples"),
    *("--budget", "--workers"),
)
KEYS = ("data.train", "data.dev", "data.test", "model.name", "model.tokenizer")  # of a recipe, in overrides key=value
# Verbs, or verbs and sub-verbs, whose words without an option are paths (or names, which no file outside has).
WORDS = ("train", "evaluate", "predict", "generate", "reproduce", "export", "recipes", "bench compare", "bench check")
SUBVERBS = {"bench": ("measure", "compare", "check"), "doctor": ("check", "explain")}
_SHELLS = (("bash", "-c"), ("sh", "-c"))
_OPERATORS = "();<>|&"


@dataclass(frozen=True)
class PathWord:
    """A path as it stands in a command; `written` if the command writes into that folder."""

    name: str
    written: bool = False


def paths_in(argv: Sequence[str]) -> Iterator[PathWord]:
    """Yield the paths that a command names. The line after `bash -c` is a command or several."""
    words = list(argv)
    if tuple(words[:2]) in _SHELLS and len(words) > 2:
        for command in _commands(words[2]):
            yield from _of_command(command)
    else:
        yield from _of_command(words)


def exports(argv: Sequence[str]) -> Iterator[str]:
    """Yield the folder of each `app export RUN FOLDER` in a command."""
    words = list(argv)
    lines = _commands(words[2]) if tuple(words[:2]) in _SHELLS and len(words) > 2 else [words]
    for command in lines:
        if command[:2] == ["app", "export"]:
            plain = [word for word, option in _arguments(command[2:]) if not option]
            yield from plain[1:2]


def _commands(line: str) -> list[list[str]]:
    """Return the words of each command in a line of the shell; empty if it cannot be split."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split, lexer.commenters = True, ""
    found: list[list[str]] = [[]]
    try:
        for word in lexer:
            if set(word) <= set(_OPERATORS) and not set(word) & set("<>"):
                found.append([])
            elif not set(word) <= set(_OPERATORS):
                found[-1].append(word)
    except ValueError:  # no closing quotation: the shell will say so
        return []
    return [command for command in found if command]


def _of_command(words: Sequence[str]) -> Iterator[PathWord]:
    words = list(dropwhile(re.compile(r"[A-Za-z_]\w*=").match, words))  # NAME=value before the command
    if words[:1] == ["app"]:
        yield from _of_verb(words[1:])
        return
    for word in words:  # another program: each of its words may be a path
        yield PathWord(word)
        if "=" in word:
            yield PathWord(word.partition("=")[2])


def _of_verb(words: list[str]) -> Iterator[PathWord]:
    verb, rest = " ".join(words[:1]), words[1:]
    if verb in SUBVERBS:
        sub = rest[0] if rest and rest[0] in SUBVERBS[verb] else SUBVERBS[verb][0]
        rest = rest[1:] if rest[:1] == [sub] else rest
        verb = f"{verb} {sub}"
    if verb == "doctor explain":  # a message, or one file that contains it
        yield from map(PathWord, rest if len(rest) == 1 else [])
        return
    for word, option in _arguments(rest):
        if option:
            if option in (*READ, *WRITTEN):
                yield PathWord(word, option in WRITTEN)
        elif "=" in word and not word.startswith(("/", ".")):
            key, _, value = word.partition("=")
            if key in KEYS:
                yield from map(PathWord, filter(None, (value, *re.split(r"[,\[\]]", value))))
        elif verb in WORDS:
            yield PathWord(word)


def _arguments(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (word, option that it is the value of, or nothing); without the options themselves."""
    option = ""
    for word in words:
        if option:
            yield word, option
            option = ""
        elif word.startswith("--"):
            name, _, value = word.partition("=")
            if value:
                yield value, name
            elif name in (*READ, *WRITTEN, *OTHER):
                option = name
        else:
            yield word, ""
