"""Few figures with short names stand for a run; DVC shows these alone."""

import json
from pathlib import Path

from ruamel.yaml import YAML

from sam3_angio.report.headline import headline

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
