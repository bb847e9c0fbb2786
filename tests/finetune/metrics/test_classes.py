"""Confusion matrix, scores of each class and their tables, compared with values worked out by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from app.finetune.metrics.classes import confusion, per_class, tables

TRUTH = np.array([0, 0, 0, 1, 1, 2])
ANSWERS = np.array([0, 0, 1, 1, 2, 2])


def test_rows_of_the_confusion_matrix_are_the_truth_and_columns_the_answers() -> None:
    assert confusion(TRUTH, ANSWERS, 3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_precision_recall_and_f1_by_hand() -> None:
    expected = [[1.0, 2 / 3, 4 / 5], [1 / 2, 1 / 2, 1 / 2], [1 / 2, 1.0, 2 / 3]]
    assert per_class(TRUTH, ANSWERS, 3) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ("truth", "answers", "counts", "scores"),
    [
        pytest.param([0, 0, 1], [0, 0, 0], [[2, 0], [1, 0]], [[2 / 3, 1, 4 / 5], [0, 0, 0]], id="a class never given"),
        pytest.param([0, 0], [0, 1], [[1, 1], [0, 0]], [[1, 1 / 2, 2 / 3], [0, 0, 0]], id="a class not in the truth"),
        pytest.param([1, 1], [1, 1], [[0, 0], [0, 2]], [[0, 0, 0], [1, 1, 1]], id="a class in neither"),
        pytest.param([0, 0, 0], [0, 0, 0], [[3]], [[1, 1, 1]], id="one class"),
        pytest.param([1], [1], [[0, 0], [0, 1]], [[0, 0, 0], [1, 1, 1]], id="one example, right"),
        pytest.param([0], [1], [[0, 1], [0, 0]], [[0, 0, 0], [0, 0, 0]], id="one example, wrong"),
        pytest.param([0, 1, 1], [1, 0, 0], [[0, 1], [2, 0]], [[0, 0, 0], [0, 0, 0]], id="everything wrong"),
    ],
)
def test_edge_cases_by_hand_without_a_warning(
    truth: list[int], answers: list[int], counts: list[list[int]], scores: list[list[float]]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert confusion(np.array(truth), np.array(answers), len(counts)).tolist() == counts
        assert per_class(np.array(truth), np.array(answers), len(counts)) == pytest.approx(np.array(scores))


def test_the_tables_hold_scores_averages_and_counts() -> None:
    names = ["a", "b", "c"]
    lines = tables(confusion(TRUTH, ANSWERS, 3), per_class(TRUTH, ANSWERS, 3), names).splitlines()
    assert lines == [
        "| class | precision | recall | F1 | support |",
        "|---|---|---|---|---|",
        "| a | 1.000 | 0.667 | 0.800 | 3 |",
        "| b | 0.500 | 0.500 | 0.500 | 2 |",
        "| c | 0.500 | 1.000 | 0.667 | 1 |",
        "| *macro* | 0.667 | 0.722 | 0.656 | 6 |",
        "| *weighted* | 0.750 | 0.667 | 0.678 | 6 |",
        "",
        "| true \\ answered | a | b | c |",
        "|---|---|---|---|",
        "| **a** | 2 | 1 | 0 |",
        "| **b** | 0 | 1 | 1 |",
        "| **c** | 0 | 0 | 1 |",
    ]
