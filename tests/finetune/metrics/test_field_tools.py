"""Every score is the one that scikit-learn, seqeval or scipy gives, on odd inputs too."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn import metrics

from app.finetune.metrics.classes import accuracy, averages, confusion, per_class
from app.finetune.metrics.entities import report_of
from app.finetune.tasks.text_regression import correlations, errors

CLASSES = 4
PAIRS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=12)


@given(PAIRS)
@settings(deadline=None)
def test_classification_scores_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """Classes that are absent from the truth, from the answers or from both; a single class."""
    truth, answers = np.array(pairs).T
    counts = confusion(truth, answers, CLASSES)
    assert counts.tolist() == metrics.confusion_matrix(truth, answers, labels=range(CLASSES)).tolist()
    assert accuracy(counts) == pytest.approx(metrics.accuracy_score(truth, answers))
    each = metrics.precision_recall_fscore_support(truth, answers, labels=range(CLASSES), zero_division=0)
    scores = per_class(truth, answers, CLASSES)
    np.testing.assert_allclose(scores, np.stack(each[:3], axis=1))
    for name, found in averages(counts, scores).items():
        expected = metrics.precision_recall_fscore_support(truth, answers, average=name, zero_division=0)
        np.testing.assert_allclose(found, expected[:3])


def test_no_example_has_no_accuracy() -> None:
    counts = confusion(np.array([], dtype=int), np.array([], dtype=int), 2)
    assert math.isnan(accuracy(counts)) and averages(counts, np.zeros((2, 3)))["macro"].tolist() == [0, 0, 0]


TAGS = st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"])
SENTENCES = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=6), min_size=1, max_size=4)


@given(SENTENCES)
@settings(deadline=None)
def test_entity_scores_are_seqevals_and_token_scores_scikit_learns(sentences: list[list[tuple[str, str]]]) -> None:
    truth, answers = ([[pair[i] for pair in sentence] for sentence in sentences] for i in (0, 1))
    values = report_of(truth, answers).values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            try:
                expected = score(truth, answers, mode="strict", scheme=IOB2, zero_division=0)
            except ValueError:  # seqeval has no answer if there is no entity on either side
                expected = 0.0
            assert values[f"entity_{name}"] == pytest.approx(float(expected))
    flat = [[tag for tags in side for tag in tags] for side in (truth, answers)]
    assert values["token_accuracy"] == pytest.approx(metrics.accuracy_score(*flat))
    assert values["token_macro_f1"] == pytest.approx(metrics.f1_score(*flat, average="macro", zero_division=0))


NUMBERS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=9)


@given(NUMBERS)
@settings(deadline=None)
def test_regression_scores_are_scikit_learns_and_scipys(pairs: list[tuple[int, int]]) -> None:
    truth, answers = np.array(pairs, dtype=np.float64).T
    found = {**errors(truth, answers), **correlations(truth, answers)}
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, answers))
    assert found["rmse"] == pytest.approx(math.sqrt(metrics.mean_squared_error(truth, answers)))
    constant = np.ptp(truth) == 0 or np.ptp(answers) == 0
    expected = (0.0, 0.0) if constant else (stats.pearsonr(truth, answers)[0], stats.spearmanr(truth, answers)[0])
    assert (found["pearson"], found["spearman"]) == pytest.approx(expected)
