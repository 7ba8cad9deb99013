"""The evaluate stage on a miniature data set and miniature predictions."""

import csv
import io
import json
import math
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segment_case import Skill, answers_of, drawn_cases, write_data, write_predictions

from sam3_angio.acquisition import PixelSpacing, ViewAngle
from sam3_angio.coco import Category, Document, ImageEntry, annotate, encode_mask, write_document
from sam3_angio.errors import AngioError, ConfigError, DataError
from sam3_angio.files import write_json
from sam3_angio.geometry_table import FrameGeometry, write_geometry
from sam3_angio.report import evaluation
from sam3_angio.report.overlays import choose_frames, draw_overlay
from sam3_angio.report.result import render_result
from sam3_angio.scoring.cases import read_cases
from sam3_angio.scoring.phase1 import paired_differences, summarise
from sam3_angio.scoring.statistics import Resampling
from sam3_angio.scoring.tree import score_cases
from sam3_angio.table import write_table
from stages.evaluate import evaluate

ROOT = Path(__file__).parents[1]
SIDE = 64
VIEWS = ((-30.0, 20.0), (40.0, 0.0))


def vessel(row: int, thickness: int = 6) -> np.ndarray:
    """A horizontal vessel, 40 pixels long."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[row : row + thickness, 10:50] = True
    return mask


@dataclass(frozen=True)
class Frame:
    """What the miniature data set knows of a frame."""

    number: int
    patient: int
    artery: str = "LCA"
    view: tuple[float, float] = VIEWS[0]
    spacing_mm: float | None = 0.5
    truth: np.ndarray | None = None
    pseudo: np.ndarray | None = None
    semantic: np.ndarray | None = None
    instances: tuple[tuple[float, np.ndarray], ...] = ()
    presence: float = 0.9

    @property
    def patient_name(self) -> str:
        return f"p{self.patient:010x}"

    @property
    def frame_id(self) -> str:
        return f"{self.patient_name}-{self.number:08x}"

    @property
    def image(self) -> ImageEntry:
        return ImageEntry(
            id=self.number,
            file_name=f"{self.frame_id}.png",
            width=SIDE,
            height=SIDE,
            frame_id=self.frame_id,
            patient=self.patient_name,
            artery=self.artery,
            cass_segment=1 if self.artery == "RCA" else 12,
            primary_deg=self.view[0],
            secondary_deg=self.view[1],
            spacing_row_mm=self.spacing_mm,
            spacing_column_mm=self.spacing_mm,
        )


def miniature() -> list[Frame]:
    """Eight frames of four patients: labels one row off the truth, predictions exact or near."""
    frames = []
    for number in range(1, 9):
        truth = vessel(20 + number)
        frames.append(
            Frame(
                number=number,
                patient=(number + 1) // 2,
                artery="RCA" if number > 4 else "LCA",
                view=VIEWS[number % 2],
                truth=truth,
                pseudo=np.roll(truth, 2, axis=0),
                semantic=np.roll(truth, number % 2, axis=0),
                instances=((0.9, truth), (0.6, vessel(5)), (0.2, vessel(50))),
                presence=0.9 if number != 3 else 0.3,
            )
        )
    return frames


def document(frames: list[Frame], masks: list[np.ndarray | None]) -> Document:
    return Document(
        images=tuple(frame.image for frame in frames),
        annotations=tuple(
            annotate(
                mask,
                annotation_id=frame.number,
                image_id=frame.number,
                category_id=1,
                phrase="coronary artery",
            )
            for frame, mask in zip(frames, masks, strict=True)
            if mask is not None
        ),
        categories=(Category(id=1, name="coronary artery"),),
    )


def result(frame: Frame, score: float, mask: np.ndarray, kind: str) -> dict:
    rows, columns = np.nonzero(mask)
    box = [0.0, 0.0, 0.0, 0.0]
    if len(rows):
        box = [
            float(value)
            for value in (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        ]
    return {
        "query_id": frame.number,
        "image_id": frame.number,
        "category_id": 1,
        "score": score,
        "segmentation": asdict(encode_mask(mask)),
        "bbox": box,
        "kind": kind,
    }


def write_miniature(folder: Path, frames: list[Frame], truth: str = "phantom") -> None:
    """Write dataset/, truth/ and predictions/ as docs/reference/files.md says."""
    val = folder / "dataset" / "val"
    write_document(
        val / "vessel_tree" / "annotations.json",
        document(frames, [frame.pseudo for frame in frames]),
    )
    (val / "images").mkdir(parents=True, exist_ok=True)
    for frame in frames:
        noise = np.random.default_rng(frame.number).integers(0, 256, (SIDE, SIDE))
        Image.fromarray(noise.astype(np.uint8)).save(val / "images" / f"{frame.frame_id}.png")
    write_json(folder / "truth" / "truth.json", {"kind": truth})
    if truth != "none":
        # The truth knows frames of training patients, too, under numbers of its own order.
        others = [Frame(number=99, patient=99, truth=vessel(30))]
        known = [*others, *reversed(frames)]
        write_document(
            folder / "truth" / "vessel_tree.json",
            document(known, [frame.truth for frame in known]),
        )
    queries = [
        {
            "query_id": frame.number,
            "image_id": frame.number,
            "frame_id": frame.frame_id,
            "category_id": 1,
            "phrase": "coronary artery",
            "presence": frame.presence,
        }
        for frame in frames
    ]
    results = [
        result(frame, score, mask, "instance")
        for frame in frames
        for score, mask in frame.instances
    ]
    results += [
        result(frame, frame.presence, frame.semantic, "semantic")
        for frame in frames
        if frame.semantic is not None
    ]
    for model in ("phase1", "baseline"):  # both are asked the same
        write_json(folder / "predictions" / model / "queries.json", queries)
        write_json(folder / "predictions" / model / "results.json", results)
    cases = drawn_cases(frames=4, patients=2)
    write_data(folder, cases, truth)
    write_composition(folder, frames, [case.image for case in cases])
    for part in ("phase2", "phase3/none", "phase3/text"):
        write_predictions(folder / "predictions" / part, cases, answers_of(cases, Skill()))


def write_composition(folder: Path, frames: list[Frame], named: list[ImageEntry]) -> None:
    """Write pictures of the named frames, the partition and what was extracted."""
    dataset = folder / "dataset"
    images = {image.frame_id: image for image in (*(frame.image for frame in frames), *named)}
    for image in named:
        path = dataset / "val" / "images" / image.file_name
        if not path.exists():
            Image.new("L", (image.width, image.height), 90).save(path)
    empty = Document(images=(), annotations=(), categories=())
    write_document(dataset / "train" / "segments" / "annotations.json", empty)
    rows = [(i.frame_id, i.patient, i.artery, "val") for i in images.values()]
    write_table(dataset / "split.csv", ("frame_id", "patient", "artery", "split"), rows)
    write_geometry(
        folder / "frames" / "geometry.csv",
        [
            FrameGeometry(
                frame_id=image.frame_id,
                patient=image.patient,
                rows=image.height,
                columns=image.width,
                frame_index=0,
                frames=1,
                view=ViewAngle(primary_deg=image.primary_deg, secondary_deg=image.secondary_deg),
                angle_source="header",
                spacing=PixelSpacing(row_mm=0.3, column_mm=0.3, source="calibration"),
                transfer_syntax="1.2.840.10008.1.2.4.90",
                bits_stored=8,
                display="window",
            )
            for image in images.values()
        ],
    )


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty repository root with small parameters."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("bootstrap_samples: 2000", "bootstrap_samples: 200")
    text = text.replace("processes: 0", "processes: 1")
    text = text.replace("segment_from: semantic", "segment_from: best")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    # Phase 4 has its own miniature, in test_phase4_scores.py.
    monkeypatch.setattr(evaluation, "_evaluate_lesions", lambda *arguments: None)
    return tmp_path


def run_stage(folder: Path) -> dict:
    evaluate(
        dataset=folder / "dataset",
        data=folder,
        predictions=folder / "predictions",
        frames=folder / "frames",
        models=folder / "models",
        metrics=folder / "metrics",
        report=folder / "report",
    )
    return json.loads((folder / "metrics" / "phase1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What the miniature as it is was scored to, empty before."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def scored(workspace, kept):
    """A workspace with the miniature as it is and what became of it."""
    if any(kept.iterdir()):
        shutil.copytree(kept, workspace, dirs_exist_ok=True)
    else:
        write_miniature(workspace, miniature())
        run_stage(workspace)
        shutil.copytree(workspace, kept, dirs_exist_ok=True)
    return workspace


@pytest.fixture
def metrics(scored):
    """Its figures of Phase 1."""
    return json.loads((scored / "metrics" / "phase1.json").read_text(encoding="utf-8"))


def set_parameter(folder: Path, old: str, new: str) -> None:
    path = folder / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# ---- figures, by hand ---------------------------------------------------------------------------


def test_the_headline_stands_first_and_its_figures_are_right(metrics):
    assert list(metrics)[:3] == ["dice", "teacher_dice", "beats_teacher"]
    # Half of the frames are exact. The other half, and every label, lie one and two of six rows
    # off: Dice 5/6 and 4/6.
    assert metrics["dice"]["truth"]["mean"] == pytest.approx((1 + 5 / 6) / 2, abs=1e-4)
    assert metrics["dice"]["pseudo"]["mean"] == pytest.approx((4 / 6 + 5 / 6) / 2, abs=1e-4)
    assert metrics["teacher_dice"]["truth"]["mean"] == pytest.approx(4 / 6, abs=1e-4)
    assert metrics["beats_teacher"]["dice"]["mean"] == pytest.approx(1 / 4, abs=1e-4)
    assert metrics["dice"]["truth"]["n"] == metrics["count"]["frames"] == 8
    assert metrics["count"]["patients"] == 4
    assert metrics["presence"] == {"recall": metrics["presence"]["recall"]}
    assert metrics["presence"]["recall"]["mean"] == 7 / 8
    # The best instance is the truth itself, and two rows off the label: IoU 1/2.
    assert metrics["ap"]["truth"]["mean"] == 1
    assert metrics["ap"]["pseudo"]["mean"] == pytest.approx(0.1)


@pytest.mark.parametrize(("rule", "expected"), [("best", 1.0), ("union", 2 / 3)])
def test_the_headline_follows_the_declared_rule(workspace, rule, expected):
    set_parameter(workspace, "tree_from: semantic", f"tree_from: {rule}")
    write_miniature(workspace, miniature())
    metrics = run_stage(workspace)
    assert metrics["tree_from"] == rule
    # Union: truth and an invented vessel of equal size, 2 · 1 / (1 + 2).
    assert metrics["dice"]["truth"]["mean"] == pytest.approx(expected, abs=1e-4)


def test_an_instance_below_the_threshold_leaves_an_empty_mask(workspace):
    set_parameter(workspace, "tree_from: semantic", "tree_from: best")
    frames = [replace(frame, instances=((0.49, frame.truth),)) for frame in miniature()]
    write_miniature(workspace, frames)
    metrics = run_stage(workspace)
    assert metrics["dice"]["truth"]["mean"] == 0
    assert metrics["count"]["empty_prediction"] == 8
    assert metrics["hd95_mm"]["truth"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert metrics["undefined"]["hd95_mm"]["truth"] == 8
    # Average precision knows no threshold.
    assert metrics["ap"]["truth"]["mean"] == 1


def test_unknown_spacing_is_counted_not_dropped(workspace):
    frames = miniature()
    frames[0] = replace(frames[0], spacing_mm=None)
    write_miniature(workspace, frames)
    metrics = run_stage(workspace)
    assert metrics["undefined"]["hd95_mm"] == {"truth": 1, "pseudo": 1}
    assert metrics["hd95_mm"]["truth"]["n"] == 7
    assert metrics["dice"]["truth"]["n"] == 8


def test_without_a_known_truth_its_rows_are_absent(workspace):
    write_miniature(workspace, miniature(), truth="none")
    metrics = run_stage(workspace)
    assert list(metrics["dice"]) == ["pseudo"]
    assert not {"teacher_dice", "beats_teacher"} & metrics.keys()
    for name in ("phase1_frames.csv", "phase1_groups.csv", "baseline_groups.csv"):
        text = (workspace / "metrics" / name).read_text(encoding="utf-8")
        assert "truth" not in text
        assert "teacher" not in text


def test_one_patient_has_figures_without_intervals(workspace):
    write_miniature(workspace, miniature()[:2])
    metrics = run_stage(workspace)
    assert metrics["dice"]["truth"]["low"] is None
    assert metrics["dice"]["truth"]["mean"] > 0.9
    assert "Too few patients" in str(render_result(metrics).caption)


# ---- the baseline beside it --------------------------------------------------------------------


def test_the_baseline_is_scored_by_the_same_code(workspace, metrics):
    baseline = json.loads((workspace / "metrics/baseline.json").read_text(encoding="utf-8"))
    difference = baseline.pop("phase1_less_baseline")
    assert baseline == metrics  # it was given the same answers
    assert difference["hd95_mm"]["pseudo"] == {"mean": 0, "low": 0, "high": 0, "n": 8}


def test_the_paired_difference_to_the_baseline_is_phase_1_less_it(workspace):
    write_miniature(workspace, miniature())
    path = workspace / "predictions/baseline/results.json"
    write_miniature(workspace / "exact", [replace(f, semantic=f.truth) for f in miniature()])
    path.write_bytes((workspace / "exact/predictions/phase1/results.json").read_bytes())
    metrics = run_stage(workspace)
    baseline = json.loads((workspace / "metrics/baseline.json").read_text(encoding="utf-8"))
    assert baseline["dice"]["truth"]["mean"] == 1
    found = baseline["phase1_less_baseline"]["dice"]["truth"]
    assert found["mean"] == pytest.approx(metrics["dice"]["truth"]["mean"] - 1, abs=2e-4)
    assert found["low"] <= found["mean"] <= found["high"] < 0
    assert found["n"] == 8
    caption = str(render_result(metrics, baseline).caption)
    assert f"SAM 3 less U-Net, Dice against the truth: {found['mean']:.3f}" in caption


def test_models_that_were_asked_about_different_frames_are_not_compared(workspace):
    write_miniature(workspace, miniature())
    how = Resampling(samples=10, confidence=0.95, seed=0)
    cases = read_cases(workspace / "dataset", workspace / "truth", workspace / "predictions/phase1")
    frames = score_cases(cases, 0.5, 1)
    whole, part = (summarise(some, "semantic", 0.5, how) for some in (frames, frames[1:]))
    with pytest.raises(ValueError, match="not asked about the same frames"):
        paired_differences(whole, part, how)


def test_the_terminals_table_has_the_baseline_beside_phase_1(metrics):
    alone, beside = render_result(metrics), render_result(metrics, metrics)
    assert len(beside.columns) == 2 * len(alone.columns) - 1
    assert str(beside.columns[-1].header) == "U-Net against pseudo-label"
    assert list(beside.columns[-1].cells) == list(beside.columns[-3].cells)


# ---- files -------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_frame_table_has_a_row_a_frame_and_averages_to_the_headline(workspace, metrics):
    rows = rows_of(workspace / "metrics" / "phase1_frames.csv")
    assert [row["frame_id"] for row in rows] == [frame.frame_id for frame in miniature()]
    for column in ("dice_truth", "dice_pseudo"):
        name, reference = column.split("_")
        mean = sum(float(row[column]) for row in rows) / len(rows)
        assert mean == pytest.approx(metrics[name][reference]["mean"], abs=1e-4)
    assert {float(row["best_dice_truth"]) for row in rows} == {1.0}
    assert rows[0]["view"] == "LAO"


def test_the_group_table_covers_arteries_and_views_and_adds_up(scored):
    rows = [
        row
        for row in rows_of(scored / "metrics" / "phase1_groups.csv")
        if (row["source"], row["reference"], row["metric"]) == ("semantic", "truth", "dice")
    ]
    count = {(row["group"], row["value"]): int(row["n"]) for row in rows}
    assert count == {
        ("all", ""): 8,
        ("artery", "LCA"): 4,
        ("artery", "RCA"): 4,
        ("view", "LAO"): 4,
        ("view", "RAO cranial"): 4,
    }


def test_overlays_are_small_pictures_without_metadata(scored):
    folder = scored / "report" / "phase1" / "overlays"
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(f"{k}_{n}.png" for k in ("best", "median", "worst") for n in (1, 2, 3))
    for path in folder.iterdir():
        assert path.stat().st_size < 150_000
        with Image.open(path) as picture:
            assert picture.info.keys() <= {"transparency"}
            assert len(picture.getcolors()) <= 32


def test_fewer_overlays_leave_none_of_the_earlier_ones(workspace):
    write_miniature(workspace, miniature())
    run_stage(workspace)
    set_parameter(workspace, "overlays: 3 ", "overlays: 1 ")
    run_stage(workspace)
    names = {path.name for path in (workspace / "report" / "phase1" / "overlays").iterdir()}
    assert names == {"best_1.png", "median_1.png", "worst_1.png"}


def test_a_second_run_and_a_run_in_two_processes_write_the_same_bytes(workspace):
    write_miniature(workspace, miniature())
    run_stage(workspace)
    written = [
        path for folder in ("metrics", "report") for path in (workspace / folder).rglob("*.*")
    ]
    before = {path: path.read_bytes() for path in written}
    set_parameter(workspace, "processes: 1", "processes: 2")
    run_stage(workspace)
    assert {path: path.read_bytes() for path in written} == before


def test_the_page_and_the_checklist_stand_beside_the_figures(scored):
    page = (scored / "report" / "index.html").read_text(encoding="utf-8")
    assert "Best by Dice of the vessel tree" in page
    assert "JPEG-LS" not in page
    assert "JPEG 2000" in page
    figures = json.loads((scored / "metrics" / "phase1.json").read_text(encoding="utf-8"))
    short = json.loads((scored / "metrics" / "headline.json").read_text(encoding="utf-8"))
    assert short["tree_dice"] == figures["dice"]["truth"]["mean"]
    text = (scored / "metrics" / "checklist.md").read_text(encoding="utf-8")
    assert "validation: 11 frames of 5 patients" in text


def test_what_fails_on_the_way_leaves_figures_and_page_as_they_were(workspace, monkeypatch):
    write_miniature(workspace, miniature())
    curve = workspace / "metrics" / "phase1" / "metrics.json"
    curve.parent.mkdir(parents=True)
    curve.write_text("{}", encoding="utf-8")
    run_stage(workspace)
    written = [p for name in ("metrics", "report") for p in (workspace / name).rglob("*")]
    before = {path: path.is_file() and path.read_bytes() for path in written}
    set_parameter(workspace, "score_threshold: 0.5", "score_threshold: 0.8")

    def refuse(*arguments: object) -> None:
        raise DataError("The page cannot be written.")

    monkeypatch.setattr(evaluation, "write_page", refuse)
    with pytest.raises(DataError, match="cannot be written"):
        run_stage(workspace)
    written = [p for name in ("metrics", "report") for p in (workspace / name).rglob("*")]
    assert {path: path.is_file() and path.read_bytes() for path in written} == before


def test_plots_hold_every_frame_once(scored):
    folder = scored / "metrics" / "phase1_plots"
    by_frame = rows_of(folder / "dice_by_frame.csv")
    assert [int(row["rank"]) for row in by_frame] == list(range(1, 9))
    dice = [float(row["dice"]) for row in by_frame]
    assert dice == sorted(dice)
    bars = {row["dice"]: int(row["frames"]) for row in rows_of(folder / "dice_histogram.csv")}
    # 5/6 lies between 0.80 and 0.85, and 1 in the last bar.
    assert {edge: count for edge, count in bars.items() if count} == {"0.80": 4, "0.95": 4}
    by_group = {row["group"]: float(row["dice"]) for row in rows_of(folder / "dice_by_group.csv")}
    assert by_group["RAO cranial"] == 1
    assert by_group["RCA"] == pytest.approx(11 / 12, abs=1e-4)


# ---- pictures, by hand ---------------------------------------------------------------------------


def test_best_median_and_worst_frames_are_chosen_by_dice():
    dice = np.array([0.5, 0.9, math.nan, 0.1, 0.7, 0.3])
    assert choose_frames(dice, 1) == {"best": (1,), "median": (0,), "worst": (3,)}
    assert choose_frames(dice, 2) == {"best": (1, 4), "median": (4, 0), "worst": (3, 5)}
    assert choose_frames(dice, 9)["worst"] == (3, 5, 0, 4, 1)
    assert choose_frames(np.array([math.nan]), 3) == {"best": (), "median": (), "worst": ()}


def test_an_overlay_shows_what_was_found_missed_and_added():
    frame = np.full((400, 400), 255, dtype=np.uint8)
    reference, prediction = np.zeros((2, 400, 400), dtype=bool)
    reference[100:200, 100:300] = True
    prediction[150:250, 100:300] = True
    picture = draw_overlay(frame, reference, prediction, "p3fa29c1d07-7be20a41").convert("RGB")
    white, reference_blue = (255, 255, 255), (86, 180, 233)
    found, missed, added = (0, 158, 115), (230, 159, 0), (204, 121, 167)
    for x, y, colour in (
        (200, 120, white),
        (600, 120, reference_blue),
        (600, 220, white),
        (1000, 120, missed),
        (1000, 180, found),
        (1000, 220, added),
        (1000, 320, white),
    ):
        assert picture.getpixel((x, y)) == colour, (x, y)


def test_an_overlay_of_noise_is_small_and_keeps_the_frames_proportions():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (400, 400)).astype(np.uint8)
    stream = io.BytesIO()
    draw_overlay(frame, frame > 250, frame < 5, "noise").save(stream, format="PNG", optimize=True)
    assert stream.tell() < 150_000
    wide = draw_overlay(frame[:100], frame[:100] > 250, frame[:100] < 5, "wide")
    assert wide.size == (1200, 140)


def test_a_frame_of_another_size_than_its_masks_is_refused(workspace):
    frames = miniature()
    write_miniature(workspace, frames)
    path = workspace / "dataset" / "val" / "images" / f"{frames[0].frame_id}.png"
    Image.new("L", (32, 32)).save(path)
    set_parameter(workspace, "overlays: 3 ", "overlays: 8 ")
    with pytest.raises(DataError, match=r"\(32, 32\) rows and columns, expected \(64, 64\)"):
        run_stage(workspace)
    path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match="cannot be read"):
        run_stage(workspace)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.03, "beats its teacher"),
        (-0.03, -0.01, "falls short of its teacher"),
        (-0.01, 0.01, "cannot be told apart"),
    ],
)
def test_the_result_says_whether_training_beats_its_teacher(metrics, low, high, expected):
    metrics["beats_teacher"]["dice"] |= {"mean": (low + high) / 2, "low": low, "high": high}
    assert expected in str(render_result(metrics).caption)


# ---- faults ------------------------------------------------------------------------------------


def faults_of(folder: Path) -> str:
    with pytest.raises(DataError) as raised:
        read_cases(folder / "dataset", folder / "truth", folder / "predictions" / "phase1")
    return str(raised.value)


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_every_frame_without_a_prediction_is_named(workspace):
    frames = miniature()
    write_miniature(workspace, frames)
    queries = workspace / "predictions" / "phase1" / "queries.json"
    results = workspace / "predictions" / "phase1" / "results.json"
    edit(queries, lambda entries: entries.__delitem__(slice(0, 2)))
    edit(results, lambda entries: entries.__setitem__(
        slice(None), [entry for entry in entries if entry["query_id"] > 2]
    ))  # fmt: skip
    message = faults_of(workspace)
    assert frames[0].frame_id in message
    assert frames[1].frame_id in message
    assert frames[2].frame_id not in message


def test_every_inconsistent_result_is_named(workspace):
    write_miniature(workspace, miniature())

    def spoil(entries: list[dict]) -> None:
        entries[0]["query_id"] = 4711
        entries[1]["image_id"] = 77
        entries[2]["segmentation"]["counts"] = "0"
        entries[-1] = dict(entries[-2])

    edit(workspace / "predictions" / "phase1" / "results.json", spoil)
    message = faults_of(workspace)
    assert "4711: no such query" in message
    assert "1: another image or category" in message
    assert "the runs do not add up" in message
    assert "2 semantic masks" in message


def test_masks_of_another_size_are_refused(workspace):
    write_miniature(workspace, miniature())
    small = asdict(encode_mask(vessel(10)[:32]))

    def shrink(entries: list[dict]) -> None:
        entries[0]["segmentation"] = small

    edit(workspace / "predictions" / "phase1" / "results.json", shrink)
    assert "has a mask of (32, 64), expected (64, 64)" in faults_of(workspace)


def test_a_score_above_one_is_refused_with_its_place(workspace):
    write_miniature(workspace, miniature())

    def raise_score(entries: list[dict]) -> None:
        entries[3]["score"] = 1.5

    edit(workspace / "predictions" / "phase1" / "results.json", raise_score)
    assert "results.json, field '3.score'" in faults_of(workspace)


def test_a_frame_missing_from_the_truth_is_named(workspace):
    frames = miniature()
    write_miniature(workspace, frames)

    def forget(content: dict) -> None:
        content["images"] = [i for i in content["images"] if i["id"] != 5]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 5]

    edit(workspace / "truth" / "vessel_tree.json", forget)
    assert f"{frames[4].frame_id} has no truth" in faults_of(workspace)


def test_a_headline_that_the_model_cannot_give_names_the_parameter(workspace):
    write_miniature(workspace, [replace(frame, semantic=None) for frame in miniature()])
    with pytest.raises(ConfigError, match=r"evaluate\.tree_from.*best or union"):
        run_stage(workspace)


def test_missing_predictions_are_one_error(workspace):
    write_miniature(workspace, miniature())
    (workspace / "predictions" / "phase1" / "queries.json").unlink()
    with pytest.raises(AngioError, match="queries.json"):
        run_stage(workspace)
