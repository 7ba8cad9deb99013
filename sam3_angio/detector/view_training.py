"""Phase 3: does the view angle help? The same training again, told the view in different ways.

All arms have the same data, budget and seeds and start from the same weights; they differ in what
they are told (:mod:`~sam3_angio.view_table`) and in how it reaches the model
(:mod:`~sam3_angio.detector.view_model`):

========== =================================================================================
none       nothing
text       the view in words, with the phrase: "proximal LAD, RAO 30 cranial 20"
exemplar   the segment in a training frame of another patient, from the nearest view
embedding  sine and cosine of both angles
shuffled   as ``train_phase3.shuffled.of`` has it, but the view of another patient's frame
========== =================================================================================

What ``shuffled`` loses to ``none`` or gains over it comes from weights and words, not from the
view. By default it takes the way of ``embedding``: that one tells both angles unrounded, and
another number changes nothing else, while other words are encoded into other features of the
phrase itself.

An arm works in its own folder and keeps what it made there; an interrupted stage repeats no
finished arm, and arms that are added later leave the others as they are. All are published
together.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from sam3_angio.coco import Document, load_document
from sam3_angio.config import Arm, Config, load_config
from sam3_angio.detector.build import model_spec, tokenizer
from sam3_angio.detector.sharing import on_every_machine, told_by_first
from sam3_angio.detector.training import Job, Outs, folder_of, session, train_phase
from sam3_angio.detector.view_model import Carrier
from sam3_angio.detector.workers import first_of_each_machine_does, first_worker_does
from sam3_angio.errors import ConfigError, Fault
from sam3_angio.files import replacing
from sam3_angio.prompts import segment_numbers, segment_prompt
from sam3_angio.view_prompts import SILENT, phrase_with_view, spell_view
from sam3_angio.view_table import (
    ViewTable,
    nearest_exemplars,
    shuffled_views,
    true_views,
    write_table,
)

VIEWS = "views.json"


def train_arms(*, dataset: Path, start: Path, outs: Outs) -> None:
    """Train the arms that ``params.yaml`` lists, and publish a folder an arm.

    Parameters
    ----------
    dataset : Path
        Folder written by the ``split`` stage.
    start : Path
        Folder of the model of Phase 2.
    outs : Outs

    Raises
    ------
    AngioError
        Parameters, data or weights are wrong, a loss stopped being finite, or parameters or code
        were edited meanwhile.
    """
    with session():
        jobs = arm_jobs(load_config(), start)
        folders = first_worker_does(lambda: _prepare(jobs, dataset))
        on_every_machine(start / "checkpoint.pt")
        folders = folders or _folders(jobs, dataset)
        for folder in folders.values():
            on_every_machine(folder / VIEWS)
        finished = told_by_first(
            lambda: [arm for arm in jobs if _kept(folders[arm]).predictions.is_dir()]
        )
        for arm, job in jobs.items():
            if arm not in finished:
                train_phase(job, dataset=dataset, outs=_kept(folders[arm]))
                first_of_each_machine_does(partial(_forget_state, folders[arm]))
        first_worker_does(lambda: _publish(folders, dataset, start, outs))


def arm_jobs(config: Config, start: Path) -> dict[Arm, Job]:
    """Return the training of each arm that is listed.

    Parameters
    ----------
    config : Config
    start : Path
        Folder of the model of Phase 2.
    """
    return {arm: _job(arm, config, start) for arm in config.train_phase3.arms}


def _job(arm: Arm, config: Config, start: Path) -> Job:
    settings = config.train_phase3
    carrier: Carrier = settings.shuffled.of if arm == "shuffled" else arm
    spoken = carrier == "text"
    return Job(
        recipe="phase3",
        label=f"Phase 3, {arm}",
        sections=("model", "prompts", "train", "train_phase3"),
        labels="segments",
        start=start / "checkpoint.pt",
        run={
            "carrier": carrier,
            "shuffled": arm == "shuffled",
            "template": settings.text.template if spoken else SILENT,
            "round_deg": settings.text.round_deg if spoken else 1,
        },
        ignored=("arms", "text", "shuffled"),
    )


def _folders(jobs: Mapping[Arm, Job], dataset: Path) -> dict[Arm, Path]:
    return {arm: folder_of(job, dataset) for arm, job in jobs.items()}


def _kept(folder: Path) -> Outs:
    """Return where an arm keeps what it made until all are published."""
    kept = folder / "finished"
    return Outs(model=kept / "model", predictions=kept / "predictions", curves=kept / "curves")


def _forget_state(folder: Path) -> None:
    """Remove what a finished arm would have been resumed from: gigabytes at the published size."""
    shutil.rmtree(folder / "state", ignore_errors=True)


def _prepare(jobs: Mapping[Arm, Job], dataset: Path) -> dict[Arm, Path]:
    """Write what each arm is told, before any of them trains."""
    config = load_config()
    folders = _folders(jobs, dataset)
    documents = {
        split: load_document(dataset / split / "segments" / "annotations.json")
        for split in ("train", "val")
    }
    tables = {arm: view_table(job, config, documents) for arm, job in jobs.items()}
    for arm, job in jobs.items():
        _require_short_texts(job, config, tables[arm])
    for arm, table in tables.items():
        folders[arm].mkdir(parents=True, exist_ok=True)
        write_table(folders[arm] / VIEWS, table)
    return folders


def view_table(job: Job, config: Config, documents: Mapping[str, Document]) -> ViewTable:
    """Return what an arm is told of the frames of both splits.

    Parameters
    ----------
    job : Job
        One of :func:`arm_jobs`.
    config : Config
    documents : mapping of str to Document
        Segments of ``train`` and ``val``.

    Raises
    ------
    DataError
        Views cannot be exchanged between patients.
    """
    seed = config.train.seed
    told = [
        view
        for document in documents.values()
        for view in (
            shuffled_views(document.images, seed)
            if job.run["shuffled"]
            else true_views(document.images)
        )
    ]
    shown = job.run["carrier"] == "exemplar"
    images = [image for document in documents.values() for image in document.images if shown]
    categories = segment_numbers(config.prompts.segments)
    return ViewTable(
        views=tuple(sorted(told, key=lambda view: view.image_id)),
        exemplars=nearest_exemplars(images, documents["train"], categories),
    )


def _require_short_texts(job: Job, config: Config, table: ViewTable) -> None:
    """Refuse words that the text encoder would cut off without a word."""
    longest = model_spec(config.model.size, config.model.resolution).context_length
    views = {spell_view(view, job.run["round_deg"]) for view in table.angles.values()}
    texts = {
        phrase_with_view(phrase, view, job.run["template"])
        for phrase in _phrases(config)
        for view in views
    }
    # The encoder adds a token at either end.
    lengths = {text: len(tokenizer().encode(text)) + 2 for text in sorted(texts)}
    faults = [
        Fault(
            file="params.yaml",
            field="train_phase3.text.template",
            message=f"'{text}' has {length} tokens, more than {longest}.",
            fix="Shorten it.",
        )
        for text, length in lengths.items()
        if length > longest
    ]
    if faults:
        raise ConfigError("The text encoder would cut what it is asked:", faults[:10])


def _phrases(config: Config) -> Iterable[str]:
    asked = (segment_prompt(number) for number in segment_numbers(config.prompts.segments))
    yield from (prompt.phrase for prompt in asked)
    yield from config.prompts.wrong
    yield from config.train_phase3.negatives.phrases


def _publish(folders: Mapping[Arm, Path], dataset: Path, start: Path, outs: Outs) -> None:
    if _folders(arm_jobs(load_config(), start), dataset) != folders:
        raise ConfigError(
            "Parameters, data or code were changed while the arms trained. Nothing was published. "
            "What was trained is kept: undo the change and run the stage again to publish it, or "
            "run it as it is now to train anew."
        )
    with replacing(outs.model) as target:
        for arm, folder in folders.items():
            shutil.copytree(_kept(folder).model, target / arm)
            shutil.copy(folder / VIEWS, target / arm / VIEWS)
    for name in ("predictions", "curves"):
        with replacing(getattr(outs, name)) as target:
            for arm, folder in folders.items():
                shutil.copytree(getattr(_kept(folder), name), target / arm)
