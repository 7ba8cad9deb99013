"""What ``sam3-angio doctor`` looks at: the machine, the weights and the needs of every phase.

The same comparisons are made before each training (see :mod:`~sam3_angio.detector.preflight`);
here they are made for all phases at once, and nothing is trained, made or downloaded.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sam3_angio.coco import load_document
from sam3_angio.config import Config
from sam3_angio.detector.build import model_spec
from sam3_angio.detector.lesion_training import findings_job
from sam3_angio.detector.machine import Machine
from sam3_angio.detector.preflight import Finding, Need, examine, need_of
from sam3_angio.detector.recipe import compose_recipe, recipe_files
from sam3_angio.detector.run_folder import parameters_of
from sam3_angio.detector.runtime import accelerator
from sam3_angio.detector.training import TREE, Job, frozen_parts, segments_job
from sam3_angio.detector.view_training import arm_jobs
from sam3_angio.detector.weights import HUB, NONE, resolve
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
    for job in _jobs(config):
        try:
            frames = _frames(dataset, job)
        except DataError as error:
            faulty.append(_not_read(job, error))
            frames = None
        recipe = job_recipe(job, config)
        needs.append(need_of(recipe, workers=workers, nodes=nodes, frames=frames))
    return (*examine(machine, _distinct(needs)), *faulty, *_weights(config.model.checkpoint))


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


def _frames(dataset: Path, job: Job) -> int | None:
    path = dataset / "train" / job.labels / "annotations.json"
    return len(load_document(path).images) if path.is_file() else None


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


def _weights(checkpoint: str) -> Iterator[Finding]:
    about = "weights"
    if checkpoint == NONE:
        yield Finding(about=about, found="random, as model.checkpoint says")
    elif checkpoint == HUB and stored_weights() is None:
        yield _not_downloaded()
    else:
        yield _file_of_weights(checkpoint)


def _file_of_weights(checkpoint: str) -> Finding:
    try:
        path = resolve(checkpoint)
    except ConfigError as error:
        return Finding(about="weights", found=error.headline, verdict="error")
    if path is not None and zipfile.is_zipfile(path):
        return Finding(about="weights", found=f"whole, {path.stat().st_size / 2**30:.2f} GiB")
    return Finding(
        about="weights",
        found="the file is cut short, or holds no weights.",
        verdict="error",
        fix="Copy or download it again.",
    )


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
