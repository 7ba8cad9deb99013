"""The evaluate stage's files of named segments and of the view-angle arms."""

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from segment_case import Skill, answers_of, drawn_cases, write_data, write_predictions

from sam3_angio.report.phase2 import write_phase2
from sam3_angio.report.phase3 import write_phase3
from sam3_angio.report.result import result_tables
from sam3_angio.scoring.answers import SaidRule
from sam3_angio.scoring.phase2 import AnswerRules, score_predictions
from sam3_angio.scoring.phase3 import compare_arms, score_arms
from sam3_angio.scoring.statistics import Resampling

RESAMPLING = Resampling(samples=200, confidence=0.95, seed=0)
RULES = AnswerRules(rule="best", said=SaidRule(presence=0.5, agreement=0.0), processes=1)
FRAMES = 20


@pytest.fixture(scope="module", params=["phantom", "none"])
def folder(request, tmp_path_factory):
    """Predictions of Phases 2 and 3, and the metrics that were written of them."""
    folder = tmp_path_factory.mktemp(request.param)
    cases = drawn_cases(frames=FRAMES, patients=6)
    write_data(folder, cases, request.param)
    for seed, part in enumerate(("phase2", "phase3/none", "phase3/text", "phase3/shuffled")):
        answers = answers_of(cases, Skill(), seed)
        write_predictions(folder / "predictions" / part, cases, answers)
    paths = folder / "dataset", folder / "truth"
    scores = score_predictions(*paths, folder / "predictions" / "phase2", RULES)
    write_phase2(folder / "metrics", scores, RESAMPLING)
    arms = score_arms(*paths, folder / "predictions" / "phase3", RULES)
    write_phase3(folder / "metrics", compare_arms(arms, RESAMPLING), epochs=1)
    return folder


def document(folder: Path, name: str) -> dict:
    return json.loads((folder / "metrics" / name).read_text(encoding="utf-8"))


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "metrics" / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_names_come_first_and_every_figure_has_its_number_and_interval(folder):
    metrics = document(folder, "phase2.json")
    assert list(metrics)[:2] == ["top1", "macro_f1"]
    assert metrics["count"] == {
        "frames": FRAMES,
        "patients": 6,
        "queries": FRAMES * 17,
        "segments": metrics["count"]["segments"],
    }
    assert metrics["chance"] == pytest.approx(1 / 14, abs=1e-4)
    for name in ("top1", "cgf1", "dice", "false_positives", "recall"):
        for figure in metrics[name].values():
            assert figure["n"] > 0
            assert figure["low"] <= figure["mean"] <= figure["high"]


def test_an_unknown_truth_leaves_its_figures_out(folder):
    metrics = document(folder, "phase2.json")
    known = folder.name.startswith("phantom")
    assert ("truth" in metrics["cgf1"]) == ("truth" in metrics["dice"]) == known
    assert ("absent" in metrics["false_positives"]) == known
    assert {"annotated", "known"} <= metrics["cgf1"].keys()


def test_the_query_table_adds_up_to_the_rates(folder):
    metrics, rows = document(folder, "phase2.json"), rows_of(folder, "phase2_queries.csv")
    assert len(rows) == FRAMES * 17
    wrong = [row for row in rows if row["standing"] in {"other artery", "absent", "nonsense"}]
    said = sum(float(row["presence"]) >= 0.5 for row in wrong)
    pooled = metrics["false_positives"]["pooled"]
    assert (pooled["mean"], pooled["n"]) == (pytest.approx(said / len(wrong), abs=1e-4), len(wrong))
    assert (folder / "metrics" / "phase2_queries.csv").stat().st_size / len(rows) < 120


def test_the_frame_table_and_the_confusion_matrix_add_up_to_top1(folder):
    metrics = document(folder, "phase2.json")
    frames, matrix = rows_of(folder, "phase2_frames.csv"), rows_of(folder, "phase2_confusion.csv")
    right = sum(row["segment"] == row["named"] for row in frames)
    assert metrics["top1"]["annotated"]["mean"] == pytest.approx(right / FRAMES, abs=1e-4)
    assert sum(int(row[row["segment"]]) for row in matrix) == right
    counts = [int(value) for row in matrix for key, value in row.items() if key != "segment"]
    assert sum(counts) == FRAMES
    assert list(matrix[0])[-1] == "absent"
    plotted = rows_of(folder, "phase2_plots/confusion.csv")
    assert sum(row["segment"] == row["named"] for row in plotted) == right


def test_the_group_table_covers_segments_arteries_and_views(folder):
    rows = [
        row
        for row in rows_of(folder, "phase2_groups.csv")
        if (row["name"], row["against"]) == ("top1", "annotated")
    ]
    for group in ("all", "segment", "artery", "view"):
        assert sum(int(row["n"]) for row in rows if row["group"] == group) == FRAMES


def test_the_calibration_plot_holds_every_decided_query(folder):
    rows = rows_of(folder, "phase2_queries.csv")
    decided = sum(row["standing"] != "unknown" for row in rows)
    bins = rows_of(folder, "phase2_plots/calibration.csv")
    assert sum(int(row["n"]) for row in bins) == decided


def test_arms_have_figures_differences_and_a_verdict(folder):
    metrics = document(folder, "phase3.json")
    assert list(metrics["arms"]) == ["none", "text", "shuffled"]
    assert metrics["verdict"].endswith(".")
    assert metrics["count"] == {"epochs": 1, "frames": FRAMES, "patients": 6}
    difference = metrics["difference"]["text"]
    assert set(difference) == {"none", "shuffled"}
    assert set(metrics["difference"]["shuffled"]) == {"none"}
    arms = metrics["arms"]
    expected = arms["text"]["top1"]["annotated"]["mean"] - arms["none"]["top1"]["annotated"]["mean"]
    assert difference["none"]["top1"]["annotated"]["mean"] == pytest.approx(expected, abs=2e-4)
    assert metrics["mcnemar"]["text"]["none"]["holm_p"] <= 1
    # Two arms: 7 of 20 frames to 0 give p = 2 / 64, 6 give 2 / 32.
    named = difference["none"]["top1"]["annotated"]
    assert named["declarable"] == 7 / FRAMES
    assert named["detectable"] is None or named["detectable"] >= named["declarable"]
    assert "declarable" not in difference["none"]["dice"]["annotated"]
    own = [row for row in rows_of(folder, "phase3_arms.csv") if not row["to"]]
    assert {row["arm"] for row in own} == set(arms)


def test_tables_for_people_show_every_phase(folder):
    console = Console(file=io.StringIO(), width=160)
    console.print(*result_tables(folder / "metrics"))
    text = console.file.getvalue()
    assert "Phase 2: named segments in 20 frames of 6 patients" in text
    assert "Wrong phrases said to be there" in text
    assert "Phase 3" in text
    assert "none" in text
    assert "shuffled" in text


def test_the_same_predictions_give_the_same_files(folder, tmp_path):
    paths = folder / "dataset", folder / "truth"
    scores = score_predictions(*paths, folder / "predictions" / "phase2", RULES)
    write_phase2(tmp_path, scores, RESAMPLING)
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            written = folder / "metrics" / path.relative_to(tmp_path)
            assert path.read_bytes() == written.read_bytes()
