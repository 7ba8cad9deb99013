"""The frames of one split: read, validated, and prepared once at the model's resolution.

SAM 3's data set replaces a sample that fails to load by the next one, without a word. So all of it
is checked before training, and decoding and resizing are done once: what training reads is a pair
of arrays, mapped into memory and shared by the workers.

Conventions
-----------
A frame is resized to a square, each axis by its own factor, with the edges of the outer pixels
kept in place (half-pixel centres), antialiased where it shrinks. Masks are cut at one half.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch.nn import functional

from sam3_angio.coco import Annotation, Document, ImageEntry, decode_mask, load_document
from sam3_angio.detector.pulse import beating
from sam3_angio.errors import DataError, Fault
from sam3_angio.files import replacing, sha256
from sam3_angio.pictures import read_picture as read_file

MIN_AREA_PX = 4


@dataclass(frozen=True, kw_only=True)
class FrameSet:
    """The frames of one split that have a label of one task.

    Attributes
    ----------
    folder : Path
        Holds the pictures, or archives of them.
    document_path : Path
        COCO document.
    document : Document
        Its content.
    """

    folder: Path
    document_path: Path
    document: Document

    @cached_property
    def images(self) -> dict[int, ImageEntry]:
        """Images by id, ascending."""
        return {image.id: image for image in sorted(self.document.images, key=lambda i: i.id)}

    @cached_property
    def annotations(self) -> dict[int, tuple[Annotation, ...]]:
        """Annotations by the id of their image."""
        found: dict[int, list[Annotation]] = {image_id: [] for image_id in self.images}
        for mark in self.document.annotations:
            found[mark.image_id].append(mark)
        return {image_id: tuple(marks) for image_id, marks in found.items()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the document and all pictures."""
        total = hashlib.sha256(sha256(self.document_path).encode())
        for image in beating(self.images.values()):
            content = read_file(self.folder / image.file_name)
            total.update(hashlib.sha256(content).hexdigest().encode())
        return total.hexdigest()


def load_frames(dataset: Path, split: str, task: str) -> FrameSet:
    """Read the frames of one split and check them.

    Parameters
    ----------
    dataset : Path
        Folder written by the ``split`` stage.
    split : {"train", "val"}
    task : {"vessel_tree", "segments"}

    Raises
    ------
    DataError
        With every fault of the document and of the pictures.
    """
    path = dataset / split / task / "annotations.json"
    frames = FrameSet(
        folder=dataset / split / "images", document_path=path, document=load_document(path)
    )
    where = f"{split}/{task}/annotations.json"
    faults = [*_empty(frames, where), *_faulty_labels(frames, where), *_faulty_pictures(frames)]
    if faults:
        raise DataError(f"The {split} frames cannot be used:", faults)
    return frames


def _empty(frames: FrameSet, where: str) -> Iterator[Fault]:
    if not frames.images:
        yield Fault(file=where, message="no frame has a label.", fix="Check the split stage.")


def _faulty_labels(frames: FrameSet, where: str) -> Iterator[Fault]:
    for image_id, marks in frames.annotations.items():
        frame_id = frames.images[image_id].frame_id
        if not marks:
            yield Fault(file=where, field=frame_id, message="the frame has no annotation.")
        for mark in marks:
            # A box without extent makes the overlap losses divide by zero.
            if mark.area < MIN_AREA_PX or min(mark.bbox[2:]) < 1:
                yield Fault(
                    file=where,
                    field=frame_id,
                    message=f"the mask has {mark.area:.0f} pixels, fewer than {MIN_AREA_PX}.",
                    fix="Remove the label.",
                )


def _faulty_pictures(frames: FrameSet) -> Iterator[Fault]:
    for image in beating(frames.images.values()):
        try:
            with _opened(frames, image) as picture:
                mode, size = picture.mode, picture.size
        except (OSError, UnidentifiedImageError):
            yield Fault(file=image.file_name, message="the picture is missing or not a PNG.")
            continue
        if mode != "L" or size != (image.width, image.height):
            yield Fault(
                file=image.file_name,
                message=f"a grey picture of {image.width} × {image.height} pixels was expected, "
                f"not {mode} of {size[0]} × {size[1]}.",
            )


def _opened(frames: FrameSet, image: ImageEntry) -> Image.Image:
    return Image.open(io.BytesIO(read_file(frames.folder / image.file_name)))


def read_picture(frames: FrameSet, image: ImageEntry) -> NDArray[np.uint8]:
    """Return a frame as (rows, columns) grey values.

    Raises
    ------
    DataError
        The file's data are damaged.
    """
    try:
        with _opened(frames, image) as picture:
            return np.asarray(picture, dtype=np.uint8)
    except OSError:
        raise DataError.at(image.file_name, "the picture's data are damaged.") from None


def resize(values: NDArray[np.uint8], side_px: int) -> NDArray[np.float32]:
    """Resize to a square, with half-pixel centres.

    Parameters
    ----------
    values : (R, C) ndarray of uint8
    side_px : int

    Returns
    -------
    (side_px, side_px) ndarray of float32
    """
    if values.shape == (side_px, side_px):
        return values.astype(np.float32)
    tensor = torch.from_numpy(values.astype(np.float32))[None, None]
    resized = functional.interpolate(
        tensor, size=(side_px, side_px), mode="bilinear", antialias=True, align_corners=False
    )
    return np.asarray(resized[0, 0].numpy())


class FrameStore:
    """Frames and masks at the model's resolution, as two arrays mapped from files.

    Parameters
    ----------
    root : Path
        Folder of the arrays, as written by :func:`prepare`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._pictures = np.load(root / "pictures.npy", mmap_mode="r")
        self._masks = np.load(root / "masks.npy", mmap_mode="r")
        self._rows = _places(np.load(root / "image_ids.npy"))
        self._mask_rows = _places(np.load(root / "annotation_ids.npy"))
        self.side_px = int(self._pictures.shape[-1])

    def __reduce__(self) -> tuple[type[FrameStore], tuple[Path]]:
        """Be mapped anew in another process, where arrays would be copied into its memory."""
        return FrameStore, (self._root,)

    def picture(self, image_id: int) -> NDArray[np.uint8]:
        """Return a frame, (side, side) uint8."""
        return np.array(self._pictures[self._rows[image_id]])

    def mask(self, annotation_id: int) -> NDArray[np.uint8]:
        """Return a mask, (side, side) uint8 of 0 and 1."""
        bits = np.unpackbits(self._masks[self._mask_rows[annotation_id]], axis=-1)
        return bits[:, : self.side_px]


def _places(ids: NDArray[np.int64]) -> dict[int, int]:
    return {int(value): place for place, value in enumerate(ids)}


def prepare(frames: FrameSet, side_px: int, root: Path) -> None:
    """Write the arrays of a :class:`FrameStore`, unless they are there.

    Frame by frame, so that the memory does not grow with their number. Masks that vanish when they
    are made smaller keep their densest pixel, so that a target is never empty.
    """
    if is_prepared(root):
        return
    marks = _ordered(frames.document)
    with replacing(root) as folder:
        folder.mkdir()
        _save_all(
            folder / "pictures.npy",
            (len(frames.images), side_px, side_px),
            (_small_picture(frames, image, side_px) for image in beating(frames.images.values())),
        )
        _save_all(
            folder / "masks.npy",
            (len(marks), side_px, _packed(side_px)),
            (_small_mask(mark, side_px) for mark in beating(marks)),
        )
        np.save(folder / "image_ids.npy", np.array(list(frames.images), dtype=np.int64))
        np.save(folder / "annotation_ids.npy", np.array([mark.id for mark in marks], np.int64))


def is_prepared(root: Path) -> bool:
    """Whether the arrays of a :class:`FrameStore` are there."""
    # Listed, because a network drive remembers for a while that a folder was not there.
    return root.parent.is_dir() and root in root.parent.iterdir()


def is_prepared_for(document: Document, root: Path) -> bool:
    """Whether the arrays in a folder are of a document's frames and masks, by their ids."""
    ids = {
        "image_ids.npy": sorted(image.id for image in document.images),
        "annotation_ids.npy": [mark.id for mark in _ordered(document)],
    }
    try:
        return all(np.array_equal(np.load(root / name), values) for name, values in ids.items())
    except (OSError, ValueError):  # what is being removed, or is not ours
        return False


def prepared_bytes(document: Document, side_px: int) -> int:
    """Return what the arrays of a document's frames and masks take on the disk, but for headers.

    Examples
    --------
    >>> prepared_bytes(Document(images=(), annotations=(), categories=()), 1008)
    0
    """
    frames, masks = len(document.images), len(document.annotations)
    return frames * side_px**2 + masks * side_px * _packed(side_px)


def _ordered(document: Document) -> list[Annotation]:
    return sorted(document.annotations, key=lambda mark: mark.id)


def _packed(side_px: int) -> int:
    """Return the bytes that a row of a mask takes."""
    return -(-side_px // 8)


def _small_picture(frames: FrameSet, image: ImageEntry, side_px: int) -> NDArray[np.uint8]:
    values = np.rint(resize(read_picture(frames, image), side_px))
    return values.clip(0, 255).astype(np.uint8)


def _small_mask(mark: Annotation, side_px: int) -> NDArray[np.uint8]:
    share = resize(decode_mask(mark.segmentation).astype(np.uint8), side_px)
    return np.packbits(share >= min(0.5, float(share.max())), axis=-1)


def _save_all(path: Path, shape: tuple[int, ...], values: Iterable[NDArray[np.uint8]]) -> None:
    """Write an array, given slice by slice, as ``np.save`` would write the whole.

    It is written and not mapped: where the disk is full, a write is refused with an error, and the
    use of a mapped page ends the process with a signal.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[no-untyped-call]
        for value in values:
            stream.write(value.tobytes())
