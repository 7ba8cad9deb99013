"""Public data sets into the layout that the training stages read.

ARCADE (doi:10.5281/zenodo.10390295) comes as two COCO sets, ``syntax`` and ``stenosis``, each with
its own division into train, val and test, which is kept. Any other set of the same layout comes
with a table that says what its categories are. ``docs/decisions/0006-public-data.md`` tells why the
data enter where they do.

Conventions
-----------
A frame's id is ``{set}-{split}-{name}``. Who the patients are is unknown: each frame counts as a
patient of its own, so intervals are by frame. View angles are unknown and written as 0, the artery
of a frame without segments as ``LCA``; ``import.json`` counts both. A frame's ``cass_segment`` is
its largest segment's, 0 without one.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from sam3_angio.anatomy import TREE_PHRASE, Artery, segments
from sam3_angio.coco import Annotation, Category, Document, ImageEntry, annotate, write_document
from sam3_angio.errors import ConfigError, DataError, Fault
from sam3_angio.exchange.foreign_coco import (
    ForeignDocument,
    ForeignImage,
    mark_mask,
    read_foreign,
)
from sam3_angio.files import replacing, write_json
from sam3_angio.label_mask import Mask
from sam3_angio.lesion_labels import LESION_CATEGORY, write_measurements
from sam3_angio.progress import in_threads
from sam3_angio.split import COLUMNS, merge_findings
from sam3_angio.table import finish, read_table, write_table

TREE = Category(id=1, name=TREE_PHRASE)
SPLITS = ("train", "val", "test")
MAPPING_COLUMNS = ("category", "means")

#: What a category is: a CASS number, the whole tree, a vessel without a CASS number, a stenosis, or
#: something else (a catheter).
Meaning = int | Literal["tree", "vessel", "stenosis", "source"]
_WORDS: dict[str, Meaning] = {
    "tree": "tree",
    "vessel": "vessel",
    "stenosis": "stenosis",
    "source": "source",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A data set of others.

    Attributes
    ----------
    name : str
        Starts the ids of its frames.
    folder : Path
        Holds ``{split}/annotations/*.json`` and ``{split}/images/``.
    meanings : mapping
        What each category is, by its name in the document.
    scheme : str
        Put before the names of categories, such as ``SYNTAX``.
    """

    name: str
    folder: Path
    meanings: Mapping[str, Meaning]
    scheme: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was taken in: frames and annotations by split and task."""

    frames: Mapping[str, int]
    annotations: Mapping[str, int]
    without_segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """One frame with its masks by meaning."""

    entry: ImageEntry
    picture: Path
    tree: Mask | None
    named: Mapping[int, Mask]
    source: Mapping[int, Mask]
    lesions: tuple[Mask, ...] | None


def arcade_sets(folder: Path) -> tuple[PublicSet, ...]:
    """Return the sets of ARCADE that lie in a folder.

    Raises
    ------
    DataError
        It holds neither ``syntax`` nor ``stenosis``.
    """
    text = resources.files("sam3_angio.exchange").joinpath("syntax.csv").read_text("utf-8")
    meanings: dict[str, Meaning] = {
        row["syntax"]: int(row["cass"]) if row["cass"] else "vessel"
        for row in csv.DictReader(text.splitlines())
    }
    meanings["stenosis"] = "stenosis"
    found = tuple(
        PublicSet(name=f"arcade-{task}", folder=folder / task, meanings=meanings, scheme="SYNTAX")
        for task in ("syntax", "stenosis")
        if (folder / task).is_dir()
    )
    if not found:
        raise DataError.at("--arcade", "neither 'syntax' nor 'stenosis' is in this folder.")
    return found


def read_mapping(path: Path) -> dict[str, Meaning]:
    """Read the table that says what the categories of a COCO set are.

    Parameters
    ----------
    path : Path
        CSV with the columns ``category`` (its name) and ``means``: a CASS number, ``tree``,
        ``stenosis``, or what has its own name only: ``vessel`` (part of the tree) or ``source``.

    Raises
    ------
    DataError
        With every fault.
    """
    rows = read_table(path, MAPPING_COLUMNS)
    meanings: dict[str, Meaning] = {}
    for row in rows:
        name, means = row.text("category"), row.text("means")
        if name in meanings:
            row.fault("category", "this category occurs twice.")
        if means.isascii() and means.isdigit() and int(means) in segments():
            meanings[name] = int(means)
        elif means in _WORDS:
            meanings[name] = _WORDS[means]
        else:
            row.fault("means", "expected a CASS number (1–29), tree, vessel, stenosis or source.")
    finish(path.name, rows)
    return meanings


def import_sets(sets: Sequence[PublicSet], out: Path, *, processes: int = 0) -> Imported:
    """Write public data sets as a data set that the training stages read.

    Parameters
    ----------
    sets : sequence of PublicSet
    out : Path
        Folder to make; one that exists is refused.
    processes : int
        Frames at once; 0 for one a core.

    Raises
    ------
    ConfigError
        `out` exists.
    DataError
        With every fault of documents, categories and pictures. Nothing was written.
    """
    if out.exists():
        raise ConfigError(f"{out.name} exists; give another folder.")
    by_split = {split: _documents_of(sets, split) for split in SPLITS}
    if not any(by_split.values()):
        raise DataError.at(sets[0].name, "no SPLIT/annotations/*.json was found in it.")
    frames: dict[str, list[_Frame]] = {}
    first = 1
    for split, documents in by_split.items():
        jobs = [(one, document, image) for one, document in documents for image in document.images]
        numbered = list(enumerate(jobs, start=first))
        first += len(jobs)
        frames[split] = in_threads(
            lambda job, split=split: _frame(job[0], split, *job[1]),  # type: ignore[misc]
            numbered,
            processes,
            f"Masks of {split}",
        )
    _require_pictures([frame for side in frames.values() for frame in side])
    labels = _source_names(by_split.values())
    with replacing(out) as folder:
        counts = Counter[str]()
        for split, side in frames.items():
            counts += _write_split(folder / split, side, labels)
        rows = [
            (frame.entry.frame_id, frame.entry.patient, frame.entry.artery, split)
            for split, side in frames.items()
            for frame in side
        ]
        write_table(folder / "split.csv", COLUMNS, sorted(rows))
        imported = Imported(
            frames={split: len(side) for split, side in frames.items()},
            annotations=dict(sorted(counts.items())),
            without_segments=sum(not f.named for side in frames.values() for f in side),
        )
        write_json(folder / "import.json", _report(imported))
    return imported


def _report(imported: Imported) -> dict[str, object]:
    return {
        "frames": dict(imported.frames),
        "annotations": dict(imported.annotations),
        "artery_and_segment_unknown": imported.without_segments,
        "view_angles": "unknown, written as 0",
        "patients": "unknown, a frame each",
    }


def _documents_of(sets: Sequence[PublicSet], split: str) -> list[tuple[PublicSet, ForeignDocument]]:
    """Read one split of all sets; what is wrong is said of all of them at once."""
    documents, faults = [], []
    for one in sets:
        paths = sorted((one.folder / split / "annotations").glob("*.json"))
        if len(paths) > 1:
            where = f"{one.name}/{split}/annotations"
            faults.append(Fault(file=where, message=f"{len(paths)} documents, expected one."))
        for path in paths[:1]:
            try:
                document = read_foreign(path)
            except DataError as error:
                faults += error.faults
                continue
            faults += _unknown_categories(one, path.name, document)
            documents.append((one, document))
    if faults:
        raise DataError("The public data set cannot be used:", faults)
    return documents


def _unknown_categories(one: PublicSet, name: str, document: ForeignDocument) -> list[Fault]:
    used = {mark.category_id for mark in document.annotations}
    return [
        Fault(
            file=name,
            field=f"categories[id={category.id}]",
            message="its meaning is not known.",
            fix="Add its name to the mapping file.",
        )
        for category in document.categories
        if category.id in used and category.name not in one.meanings
    ]


def _frame(
    number: int, split: str, one: PublicSet, document: ForeignDocument, image: ForeignImage
) -> _Frame:
    names = {category.id: category.name for category in document.categories}
    masks = [
        (mark.category_id, mark_mask(mark, image))
        for mark in document.annotations
        if mark.image_id == image.id
    ]
    source = _united(masks)
    meant = [(one.meanings[names[category]], mask) for category, mask in masks]
    named = _united([(means, mask) for means, mask in meant if isinstance(means, int)])
    vessels = [mask for means, mask in meant if means not in ("stenosis", "source")]
    lesions = tuple(mask for means, mask in meant if means == "stenosis")
    # A set knows of stenoses where it marks any at all.
    knows = any(
        one.meanings[names[mark.category_id]] == "stenosis" for mark in document.annotations
    )
    return _Frame(
        entry=_entry(number, f"{one.name}-{split}-{Path(image.file_name).stem}", image, named),
        picture=one.folder / split / "images" / Path(image.file_name).name,
        tree=np.logical_or.reduce(vessels) if vessels else None,
        named=named,
        source=source,
        lesions=lesions if knows else None,
    )


def _united(masks: Iterable[tuple[int, Mask]]) -> dict[int, Mask]:
    """Return one mask a category: several annotations of one vessel are one vessel."""
    united: dict[int, Mask] = {}
    for category, mask in masks:
        if mask.any():
            united[category] = united[category] | mask if category in united else mask
    return united


def _entry(
    number: int, frame_id: str, image: ForeignImage, named: Mapping[int, Mask]
) -> ImageEntry:
    areas = {category: int(np.count_nonzero(mask)) for category, mask in named.items()}
    right = sum(area for category, area in areas.items() if segments()[category].artery == "RCA")
    artery: Artery = "RCA" if right > sum(areas.values()) - right else "LCA"
    return ImageEntry(
        id=number,
        file_name=f"{frame_id}.png",
        width=image.width,
        height=image.height,
        frame_id=frame_id,
        patient=frame_id,
        artery=artery,
        cass_segment=max(areas, key=areas.__getitem__, default=0),
        primary_deg=0.0,
        secondary_deg=0.0,
        spacing_row_mm=None,
        spacing_column_mm=None,
        spacing_source="none",
    )


def _require_pictures(frames: Iterable[_Frame]) -> None:
    faults = []
    for frame in frames:
        entry = frame.entry
        try:
            with Image.open(frame.picture, formats=["PNG", "JPEG"]) as picture:
                size = picture.size
        except (OSError, UnidentifiedImageError):
            faults.append(Fault(file=entry.file_name, message="the picture cannot be read."))
            continue
        if size != (entry.width, entry.height):
            message = f"{size[0]}×{size[1]} pixels; the document says {entry.width}×{entry.height}."
            faults.append(Fault(file=entry.file_name, message=message))
    if faults:
        raise DataError("Pictures do not belong to their document:", faults)


def _source_names(
    documents: Iterable[Sequence[tuple[PublicSet, ForeignDocument]]],
) -> dict[int, str]:
    return {
        category.id: f"{one.scheme} {category.name}".strip()
        for side in documents
        for one, document in side
        for category in document.categories
    }


def _write_split(folder: Path, frames: Sequence[_Frame], labels: Mapping[int, str]) -> Counter[str]:
    (folder / "images").mkdir(parents=True)
    for frame in frames:
        with Image.open(frame.picture) as picture:
            grey = np.array(picture.convert("L"))
        # From the bare array: nothing that a header says survives.
        Image.fromarray(grey).save(folder / "images" / frame.entry.file_name, "PNG")
    documents = _documents(frames, labels)
    documents["findings"] = merge_findings(documents["segments"], documents["lesions"])
    for task, document in documents.items():
        write_document(folder / task / "annotations.json", document)
    write_measurements(folder / "measurements.csv", [])
    return Counter({f"{folder.name}/{t}": len(d.annotations) for t, d in documents.items()})


def _documents(frames: Sequence[_Frame], labels: Mapping[int, str]) -> dict[str, Document]:
    cass = tuple(Category(id=n, name=segment.phrase) for n, segment in segments().items())
    source = tuple(Category(id=n, name=name) for n, name in sorted(labels.items()))
    trees = [(f, ((TREE, f.tree),)) for f in frames if f.tree is not None and f.tree.any()]
    named = [
        (f, tuple((cass[n - 1], mask) for n, mask in sorted(f.named.items())))
        for f in frames
        if f.named
    ]
    kept = [
        (f, tuple((Category(id=n, name=labels[n]), m) for n, m in sorted(f.source.items())))
        for f in frames
    ]
    lesions = [
        (f, tuple((LESION_CATEGORY, mask) for mask in f.lesions if mask.any()))
        for f in frames
        if f.lesions is not None
    ]
    return {
        "vessel_tree": _document(trees, (TREE,)),
        "segments": _document(named, cass),
        "source": _document(kept, source),
        "lesions": _document(lesions, (LESION_CATEGORY,)),
    }


def _document(
    frames: Sequence[tuple[_Frame, tuple[tuple[Category, Mask], ...]]],
    categories: tuple[Category, ...],
) -> Document:
    marks: list[Annotation] = []
    for frame, labels in frames:
        for category, mask in labels:
            marks.append(
                annotate(
                    mask,
                    annotation_id=len(marks) + 1,
                    image_id=frame.entry.id,
                    category_id=category.id,
                    phrase=category.name,
                )
            )
    return Document(
        images=tuple(frame.entry for frame, _ in frames),
        annotations=tuple(marks),
        categories=categories,
    )
