"""Select the cards: what the user named by `--gpus` or CUDA_VISIBLE_DEVICES, without those that no variant runs.

CUDA_VISIBLE_DEVICES as CUDA reads it: numbers, or UUIDs (also their beginnings), or ids of MIG devices; empty, `-1` or
a scheduler's `NoDevFiles` hides every card. Numbers are nvidia-smi's: the workspace sets CUDA_DEVICE_ORDER.
Source: CUDA C++ Programming Guide, "CUDA Environment Variables"; MIG User Guide, "Device Nodes and Capabilities".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import HostError, Problem
from app.host.plan.drivers import card_obstacle
from app.host.probe.gpus import Gpu
from app.host.probe.machine import Host
from app.host.variants import Variant

VARIABLE = "CUDA_VISIBLE_DEVICES"
_HIDES_ALL = ("", "none", "nodevfiles")


@dataclass(frozen=True)
class Choice:
    """The cards, and their names for CUDA_VISIBLE_DEVICES: one a card, or one a MIG device. `named_by` is what named
    them, `--gpus` or the variable; empty if nobody did."""

    cards: tuple[Gpu, ...]
    names: tuple[str, ...]
    named_by: str = ""


@dataclass(frozen=True)
class _Entry:
    card: Gpu
    uuid: str


def wanted(gpus: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Return (`all`, `none` or a list, what says so): the flag if it names cards, else CUDA_VISIBLE_DEVICES."""
    if gpus != "all":
        return gpus, "--gpus"
    value = env.get(VARIABLE)
    if value is None:
        return "all", ""
    entries = [entry.strip() for entry in value.split(",")]
    shown = ",".join(entries[: entries.index("-1")] if "-1" in entries else entries)  # CUDA stops at the first -1
    return ("none" if shown.lower() in _HIDES_ALL else shown), VARIABLE


def select(host: Host, gpus: str) -> Choice:
    """Return the cards that the user named, each once; all if nobody named any.

    Raises HostError with every name that is not a card of this machine.
    """
    text, named_by = wanted(gpus, host.env)
    cards = host.gpus.cards
    if text == "none" or (named_by == VARIABLE and not cards):
        return Choice((), (), named_by)
    if text == "all" and not named_by:
        return Choice(cards, tuple(str(card.index) for card in cards))
    words = [word for word in map(str.strip, text.split(",")) if word] or [text]
    found = {word: _matches(word, cards) for word in words}
    problems = [p for word, entries in found.items() if (p := _problem(word, entries, host))]
    if problems:
        fix = "give `all`, `none`, numbers as nvidia-smi lists them, `0,1`, or the ids of `nvidia-smi -L`"
        if named_by == VARIABLE:
            fix = (
                f"correct or unset {VARIABLE}: it holds numbers as nvidia-smi lists them, or the ids of `nvidia-smi -L`"
            )
        start = f"{VARIABLE}={text}: " if named_by == VARIABLE else ""
        raise HostError(Problem(start + "; ".join(problems), fix))
    chosen = list(dict.fromkeys(entries[0] for entries in found.values()))
    by_number = all(word.isdigit() for word in words)
    return Choice(
        tuple(dict.fromkeys(entry.card for entry in chosen)),
        tuple(str(entry.card.index) if by_number else entry.uuid for entry in chosen),
        named_by,
    )


def _matches(word: str, cards: Sequence[Gpu]) -> list[_Entry]:
    if word.isdigit():
        return [_Entry(card, card.uuid) for card in cards if card.index == int(word)]
    if len(word) <= len("GPU-"):
        return []
    ids = [_Entry(card, uuid) for card in cards for uuid in (card.uuid, *(part.uuid for part in card.parts))]
    return [entry for entry in ids if entry.uuid.lower().startswith(word.lower())]


def _problem(word: str, entries: Sequence[_Entry], host: Host) -> str:
    if len(entries) == 1:
        return ""
    if entries:
        return f"{word} is the beginning of more than one id"
    cards = host.gpus.cards
    by_id = not word.isdigit() and word[:4].upper() in ("GPU-", "MIG-")
    ids = (
        [part.uuid for card in cards for part in card.parts] if word[:4].upper() == "MIG-" else [c.uuid for c in cards]
    )
    there = ids if by_id else [str(card.index) for card in cards]
    return f"no GPU {word}: " + (f"there are {', '.join(there)}" if there else f"there is none: {host.gpus.reason}")


def usable(
    host: Host, choice: Choice, asked: Variant | None, problems: list[Problem], warnings: list[Problem]
) -> Choice:
    """Return the choice without the cards that no variant runs, or that `asked` does not.

    A card that the user named is not left out: it is appended to `problems`, one of all cards to `warnings`.
    """
    unfit = {card.index: obstacle for card in choice.cards if (obstacle := card_obstacle(card, asked))}
    fitting = tuple(card for card in choice.cards if card.index not in unfit)
    if unfit and (not fitting or choice.named_by):
        problems.extend(unfit.values())
        return Choice((), (), choice.named_by)
    warnings.extend(
        Problem(f"{o.what}; it is left out", "nothing to do, or select cards: `--gpus 0`") for o in unfit.values()
    )
    warnings.extend(
        Problem(
            f"the compute capability of GPU {card.index}, {card.name}, is not known",
            "run `app doctor` inside to check whether kernels run on it",
        )
        for card in fitting
        if card.capability is None
    )
    left = Choice(fitting, tuple(str(card.index) for card in fitting)) if unfit else choice
    warnings.extend(split_warnings(left))
    return left


def split_warnings(choice: Choice) -> list[Problem]:
    """Return a warning for each card that is split into MIG devices of which none is named: one of them is used."""
    return [
        Problem(
            f"GPU {card.index}, {card.name}, is split into {len(card.parts)} MIG devices, of which a process uses one",
            f"name it: `--gpus {card.parts[0].uuid}` is the {card.parts[0].profile} that is used now",
        )
        for card in choice.cards
        if card.parts and not any(name.startswith("MIG-") for name in choice.names)
    ]
