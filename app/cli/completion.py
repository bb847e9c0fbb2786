"""`app completion SHELL`: a script that completes verbs, options, recipes and runs in bash, zsh or fish.

eval "$(app completion bash)"              # or zsh; in ~/.bashrc or ~/.zshrc
app completion fish | source               # in ~/.config/fish/config.fish

The script is made once, from the parsers of the verbs, and starts no Python while you type. Print it again after an
update. argcomplete starts Python at each TAB; shtab has no way to propose runs: neither is worth a dependency.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.arguments import FILE, FOLDER, RECIPE, RUN, subverbs
from app.paths import SHIPPED


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app completion`."""
    about = "Print a script that completes verbs, options, recipes and runs."
    epilog = 'bash and zsh: eval "$(app completion bash)" in ~/.bashrc. fish: app completion fish | source'
    parser = argparse.ArgumentParser(prog="app completion", description=about, epilog=epilog)
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="the shell that runs the script")
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the script."""
    print(SCRIPTS[parser().parse_args(argv).shell](), end="")
    return 0


@dataclass(frozen=True)
class Command:
    """A verb, or a verb and its sub-verb, and the kinds of its values.

    A kind is one of `RECIPE RUN FOLDER FILE`, the choices themselves as one text, or empty if nothing can be proposed.
    """

    words: tuple[str, ...]
    positionals: tuple[str, ...]
    flags: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    """Each option that takes a value, and the kind of the value."""
    subverbs: tuple[str, ...] = ()


def commands() -> Iterator[Command]:
    """Yield every verb, after its sub-verbs. A verb also takes the arguments of its first sub-verb, the default."""
    from app.cli import VERBS

    for name, verb in VERBS.items():
        parser = verb.load().parser()
        below = subverbs(parser)
        for subverb, own in below.items():
            yield _command((name, subverb), own)
        yield _command((name,), next(iter(below.values()), parser), tuple(below))


def _command(words: tuple[str, ...], parser: argparse.ArgumentParser, below: tuple[str, ...] = ()) -> Command:
    actions = parser._actions  # argparse has no public list of them; argcomplete and shtab read this one too
    options = [action for action in actions if action.option_strings]
    return Command(
        words,
        tuple(dict.fromkeys(_kind(action) for action in actions if not action.option_strings)),
        tuple(action.option_strings[-1] for action in options),
        tuple((action.option_strings[-1], _kind(action)) for action in options if action.nargs != 0),
        below,
    )


def _kind(action: argparse.Action) -> str:
    if action.choices is not None:
        return " ".join(map(str, action.choices))
    if action.metavar in (RECIPE, RUN, FOLDER, FILE):
        return str(action.metavar)
    return FILE if action.type is Path else ""


BASH = """\
# Completes `app` in bash and zsh. Made by `app completion`.
_app_runs() {  # names of recipes that have runs, and the folders of the runs
    local file
    for file in runs/*/*/run.json; do
        [ -e "$file" ] || continue
        file=${file%/run.json}
        printf '%s\\n' "$file"
        file=${file#runs/}
        printf '%s\\n' "${file%%/*}"
    done
}
_app_values() {  # values of kind $1 that begin with $2, one a line
    local IFS=$' \\t\\n'
    case $1 in
        RECIPE)
            compgen -W "@RECIPES@" -- "$2"
            compgen -f -X '!*.yaml' -- "$2"
            if [ -n "$2" ]; then compgen -d -- "$2"; fi ;;
        RUN) compgen -W "$(_app_runs)" -- "$2" || compgen -d -- "$2" ;;
        FOLDER) compgen -d -- "$2" ;;
        FILE) compgen -f -- "$2" ;;
        *) compgen -W "$1" -- "$2" ;;
    esac
}
_app() {
    local IFS=$'\\n' current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} kind
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then verb=""; fi
    if [ "$COMP_CWORD" -gt 2 ]; then
        case "$verb ${COMP_WORDS[2]}" in
            @SUBVERBS@) verb="$verb ${COMP_WORDS[2]}" ;;
        esac
    fi
    case "$verb|$previous" in
        \\|*) set -- "@VERBS@ --help" ;;
@CASES@
        *) set -- ;;
    esac
    for kind in "$@"; do
        COMPREPLY+=($(_app_values "$kind" "$current"))
    done
}
complete -o filenames -F _app app
"""

ZSH = """\
(( $+functions[compdef] )) || { autoload -U compinit && compinit; }
autoload -U +X bashcompinit && bashcompinit
"""

FISH = """\
# Completes `app` in fish. Made by `app completion fish`.
function __app_runs
    for file in runs/*/*/run.json
        set -l run (string replace /run.json '' $file)
        echo $run
        echo (string split / $run)[2]
    end
end
complete -c app -f
"""


def bash() -> str:
    """Return the script for bash."""
    from app.cli import VERBS

    cases = []
    everything = list(commands())
    for command in everything:
        words = " ".join(command.words)
        cases += [f'        "{words}|{option}") set -- "{kind}" ;;' for option, kind in command.values]
        kinds = [*filter(None, command.positionals), " ".join([*command.subverbs, *command.flags])]
        cases.append(f'        "{words}|"*) set -- {" ".join(f"{chr(34)}{kind}{chr(34)}" for kind in kinds)} ;;')
    pairs = [f'"{" ".join(command.words)}"' for command in everything if len(command.words) == 2]
    script = BASH.replace("@CASES@", "\n".join(cases)).replace("@SUBVERBS@", " | ".join(pairs))
    return script.replace("@VERBS@", " ".join(VERBS)).replace("@RECIPES@", " ".join(_recipes()))


def zsh() -> str:
    """Return the script for zsh, which runs that of bash."""
    return ZSH + bash()


def fish() -> str:
    """Return the script for fish."""
    from app.cli import VERBS

    proposals = {
        RECIPE: f"{' '.join(_recipes())} (__fish_complete_suffix .yaml)",
        RUN: "(__app_runs)",
        FOLDER: "(__fish_complete_directories)",
        FILE: "(__fish_complete_path)",
    }
    lines = [f"complete -c app -n __fish_use_subcommand -a {name} -d '{v.about}'" for name, v in VERBS.items()]
    for command in commands():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words)
        if command.subverbs:
            seen += f"; and not __fish_seen_subcommand_from {' '.join(command.subverbs)}"
            lines.append(f"complete -c app -n '{seen}' -a '{' '.join(command.subverbs)}'")
        for kind in filter(None, command.positionals):
            lines.append(f"complete -c app -n '{seen}' -a '{proposals.get(kind, kind)}'")
        takes = dict(command.values)
        for flag in command.flags:
            value = f" -x -a '{proposals.get(takes[flag], takes[flag])}'" if flag in takes else ""
            lines.append(f"complete -c app -n '{seen}' -l {flag[2:]}{value}")
    return FISH + "\n".join(lines) + "\n"


def _recipes() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}
