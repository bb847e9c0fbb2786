"""Tags that mark spans of tokens: the scheme is recognised from the tags themselves and converted to IOB2.

    token       IOB1     IOB2     IOBES    BILOU
    Ada         I-PER    B-PER    B-PER    B-PER
    Lovelace    I-PER    I-PER    E-PER    L-PER
    George      B-PER    B-PER    S-PER    U-PER
    wrote       O        O        O        O

IOB1 (Ramshaw and Marcus 1995) writes B only between two touching spans of one type. IOB2 (Tjong Kim Sang and Veenstra
1999) opens every span with B. IOBES also marks the end of a span, and a span of a single token; BILOU does the same
with other letters. A file that mixes two schemes is ambiguous, so it is refused, with the lines named. One mistake is
not ambiguous and only gives a warning: in IOB2, an I right after a span of another type opens a span, as it does in
conlleval (WNUT-17's dev set has one).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from app.data.lines import LineErrors

log = logging.getLogger(__name__)

OUTSIDE = "O"
PREFIXES = "BIESLU"


@dataclass(frozen=True)
class Sentence:
    """Tokens, the tag of each, and the line of the file that each comes from."""

    tokens: list[str]
    tags: list[str]
    lines: list[int]


class Tag(NamedTuple):
    """A tag in its two parts, as B and PER; the type of O is empty."""

    prefix: str
    kind: str

    def __str__(self) -> str:
        return f"{self.prefix}-{self.kind}" if self.kind else self.prefix


class TagContext(NamedTuple):
    """A tag with its neighbours in the sentence; O beyond either end."""

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
    def position(self) -> str:
        """Words for a message: what is in front of the tag."""
        return "opens a sentence" if self.opens_sentence else f"follows {self.before}"


OUT = Tag(OUTSIDE, "")


def to_iob2(sentences: Sequence[Sentence], errors: LineErrors) -> list[Sentence]:
    """Return the sentences of one file in IOB2; add an error for each tag of no scheme, or not of its file's scheme."""
    parsed = [[_parse(tag, line, errors) for tag, line in zip(s.tags, s.lines)] for s in sentences]
    known = [[tag or OUT for tag in tags] for tags in parsed]
    contexts = [list(_contexts(tags, sentence.lines)) for tags, sentence in zip(known, sentences)]
    if all(None not in tags for tags in parsed):  # otherwise each unknown tag would give errors for its neighbours too
        every = [context for sentence in contexts for context in sentence if context.here != OUT]
        if any(context.here.prefix in "ESLU" for context in every):
            _check_iobes(every, errors)
        else:
            _check_iob(every, errors)
    return [replace(s, tags=[str(_as_iob2(context)) for context in found]) for s, found in zip(sentences, contexts)]


def entity_types(sentences: Sequence[Sentence]) -> list[str]:
    """Return the types of the spans in IOB2 sentences, in alphabetical order."""
    return sorted({tag[2:] for sentence in sentences for tag in sentence.tags if tag != OUTSIDE})


class Span(NamedTuple):
    """Tokens `start` to `stop - 1`, and their type."""

    start: int
    stop: int
    kind: str


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of a sentence in IOB2, in order."""
    found: list[Span] = []
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append(Span(i, i + 1, tag[2:]))
        elif tag.startswith("I-"):
            found[-1] = found[-1]._replace(stop=i + 1)
    return found


def label_names(kinds: Sequence[str]) -> list[str]:
    """Return every IOB2 tag of these types, O first: the classes of a tagger."""
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI")]


def _parse(tag: str, line: int, errors: LineErrors) -> Tag | None:
    """Return a tag in its parts; add an error and return None if it is of no scheme."""
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
    errors.add(line, f"{tag!r} is not a tag of IOB1, IOB2, IOBES or BILOU", fix)
    return None


def _contexts(tags: Sequence[Tag], lines: Sequence[int]) -> Iterator[TagContext]:
    around = [OUT, *tags, OUT]
    for i, line in enumerate(lines):
        yield TagContext(around[i], around[i + 1], around[i + 2], line, i == 0)


def _as_iob2(context: TagContext) -> Tag:
    """Return the IOB2 form of a tag of any scheme. Only right in a file that keeps to one scheme."""
    if context.here == OUT:
        return OUT
    opens = context.here.prefix in "BSU" or (context.here.prefix == "I" and not context.touches)
    return Tag("B" if opens else "I", context.here.kind)


def _check_iob(every: Sequence[TagContext], errors: LineErrors) -> None:
    """Add errors if a file opens spans that touch no other both with B (IOB2) and with I (IOB1)."""
    opening = [context for context in every if not context.touches]
    with_b = [context for context in opening if context.here.prefix == "B"]
    with_i = [context for context in opening if context.here.prefix == "I" and context.before == OUT]
    if with_b and not with_i:
        for context in opening:
            if context.here.prefix == "I":
                tag, position = context.here, context.position
                log.warning("%s:%d: %s %s: read as B-%s", errors.path, context.line, tag, position, tag.kind)
    elif with_b and with_i:
        odd, rule, prefix = (with_i, with_b[0], "B") if len(with_i) <= len(with_b) else (with_b, with_i[0], "I")
        scheme = "IOB2" if prefix == "B" else "IOB1"
        for context in odd:
            mixed = f"line {rule.line} opens a span with {prefix}-: IOB1 and IOB2 are mixed"
            what = f"{context.here} {context.position}, but {mixed}"
            fix = f"write {prefix}-{context.here.kind}, as {scheme} does, or correct the tag before it"
            errors.add(context.line, what, fix)


def _check_iobes(every: Sequence[TagContext], errors: LineErrors) -> None:
    """Add errors for spans that are not opened or not closed as IOBES, or BILOU with its other letters, demands."""
    first = {letters: next((s for s in every if s.here.prefix in letters), None) for letters in ("ES", "LU")}
    iobes, bilou = first["ES"], first["LU"]
    if iobes and bilou:
        what = f"{bilou.here} is BILOU, but {iobes.here} in line {iobes.line} is IOBES: two schemes are mixed"
        errors.add(bilou.line, what, "write the whole file in one of them")
        return
    rule = iobes or bilou
    assert rule is not None
    scheme, last, single = ("IOBES", "E", "S") if iobes else ("BILOU", "L", "U")
    why = f"which {scheme} forbids (line {rule.line} has {rule.here})"
    for context in every:
        prefix, kind = context.here
        if prefix in ("I", last) and not (context.touches and context.before.prefix in ("B", "I")):
            fix = f"open the span with B-{kind}, or write {single}-{kind}"
            errors.add(context.line, f"{context.here} {context.position}, {why}", fix)
        elif prefix in ("B", "I") and not (context.after.kind == kind and context.after.prefix in ("I", last)):
            end = single if prefix == "B" else last
            fix = f"write {end}-{kind}; a file in IOB2 has no {last}- and {single}- at all"
            errors.add(context.line, f"{context.here} is the last of its span, {why}", fix)
