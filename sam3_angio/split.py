"""Partition into training and validation, by patient.

A patient's side depends on SHA-256 of the seed and the folded identifier alone: not on the order
of rows, not on the salt of the pseudonyms, and not on who else is there. So patients who are added
move nobody; the price is that the wanted fraction, overall and for each artery, is met on average
only: within about ±√(f(1−f)/n) for n patients. What came out is counted for each artery, and an
artery that one side lacks is reported.

Conventions
-----------
A patient's place is a number in [0, 1); those below the wanted fraction are for validation. All
frames of a patient, whatever the artery, are on one side.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.table import Table

from sam3_angio.coco import Document, load_document, of_images, write_document
from sam3_angio.errors import DataError, Fault
from sam3_angio.files import replacing
from sam3_angio.lesion_labels import read_measurements, write_measurements
from sam3_angio.manifest import ManifestRow, fold_patient_id
from sam3_angio.pictures import copy_pictures, has_picture
from sam3_angio.table import write_table

Side = Literal["train", "val"]
SIDES: tuple[Side, Side] = ("train", "val")
#: Documents of ``converted/`` and their folders in ``dataset/``.
TASKS = ("vessel_tree", "segments", "lesions")
#: Phase 4's own document: segments and lesions, of the frames that have both labels.
FINDINGS = "findings"
#: Tasks whose frames without an annotation are examples of absence, not frames without a label.
WITH_ABSENCE = ("lesions",)
ARTERIES = ("LCA", "RCA")
COLUMNS = ("frame_id", "patient", "artery", "split")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientGroup:
    """All frames of one patient; what a split moves, as a whole.

    Attributes
    ----------
    folded_id : str
        The patient's identifier, folded.
    rows : tuple of ManifestRow
        All of their frames.
    """

    folded_id: str
    rows: tuple[ManifestRow, ...]

    def has(self, artery: str) -> bool:
        """Return whether a frame of this artery is among them."""
        return any(row.artery == artery for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A partition of the patients."""

    train: tuple[PatientGroup, ...]
    val: tuple[PatientGroup, ...]

    def side(self, name: Side) -> tuple[PatientGroup, ...]:
        """Return the patients of one side."""
        return self.train if name == "train" else self.val


def group_by_patient(rows: Iterable[ManifestRow]) -> tuple[PatientGroup, ...]:
    """Gather the frames of each patient, all spellings of the identifier together.

    Raises
    ------
    DataError
        A run belongs to two patients: one person under two identifiers.
    """
    by_patient: dict[str, list[ManifestRow]] = defaultdict(list)
    owner: dict[str, ManifestRow] = {}
    faults = []
    for row in sorted(rows, key=lambda row: row.frame_id):
        folded = fold_patient_id(row.patient_id)
        by_patient[folded].append(row)
        first = owner.setdefault(row.dicom_sha256, row)
        if fold_patient_id(first.patient_id) != folded:
            message = f"the run of {row.frame_id} is also {first.patient}'s."
            fix = "Give both one identifier in the site's table, and import it again."
            faults.append(Fault(file="manifest.csv", field="patient_id", message=message, fix=fix))
    if faults:
        raise DataError("A run belongs to two patients, who could be split apart:", faults)
    return tuple(
        PatientGroup(folded_id=folded, rows=tuple(by_patient[folded]))
        for folded in sorted(by_patient)
    )


def place(folded_id: str, seed: int) -> float:
    """Return a patient's place in [0, 1), uniform over identifiers.

    Examples
    --------
    >>> round(place("101-0025", seed=0), 3)
    0.632
    """
    digest = hashlib.sha256(f"{seed}\n{folded_id}".encode()).digest()
    # 53 bits are what a double holds: the quotient is exact and stays below one.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def split_patients(groups: Sequence[PatientGroup], val_fraction: float, seed: int) -> Split:
    """Partition patients.

    Raises
    ------
    DataError
        A side would be empty.
    """
    for_validation = [place(group.folded_id, seed) < val_fraction for group in groups]
    paired = list(zip(groups, for_validation, strict=True))
    split = Split(
        train=tuple(group for group, chosen in paired if not chosen),
        val=tuple(group for group, chosen in paired if chosen),
    )
    for side in SIDES:
        if not split.side(side):
            message = f"no patient of {len(groups)} is in '{side}'."
            fix = "Give another split.seed or split.val_fraction."
            raise DataError.at("split.csv", message, fix, field="split")
    return split


def split_warnings(split: Split) -> list[Fault]:
    """Return a warning for each artery that one side lacks and the other has."""
    return [
        Fault(
            file="split.csv",
            field="artery",
            message=f"no {artery} is in '{side}'.",
            fix="Give another split.seed.",
            severity="warning",
        )
        for artery in ARTERIES
        for side in SIDES
        if not any(group.has(artery) for group in split.side(side))
        and any(group.has(artery) for group in (*split.train, *split.val))
    ]


def split_table(split: Split) -> Table:
    """Return the patients and frames of each side by artery, for the terminal."""
    table = Table("split", "patients", *(f"frames {artery}" for artery in ARTERIES))
    for side in SIDES:
        groups = split.side(side)
        counts = [
            sum(row.artery == artery for group in groups for row in group.rows)
            for artery in ARTERIES
        ]
        table.add_row(side, str(len(groups)), *map(str, counts))
    return table


def write_dataset(split: Split, converted: Path, frames: Path, out: Path) -> None:
    """Write pictures and documents of both sides.

    Parameters
    ----------
    split : Split
        Of whole patients, so that no frame of a patient can go elsewhere.
    converted : Path
        Folder of the documents of all frames.
    frames : Path
        Folder of the pictures, or of archives of them; the data set has them in the same form.
    out : Path
        Folder to write.

    Raises
    ------
    DataError
        The documents are not those of the split's frames, or a picture is missing.
    """
    documents = {task: load_document(converted / f"{task}.json") for task in TASKS}
    measurements = read_measurements(converted / "measurements.csv")
    _require_same_frames(split, documents)
    _require_pictures(split, frames)
    findings = merge_findings(documents["segments"], documents["lesions"])
    with replacing(out) as folder:
        for side in SIDES:
            names = {row.frame_id for group in split.side(side) for row in group.rows}
            pictures = (frames / f"{name}.png" for name in sorted(names))
            copy_pictures(pictures, folder / side / "images")
            for task, document in (documents | {FINDINGS: findings}).items():
                path = folder / side / task / "annotations.json"
                write_document(path, _labelled(document, names, absence=task in WITH_ABSENCE))
            own = [row for frame, row in measurements.items() if frame in names]
            write_measurements(folder / side / "measurements.csv", own)
        write_table(folder / "split.csv", COLUMNS, sorted(_assignments(split)))


def _assignments(split: Split) -> list[tuple[str, str, str, str]]:
    return [
        (row.frame_id, row.patient, row.artery, side)
        for side in SIDES
        for group in split.side(side)
        for row in group.rows
    ]


def merge_findings(segments: Document, lesions: Document) -> Document:
    """Return segments and lesions in one document, of the frames of which both are known.

    Segments keep the ids of their annotations; those of lesions follow.
    """
    outlined = {mark.image_id for mark in segments.annotations}
    both = outlined & {image.id for image in lesions.images}
    first = max((mark.id for mark in segments.annotations), default=0)
    marks = (
        *segments.annotations,
        *(replace(mark, id=first + mark.id) for mark in lesions.annotations),
    )
    return Document(
        images=tuple(image for image in segments.images if image.id in both),
        annotations=tuple(mark for mark in marks if mark.image_id in both),
        categories=(*segments.categories, *lesions.categories),
    )


def _labelled(document: Document, frames: set[str], *, absence: bool) -> Document:
    """Return the part of a document that has a label, of some frames; absence may be a label."""
    labelled = {mark.image_id for mark in document.annotations}
    return of_images(
        document,
        (
            image.id
            for image in document.images
            if (absence or image.id in labelled) and image.frame_id in frames
        ),
    )


def _require_same_frames(split: Split, documents: dict[str, Document]) -> None:
    expected = {frame for frame, *_ in _assignments(split)}
    faults = [
        Fault(
            file=f"{task}.json",
            field="images",
            message="its frames are not those of the manifest.",
            fix="Run convert again.",
        )
        for task, document in documents.items()
        if not _of_the_frames({image.frame_id for image in document.images}, expected, task)
    ]
    if faults:
        raise DataError("Documents and manifest do not belong together:", faults)


def _of_the_frames(found: set[str], expected: set[str], task: str) -> bool:
    """Tell whether a document's frames are all of the manifest's, or some where some suffice."""
    return found <= expected if task in WITH_ABSENCE else found == expected


def _require_pictures(split: Split, frames: Path) -> None:
    faults = [
        Fault(file=f"{frame}.png", message="the picture is missing.", fix="Run extract again.")
        for frame, *_ in _assignments(split)
        if not has_picture(frames / f"{frame}.png")
    ]
    if faults:
        raise DataError("Pictures are missing:", faults)
