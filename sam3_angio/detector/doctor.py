"""What ``sam3-angio doctor`` looks at: the machine, the weights and the needs of every phase.

The same comparisons are made before each training (see :mod:`~sam3_angio.detector.preflight`);
here they are made for all phases at once, and nothing is trained, made or downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sam3_angio.coco import Document, load_document
from sam3_angio.config import Config
from sam3_angio.detector.build import model_spec
from sam3_angio.detector.frames import is_prepared_for, prepared_bytes
from sam3_angio.detector.lesion_training import findings_job
from sam3_angio.detector.machine import Machine
from sam3_angio.detector.preflight import (
    Finding,
    Frames,
    Need,
    examine,
    named_at_most,
    need_of,
    weights_finding,
)
from sam3_angio.detector.recipe import compose_recipe, recipe_files
from sam3_angio.detector.run_folder import parameters_of, runs_root
from sam3_angio.detector.runtime import accelerator
from sam3_angio.detector.training import TREE, Job, frozen_parts, segments_job
from sam3_angio.detector.view_training import arm_jobs
from sam3_angio.detector.weights import HUB, resolve
from sam3_angio.detector.weights.hub import stored_weights
from sam3_angio.errors import ConfigError, DataError


def diagnose(config: Config, machine: Machine, dataset: Path) -> tuple[Finding, ...]:
    """Return every finding about machine, weights and the phases of ``params.yaml``.

    Parameters
    ----------
    config : Config
    machine : Machine
    dataset : Path
        Folder of the ``split`` stage; need not exist.

    Raises
    ------
    ConfigError
        The model of ``params.yaml`` cannot be built.
    """
    needs, faulty = [], []
    nodes = config.train.nodes
    workers = nodes * config.train.workers
    recipes = {job.label: job_recipe(job, config) for job in _jobs(config)}
    frames_of = cache(_frames)  # phases read the same labels
    for job in _jobs(config):
        try:
            frames = frames_of(dataset, job.labels, config.model.resolution)
        except DataError as error:
            faulty.append(_not_read(job, error))
            frames = None
        needs.append(need_of(recipes[job.label], workers=workers, nodes=nodes, frames=frames))
    weights = _weights(config.model.checkpoint, recipes[TREE.label])
    return (*examine(machine, _distinct(needs)), *faulty, *weights)


def job_recipe(job: Job, config: Config) -> DictConfig:
    """Return a training's configuration without its files.

    Parameters
    ----------
    job : Job
    config : Config
    """
    parameters = parameters_of(config, job.sections, job.ignored)
    (settings,) = (values for name, values in parameters.items() if name.startswith("train_"))
    run = {
        **dict.fromkeys(_run_keys(job.recipe), 0),
        "label": job.label,
        "accelerator": accelerator(),
        "queries": model_spec(config.model.size, config.model.resolution).queries,
        "frozen": frozen_parts(settings),
        "loader_workers": config.train.loader_workers,
        "initial": None,
        **job.run,
    }
    return compose_recipe(job.recipe, parameters, run)


def _run_keys(recipe: str) -> set[str]:
    """Return what a training sets itself, mostly files; of no matter to what it needs."""
    sections = [OmegaConf.load(path).get("scratch", {}) for path in recipe_files(recipe)]
    return {str(key) for section in sections for key in section.get("run", {})}


def _jobs(config: Config) -> Iterator[Job]:
    nowhere = Path()
    yield TREE
    yield segments_job(nowhere)
    yield from arm_jobs(config, nowhere).values()
    yield findings_job(nowhere, config)


def _frames(dataset: Path, labels: str, side_px: int) -> Frames | None:
    """Return what a phase reads; None if there are no frames to train on."""
    documents = {
        split: load_document(path)
        for split in ("train", "val")
        if (path := dataset / split / labels / "annotations.json").is_file()
    }
    if "train" not in documents:
        return None
    return Frames(
        count=len(documents["train"].images),
        named=named_at_most(documents["train"]),
        unprepared_bytes=sum(
            prepared_bytes(document, side_px)
            for document in documents.values()
            if not _seems_prepared(document, side_px)
        ),
    )


def _seems_prepared(document: Document, side_px: int) -> bool:
    """Whether there are arrays of just these frames; their pictures are not compared."""
    folders = (runs_root() / "prepared").glob(f"*-{side_px}")
    return any(is_prepared_for(document, folder) for folder in folders)


def _not_read(job: Job, error: DataError) -> Finding:
    return Finding(
        about=f"frames, {job.label}",
        found=error.headline,
        verdict="error",
        fix="Run `dvc repro split`.",
    )


def _distinct(needs: list[Need]) -> list[Need]:
    """Keep one arm of Phase 3, the largest: they differ by what carries the view."""
    arms = [need for need in needs if need.label.startswith("Phase 3")]
    largest = max(arms, key=lambda need: need.memory_bytes)
    return [need for need in needs if need not in arms or need is largest]


def _weights(checkpoint: str, recipe: DictConfig) -> Iterator[Finding]:
    if checkpoint == HUB and stored_weights() is None:
        yield _not_downloaded()
        return
    try:
        yield weights_finding(recipe, resolve(checkpoint))
    except ConfigError as error:
        yield Finding(about="weights", found=error.headline, verdict="error")


def _not_downloaded() -> Finding:
    from huggingface_hub import get_token

    if get_token() is None:
        return Finding(
            about="weights",
            found="Meta's weights are not downloaded, and there is no token for the hub.",
            verdict="error",
            fix="Log in with `hf auth login`, or give a path as model.checkpoint.",
        )
    return Finding(
        about="weights",
        found="Meta's weights are downloaded, 3.4 GB, when the first training begins.",
        verdict="warning",
        fix="Have the token's account granted access at https://huggingface.co/facebook/sam3.",
    )
