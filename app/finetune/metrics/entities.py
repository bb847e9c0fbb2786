"""How well a tagger did, in two tables: whole entities, scored strictly, and single tokens.

The two differ a lot. An entity counts only if all of its tokens and its type are right and its first tag is a B
(seqeval's strict mode for IOB2; F1 as in Tjong Kim Sang and De Meulder 2003). Papers report this score. The table of
tokens scores each tag separately. Most tokens are O, so its micro average, which is the accuracy, is high even for a
tagger that finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from seqeval.metrics.v1 import classification_report
from seqeval.scheme import IOB2

from app.data.tags.schemes import OUTSIDE
from app.finetune.metrics.classes import accuracy, averages, confusion, per_class

Tags = Sequence[Sequence[str]]
AVERAGES = ("micro", "macro", "weighted")


@dataclass(frozen=True)
class Row:
    """Precision, recall and F1 of one type or tag, or an average of them; a ratio whose denominator is 0 is 0."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """How often it occurs in the truth."""


@dataclass(frozen=True)
class EntityReport:
    """Both tables. Their last three rows are the averages."""

    entities: tuple[Row, ...]
    tokens: tuple[Row, ...]

    def values(self) -> dict[str, float]:
        """Return the scores that are recorded and compared."""
        entity, token = ({row.name: row for row in rows[-3:]} for rows in (self.entities, self.tokens))
        return {
            "entity_f1": entity["micro"].f1,
            "entity_precision": entity["micro"].precision,
            "entity_recall": entity["micro"].recall,
            "token_accuracy": token["micro"].f1,
            "token_macro_f1": token["macro"].f1,
        }

    def markdown(self) -> str:
        """Return both tables, each under its title."""
        return "\n".join(
            [
                "**Entities**, strict: every token, the type and the opening B must be right (seqeval, IOB2).",
                "",
                *_table("type", self.entities),
                "",
                "**Tokens**, each tag separately; micro is the accuracy, O included.",
                "",
                *_table("tag", self.tokens),
            ]
        )


def report_of(truth: Tags, answers: Tags) -> EntityReport:
    """Return both tables over sentences of IOB2 tags.

    Raises ValueError if a sentence has more or fewer tags in `answers` than in `truth`.
    """
    if list(map(len, truth)) != list(map(len, answers)):
        raise ValueError("every token needs one answer")
    return EntityReport(tuple(_entity_rows(truth, answers)), tuple(_token_rows(truth, answers)))


def _entity_rows(truth: Tags, answers: Tags) -> list[Row]:
    """Return a row for each type in truth or answers, in alphabetical order, then the averages."""
    if not any(tag.startswith("B-") for tags in (*truth, *answers) for tag in tags):
        return [Row(average, 0.0, 0.0, 0.0, 0) for average in AVERAGES]  # seqeval cannot average over no types
    found = classification_report(
        list(map(list, truth)), list(map(list, answers)), scheme=IOB2, output_dict=True, zero_division=0
    )
    return [
        _row(name.removesuffix(" avg"), [row["precision"], row["recall"], row["f1-score"]], row["support"])
        for name, row in found.items()
    ]


def _token_rows(truth: Tags, answers: Tags) -> list[Row]:
    """Return a row for each tag in truth or answers, O first, then each type's B and I, then the averages."""
    flat_truth, flat_answers = ([tag for tags in side for tag in tags] for side in (truth, answers))
    names = sorted({*flat_truth, *flat_answers}, key=lambda tag: (tag != OUTSIDE, tag[2:], tag))
    place = {name: i for i, name in enumerate(names)}
    true, answered = (np.array([place[tag] for tag in side]) for side in (flat_truth, flat_answers))
    counts, table = confusion(true, answered, len(names)), per_class(true, answered, len(names))
    support = counts.sum(1)
    mean = averages(counts, table)
    whole = zip(AVERAGES, ([accuracy(counts)] * 3, mean["macro"].tolist(), mean["weighted"].tolist()))
    rows = [_row(name, scores, n) for name, scores, n in zip(names, table, support)]
    return rows + [_row(name, scores, len(flat_truth)) for name, scores in whole]


def _row(name: str, scores: Sequence[float], support: int) -> Row:
    precision, recall, f1 = map(float, scores)  # JSON cannot hold numpy's floats
    return Row(name, precision, recall, f1, int(support))


def _table(title: str, rows: Sequence[Row]) -> list[str]:
    body = [
        f"| {f'*{row.name}*' if row.name in AVERAGES else row.name} | {row.precision:.3f} | {row.recall:.3f} "
        f"| {row.f1:.3f} | {row.support} |"
        for row in rows
    ]
    return [f"| {title} | precision | recall | F1 | support |", "|---|---|---|---|---|", *body]
