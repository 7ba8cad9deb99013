"""What each arm of Phase 3 costs: a training step, and the answers to all questions of a frame.

``python benchmarks/view_arms.py [--dataset dataset] [--steps 12] [--rounds 3] [--markdown]`` takes
model, losses and questions of ``params.yaml`` and random weights. Times are those of the
processor, so that other work on the machine counts little; with CUDA, of the clock. Medians over
the rounds, in which the arms take turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from hydra.utils import instantiate
from omegaconf import DictConfig
from training import Way, endless, now, step_of

from sam3_angio.coco import load_document
from sam3_angio.config import load_config
from sam3_angio.detector.build import model_spec
from sam3_angio.detector.frames import load_frames, prepare
from sam3_angio.detector.predict import answers
from sam3_angio.detector.recipe import compose_recipe
from sam3_angio.detector.run_folder import parameters_of
from sam3_angio.detector.runtime import accelerator
from sam3_angio.detector.runtime import prepare as prepare_runtime
from sam3_angio.detector.training import Job
from sam3_angio.detector.view_training import VIEWS, arm_jobs, view_table
from sam3_angio.detector.workers import joined
from sam3_angio.view_table import write_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """An arm that can train on a batch and answer for a frame.

    Attributes
    ----------
    batches : iterator
    step : callable
        Trains on a batch.
    answer : callable
        Answers all questions of some frames, given their number.
    batch_size : int
    """

    batches: Iterator[Any]
    step: Callable[[Any], None]
    answer: Callable[[int], None]
    batch_size: int


def recipe_of(job: Job, dataset: Path, scratch: Path) -> DictConfig:
    """Fill the packaged configuration of an arm for one process."""
    parameters = parameters_of(load_config(), job.sections, job.ignored)
    model = parameters["model"]
    run = dict.fromkeys(("label", "curves"), "none")
    run |= {
        "accelerator": accelerator(),
        "queries": model_spec(model["size"], model["resolution"]).queries,
        "frozen": ["backbone.language_backbone.encoder"],
        "initial": None,
        "folder": str(scratch / str(job.run["carrier"])),
        **job.run,
    }
    for split in ("train", "val"):
        run[f"{split}_document"] = str(dataset / split / "segments" / "annotations.json")
        run[f"{split}_store"] = str(scratch / split)
    return compose_recipe("phase3", parameters, run)


def arm(job: Job, dataset: Path, scratch: Path) -> Timed:
    """Make an arm ready."""
    config = load_config()
    recipe = recipe_of(job, dataset, scratch)
    documents = {
        split: load_document(dataset / split / "segments" / "annotations.json")
        for split in ("train", "val")
    }
    folder = Path(recipe.scratch.run.folder)
    folder.mkdir(exist_ok=True)
    write_table(folder / VIEWS, view_table(job, config, documents))
    model = instantiate(recipe.trainer.model)
    data = instantiate(recipe.trainer.data.train)
    frames = instantiate(recipe.trainer.data.prediction)
    train = step_of(Way(), recipe, model)

    def step(batch: Any) -> None:
        model.train()
        train(batch)

    def answer(count: int) -> None:
        device = torch.device(accelerator())
        for _ in answers(model, frames, range(count), device, data.collate_fn):
            pass

    return Timed(batches=endless(data), step=step, answer=answer, batch_size=data.batch_size)


def measure(arms: dict[str, Timed], steps: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return seconds a frame of each arm: in training, and in prediction."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for timed in arms.values():
        timed.step(next(timed.batches))
    for _ in range(rounds):
        for name, timed in arms.items():
            started = now()
            for _ in range(steps):
                timed.step(next(timed.batches))
            between = now()
            timed.answer(steps)
            ended = now()
            training = (between - started) / (steps * timed.batch_size)
            found[name].append((training, (ended - between) / steps))
    return {
        name: tuple(statistics.median(part) for part in zip(*times, strict=True))
        for name, times in found.items()
    }


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")] = Path("dataset"),
    steps: Annotated[int, typer.Option(help="Steps, and frames to answer for, a round.")] = 12,
    rounds: Annotated[int, typer.Option(help="Rounds, of which the median is shown.")] = 3,
) -> None:
    """Compare the arms; print a table for a document."""
    config = load_config()
    prepare_runtime(threads=config.train.threads)
    with TemporaryDirectory() as folder, joined(timeout_s=60):
        scratch = Path(folder)
        for split in ("train", "val"):
            frames = load_frames(dataset, split, "segments")
            prepare(frames, config.model.resolution, scratch / split)
        jobs = arm_jobs(config, Path())
        arms = {name: arm(job, dataset, scratch) for name, job in jobs.items()}
        found = measure(arms, steps, rounds)
    typer.echo("| arm | ms a frame, training | to first | ms a frame, answers | to first |")
    typer.echo("|---|---:|---:|---:|---:|")
    first = next(iter(found.values()))
    for name, (training, answering) in found.items():
        ratios = (training / first[0], answering / first[1])
        typer.echo(
            f"| {name} | {training * 1000:.0f} | {ratios[0]:.2f} "
            f"| {answering * 1000:.0f} | {ratios[1]:.2f} |"
        )


if __name__ == "__main__":
    typer.run(main)
