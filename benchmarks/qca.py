"""How near QCA comes to known diameters, and how long it takes.

``PYTHONPATH=tests python benchmarks/qca.py [--tubes 200] [--short 8] [--data data]`` measures

- tubes of random width, bend, direction and stenosis, drawn with partly covered pixels
  (``coverage``), cut to a mask (``mask``), or given as two borders (``edges``);
- tubes of 1.5 to 5 mm with a lesion of 30 to 80 % that is once to three times as long as the vessel
  is wide, of a cosine's shape or flat, and tubes without one, by size of pixel; and on the pixels
  of blurred, noisy frames under coarse masks (``frame``);
- the analysed segments of the phantom under ``--data``, if there are any: the whole truth's mask,
  and what is left of it on a raster of a 128th of the picture with uneven borders (``coarse``), by
  themselves and to guide a measurement on the frame's own pixels (``--frames``); and the expert's
  borders with the reference as a line or from the ideal borders. Truth is the tightest lesion of
  at least 20 % in the segment (``lesions.csv``), its length as projected; the last line compares
  with what the expert's file itself says.

Shown are mean and standard deviation of measured minus true; lengths start and end at the
tolerance of :data:`sam3_angio.qca.stenosis.LEAVE_TOLERANCE`, so that they are shorter than a
cosine's whole length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage
from test_qca_frame import SPACING as FRAME_SPACING
from test_qca_frame import on_raster
from test_qca_frame import picture as shown
from test_qca_frame import vessel as vessel_picture
from tubes import Tube, Width, narrowed, straight, tube

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.coco import ImageEntry, decode_mask, load_document
from sam3_angio.errors import DataError
from sam3_angio.medis import SegmentContour, read_contour
from sam3_angio.qca import (
    DiameterProfile,
    QcaResult,
    measure,
    profile_from_edges,
    profile_from_frame,
    profile_from_mask,
    reference_from_edges,
)
from sam3_angio.qca.parts import one_vessel
from sam3_angio.qca.profile import scale_of
from sam3_angio.scoring.qca_frames import spacing_of

Points = NDArray[np.float64]
SHORT_PIXELS_MM = (0.1, 0.2, 0.35)
SHORT_LENGTHS = (1.0, 1.5, 3.0)
SHOULDER = 0.2
TUBE_SPACING = PixelSpacing(row_mm=0.25, column_mm=0.25, source="none")
SIDE_PX = 200
LEAST_STENOSIS_PCT = 20.0
COLUMNS = ("MLD (mm)", "RVD (mm)", "%DS", "length (mm)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A known lesion, in millimetres and percent; NaN where unknown."""

    mld_mm: float
    rvd_mm: float
    stenosis_pct: float
    length_mm: float


def drawn_tubes(count: int) -> Iterator[tuple[Tube, Truth]]:
    """Draw vessels of 1.5 to 3.5 mm with one lesion of 25 to 80 %."""
    rng = np.random.default_rng(0)
    mm = TUBE_SPACING.row_mm
    for _ in range(count):
        length, lesion = rng.uniform(70, 160), rng.uniform(18, 50)
        width, taper, fraction = rng.uniform(6, 14), rng.uniform(0, 0.02), rng.uniform(0.25, 0.8)
        middle = rng.uniform(0.3, 0.7) * length
        healthy = width - taper * middle
        vessel = tube(
            length,
            narrowed(straight(width, taper=-taper), (middle, lesion, fraction)),
            middle=(SIDE_PX / 2 + rng.uniform(-1, 1), SIDE_PX / 2 + rng.uniform(-1, 1)),
            angle_deg=rng.uniform(0, 360),
            curvature=rng.uniform(-1, 1) / 60,
            eccentricity=float(rng.choice([0, 0.5, 1])),
        )
        yield (
            vessel,
            Truth(
                mld_mm=mm * float(vessel.diameter.min()),
                rvd_mm=mm * healthy,
                stenosis_pct=100 * fraction,
                length_mm=mm * lesion,
            ),
        )


def short_lesion(
    healthy: float, middle: float, length: float, fraction: float, flat: bool
) -> Width:
    """Return a diameter that is narrowed by a cosine, or by a plateau with steep shoulders."""

    def width(arc: Points) -> Points:
        away = np.abs(arc - middle) / (length / 2)
        rise = np.clip((1 - away) / (2 * SHOULDER if flat else 1.0), 0, 1)
        return healthy * (1 - fraction * (1 - np.cos(np.pi * rise)) / 2)

    return width


def short_tubes(count: int, mm: float, times: float) -> Iterator[tuple[Tube, int, Truth]]:
    """Draw tubes with a lesion so many times as long as they are wide; 0 for no lesion.

    Yields
    ------
    tuple
        Tube, side of its picture in pixels, and truth.
    """
    rng = np.random.default_rng([round(100 * mm), round(10 * times)])
    for number in range(count):
        healthy, fraction = rng.uniform(1.5, 5.0), rng.uniform(0.3, 0.8) if times else 0.0
        lesion = max(times, 1.0) * healthy
        length = max(12.0, 4 * healthy + lesion + 2)
        side = round((length + 2 * healthy) / mm) + 6
        middle = length / 2 + rng.uniform(-0.5, 0.5)
        vessel = tube(
            length / mm,
            short_lesion(healthy / mm, middle / mm, lesion / mm, fraction, bool(number % 2)),
            middle=(side / 2 + rng.uniform(-0.5, 0.5), side / 2 + rng.uniform(-0.5, 0.5)),
            angle_deg=float(rng.choice([0, 20, 45, rng.uniform(0, 360)])),
            curvature=float(rng.choice([0, 0, 1 / 20, -1 / 12])) * mm,
            eccentricity=float(rng.choice([0, 0.5, 1])),
        )
        yield (
            vessel,
            side,
            Truth(
                mld_mm=(1 - fraction) * healthy,
                rvd_mm=healthy,
                stenosis_pct=100 * fraction,
                length_mm=lesion if times else np.nan,
            ),
        )


class Tally:
    """Errors, refusals and times of one way to measure."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.errors: list[tuple[float, ...]] = []
        self.refused = 0
        self.missed = 0
        self.seconds = 0.0

    def add(self, truth: Truth, measuring: Callable[..., QcaResult], *arguments: object) -> None:
        """Time a measurement and compare it."""
        start = time.process_time()
        try:
            result = measuring(*arguments)
        except DataError:
            self.refused += 1
            return
        finally:
            self.seconds += time.process_time() - start
        worst = max(result.lesions, key=lambda found: found.diameter_stenosis_pct, default=None)
        self.missed += worst is None
        self.errors.append(
            (
                result.mld_mm - truth.mld_mm,
                result.rvd_mm - truth.rvd_mm,
                result.diameter_stenosis_pct - truth.stenosis_pct,
                worst.length_mm - truth.length_mm if worst else np.nan,
            )
        )

    def row(self) -> list[str]:
        """Return the table's cells."""
        table = np.array(self.errors).reshape(-1, len(COLUMNS))
        counts = len(table) + self.refused
        cells = [shown_error(column[~np.isnan(column)]) for column in table.T]
        each_ms = 1000 * self.seconds / max(counts, 1)
        return [
            self.name,
            str(len(table)),
            *cells,
            str(self.missed),
            str(self.refused),
            f"{each_ms:.0f}",
        ]


def shown_error(errors: Points) -> str:
    """Return mean and standard deviation; nothing of fewer than two."""
    return f"{errors.mean():+.2f} ± {errors.std(ddof=1):.2f}" if len(errors) > 1 else ""


def tube_tallies(count: int) -> list[Tally]:
    coverage, mask, edges = (Tally(f"tubes, {name}") for name in ("coverage", "mask", "edges"))
    for vessel, truth in track(drawn_tubes(count), total=count, description="tubes"):
        picture = vessel.coverage((SIDE_PX, SIDE_PX))
        coverage.add(truth, by_mask, picture, TUBE_SPACING, vessel.centre[0])
        mask.add(truth, by_mask, picture >= 0.5, TUBE_SPACING, vessel.centre[0])
        edges.add(truth, by_edges, *vessel.edges(200), TUBE_SPACING)
    return [coverage, mask, edges]


def short_tallies(count: int) -> list[Tally]:
    """Measure short lesions: a row a size of pixel and length of lesion."""
    tallies = []
    for mm in SHORT_PIXELS_MM:
        spacing = PixelSpacing(row_mm=mm, column_mm=mm, source="none")
        for times in (0.0, *SHORT_LENGTHS):
            name = f"{mm:g} mm, {times:g} widths" if times else f"{mm:g} mm, no lesion"
            ways = [Tally(f"{name}, {way}") for way in ("coverage", "mask", "edges")]
            drawn = short_tubes(count, mm, times)
            for vessel, side, truth in track(drawn, total=count, description=name):
                picture = vessel.coverage((side, side))
                ways[0].add(truth, by_mask, picture, spacing, vessel.centre[0])
                ways[1].add(truth, by_mask, picture >= 0.5, spacing, vessel.centre[0])
                ways[2].add(truth, by_edges, *vessel.edges(400), spacing)
            tallies += ways
    for times in (0.0, *SHORT_LENGTHS):
        name = f"frame, {times:g} widths" if times else "frame, no lesion"
        tallies.append(framed_tally(name, count, times))
    return tallies


def framed_tally(name: str, count: int, times: float) -> Tally:
    """Measure lesions so many times as long as the vessel is wide on noisy pixels of 0.25 mm."""
    tally, rng = Tally(name), np.random.default_rng(round(10 * times))
    for number in track(range(count), description=name):
        healthy, fraction = rng.uniform(1.5, 4.0), rng.uniform(0.3, 0.8) if times else 0.0
        lesion = max(times, 1.0) * healthy
        chord, mask = vessel_picture(healthy, fraction, rng.uniform(0, 180), lesion)
        truth = Truth(
            mld_mm=(1 - fraction) * healthy,
            rvd_mm=healthy,
            stenosis_pct=100 * fraction,
            length_mm=lesion if times else np.nan,
        )
        frame = shown(chord, seed=number)
        tally.add(truth, by_frame, frame, on_raster(mask, 4), FRAME_SPACING, np.zeros(2))
    return tally


def by_mask(mask: NDArray[np.float64], spacing: PixelSpacing, start: Points) -> QcaResult:
    return measure(profile_from_mask(mask, spacing, start_px=(float(start[0]), float(start[1]))))


def by_edges(left: Points, right: Points, spacing: PixelSpacing) -> QcaResult:
    return measure(profile_from_edges(left, right, spacing))


def by_contour(contour: SegmentContour, spacing: PixelSpacing) -> QcaResult:
    return measure(borders_profile(contour, spacing))


def by_ideal_borders(contour: SegmentContour, spacing: PixelSpacing) -> QcaResult:
    profile = borders_profile(contour, spacing)
    ideal = (contour.ideal_left_edge, contour.ideal_right_edge)
    return measure(profile, reference_from_edges(profile, *ideal, spacing))


def borders_profile(contour: SegmentContour, spacing: PixelSpacing) -> DiameterProfile:
    return profile_from_edges(
        contour.left_edge, contour.right_edge, spacing, centreline_px=contour.centerline
    )


def by_frame(
    frame: NDArray[np.float64], mask: NDArray[np.bool_], spacing: PixelSpacing, start: Points
) -> QcaResult:
    start_px = (float(start[0]), float(start[1]))
    return measure(profile_from_frame(frame, mask, spacing, start_px=start_px))


def coarsened(mask: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Return a mask as from a model that answers on a 128th of the picture, borders uneven."""
    step = len(mask) // 128
    part = mask.reshape(128, step, 128, step).mean(axis=(1, 3))
    uneven = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(part.shape), 1.0)
    part += 0.24 * uneven * (ndimage.maximum_filter(part, 3) > 0)
    return np.asarray(ndimage.zoom(part, step, order=1, grid_mode=True, mode="nearest") >= 0.4)


def joined(mask: NDArray[np.bool_], spacing: PixelSpacing) -> NDArray[np.bool_]:
    return one_vessel(mask, scale_of(spacing))[0]


def by_coarse_mask(mask: NDArray[np.bool_], spacing: PixelSpacing, start: Points) -> QcaResult:
    return by_mask(joined(mask, spacing), spacing, start)


def phantom_tallies(data: Path, frames: Path, every: int) -> list[Tally]:
    names = ("truth's mask", "… on the frame", "coarse mask", "… on the frame (coarse)")
    masked, guided, rough, sharpened = (Tally(f"phantom, {name}") for name in names)
    names = ("expert's borders", "with ideal borders", "… against the file itself")
    drawn, ideal, itself = (Tally(f"phantom, {name}") for name in names)
    document = load_document(data / "truth" / "segments.json")
    marks = {(mark.image_id, mark.category_id): mark for mark in document.annotations}
    lesions = pd.read_csv(data / "truth" / "lesions.csv")
    paths = dict(list(pd.read_csv(data / "truth" / "diameters.csv").groupby("frame_id")))
    for image in track(document.images[::every], description="phantom"):
        spacing = spacing_of(image)
        path = paths[image.frame_id]
        truth = known_lesion(lesions, path, image)
        if truth is None:
            continue
        mask = decode_mask(marks[image.id, image.cass_segment].segmentation)
        start = path[["x_px", "y_px"]].to_numpy()[0]
        masked.add(truth, by_mask, mask, spacing, start)
        with Image.open(frames / image.file_name) as picture:
            frame = np.asarray(picture, dtype=np.float64)
        guided.add(truth, by_frame, frame, mask, spacing, start)
        coarse = coarsened(mask, image.id)
        rough.add(truth, by_coarse_mask, coarse, spacing, start)
        sharpened.add(truth, by_frame, frame, coarse, spacing, start)
        contour = read_contour(data / "labels" / "contours" / f"{image.frame_id}.json")
        drawn.add(truth, by_contour, contour, spacing)
        if len(contour.ideal_left_edge):
            ideal.add(truth, by_ideal_borders, contour, spacing)
            itself.add(of_the_file(contour), by_ideal_borders, contour, spacing)
    return [masked, guided, rough, sharpened, drawn, ideal, itself]


def known_lesion(lesions: pd.DataFrame, path: pd.DataFrame, image: ImageEntry) -> Truth | None:
    """Return the tightest lesion of an analysed segment."""
    here = lesions[
        (lesions.frame_id == image.frame_id)
        & (lesions.cass_segment == image.cass_segment)
        & (lesions.stenosis_pct >= LEAST_STENOSIS_PCT)
    ]
    if here.empty:
        return None
    lesion = here.loc[here.stenosis_pct.idxmax()]
    points = path[["x_px", "y_px"]].to_numpy()
    arc_mm = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    arc_mm *= image.spacing_row_mm
    ends = [lesion[[f"{side}_x_px", f"{side}_y_px"]].to_numpy(float) for side in ("start", "end")]
    distance = np.linalg.norm(points[:, None] - np.array(ends)[None], axis=2)
    start, end = arc_mm[np.argmin(distance, axis=0)]
    return Truth(
        mld_mm=lesion.mld_mm,
        rvd_mm=lesion.rvd_mm,
        stenosis_pct=lesion.stenosis_pct,
        length_mm=float(end - start),
    )


def of_the_file(contour: SegmentContour) -> Truth:
    said = contour.measurements
    return Truth(
        mld_mm=said.mld_mm,
        rvd_mm=said.rvd_mm,
        stenosis_pct=said.diameter_stenosis_pct,
        length_mm=said.lesion_length_mm,
    )


def main(
    tubes: Annotated[int, typer.Option(help="Number of drawn tubes.")] = 200,
    short: Annotated[int, typer.Option(help="Tubes of each size of pixel and lesion.")] = 8,
    data: Annotated[Path, typer.Option(help="Data set with the phantom's truth.")] = Path("data"),
    frames: Annotated[Path, typer.Option(help="Extracted frames.")] = Path("frames"),
    every: Annotated[int, typer.Option(help="Take each n-th frame of the phantom.")] = 1,
) -> None:
    """Print the table."""
    tallies = tube_tallies(tubes) + short_tallies(short)
    if (data / "truth" / "segments.json").exists():
        tallies += phantom_tallies(data, frames, every)
    table = Table("", "n", *COLUMNS, "missed", "refused", "ms", title="measured − true, mean ± SD")
    for tally in tallies:
        table.add_row(*tally.row())
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
