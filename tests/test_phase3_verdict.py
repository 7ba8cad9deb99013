"""The sentence on the view angle: what is told apart, and by what."""

from __future__ import annotations

import math

import pytest

from sam3_angio.report.phase3 import verdict
from sam3_angio.scoring.phase3 import ArmScores, Comparison, NameTest
from sam3_angio.scoring.statistics import Estimate


def sentence(
    low: float, high: float, holm_p: float, declarable: float = 0.096, epochs: int = 1
) -> str:
    """Return the verdict where one arm, ``text``, differs in naming by some interval."""
    difference = Estimate(mean=0.1, low=low, high=high, n=83, patients=22, undefined=0)
    equal = Estimate(mean=0.0, low=-0.1, high=0.1, n=83, patients=22, undefined=0)
    scores = ArmScores(
        confidence=0.95,
        arms={},
        estimates={"none": {("dice", "annotated"): equal}},
        comparisons=tuple(
            Comparison(
                arm="text",
                to="none",
                name=name,
                against="annotated",
                artery="all",
                difference=of,
                detectable=0.15 if name == "top1" else 0.05,
                declarable=declarable if name == "top1" else math.nan,
            )
            for name, of in (("top1", difference), ("dice", equal))
        ),
        tests=(NameTest(arm="text", to="none", only_arm=9, only_other=1, p=0.02, holm_p=holm_p),),
    )
    return verdict(scores, epochs)


@pytest.mark.parametrize(
    ("low", "high", "holm_p", "expected"),
    [
        (0.02, 0.18, 0.03, "text (+0.100, +0.020 to +0.180) raises top-1 over none"),
        (-0.05, 0.25, 0.03, "text (+0.100, -0.050 to +0.250) is not shown to differ from none"),
        (
            0.02,
            0.18,
            0.21,
            "text (+0.100, +0.020 to +0.180, but p = 0.21 by McNemar's test after Holm) is not "
            "shown to differ from none in top-1",
        ),
    ],
)
def test_naming_differs_where_both_the_interval_and_the_adjusted_test_say_so(
    low: float, high: float, holm_p: float, expected: str
) -> None:
    assert expected in sentence(low, high, holm_p)


def test_what_is_not_shown_comes_with_the_budget_and_with_what_could_have_been() -> None:
    said = sentence(-0.05, 0.25, 1.0)
    assert (
        "in top-1 at this budget (1 epoch, 83 frames of 22 patients; no difference below 0.096 "
        "could be declared; a difference of 0.150 would be found in 80 % of repetitions)"
    ) in said
    assert (
        "in Dice at this budget (83 frames of 22 patients; a difference of 0.050 would be found in "
        "80 % of repetitions)"
    ) in said
    assert "(4 epochs, 83 frames" in sentence(-0.05, 0.25, 1.0, epochs=4)
    assert "patients; no difference could be declared;" in sentence(-0.05, 0.25, 1.0, math.nan)
    assert "budget" not in sentence(0.02, 0.18, 0.03).partition(";")[0]
