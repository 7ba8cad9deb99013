"""How far answers and a short training differ where the machine computes otherwise.

``python benchmarks/machines.py [--models models] [--dataset dataset] [--frames 12] [--steps 24]``
takes Phase 2's model and asks it about validation frames; then it trains from Phase 1's model as
Phase 2 does, with the same batches, and asks again. Each is done in a fresh process for each of:

- the reference: one thread, all that the processor can do; twice, to see whether it repeats itself;
- two threads;
- processors that can do less, as the libraries can be told: ATen without vector instructions,
  oneDNN with SSE 4.1 alone, MKL with its kernels for any processor, and all of these together;
- a GPU, where there is one, and where not, not;
- the reference with another seed, to compare the rest with.

Differences are to the reference: of the logits of the semantic masks, of the probability that a
phrase is in the picture, and the Dice of the masks at the model's resolution, over all questions of
which either has a mask. The last loss is that of the last step.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from result_table import show_table
from training import Way, endless, loss_of, step_of

from sam3_angio.config import load_config
from sam3_angio.detector.build import model_spec
from sam3_angio.detector.checkpoint import load_weights
from sam3_angio.detector.frames import load_frames, prepare
from sam3_angio.detector.predict import answers, enlarge
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import parameters_of
from sam3_angio.detector.runtime import accelerator, deterministic, seed_everything
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.detector.training import frozen_parts, segments_job
from sam3_angio.detector.workers import joined

Record = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A way to compute.

    Attributes
    ----------
    variables : mapping
        Of the environment.
    threads : int
    other_seed : bool
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    other_seed: bool = False


_CPU = {"CUDA_VISIBLE_DEVICES": ""}
_ATEN = {"ATEN_CPU_CAPABILITY": "default"}
_ONEDNN = {"ONEDNN_MAX_CPU_ISA": "SSE41"}
_MKL = {"MKL_CBWR": "COMPATIBLE"}
REFERENCE = "reference"
MACHINES = {
    REFERENCE: Machine(variables=_CPU),
    "the same again": Machine(variables=_CPU),
    "two threads": Machine(variables=_CPU, threads=2),
    "ATen: no vector instructions": Machine(variables=_CPU | _ATEN),
    "oneDNN: SSE 4.1": Machine(variables=_CPU | _ONEDNN),
    "MKL: any processor": Machine(variables=_CPU | _MKL),
    "all three": Machine(variables=_CPU | _ATEN | _ONEDNN | _MKL),
    "GPU": Machine(),
    "another seed": Machine(variables=_CPU, other_seed=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Folders: of models, of the data set, and of its prepared frames."""

    models: Path
    dataset: Path
    store: Path


def recipe_of(inputs: Inputs, seed: int) -> DictConfig:
    """Fill the packaged configuration of Phase 2 for one process."""
    job = segments_job(inputs.models / "phase1")
    parameters = parameters_of(load_config(), job.sections)
    parameters["train"].update(seed=seed)
    model = parameters["model"]
    run: dict[str, Any] = dict.fromkeys(("label", "folder", "curves"), "none")
    run |= {
        "accelerator": accelerator(),
        "queries": model_spec(model["size"], model["resolution"]).queries,
        "frozen": frozen_parts(parameters["train_phase2"]),
        "remember_mb": 0,
        "loader_workers": 0,
        "initial": str(job.start),
    }
    for split in ("train", "val"):
        run[f"{split}_document"] = str(inputs.dataset / split / "segments" / "annotations.json")
        run[f"{split}_store"] = str(inputs.store / split)
    return compose_recipe("phase2", parameters, run)


def asked(model: torch.nn.Module, recipe: DictConfig, count: int, name: str) -> Record:
    """Return what a model answers about the first validation frames."""
    frames = instantiate(recipe.trainer.data.prediction)
    data = instantiate(recipe.trainer.data.train)
    side_px = recipe.scratch.model.resolution
    device = torch.device(accelerator())
    found = list(answers(model, frames, range(min(count, len(frames))), device, data.collate_fn))
    logits = torch.stack([answer.semantic for answer in found]).float().cpu()
    masks = torch.stack([enlarge(one, (side_px, side_px)) > 0 for one in logits])
    return {
        f"{name} logits": logits.numpy(),
        f"{name} presence": np.array([answer.presence for answer in found]),
        f"{name} masks": masks.numpy(),
    }


def record(machine: Machine, inputs: Inputs, frames: int, steps: int) -> Record:
    """Ask and train on this machine."""
    prepare_runtime(machine.threads)
    with joined(timeout_s=60), deterministic():
        seed = load_config().train.seed + machine.other_seed
        recipe, models = recipe_of(inputs, seed), inputs.models
        model = instantiate(recipe.trainer.model, _convert_="all").to(accelerator())
        load_weights(model, models / "phase2" / "checkpoint.pt")
        found = dict(asked(model, recipe, frames, "trained"))
        load_weights(model, models / "phase1" / "checkpoint.pt")
        model.train()
        seed_everything(seed)
        batches, step = (
            endless(instantiate(recipe.trainer.data.train)),
            step_of(Way(), recipe, model),
        )
        for _ in range(steps - 1):
            step(next(batches))
        batch = next(batches)
        loss = instantiate(recipe.trainer.loss.angio, _convert_="all").to(accelerator())
        last = loss_of(model, loss, batch["angio"], small=False)
        found["loss"] = np.array(last.item())
        return found | asked(model, recipe, frames, "short")


def dices(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the Dice of masks that are not both empty."""
    both, total = (one & other).sum(axis=(1, 2)), one.sum(axis=(1, 2)) + other.sum(axis=(1, 2))
    return np.asarray(2 * both[total > 0] / total[total > 0])


HEAD = (
    "",
    "largest difference of logits",
    "of presence",
    "Dice of masks, mean",
    "smallest",
    "after the training: loss, relative",
    "logits",
    "presence",
    "Dice, mean",
    "smallest ",
)


def row(name: str, found: Record, reference: Record) -> tuple[str, ...]:
    """Return a line of the table."""
    cells = [name]
    for part in ("trained", "short"):
        if part == "short":
            cells.append(f"{abs(found['loss'] / reference['loss'] - 1):.1g}")
        for what in ("logits", "presence"):
            apart = np.abs(found[f"{part} {what}"] - reference[f"{part} {what}"]).max()
            cells.append(f"{apart:.1g}")
        same = dices(found[f"{part} masks"], reference[f"{part} masks"])
        cells += [f"{same.mean():.4f}", f"{same.min():.3f}"]
    return tuple(cells)


def recorded(name: str, inputs: Inputs, options: list[str]) -> Record:
    """Measure a machine in a process of its own."""
    out = inputs.store / "record.npz"
    environment = {**os.environ, **MACHINES[name].variables}
    command = [sys.executable, __file__, *options, "--only", name, "--store", str(inputs.store)]
    subprocess.run(command, env=environment, check=True)
    with np.load(out) as stored:
        return dict(stored)


def main(
    models: Annotated[Path, typer.Option(help="Folder of phase1 and phase2.")] = Path("models"),
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")] = Path("dataset"),
    frames: Annotated[int, typer.Option(help="Validation frames to ask about.")] = 12,
    steps: Annotated[int, typer.Option(help="Of the short training.")] = 24,
    only: Annotated[list[str] | None, typer.Option(help="Machines; all if none.")] = None,
    store: Annotated[Path | None, typer.Option(hidden=True)] = None,
    markdown: Annotated[bool, typer.Option(help="Print a table for a document.")] = False,
) -> None:
    """Compare machines."""
    if store is not None and only:
        inputs = Inputs(models=models, dataset=dataset, store=store)
        np.savez(store / "record.npz", **record(MACHINES[only[0]], inputs, frames, steps))
        return
    options = ["--models", str(models), "--dataset", str(dataset)]
    options += ["--frames", str(frames), "--steps", str(steps)]
    here = [name for name in MACHINES if name != "GPU" or torch.cuda.is_available()]
    names = [name for name in here if name == REFERENCE or name in (only or here)]
    with TemporaryDirectory() as folder:
        inputs = Inputs(models=models, dataset=dataset, store=Path(folder))
        for split in ("train", "val"):
            read = load_frames(dataset, split, "segments")
            prepare(read, load_config().model.resolution, inputs.store / split)
        found = {name: recorded(name, inputs, options) for name in names}
    reference = found[REFERENCE]
    rows = [row(name, found[name], reference) for name in names if name != REFERENCE]
    questions = len(reference["trained presence"])
    title = f"{frames} frames, {questions} questions, {steps} steps; {torch.__version__}, "
    title += torch.backends.cpu.get_cpu_capability()
    show_table(title, HEAD, rows, markdown=markdown)


if __name__ == "__main__":
    typer.run(main)
