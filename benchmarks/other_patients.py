"""Trained models on patients that neither training nor any choice has seen.

``python benchmarks/other_patients.py [--patients 26] [--seed 11] [--models models] [--markdown]``
simulates patients from another seed, passes them through ``extract``, ``convert`` and ``split``,
asks the models of Phases 1, 2 and 4, and scores the answers as ``evaluate`` does. What was settled
on the validation patients, such as a limit or a rule, is put to the test here.

Values are means with intervals over patients; n counts frames, or phrases.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.distributed as dist
import typer
from hydra.utils import instantiate
from omegaconf import OmegaConf
from result_table import show_table
from ruamel.yaml import YAML

from sam3_angio.config import load_config
from sam3_angio.detector.build import build
from sam3_angio.detector.checkpoint import load_weights
from sam3_angio.detector.frames import load_frames, prepare
from sam3_angio.detector.predict import predict
from sam3_angio.detector.runtime import accelerator
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.report.evaluation import Rules, rules_of
from sam3_angio.scoring.cases import read_cases
from sam3_angio.scoring.phase1 import summarise
from sam3_angio.scoring.phase2 import estimate_all, score_predictions
from sam3_angio.scoring.phase4 import Phase4Inputs, estimate_phase4, phase4_figures, score_phase4
from sam3_angio.scoring.statistics import Estimate
from sam3_angio.scoring.tree import score_cases

#: Most patients; the part for training, which nobody uses, must not be empty.
_SHARE = 0.75
_TREE_METRICS = ("dice", "cldice", "hd95_mm")
_SEGMENT_FIGURES = (
    ("top1", "annotated"),
    ("recall", "annotated"),
    ("false_positives", "pooled"),
    ("auc", "phrases"),
    ("presence_recall", "annotated"),
    ("presence_false_positives", "pooled"),
    ("agreed_auc", "phrases"),
    ("dice", "annotated"),
    ("dice", "truth"),
)
#: Of the minimal lumen diameter, from what against the truth; and of lesions, by what against whom.
_DIAMETERS = ("prediction", "right_segment", "truth_frame", "truth_mask", "expert_edges")
_LESION_FIGURES = (
    ("prompt", "expert", "froc"),
    ("prompt", "expert", "sensitivity"),
    ("qca", "expert", "sensitivity"),
    ("qca", "truth", "sensitivity"),
    ("qca", "truth", "false_per_frame"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The simulated patients' folders."""

    data: Path
    dataset: Path


def simulated(folder: Path, patients: int, seed: int) -> Site:
    """Simulate patients and bring them to the form that the training stages read."""
    root = Path(__file__).parent.parent
    yaml = YAML()
    parameters = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    parameters["data"]["dicom_root"] = str(folder / "data" / "export" / "Angios")
    parameters["split"]["val_fraction"] = _SHARE
    with (folder / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(parameters, stream)
    shutil.copytree(root / "stages", folder / "stages")
    site = ("--manifest", "data/manifest.csv", "--labels", "data/labels")
    drawn = ("--patients", str(patients), "--seed", str(seed))
    commands = (
        ("sam3_angio", "phantom", "--out", "data", *drawn),
        ("stages.extract", *site, "--out", "frames", "--findings", "extract.csv"),
        ("stages.convert", *site, "--geometry", "frames/geometry.csv", "--out", "converted",
         "--findings", "convert.csv"),
        ("stages.split", *site[:2], "--converted", "converted", "--frames", "frames",
         "--out", "dataset"),
    )  # fmt: skip
    for command in commands:
        subprocess.run((sys.executable, "-m", *command), cwd=folder, check=True)
    return Site(data=folder / "data", dataset=folder / "dataset")


def answered(model: Path, labels: str, site: Site, out: Path) -> Path:
    """Write a published model's answers of all frames, asked as after its training."""
    recipe = OmegaConf.load(model / "config.yaml")
    size, side_px = recipe.scratch.model.size, recipe.scratch.model.resolution
    frames, store = load_frames(site.dataset, "val", labels), out.with_suffix(".store")
    prepare(frames, side_px, store)
    asked = recipe.trainer.data.prediction
    asked.ann_file, asked.coco_json_loader.store = str(frames.document_path), str(store)
    detector = build(size, side_px)
    load_weights(detector, model / "checkpoint.pt")
    device = torch.device(accelerator())
    predict(
        detector.to(device),
        instantiate(asked),
        instances=recipe.scratch.phase.instances,
        device=device,
        collate=instantiate(recipe.trainer.data.train.collate_fn),
        out=out,
    )
    return out


def tree_estimates(site: Site, answers: Path, rules: Rules) -> dict[str, Estimate]:
    """Score the vessel tree against the truth."""
    cases = read_cases(site.dataset, site.data / "truth", answers)
    frames = score_cases(cases, rules.threshold, rules.processes)
    scores = summarise(frames, rules.tree_from, rules.threshold, rules.resampling)
    return {
        f"tree, {found.metric}": found.estimate
        for found in scores.groups
        if found.metric in _TREE_METRICS
        and (found.group, found.reference, found.source) == ("all", "truth", rules.tree_from)
    }


def segment_estimates(site: Site, answers: Path, rules: Rules) -> dict[str, Estimate]:
    """Score the segments by name."""
    how = rules.answers
    scores = score_predictions(site.dataset, site.data / "truth", answers, how)
    found = estimate_all(scores, rules.resampling)
    return {f"{name}, {of}": found[name, of] for name, of in _SEGMENT_FIGURES}


def finding_estimates(site: Site, answers: Path, rules: Rules) -> dict[str, Estimate]:
    """Score diameters and lesions."""
    inputs = Phase4Inputs(
        dataset=site.dataset,
        truth=site.data / "truth",
        predictions=answers,
        contours=site.data / "labels" / "contours",
    )
    frames = score_phase4(inputs, rules.segment_from, rules.processes)
    found = estimate_phase4(phase4_figures(frames, rules.threshold), rules.resampling)
    shown = {
        f"MLD in mm, {name}, {origin}": found["mld_mm", origin, "truth", name]
        for origin in _DIAMETERS
        for name in ("bias", "sd")
    }
    return shown | {
        f"lesions by {way}, {name}, {against}": found["lesions", way, against, name]
        for way, against, name in _LESION_FIGURES
    }


def row(name: str, found: Estimate) -> tuple[str, ...]:
    interval = f"{found.low:.3f} to {found.high:.3f}"
    return name, f"{found.mean:.3f}", interval, str(found.n), str(found.patients)


def main(
    patients: Annotated[int, typer.Option(help="Patients to simulate.")] = 26,
    seed: Annotated[int, typer.Option(help="Not the training data's.")] = 11,
    models: Annotated[Path, typer.Option(help="Holds phase1, 2, 4.")] = Path("models"),
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> None:
    """Score the models of Phases 1, 2 and 4 on patients of another seed."""
    rules = rules_of(load_config())
    prepare_runtime(threads=load_config().train.threads)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        site = simulated(folder, patients, seed)
        trees = answered(models / "phase1", "vessel_tree", site, folder / "trees")
        names = answered(models / "phase2", "segments", site, folder / "names")
        findings = answered(models / "phase4", "findings", site, folder / "findings")
        estimates = {
            **tree_estimates(site, trees, rules),
            **segment_estimates(site, names, rules),
            **finding_estimates(site, findings, rules),
        }
    dist.destroy_process_group()
    columns = ("figure", "value", "interval", "n", "patients")
    rows = (row(name, found) for name, found in estimates.items())
    show_table(f"Patients of seed {seed}", columns, rows, markdown=markdown)


if __name__ == "__main__":
    typer.run(main)
