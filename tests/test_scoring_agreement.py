"""Agreement of measurements: by hand, and against statsmodels and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from statsmodels.api import OLS, add_constant
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from sam3_angio.scoring.agreement import agreement_figures, severity_kappa
from sam3_angio.scoring.statistics import Resampling, WeightedFigure, estimate_figure


def value(figure: WeightedFigure) -> float:
    return float(figure.of_weights(np.ones((1, len(figure.patients))))[0])


@pytest.fixture
def pairs() -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    generator = np.random.default_rng(3)
    reference = generator.uniform(0.5, 3.0, 40)
    measured = 1.05 * reference + generator.normal(0.05, 0.2, 40)
    return measured, reference, [f"p{number // 2}" for number in range(40)]


def test_bias_and_scatter_by_hand() -> None:
    figures = agreement_figures(np.array([1.0, 2, 4]), np.array([1.0, 1, 2]), ["a", "b", "c"])
    assert value(figures["bias"]) == pytest.approx(1)  # of 0, 1, 2
    assert value(figures["sd"]) == pytest.approx(1)
    assert value(figures["mae"]) == pytest.approx(1)
    assert value(figures["limit_low"]) == pytest.approx(-0.96)
    assert value(figures["limit_high"]) == pytest.approx(2.96)


def test_the_icc_is_that_of_a_two_way_analysis_of_variance(
    pairs: tuple[NDArray[np.float64], NDArray[np.float64], list[str]],
) -> None:
    measured, reference, patients = pairs
    n = len(measured)
    table = pd.DataFrame(
        {
            "value": np.concatenate([measured, reference]),
            "frame": np.tile(np.arange(n), 2).astype(str),
            "reader": np.repeat(["measured", "reference"], n),
        }
    )
    squares = anova_lm(ols("value ~ C(frame) + C(reader)", table).fit())
    mean = squares["sum_sq"] / squares["df"]
    rows, columns, error = mean["C(frame)"], mean["C(reader)"], mean["Residual"]
    icc = (rows - error) / (rows + error + 2 / n * (columns - error))
    assert value(agreement_figures(measured, reference, patients)["icc"]) == pytest.approx(icc)


def test_the_slope_is_that_of_a_regression(
    pairs: tuple[NDArray[np.float64], NDArray[np.float64], list[str]],
) -> None:
    measured, reference, patients = pairs
    fit = OLS(measured - reference, add_constant((measured + reference) / 2)).fit()
    slope = value(agreement_figures(measured, reference, patients)["slope"])
    assert slope == pytest.approx(fit.params[1])


def test_kappa_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(4)
    reference = generator.uniform(0, 100, 60)
    measured = reference + generator.normal(0, 15, 60)
    patients = [str(number) for number in range(60)]
    for limit in (50.0, 70.0):
        expected = cohen_kappa_score(measured >= limit, reference >= limit)
        assert value(severity_kappa(measured, reference, patients, limit)) == pytest.approx(
            expected
        )


def test_weights_are_repetitions_of_patients(
    pairs: tuple[NDArray[np.float64], NDArray[np.float64], list[str]],
) -> None:
    measured, reference, patients = pairs
    twice = [name for name in patients if name == "p3"]
    rows = [*range(40), *(place for place, name in enumerate(patients) if name == "p3")]
    repeated = agreement_figures(measured[rows], reference[rows], [*patients, *twice])
    for name, figure in agreement_figures(measured, reference, patients).items():
        weights = np.array([[2.0 if one == "p3" else 1.0 for one in figure.patients]])
        assert figure.of_weights(weights)[0] == pytest.approx(value(repeated[name]))


def test_a_pair_with_a_missing_value_takes_no_part() -> None:
    figures = agreement_figures(
        np.array([1.0, np.nan, 3, 4]), np.array([1.0, 1, np.nan, 3]), list("abcd")
    )
    estimate = estimate_figure(figures["bias"], Resampling(samples=50, confidence=0.95, seed=0))
    assert (estimate.n, estimate.undefined, estimate.mean) == (2, 2, 0.5)


def test_no_pairs_give_no_figure() -> None:
    figures = agreement_figures(np.array([np.nan]), np.array([1.0]), ["a"])
    estimate = estimate_figure(figures["icc"], Resampling(samples=50, confidence=0.95, seed=0))
    assert np.isnan(estimate.mean)
