"""What each policy of negatives makes of Phase 2.

``python benchmarks/negatives.py --out FOLDER [--epochs 6] [--policies none,similar] [--markdown]``
trains Phase 2 from the model of Phase 1 in ``models/`` once for each policy, all else as in
``params.yaml``, and scores the answers against the annotated segment, against all that its label
decides, and against the whole truth. ``nothing`` asks for no phrase but the annotated segment's;
``none`` leaves out segments, but not phrases that name nothing. A policy whose answers are in
FOLDER already is scored and not trained again.

Values are means, n the frames, or the phrases; intervals are in the table of FOLDER.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from result_table import show_table
from ruamel.yaml import YAML

from sam3_angio.config import load_config
from sam3_angio.files import write_text
from sam3_angio.report.evaluation import Rules, rules_of
from sam3_angio.scoring.phase2 import estimate_all, score_predictions
from sam3_angio.scoring.statistics import Estimate

ROOT = Path(__file__).parents[1]
_SEGMENTS = ("none", "similar", "other_artery", "similar+other_artery", "all")
#: By name, what is changed in ``train_phase2.negatives``.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "nothing": {"policy": "none", "phrases_per_image": 0, "unrelated_per_image": 0},
    **{policy: {"policy": policy} for policy in _SEGMENTS},
}
#: Columns: a figure, against what, and its short name.
FIGURES = (
    ("top1", "annotated", "top-1"),
    ("named_neighbour", "annotated", "named a neighbour"),
    ("recall", "annotated", "label found"),
    ("recall", "visible", "visible found"),
    ("false_positives", "pooled", "wrong found"),
    ("false_positives", "other_artery", "other artery"),
    ("false_positives", "absent", "absent"),
    ("false_positives", "nonsense", "nothing"),
    ("presence_false_positives", "pooled", "wrong, by presence"),
    ("il_mcc", "annotated", "MCC, annotated"),
    ("il_mcc", "known", "MCC, known"),
    ("il_mcc", "truth", "MCC, truth"),
    ("ap50", "annotated", "AP50, annotated"),
    ("ap50", "truth", "AP50, truth"),
    ("dice", "annotated", "Dice, annotated"),
    ("dice", "truth", "Dice, truth"),
)


def write_parameters(folder: Path, negatives: Mapping[str, Any], epochs: int) -> None:
    """Write ``params.yaml`` of one training."""
    yaml = YAML()
    parameters = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    parameters["train_phase2"]["epochs"] = epochs
    parameters["train_phase2"]["negatives"].update(negatives)
    with (folder / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(parameters, stream)


def trained(folder: Path, negatives: Mapping[str, Any], epochs: int) -> Path:
    """Train in a folder, unless that was done; return its answers."""
    answers = folder / "predictions"
    if not answers.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_parameters(folder, negatives, epochs)
        places = {
            "--dataset": ROOT / "dataset",
            "--from-model": ROOT / "models" / "phase1",
            "--out": folder.absolute() / "model",
            "--predictions": answers.absolute(),
            "--curves": folder.absolute() / "curves",
        }
        given = [str(part) for place in places.items() for part in place]
        subprocess.run(
            (sys.executable, "-m", "stages.launch", "-m", "stages.train_phase2", *given),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
    return answers


def estimates(answers: Path, rules: Rules) -> dict[str, Estimate]:
    """Score answers; return the figures by their short names."""
    how = rules.answers
    scores = score_predictions(ROOT / "dataset", ROOT / "data" / "truth", answers, how)
    found = estimate_all(scores, rules.resampling)
    return {short: found[name, of] for name, of, short in FIGURES}


def main(
    out: Annotated[Path, typer.Option(help="Folder of the trainings.")],
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 6,
    policies: Annotated[str, typer.Option(help="Some, by commas.")] = ",".join(WAYS),
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> None:
    """Compare the policies of negatives at an equal number of epochs."""
    rules = rules_of(load_config())
    found = {
        name: estimates(trained(out / name, WAYS[name], epochs), rules)
        for name in policies.split(",")
    }
    rows = [
        (short, *(f"{found[name][short].mean:.3f}" for name in found), str(one.n))
        for short, one in next(iter(found.values())).items()
    ]
    show_table(f"{epochs} epochs of Phase 2", ("figure", *found, "n"), rows, markdown=markdown)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("policy", "figure", "mean", "low", "high", "n"))
    for name, figures in found.items():
        writer.writerows((name, short, e.mean, e.low, e.high, e.n) for short, e in figures.items())
    write_text(out / "policies.csv", lines.getvalue())


if __name__ == "__main__":
    typer.run(main)
