"""What the data set is made of: frames by artery, segment, view, syntax and scale, by partition.

Conventions
-----------
Counts are of frames; patients are counted once in the partition's total. A patient is in one
partition alone (``dataset/split.csv``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from sam3_angio.anatomy import segments
from sam3_angio.coco import load_document
from sam3_angio.errors import DataError
from sam3_angio.geometry_table import FrameGeometry, read_geometry
from sam3_angio.table import finish, read_table

PARTITIONS = ("train", "val")

_SPLIT_COLUMNS = ("frame_id", "patient", "artery", "split")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTable:
    """Frames of each partition by one property.

    Attributes
    ----------
    title : str
        The property.
    rows : tuple of (value, counts)
        Counts in the order of `PARTITIONS`.
    """

    title: str
    rows: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A frame in the partition table.

    Attributes
    ----------
    frame_id, patient, artery, split : str
    """

    frame_id: str
    patient: str
    artery: str
    split: str


def count_composition(dataset: Path, frames: Path) -> tuple[CountTable, ...]:
    """Count the frames of both partitions by what they show and how they were acquired.

    Parameters
    ----------
    dataset : Path
        Written by ``split``.
    frames : Path
        Written by ``extract``; holds ``geometry.csv``.

    Returns
    -------
    tuple of CountTable
        Totals first.

    Raises
    ------
    DataError
        A table or a document is not valid.
    """
    members = read_members(dataset / "split.csv")
    geometry = read_geometry(frames / "geometry.csv")
    if unknown := [of.frame_id for of in members if of.frame_id not in geometry]:
        message = f"{len(unknown)} frames of split.csv are missing, such as {unknown[0]}."
        raise DataError.at("geometry.csv", message, "Run extract and split again.")
    acquired: dict[str, Callable[[FrameGeometry], str]] = {
        "View": lambda row: row.view.name,
        "Transfer syntax": lambda row: UID(row.transfer_syntax).name,
        "Rows × columns": lambda row: f"{row.rows} × {row.columns}",
        "Source of the scale": lambda row: row.spacing.source,
    }
    return (
        _totals(members),
        _table("Artery", ((of.artery, of.split) for of in members)),
        _segment_table(dataset),
        *(
            _table(title, ((value(geometry[of.frame_id]), of.split) for of in members))
            for title, value in acquired.items()
        ),
    )


def read_members(path: Path) -> tuple[Member, ...]:
    """Read ``dataset/split.csv``.

    Raises
    ------
    DataError
        With every fault of the table.
    """
    rows = read_table(path, _SPLIT_COLUMNS)
    members = tuple(
        Member(
            frame_id=row.text("frame_id"),
            patient=row.text("patient"),
            artery=row.text("artery"),
            split=row.choice("split", PARTITIONS),
        )
        for row in rows
    )
    finish(path.name, rows)
    return members


def _totals(members: Iterable[Member]) -> CountTable:
    frames = Counter(of.split for of in members)
    patients = Counter(split for _, split in {(of.patient, of.split) for of in members})
    return CountTable(
        title="Total",
        rows=(("Patients", _by_partition(patients)), ("Frames", _by_partition(frames))),
    )


def _segment_table(dataset: Path) -> CountTable:
    pairs = [
        (image.cass_segment, partition)
        for partition in PARTITIONS
        for image in load_document(dataset / partition / "segments" / "annotations.json").images
    ]
    numbers = sorted({number for number, _ in pairs})
    counts = Counter(pairs)
    rows = tuple(
        (
            f"{number} {segments()[number].phrase}",
            tuple(counts[number, partition] for partition in PARTITIONS),
        )
        for number in numbers
    )
    return CountTable(title="Analysed segment (CASS)", rows=rows)


def _table(title: str, pairs: Iterable[tuple[str, str]]) -> CountTable:
    counts = Counter(pairs)
    rows = tuple(
        (value, tuple(counts[value, partition] for partition in PARTITIONS))
        for value in sorted({value for value, _ in counts})
    )
    return CountTable(title=title, rows=rows)


def _by_partition(counts: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(counts.get(partition, 0) for partition in PARTITIONS)
