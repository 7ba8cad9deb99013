"""Few figures with short names stand for a run; DVC shows these alone."""

import csv
import io
import json
import statistics
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from sam3_angio.report.headline import headline
from sam3_angio.scoring.agreement import LIMIT

ROOT = Path(__file__).parents[1]
PHASES = ("phase1", "phase2", "phase3", "phase4", "baseline")


def committed():
    return {
        name: json.loads((ROOT / "metrics" / f"{name}.json").read_text(encoding="utf-8"))
        for name in PHASES
    }


def test_every_headline_figure_is_in_the_committed_documents():
    documents = committed()
    found = headline(documents)
    assert len(found) < 15
    assert all(isinstance(value, float) for value in found.values()), found
    assert found["tree_dice"] == documents["phase1"]["dice"]["truth"]["mean"]
    assert found["mld_sd_mm"] == documents["phase4"]["mld_mm"]["truth"]["sd"]["mean"]


def test_without_a_known_truth_the_pseudo_label_and_the_expert_stand_for_it():
    figures = {
        "phase1": {"dice": {"pseudo": {"mean": 0.7}}},
        "phase4": {"mld_mm": {"expert": {"bias": {"mean": 0.1}, "sd": {"mean": None}}}},
    }
    found = headline(figures)
    assert (found["tree_dice"], found["mld_bias_mm"], found["mld_sd_mm"]) == (0.7, 0.1, None)


def test_what_was_not_scored_is_none():
    assert set(headline({}).values()) == {None}


def test_dvc_has_these_metrics_alone_and_fewer_than_twenty_plots():
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    metrics = [path for stage in pipeline["stages"].values() for path in stage.get("metrics", [])]
    assert metrics == [{"metrics/headline.json": {"cache": False}}]
    assert len(pipeline["plots"]) < 20


def plots():
    """Yield every plot of tables: its title, its settings, and its tables' paths."""
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    for plot in pipeline["plots"]:
        if isinstance(plot, dict):
            [(title, settings)] = plot.items()
            yield title, settings, settings["y"]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return not text
    return True


def test_no_plot_mixes_series():
    """A column of words tells series apart: it is an axis of the plot, or the template names it."""
    for title, settings, tables in plots():
        template = ROOT / ".dvc" / "plots" / f"{settings['template']}.json"
        own = template.read_text(encoding="utf-8") if template.is_file() else ""
        for path, column in tables.items():
            text = (ROOT / path).read_text(encoding="utf-8")
            separator = "\t" if path.endswith(".tsv") else ","
            rows = list(csv.DictReader(io.StringIO(text), delimiter=separator))
            words = {
                name
                for name in rows[0]
                if name != "frame_id" and not all(is_number(row[name]) for row in rows)
            }
            unsaid = {name for name in words if f'"field": "{name}"' not in own}
            assert unsaid <= {column, settings["x"]}, (title, path)
        assert len(tables) == 1 or "datum.filename" in own, title


def test_the_learning_curves_are_those_of_every_training_of_segments():
    drawn = next(tables for title, _, tables in plots() if title.startswith("Learning curves"))
    found = (ROOT / "metrics").glob("**/val/dice_instance.tsv")
    assert set(drawn) == {path.relative_to(ROOT).as_posix() for path in found}


def test_limits_of_agreement_are_drawn_as_they_are_scored():
    template = (ROOT / ".dvc" / "plots" / "agreement.json").read_text(encoding="utf-8")
    assert template.count(f"{LIMIT} * datum.sd") == 2
    with (ROOT / "metrics/phase4_plots/bland_altman_mld_mm.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["against"] == "truth"]
    apart = [float(row["difference"]) for row in rows]
    scored = committed()["phase4"]["mld_mm"]["truth"]
    upper = statistics.mean(apart) + LIMIT * statistics.stdev(apart)
    assert scored["limit_high"]["mean"] == pytest.approx(upper, abs=1e-3)
