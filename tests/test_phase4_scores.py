"""Phase 4 from files to figures, with pictures of known tubes in place of a model."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_qca_frame import MM, SIDE, on_raster, picture, vessel

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.coco import (
    Category,
    Document,
    ImageEntry,
    annotate,
    encode_mask,
    mask_box,
    write_document,
)
from sam3_angio.files import write_json
from sam3_angio.lesion_labels import Measured, write_measurements
from sam3_angio.report.phase4 import write_phase4
from sam3_angio.scoring.course import Course, measured_along
from sam3_angio.scoring.phase4 import Phase4Inputs, QcaFrame, phase4_figures, score_phase4
from sam3_angio.scoring.qca_frames import Segment, figures_of, measure_segment, true_figures
from sam3_angio.scoring.statistics import Resampling
from sam3_angio.scoring.true_lesions import read_true_lesions
from sam3_angio.table import write_table

HEALTHY_MM = 3.0
MIDDLE = (SIDE - 1) / 2
STENOSES = (0.0, 0.4, 0.6, 0.75)
REACH_PX = 4.0 / MM  # half of the lesion's 8 mm
RESAMPLING = Resampling(samples=50, confidence=0.95, seed=0)


def image_of(number: int) -> ImageEntry:
    patient = f"p{number:010x}"
    return ImageEntry(
        id=number,
        file_name=f"{patient}-{number:08x}.png",
        width=SIDE,
        height=SIDE,
        frame_id=f"{patient}-{number:08x}",
        patient=patient,
        artery="LCA",
        cass_segment=13,
        primary_deg=0.0,
        secondary_deg=0.0,
        spacing_row_mm=MM,
        spacing_column_mm=MM,
    )


def lesion_of(mask: np.ndarray, columns: int) -> np.ndarray:
    """Return the part of a mask in some columns from 52 on."""
    lesion = np.zeros_like(mask)
    lesion[55:65, 52 : 52 + columns] = mask[55:65, 52 : 52 + columns]
    return lesion


class Site:
    """Four frames: one without a lesion, three with one; the model's masks are coarse."""

    def __init__(self, folder: Path) -> None:
        self.images = [image_of(number) for number in range(1, len(STENOSES) + 1)]
        self.folder = folder
        self.inputs = Phase4Inputs(
            dataset=folder / "dataset",
            truth=folder / "truth",
            predictions=folder / "predictions",
            contours=folder / "contours",
        )
        drawn = [vessel(HEALTHY_MM, stenosis) for stenosis in STENOSES]
        self.masks = [mask for _, mask in drawn]
        self._pictures([chord for chord, _ in drawn])
        self._labels()
        self._truth()
        self._predictions()

    def _pictures(self, chords: list[np.ndarray]) -> None:
        folder = self.inputs.dataset / "val" / "images"
        folder.mkdir(parents=True)
        for image, chord in zip(self.images, chords, strict=True):
            grey = np.clip(np.rint(picture(chord)), 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / image.file_name)

    def _labels(self) -> None:
        document = Document(
            images=tuple(self.images),
            annotations=tuple(
                annotate(
                    mask,
                    annotation_id=image.id,
                    image_id=image.id,
                    category_id=13,
                    phrase="mid LAD",
                )
                for image, mask in zip(self.images, self.masks, strict=True)
            ),
            categories=(Category(id=13, name="mid LAD"),),
        )
        path = self.inputs.dataset / "val" / "segments" / "annotations.json"
        write_document(path, document)
        write_document(self.inputs.truth / "segments.json", document)
        lesions = Document(
            images=tuple(self.images),
            annotations=tuple(
                annotate(
                    lesion_of(mask, 8),
                    annotation_id=image.id,
                    image_id=image.id,
                    category_id=100,
                    phrase="stenosis",
                )
                for image, mask, stenosis in zip(self.images, self.masks, STENOSES, strict=True)
                if stenosis
            ),
            categories=(Category(id=100, name="stenosis"),),
        )
        write_document(self.inputs.dataset / "val" / "lesions" / "annotations.json", lesions)
        rows = [
            self._measured(image, stenosis)
            for image, stenosis in zip(self.images, STENOSES, strict=True)
        ]
        write_measurements(self.inputs.dataset / "val" / "measurements.csv", rows)

    def _measured(self, image: ImageEntry, stenosis: float) -> Measured:
        return Measured(
            frame_id=image.frame_id,
            patient=image.patient,
            cass_segment=13,
            finding="lesion" if stenosis else "free",
            mld_mm=HEALTHY_MM * (1 - stenosis),
            rvd_mm=HEALTHY_MM,
            stenosis_pct=100 * stenosis,
            area_stenosis_pct=100 * (1 - (1 - stenosis) ** 2),
            length_mm=8.0,
            segment_length_mm=22.0,
            proximal_normal_mm=HEALTHY_MM,
            distal_normal_mm=HEALTHY_MM,
            mld_x_px=MIDDLE,
            mld_y_px=MIDDLE,
            start_x_px=MIDDLE - REACH_PX,
            start_y_px=MIDDLE,
            end_x_px=MIDDLE + REACH_PX,
            end_y_px=MIDDLE,
        )

    def _truth(self) -> None:
        write_json(self.inputs.truth / "truth.json", {"kind": "phantom"})
        points = [f"{at}_{axis}_px" for at in ("start", "centre", "end") for axis in "xy"]
        lengths = ["start_mm", "centre_mm", "end_mm", "length_mm", "mld_mm", "rvd_mm"]
        columns = ["frame_id", "cass_segment", *points, *lengths, "stenosis_pct", "eccentricity"]
        line = (MIDDLE - REACH_PX, MIDDLE, MIDDLE, MIDDLE, MIDDLE + REACH_PX, MIDDLE)
        lesions = [
            (image.frame_id, 13, *line, 7, 11, 15, 8, 3 * (1 - part), 3, 100 * part, 0)
            for image, part in zip(self.images, STENOSES, strict=True)
            if part
        ]
        write_table(self.inputs.truth / "lesions.csv", columns, lesions)
        header = ("frame_id", "x_px", "y_px", "arc_mm", "diameter_mm", "reference_mm")
        arc = np.arange(-11, 11.01, 0.25)
        bump = np.where(np.abs(arc) < 4, (1 + np.cos(np.pi * arc / 4)) / 2, 0.0)
        path = [
            (image.frame_id, MIDDLE + at / MM, MIDDLE, at + 11, 3 * (1 - part * depth), 3.0)
            for image, part in zip(self.images, STENOSES, strict=True)
            for at, depth in zip(arc, bump, strict=True)
        ]
        write_table(self.inputs.truth / "diameters.csv", header, path)

    def _predictions(self) -> None:
        queries, results = [], []
        for image, mask in zip(self.images, self.masks, strict=True):
            lesion = lesion_of(mask, 16)
            for category, phrase, said in (
                (13, "mid LAD", on_raster(mask, 4)),
                (100, "stenosis", lesion),
            ):
                number = len(queries)
                queries.append(
                    {
                        "query_id": number,
                        "image_id": image.id,
                        "frame_id": image.frame_id,
                        "category_id": category,
                        "phrase": phrase,
                        "presence": 0.9,
                    }
                )
                results.append(
                    {
                        "query_id": number,
                        "image_id": image.id,
                        "category_id": category,
                        "score": 0.8,
                        "segmentation": asdict(encode_mask(said)),
                        "bbox": mask_box(said),
                        "kind": "instance",
                    }
                )
        write_json(self.inputs.predictions / "queries.json", queries)
        write_json(self.inputs.predictions / "results.json", results)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def frames(site: Site) -> tuple[QcaFrame, ...]:
    return score_phase4(site.inputs, "best", workers=1)


def test_known_tubes_under_coarse_masks_agree_with_both_references(
    site: Site, frames: tuple[QcaFrame, ...]
) -> None:
    document = write_phase4(site.folder / "metrics", frames, 0.5, RESAMPLING)
    for against in ("truth", "expert"):
        assert abs(document["mld_mm"][against]["bias"]["mean"]) < 0.15
        assert document["mld_mm"][against]["bias"]["n"] == 3
        assert document["stenosis_pct"][against]["mae"]["mean"] < 8
    for origin in ("from_truth_mask", "from_truth_frame"):
        assert abs(document[origin]["mld_mm"]["truth"]["bias"]["mean"]) < 0.1
    assert document["count"] == {
        "frames": 4,
        "patients": 4,
        "right_segment": 4,
        "lesion": 3,
        "free": 1,
        "unknown": 0,
    }
    assert document["from_right_segment"]["mld_mm"] == document["mld_mm"]
    assert json.loads((site.folder / "metrics" / "phase4.json").read_text()) == document


def test_places_and_normal_diameters_are_compared_where_they_are_known(
    site: Site, frames: tuple[QcaFrame, ...]
) -> None:
    document = write_phase4(site.folder / "metrics", frames, 0.5, RESAMPLING)
    own = document["from_truth_mask"]
    for quantity in ("mld_place_mm", "start_place_mm", "end_place_mm", "length_mm"):
        assert abs(own[quantity]["truth"]["bias"]["mean"]) < 0.35
        assert own[quantity]["truth"]["bias"]["n"] == 3
    for quantity in ("proximal_normal_mm", "distal_normal_mm"):
        for against in ("truth", "expert"):
            assert abs(own[quantity][against]["bias"]["mean"]) < 0.1
    # The expert's ends are those of the whole cosine, which is 5 % deep some way inside of them.
    assert own["start_place_mm"]["expert"]["bias"]["mean"] == pytest.approx(0.85, abs=0.4)
    assert own["length_mm"]["expert"]["bias"]["mean"] == pytest.approx(-1.7, abs=0.6)


def test_true_lengths_are_those_that_the_frame_shows(site: Site) -> None:
    truth = read_true_lesions(site.inputs.truth)
    assert truth is not None
    frame_id = site.images[2].frame_id  # 60 %
    path = truth.paths[frame_id]
    spacing = PixelSpacing(row_mm=MM, column_mm=MM / 2, source="none")
    course = Course(points_px=path.points_px, spacing=spacing)
    figures = true_figures(truth, frame_id, 13, course)
    assert figures is not None
    # 60 % (1 + cos(pi x / 4)) / 2 is 5 % at x = 3.25 mm; here columns are half as wide
    assert figures.length_mm == pytest.approx(3.25, abs=0.03)
    assert figures.mld_place_mm == pytest.approx(5.5, abs=0.01)
    assert figures.start_place_mm == pytest.approx(5.5 - 1.625, abs=0.03)
    assert figures.proximal_normal_mm == pytest.approx(3.0)


def test_a_place_is_that_of_the_nearest_point_of_the_course() -> None:
    spacing = PixelSpacing(row_mm=0.5, column_mm=0.25, source="none")
    course = Course(points_px=np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 6.0]]), spacing=spacing)
    assert course.place_mm((4.0, -3.0)) == pytest.approx(1.0)
    assert course.place_mm((10.0, 2.0)) == pytest.approx(2.0 + 1.0)
    assert course.place_mm((8.0, 99.0)) == pytest.approx(5.0)
    assert np.isnan(course.place_mm((np.nan, 1.0)))


def test_a_profile_against_the_course_has_its_lesion_turned() -> None:
    arc = np.arange(0, 30.05, 0.1)
    healthy = 3 - 0.02 * arc
    points = np.column_stack([arc, 0 * arc])
    line = Course(points_px=points, spacing=PixelSpacing(row_mm=1.0, column_mm=1.0, source="none"))
    result = measured_along(line, healthy * np.where(np.abs(arc - 10) < 3, 0.5, 1.0), healthy)
    assert result is not None
    along = figures_of(result, line)
    against = figures_of(result, replace(line, points_px=points[::-1]))
    assert along.start_place_mm == pytest.approx(7.0, abs=0.2)
    assert against.start_place_mm == pytest.approx(30 - along.end_place_mm)
    assert against.proximal_normal_mm == along.distal_normal_mm
    assert along.proximal_normal_mm == pytest.approx(3 - 0.02 * 7, abs=0.01)


@pytest.mark.parametrize("with_ideal", [True, False])
def test_the_experts_ideal_borders_are_the_reference(
    site: Site, tmp_path: Path, with_ideal: bool
) -> None:
    # A diffuse lesion of 20 of 22 mm: no line through the drawn profile tells the healthy width.
    x = np.linspace(20.0, 100.0, 161)
    half = 6.0 - 3.0 * np.clip((40 - np.abs(x - 60)) / 8, 0, 1)
    content = {
        "centerline": np.column_stack([x, 60 + 0 * x]).tolist(),
        "left_edge": np.column_stack([x, 60 - half]).tolist(),
        "right_edge": np.column_stack([x, 60 + half]).tolist(),
    }
    if with_ideal:
        content["ideal_left_edge"] = np.column_stack([x, 54 + 0 * x]).tolist()
        content["ideal_right_edge"] = np.column_stack([x, 66 + 0 * x]).tolist()
    write_json(tmp_path / "contour.json", content)
    segment = Segment(
        image=site.images[0],
        picture=site.inputs.dataset / "val" / "images" / site.images[0].file_name,
        annotated=None,
        predicted=None,
        true=None,
        contour=tmp_path / "contour.json",
    )
    found = measure_segment(segment).results["expert_edges"]
    assert found.mld_mm == pytest.approx(6 * MM, abs=0.05)
    assert found.rvd_mm == pytest.approx((12 if with_ideal else 6) * MM, abs=0.1)


def test_a_mask_of_another_vessel_has_no_part_in_what_the_measuring_is_worth(
    site: Site, frames: tuple[QcaFrame, ...]
) -> None:
    # The second frame's lesion is measured, but on a mask that is hardly the segment's.
    first, second, *others = frames
    mixed = (first, replace(second, mask_dice=0.59), *others)
    document = write_phase4(site.folder / "mixed", mixed, 0.5, RESAMPLING)
    assert document["mld_mm"]["truth"]["bias"]["n"] == 3
    assert document["from_right_segment"]["mld_mm"]["truth"]["bias"]["n"] == 2
    assert document["count"]["right_segment"] == 3


def test_the_dice_of_a_mask_is_that_with_the_annotated_segment(
    site: Site, frames: tuple[QcaFrame, ...]
) -> None:
    predicted = [on_raster(mask, 4) for mask in site.masks]
    expected = [
        2 * (one & two).sum() / (one.sum() + two.sum())
        for one, two in zip(predicted, site.masks, strict=True)
    ]
    assert [frame.mask_dice for frame in frames] == pytest.approx(expected)


def test_what_is_found_on_a_frame_without_a_lesion_is_false(
    site: Site, frames: tuple[QcaFrame, ...]
) -> None:
    document = write_phase4(site.folder / "metrics", frames, 0.5, RESAMPLING)
    assert abs(document["false_stenosis_pct"]["from_prediction"]["mean"]["mean"]) < 15
    lesions = document["lesions"]["prompt"]["expert"]
    assert lesions["sensitivity"]["mean"] == 1.0
    assert lesions["ppv"]["mean"] == 0.75
    assert lesions["false_per_frame"]["mean"] == 0.25
    assert document["lesions"]["qca"]["truth"]["sensitivity"]["mean"] == 1.0


def test_the_prompt_s_masks_are_held_against_masks_that_know_of_no_lesion(
    site: Site, frames: tuple[QcaFrame, ...]
) -> None:
    document = write_phase4(site.folder / "metrics", frames, 0.5, RESAMPLING)
    sizes = [[lesion_of(mask, columns).sum() for columns in (8, 16)] for mask in site.masks[1:]]
    iou = document["lesion_iou"]
    assert iou["prompt"]["mean"]["n"] == 3
    assert iou["prompt"]["mean"]["mean"] == pytest.approx(
        np.mean([lesion / drawn for lesion, drawn in sizes]), abs=1e-4
    )
    whole = [lesion / mask.sum() for (lesion, _), mask in zip(sizes, site.masks[1:], strict=True)]
    assert iou["annotated"]["median"]["mean"] == pytest.approx(np.median(whole), abs=1e-4)
    assert iou["segment"]["mean"]["mean"] < iou["prompt"]["mean"]["mean"]
    assert document["lesion_share"]["prompt_less_segment"]["mean"]["low"] > 0
    assert {frame.pointed is None for frame in frames if frame.finding == "free"} == {True}


def test_a_row_a_frame_and_origin_is_written(site: Site, frames: tuple[QcaFrame, ...]) -> None:
    write_phase4(site.folder / "metrics", frames, 0.5, RESAMPLING)
    with (site.folder / "metrics" / "phase4_frames.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["origin"] for row in rows] == ["prediction", "truth_frame", "truth_mask"] * 4
    plots = {path.stem for path in (site.folder / "metrics" / "phase4_plots").iterdir()}
    assert plots == {
        *("bland_altman_mld_mm", "bland_altman_rvd_mm", "bland_altman_stenosis_pct", "froc")
    }


def test_a_segment_that_was_not_found_is_refused_and_counted(site: Site, tmp_path: Path) -> None:
    queries = json.loads((site.inputs.predictions / "queries.json").read_text())
    write_json(tmp_path / "queries.json", queries)
    write_json(tmp_path / "results.json", [])
    inputs = Phase4Inputs(
        dataset=site.inputs.dataset,
        truth=site.inputs.truth,
        predictions=tmp_path,
        contours=site.inputs.contours,
    )
    frames = score_phase4(inputs, "best", workers=1)
    assert all("not found" in frame.measured.refused["prediction"] for frame in frames)
    document = write_phase4(tmp_path / "metrics", frames, 0.5, RESAMPLING)
    assert document["refused"]["from_prediction"] == 4
    assert document["mld_mm"]["truth"]["bias"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert document["lesions"]["prompt"]["expert"]["sensitivity"]["mean"] == 0.0


def test_without_a_known_truth_its_keys_are_absent(site: Site, tmp_path: Path) -> None:
    write_json(tmp_path / "truth.json", {"kind": "none"})
    inputs = Phase4Inputs(
        dataset=site.inputs.dataset,
        truth=tmp_path,
        predictions=site.inputs.predictions,
        contours=site.inputs.contours,
    )
    figures = phase4_figures(score_phase4(inputs, "best", workers=1), 0.5)
    assert {against for _, _, against, _ in figures} == {"expert", "free"}
