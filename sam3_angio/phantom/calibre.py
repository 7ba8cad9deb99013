"""How wide the vessels are: diameters by vessel, dominance and sex, divided at each branch.

Sources: lumen diameters, Dodge et al. 1992, doi:10.1161/01.CIR.86.1.232 (``dodge.csv``); division
at a branch, Murray 1926, doi:10.1073/pnas.12.3.207.
Conventions: diameters in millimetres, a value a sample of the course.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from sam3_angio.phantom.axes import Dominance, Sex, bounded
from sam3_angio.phantom.courses import MIN_DIAMETER_MM, STEP_MM, Course

MURRAY_EXPONENT = 3.0
FEMALE_DIAMETER = 0.91  # women's arteries are about 9 % smaller


@cache
def _dodge() -> dict[tuple[str, str], tuple[float, float]]:
    text = resources.files("sam3_angio.phantom").joinpath("dodge.csv").read_text("utf-8")
    return {
        (line["vessel"], line["dominance"]): (float(line["mean_mm"]), float(line["sd_mm"]))
        for line in csv.DictReader(text.splitlines())
    }


def diameters_mm(
    rng: np.random.Generator, courses: dict[str, Course], dominance: Dominance, sex: Sex
) -> dict[str, NDArray[np.float64]]:
    """Return each course's healthy lumen diameter.

    Parameters
    ----------
    rng : Generator
        Of the trunks' individual variation.
    courses : dict of str to Course
        An origin comes before its branches.
    dominance : {"right", "left", "balanced"}
    sex : {"female", "male"}

    Returns
    -------
    dict of str to (N,) ndarray
    """
    factor = FEMALE_DIAMETER if sex == "female" else 1.0
    starts = {
        vessel: factor * bounded(rng, *_dodge()[vessel, dominance])
        for vessel in ("LAD", "LCX", "RCA")
    }
    if "ramus" in courses:
        starts["ramus"] = 0.55 * starts["LAD"]
    fed_by_left_main = [starts[name] for name in ("LAD", "LCX", "ramus") if name in starts]
    starts["left main"] = _murray_sum(fed_by_left_main)
    diameters: dict[str, NDArray[np.float64]] = {}
    for name, course in courses.items():
        start = starts.get(name)
        if start is None:
            origin_mm = diameters[course.row.origin][course.origin_index]
            start = max(MIN_DIAMETER_MM, _start_ratio(course, courses) * float(origin_mm))
        end = course.row.end_mm and factor * course.row.end_mm * bounded(rng, 1, 0.15)
        diameters[name] = _tapered(start, end, course, _children(name, courses))
    return diameters


def _children(name: str, courses: dict[str, Course]) -> list[Course]:
    return [course for course in courses.values() if course.row.origin == name and course.ratio]


def _murray_sum(diameters_mm: Iterable[float]) -> float:
    return float(sum(d**MURRAY_EXPONENT for d in diameters_mm) ** (1 / MURRAY_EXPONENT))


def _left_by(ratio: float) -> float:
    """Return how much of the diameter goes on, relative, after a branch of relative `ratio`."""
    return float((1 - ratio**MURRAY_EXPONENT) ** (1 / MURRAY_EXPONENT))


def _start_ratio(course: Course, courses: dict[str, Course]) -> float:
    if course.ratio is not None:
        return course.ratio
    sibling = courses["posterior descending"].ratio  # the one other course without a ratio
    return _left_by(sibling or 0.0)


def _tapered(
    start_mm: float, end_mm: float | None, course: Course, children: list[Course]
) -> NDArray[np.float64]:
    """Return a diameter that steps down at each branch by Murray's law and tapers between them.

    The steps are spread over 3 mm; the taper takes what is left between the last step and the
    diameter that the vessel has at its end.
    """
    samples = np.arange(len(course.points_mm))
    relative = np.ones(len(samples))
    for child in children:
        if child.origin_index < len(samples) - 1:
            ramp = np.clip((samples - child.origin_index) * STEP_MM / 3.0, 0, 1)
            relative = relative * (1 + (_left_by(child.ratio or 0.0) - 1) * ramp)
    if end_mm is None:
        return start_mm * relative  # the left main does not taper
    taper = np.clip(max(end_mm, MIN_DIAMETER_MM) / (start_mm * relative[-1]), 0.2, 1.0)
    tapered = start_mm * relative * taper ** (samples / samples[-1])
    return np.asarray(np.maximum(tapered, MIN_DIAMETER_MM))
