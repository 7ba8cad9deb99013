"""Who is examined, from which views, and what is analysed: the plan of a data set.

A patient has one procedure. Some segments are analysed before treatment (``INDEX BASELINE``,
``… PRE``); the lesions that are treated are analysed again (``INDEX FINAL``, ``… FINAL``) from
nearly the same view. A few rows share a run with another: a second segment, or a second frame.

Sources: segments as often as in a catheterisation laboratory (LAD and RCA before the circumflex
and the side branches); usual working views of both arteries.

Conventions: everything about patient k follows from the data set's seed and k, whatever the
number of patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import Artery, segments
from sam3_angio.phantom.beat import best_frames
from sam3_angio.phantom.collimator import collimated
from sam3_angio.phantom.heart import Heart, grow_heart
from sam3_angio.phantom.lesion import LesionPlan, treated, with_lesions
from sam3_angio.phantom.site import VESSEL_NAMES
from sam3_angio.phantom.views import analysable
from sam3_angio.phantom.xa_file import JPEG_2000, JPEG_LOSSLESS, JPEG_LS, RLE, UNCOMPRESSED
from sam3_angio.phantom.xray import ProjectionGeometry, aimed

Phase = Literal["INDEX BASELINE", "INDEX FINAL"]

#: How often a segment is analysed where the heart has it, relative to the others.
SEGMENT_WEIGHTS = {1: 10, 2: 13, 3: 8, 4: 5, 12: 14, 13: 16, 14: 6, 15: 7, 16: 5}
SEGMENT_WEIGHTS |= {18: 8, 19: 8, 20: 7, 21: 5, 28: 30}

#: Working views, (primary, secondary) in DICOM's signs.
WORKING_VIEWS: dict[Artery, tuple[tuple[float, float], ...]] = {
    "RCA": ((35, 0), (22, 25), (-30, 0), (0, 25)),
    "LCA": ((-20, -25), (-5, 35), (35, 25), (45, -30), (0, -25), (-30, 5), (-25, 20)),
}

#: How often each transfer syntax occurs, by bits stored: JPEG Lossless is the default of the
#: laboratory's older room, the newer one with its large pictures compresses better.
SYNTAX_SHARES = {
    8: {JPEG_LOSSLESS: 0.56, JPEG_LS: 0.22, JPEG_2000: 0.16, RLE: 0.03, UNCOMPRESSED: 0.03},
    12: {JPEG_LOSSLESS: 0.26, JPEG_LS: 0.38, JPEG_2000: 0.32, RLE: 0.02, UNCOMPRESSED: 0.02},
}

#: What a header may lack, and how often it does.
GAP_SHARES = {"angles": 0.015, "sod": 0.05, "magnification": 0.08, "window": 0.04, "offsets": 0.25}

_SEGMENTS_A_PATIENT = (0.34, 0.4, 0.2, 0.06)  # one, two, three, four
_FIELDS_MM = (160.0, 175.0, 200.0)  # sides of the detector's field
# Patients filmed in the room with 1024² and 12 bits: three of each twenty, evenly spread, so that
# the share is the same for every seed.
_LARGE_EVERY = 20
_LARGE_PLACES = (5, 12, 19)
_FRAMES = (9, 12)  # of a run, the second one excluded
_LESION_SHARE = 0.8
_TREATED_SHARE = 0.85
_OTHER_LESION_SHARE = 0.3
_SECOND_VIEW_SHARE = 0.15
_SHARED_RUN_SHARE = 0.065
_ENOUGH_QUALITY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCase:
    """One analysed frame of a run: segment, frame, vessel and moment as the site names them."""

    cass: int
    frame_index: int
    vessel_pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCase:
    """One run: what is filmed, how it is stored, what is analysed in it.

    Attributes
    ----------
    phase : str
        Of the procedure; the heart is the treated one in ``INDEX FINAL``.
    name : str
        File name without ending.
    artery : {"RCA", "LCA"}
        Which one is injected.
    geometry : ProjectionGeometry
        With the table in place.
    bits, frames : int
        Bits stored, number of frames.
    transfer_syntax : str
        Of the file.
    gaps : frozenset of str
        What the header lacks, of :data:`GAP_SHARES`.
    seed : int
        Of the simulated run.
    rows : tuple of RowCase
        What is analysed.
    """

    phase: Phase
    name: str
    artery: Artery
    geometry: ProjectionGeometry
    bits: int
    frames: int
    transfer_syntax: str
    gaps: frozenset[str]
    seed: int
    rows: tuple[RowCase, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientCase:
    """One patient: number, the heart before and after treatment, and the runs in order."""

    number: int
    before: Heart
    after: Heart
    runs: tuple[RunCase, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A segment to be analysed, its views, its lesion and what treatment leaves of it."""

    cass: int
    views: tuple[ProjectionGeometry, ...]
    lesion: LesionPlan | None
    treated: LesionPlan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Take:
    """One run to be filmed: phase, name of its file, segment, view."""

    phase: Phase
    name: str
    cass: int
    geometry: ProjectionGeometry


def plan_patient(seed: int, number: int) -> PatientCase:
    """Plan a patient's procedure.

    Parameters
    ----------
    seed : int
        Of the data set.
    number : int
        Of the patient, from 1.
    """
    generator = np.random.default_rng([seed, number, 0])
    healthy = grow_heart(int(generator.integers(2**31)))
    size_px = 1024 if number % _LARGE_EVERY in _LARGE_PLACES else 512
    targets = _targets(healthy, size_px, generator)
    chosen = {target.cass for target in targets}
    others = _other_lesions(healthy, chosen, generator)
    lesions = [target.lesion for target in targets if target.lesion]
    left = [target.treated or target.lesion for target in targets]
    before = with_lesions(healthy, [*lesions, *others])
    after = with_lesions(healthy, [*(lesion for lesion in left if lesion), *others])
    runs = [
        _run(after if take.phase == "INDEX FINAL" else before, take, chosen, generator)
        for take in _takes(targets, generator)
    ]
    return PatientCase(number=number, before=before, after=after, runs=tuple(runs))


def _targets(heart: Heart, size_px: int, generator: np.random.Generator) -> list[_Target]:
    """Choose segments in the order of a weighted draw, leaving out those that no view shows."""
    wanted = 1 + int(generator.choice(len(_SEGMENTS_A_PATIENT), p=_SEGMENTS_A_PATIENT))
    present = [cass for cass in SEGMENT_WEIGHTS if cass in heart.cass]
    weights = np.array([SEGMENT_WEIGHTS[cass] for cass in present], dtype=np.float64)
    order = generator.choice(present, len(present), replace=False, p=weights / weights.sum())
    targets: list[_Target] = []
    for cass in order.tolist():
        if len(targets) == wanted:
            break
        count = 2 if generator.random() < _SECOND_VIEW_SHARE else 1
        views = _views(heart, cass, size_px, count, generator)
        if views:
            targets.append(_target(heart, cass, views, generator))
    return targets


def _views(
    heart: Heart, cass: int, size_px: int, count: int, generator: np.random.Generator
) -> tuple[ProjectionGeometry, ...]:
    """Return up to `count` views that show a segment well, tried in random order."""
    artery = segments()[cass].artery
    views: list[ProjectionGeometry] = []
    for primary_deg, secondary_deg in generator.permutation(WORKING_VIEWS[artery]).tolist():
        view = _jittered(primary_deg, secondary_deg, 4.0, generator)
        geometry = aimed(_geometry(view, size_px, generator), heart, artery)
        geometry = collimated(geometry, heart, artery, cass, generator)
        quality = dict(analysable(heart, artery, geometry)).get(cass, 0.0)
        # the better a view shows it, the likelier the operator stops here
        if quality >= _ENOUGH_QUALITY and generator.random() < quality:
            views.append(geometry)
        if len(views) == count:
            break
    return tuple(views)


def _jittered(
    primary_deg: float, secondary_deg: float, sd_deg: float, generator: np.random.Generator
) -> ViewAngle:
    """Return a view near another, in the tenths of a degree that header and table hold."""
    primary, secondary = np.array([primary_deg, secondary_deg]) + np.clip(
        generator.normal(0, sd_deg, 2), -2 * sd_deg, 2 * sd_deg
    )
    # adding zero turns -0.0 into 0.0
    return ViewAngle(
        primary_deg=round(float(primary), 1) + 0.0, secondary_deg=round(float(secondary), 1) + 0.0
    )


def _geometry(view: ViewAngle, size_px: int, generator: np.random.Generator) -> ProjectionGeometry:
    return ProjectionGeometry(
        view=view,
        sid_mm=float(generator.integers(980, 1151)),
        sod_mm=float(generator.integers(750, 801)),
        detector_spacing_mm=round(float(generator.choice(_FIELDS_MM)) / size_px, 4),
        size_px=size_px,
    )


def _target(
    heart: Heart,
    cass: int,
    views: tuple[ProjectionGeometry, ...],
    generator: np.random.Generator,
) -> _Target:
    diseased, cured = generator.random(2) < (_LESION_SHARE, _TREATED_SHARE)
    lesion = _lesion(heart, cass, generator)
    residual_pct = float(generator.uniform(0, 15))
    is_treated = diseased and cured and lesion.stenosis_pct >= 50
    return _Target(
        cass=cass,
        views=views,
        lesion=lesion if diseased else None,
        treated=treated(lesion, residual_pct) if is_treated else None,
    )


def _lesion(heart: Heart, cass: int, generator: np.random.Generator) -> LesionPlan:
    """Draw a narrowing of 30 to 90 %."""
    branch = heart.segment(cass)
    longest_mm = 22.0 if branch is None else min(22.0, 0.8 * float(branch.arc_mm[-1]))
    return LesionPlan(
        cass=cass,
        centre=float(generator.uniform(0.25, 0.75)),
        length_mm=float(generator.uniform(min(6.0, longest_mm), longest_mm)),
        stenosis_pct=30 + 60 * float(generator.beta(2.2, 1.6)),
        eccentricity=float(generator.uniform(0, 0.9)),
        azimuth_deg=float(generator.uniform(0, 360)),
    )


def _other_lesions(
    heart: Heart, chosen: set[int], generator: np.random.Generator
) -> list[LesionPlan]:
    """Draw a lesion that nobody analyses, in some patients."""
    free = [cass for cass in SEGMENT_WEIGHTS if cass in heart.cass and cass not in chosen]
    if not free or generator.random() >= _OTHER_LESION_SHARE:
        return []
    return [_lesion(heart, int(generator.choice(free)), generator)]


def _takes(targets: Sequence[_Target], generator: np.random.Generator) -> list[_Take]:
    """Return what is filmed, in order: everything before treatment, then the results."""
    baseline, final = [], []
    for target in targets:
        vessel = VESSEL_NAMES[target.cass]
        first, *more = target.views
        take = _Take(phase="INDEX BASELINE", name=f"{vessel} PRE", cass=target.cass, geometry=first)
        baseline.append(take)
        baseline.extend(
            replace(take, name=f"{vessel} PRE {number}", geometry=geometry)
            for number, geometry in enumerate(more, start=2)
        )
        if target.treated is not None:
            view = _jittered(first.view.primary_deg, first.view.secondary_deg, 1.0, generator)
            final.append(
                replace(
                    take,
                    phase="INDEX FINAL",
                    name=f"{vessel} FINAL",
                    geometry=replace(first, view=view),
                )
            )
    return [*baseline, *final]


def _run(heart: Heart, take: _Take, chosen: set[int], generator: np.random.Generator) -> RunCase:
    artery = segments()[take.cass].artery
    geometry = aimed(take.geometry, heart, artery)
    frames = int(generator.integers(*_FRAMES))
    seed = int(generator.integers(2**31))
    row = RowCase(
        cass=take.cass, frame_index=best_frames(frames, seed)[0], vessel_pattern=take.name
    )
    bits = 12 if geometry.size_px == 1024 else 8
    syntaxes, shares = zip(*SYNTAX_SHARES[bits].items(), strict=True)
    syntax = str(generator.choice(syntaxes, p=shares))
    gaps = frozenset(gap for gap, share in GAP_SHARES.items() if generator.random() < share)
    run = RunCase(
        phase=take.phase,
        name=take.name,
        artery=artery,
        geometry=geometry,
        bits=bits,
        frames=frames,
        transfer_syntax=syntax,
        gaps=gaps,
        seed=seed,
        rows=(row,),
    )
    if generator.random() >= _SHARED_RUN_SHARE:
        return run
    return replace(run, rows=(row, *_second_row(heart, run, chosen, generator)))


def _second_row(
    heart: Heart, run: RunCase, chosen: set[int], generator: np.random.Generator
) -> tuple[RowCase, ...]:
    """Return another segment of the same frame, or the same segment in another frame."""
    (row,) = run.rows
    moment = row.vessel_pattern.removeprefix(VESSEL_NAMES[row.cass])
    shown = analysable(heart, run.artery, run.geometry)
    free = [cass for cass, quality in shown if quality >= _ENOUGH_QUALITY and cass not in chosen]
    others = [frame for frame in best_frames(run.frames, run.seed) if frame != row.frame_index]
    if free and (not others or generator.random() < 0.6):
        cass = int(generator.choice(free))
        return (replace(row, cass=cass, vessel_pattern=f"{VESSEL_NAMES[cass]}{moment}"),)
    return tuple(replace(row, frame_index=frame) for frame in others[:1])
