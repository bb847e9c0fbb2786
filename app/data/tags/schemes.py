"""Tags that mark spans of tokens: their scheme is recognised from the tags themselves, and turned into IOB2.

    token       IOB1     IOB2     IOBES    BILOU
    Ada         I-PER    B-PER    B-PER    B-PER
    Lovelace    I-PER    I-PER    E-PER    L-PER
    George      B-PER    B-PER    S-PER    U-PER
    wrote       O        O        O        O

IOB1 (Ramshaw and Marcus 1995) writes B only where two spans of one type touch; IOB2 (Tjong Kim Sang and Veenstra
1999) opens every span with B; IOBES also marks the end of a span, and the span of a single token. A file in one
scheme has one reading, so one that mixes two is refused with its lines and never guessed at. One slip has a single
reading all the same and is only noted: in IOB2 an I right after a span of another type opens a span, as it does in
conlleval (WNUT-17's dev set has one).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from app.data.files import Faults

log = logging.getLogger(__name__)

OUTSIDE = "O"
PREFIXES = "BIESLU"


@dataclass(frozen=True)
class Sentence:
    """Tokens, the tag of each, and the line of the file that each came from."""

    tokens: list[str]
    tags: list[str]
    lines: list[int]


class Tag(NamedTuple):
    """A tag taken apart; the kind of O is empty."""

    prefix: str
    kind: str

    def __str__(self) -> str:
        return f"{self.prefix}-{self.kind}" if self.kind else self.prefix


class Step(NamedTuple):
    """A tag with its neighbours in the sentence; beyond either end is an O."""

    before: Tag
    here: Tag
    after: Tag
    line: int
    opens_sentence: bool

    @property
    def touches(self) -> bool:
        """Whether the token before is in a span of the same type."""
        return self.before.kind == self.here.kind

    @property
    def place(self) -> str:
        return "opens a sentence" if self.opens_sentence else f"follows {self.before}"


OUT = Tag(OUTSIDE, "")


def to_iob2(sentences: Sequence[Sentence], faults: Faults) -> list[Sentence]:
    """The sentences of one file in IOB2; adds a fault for each tag that fits no scheme, or not that of its file."""
    parsed = [[_parse(tag, line, faults) for tag, line in zip(s.tags, s.lines)] for s in sentences]
    known = [[tag or OUT for tag in tags] for tags in parsed]
    steps = [list(_steps(tags, sentence.lines)) for tags, sentence in zip(known, sentences)]
    if all(None not in tags for tags in parsed):  # else each unknown tag would fault its neighbours too
        every = [step for sentence in steps for step in sentence if step.here != OUT]
        if any(step.here.prefix in "ESLU" for step in every):
            _check_iobes(every, faults)
        else:
            _check_iob(every, faults)
    return [replace(s, tags=[str(_as_iob2(step)) for step in found]) for s, found in zip(sentences, steps)]


def kinds_of(sentences: Sequence[Sentence]) -> list[str]:
    """The types of span in IOB2 sentences, in alphabetical order."""
    return sorted({tag[2:] for sentence in sentences for tag in sentence.tags if tag != OUTSIDE})


class Span(NamedTuple):
    """Words `start` up to, not including, `stop`, and their type."""

    start: int
    stop: int
    kind: str


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans of a sentence in IOB2, in order."""
    found: list[Span] = []
    for place, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append(Span(place, place + 1, tag[2:]))
        elif tag.startswith("I-"):
            found[-1] = found[-1]._replace(stop=place + 1)
    return found


def label_names(kinds: Sequence[str]) -> list[str]:
    """Every IOB2 tag over some types, O first: the classes of a tagger."""
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI")]


def _parse(tag: str, line: int, faults: Faults) -> Tag | None:
    prefix, _, kind = tag.partition("-")
    if tag == OUTSIDE:
        return OUT
    if len(prefix) == 1 and prefix in PREFIXES and kind:
        return Tag(prefix, kind)
    if tag in ("o", "0"):
        fix = "write the capital letter O"
    elif len(prefix) == 1 and prefix.upper() in PREFIXES and kind:
        fix = f"write {prefix.upper()}-{kind}"
    else:
        fix = "write O, or B- or I- and a type, as in B-PER"
    faults.add(line, f"{tag!r} is not a tag of IOB1, IOB2, IOBES or BILOU", fix)
    return None


def _steps(tags: Sequence[Tag], lines: Sequence[int]) -> Iterator[Step]:
    around = [OUT, *tags, OUT]
    for i, line in enumerate(lines):
        yield Step(around[i], around[i + 1], around[i + 2], line, i == 0)


def _as_iob2(step: Step) -> Tag:
    """Right for a tag of any of the schemes, once the file is known to keep to one."""
    if step.here == OUT:
        return OUT
    opens = step.here.prefix in "BSU" or (step.here.prefix == "I" and not step.touches)
    return Tag("B" if opens else "I", step.here.kind)


def _check_iob(every: Sequence[Step], faults: Faults) -> None:
    """IOB1 and IOB2 differ in how a span opens that touches none of its type; a file may do it one way only."""
    opening = [step for step in every if not step.touches]
    with_b = [step for step in opening if step.here.prefix == "B"]
    with_i = [step for step in opening if step.here.prefix == "I" and step.before == OUT]
    if with_b and not with_i:
        for step in opening:
            if step.here.prefix == "I":
                log.warning("%s:%d: %s %s: read as B-%s", faults.path, step.line, step.here, step.place, step.here.kind)
    elif with_b and with_i:
        odd, rule, prefix = (with_i, with_b[0], "B") if len(with_i) <= len(with_b) else (with_b, with_i[0], "I")
        scheme = "IOB2" if prefix == "B" else "IOB1"
        for step in odd:
            what = (
                f"{step.here} {step.place}, but line {rule.line} opens a span with {prefix}-: IOB1 and IOB2 are mixed"
            )
            fix = f"write {prefix}-{step.here.kind}, as {scheme} does, or correct the tag before it"
            faults.add(step.line, what, fix)


def _check_iobes(every: Sequence[Step], faults: Faults) -> None:
    """IOBES, or BILOU, which is the same under other letters: every span is closed."""
    first = {letters: next((s for s in every if s.here.prefix in letters), None) for letters in ("ES", "LU")}
    iobes, bilou = first["ES"], first["LU"]
    if iobes and bilou:
        what = f"{bilou.here} is BILOU, but {iobes.here} in line {iobes.line} is IOBES: two schemes are mixed"
        faults.add(bilou.line, what, "write the whole file in one of them")
        return
    rule = iobes or bilou
    assert rule is not None
    scheme, last, single = ("IOBES", "E", "S") if iobes else ("BILOU", "L", "U")
    why = f"which {scheme} forbids (line {rule.line} has {rule.here})"
    for step in every:
        prefix, kind = step.here
        if prefix in ("I", last) and not (step.touches and step.before.prefix in ("B", "I")):
            faults.add(
                step.line, f"{step.here} {step.place}, {why}", f"open the span with B-{kind}, or write {single}-{kind}"
            )
        elif prefix in ("B", "I") and not (step.after.kind == kind and step.after.prefix in ("I", last)):
            fix = (
                f"write {single if prefix == 'B' else last}-{kind}; a file in IOB2 has no {last}- and {single}- at all"
            )
            faults.add(step.line, f"{step.here} is the last of its span, {why}", fix)
