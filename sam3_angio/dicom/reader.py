"""Read one frame of an angiographic run, fast and safely.

The way through a file: elements (:mod:`~sam3_angio.dicom.elements`), their meaning
(:mod:`~sam3_angio.dicom.header`), where the frames lie (:mod:`~sam3_angio.dicom.structure`), the
frame's codestream (:mod:`~sam3_angio.dicom.codestream`), its decoder
(:mod:`~sam3_angio.dicom.decode`), and whether the picture can be one
(:mod:`~sam3_angio.dicom.plausibility`). Only the wanted frame is read and decoded. What cannot be
trusted raises ``DataError``; the file goes by the name that the caller gives it, never by its path.
"""

from __future__ import annotations

import stat
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from sam3_angio.acquisition import ViewAngle
from sam3_angio.dicom.alignment import require_aligned, require_no_hidden_shift
from sam3_angio.dicom.codestream import (
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    require_same_coding,
)
from sam3_angio.dicom.decode import WITHOUT_SIZE, Pixels, codec, decode, stored_pixels
from sam3_angio.dicom.elements import DataSet, read_data_set
from sam3_angio.dicom.header import RunHeader, run_header
from sam3_angio.dicom.intact import CodedFrame, require_intact
from sam3_angio.dicom.plausibility import (
    require_level_rows,
    require_like_neighbours,
    require_no_zeroed_bytes,
    require_one_picture,
    require_picture,
    require_width,
)
from sam3_angio.dicom.shutter import opening_of
from sam3_angio.dicom.structure import FrameMap, frame_map
from sam3_angio.dicom.tags import DEFLATED, UnreadableError
from sam3_angio.errors import DataError, Fault

#: Fewer values in a sample of a frame's bytes are those of a blank picture.
_FEW_VALUES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class XAFrame:
    """One frame of a run.

    Attributes
    ----------
    pixels : (R, C) ndarray of uint8 or uint16
        Stored values, before any display mapping.
    frame_index : int
        0-based.
    header : RunHeader
        Facts of the run.
    view : ViewAngle or None
        Of this frame; None where the header has no angles that can be meant.
    warnings : tuple of Fault
        Facts of the header that were dropped.
    """

    pixels: Pixels
    frame_index: int
    header: RunHeader
    view: ViewAngle | None
    warnings: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An open run: its elements, header and the places of its frames."""

    data_set: DataSet
    header: RunHeader
    frames: FrameMap

    def code(self, frame_index: int) -> bytes:
        """Return a frame as stored."""
        return self.frames.read(self.data_set.source, frame_index)

    def pixels_at(self, start: int, count: int) -> Pixels:
        """Return so many pixels of an uncompressed run, counted over all frames."""
        source, size = self.data_set.source, self.header.dtype.itemsize
        source.seek(self.data_set.pixel_offset + start * size)
        return stored_pixels(source.read(count * size), self.header)

    def neighbours(self, frame_index: int) -> list[CodedFrame]:
        """Return the frames before and after, or the two nearest ones at an end of the run.

        A neighbour that cannot be decoded is left out: it is not the frame that was asked for.
        """
        found = []
        for code in self.codes_around(frame_index):
            with suppress(UnreadableError):
                found.append((code, decode(code, self.header)))
        return found

    def codes_around(self, frame_index: int) -> list[bytes]:
        """Return the frames before and after, or the two nearest ones, as stored."""
        first = max(0, min(frame_index - 1, self.header.frames - 3))
        nearest = range(first, min(first + 3, self.header.frames))
        return [self.code(other) for other in nearest if other != frame_index]

    def require_not_doubled(self) -> None:
        """Refuse a run in which a frame is stored twice, wherever.

        Frames with noise never repeat, so a copy stands for a frame that is lost, and those before
        or after it may be shifted: which, the run does not tell. Frames without a beam may be
        alike: they are all but empty, or of few values.
        """
        sizes = [sum(part.size for part in group) for group in self.frames.frames]
        usual, often = statistics.median(sizes), Counter(sizes)
        alike: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        for index, size in enumerate(sizes):
            if often[size] > 1 and size >= usual / 4:
                alike[size, self._sample(index)].append(index)
        for (_size, sample), indices in alike.items():
            if len(indices) > 1 and len(set(sample)) >= _FEW_VALUES:
                self._require_different(indices)

    def _require_different(self, indices: Sequence[int]) -> None:
        seen: dict[bytes, int] = {}
        for index in indices:
            other = seen.setdefault(sha256(self.code(index)).digest(), index)
            if other != index:
                message = f"frames {other} and {index} are the same picture."
                fix = "One stands in another's place; export the run again."
                raise UnreadableError("PixelData (7FE0,0010)", message, fix)

    def _sample(self, frame_index: int) -> bytes:
        """Return some bytes from the middle of a frame."""
        fragment = self.frames.frames[frame_index][0]
        self.data_set.source.seek(fragment.offset + fragment.size // 2)
        return self.data_set.source.read(min(256, fragment.size - fragment.size // 2))


def read_frame(path: Path, frame_index: int, *, name: str) -> XAFrame:
    """Read one frame of a run.

    Parameters
    ----------
    path : Path
        The run's file.
    frame_index : int
        0-based.
    name : str
        What the file is called in errors: a pseudonym or a row of a table, since paths carry
        patients' names.

    Returns
    -------
    XAFrame

    Raises
    ------
    DataError
        If the file is no angiographic run in grey levels, is damaged, contradicts itself, or has
        no such frame.
    """
    with _named(name, frame_index), opened_run(path) as run:
        if not 0 <= frame_index < run.header.frames:
            message = f"there is no frame {frame_index}; the run has {run.header.frames}."
            fix = "Frames count from 0; check frame_index in the table."
            raise UnreadableError("NumberOfFrames (0028,0008)", message, fix)
        code = run.code(frame_index)
        pixels = decode(code, run.header)
        if run.header.transfer_syntax == JPEG_2000_LOSSLESS:
            require_same_coding(code, run.codes_around(frame_index))
        _require_plausible(run, frame_index, code, pixels)
        run.require_not_doubled()
        doubts = _require_in_place(run, frame_index, pixels)
        warnings = tuple(
            Fault(file=name, row=frame_index, field=field, message=message, severity="warning")
            for field, message in (*run.header.warnings, *doubts)
        )
        return XAFrame(
            pixels=pixels,
            frame_index=frame_index,
            header=run.header,
            view=run.header.view(frame_index),
            warnings=warnings,
        )


def _require_plausible(run: Run, frame_index: int, code: bytes, pixels: Pixels) -> None:
    """Ask of the decoded picture what no header tells."""
    coded = partial(run.neighbours, frame_index)

    def pictures() -> list[Pixels]:
        return [picture for _code, picture in coded()]

    opening = opening_of(pixels, run.header.shutter)
    require_picture(pixels)
    require_intact(code, pixels, run.header, coded)
    if run.header.transfer_syntax in WITHOUT_SIZE:
        require_width(pixels)
        require_one_picture(pixels)
        require_no_zeroed_bytes(pixels, pictures, opening)
    require_like_neighbours(pixels, pictures, opening)
    if run.header.transfer_syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        require_level_rows(pixels, pictures, opening)


def _require_in_place(run: Run, frame_index: int, pixels: Pixels) -> list[tuple[str, str]]:
    """Ask of uncompressed pixels whether they are where the frame is; return what is doubtful.

    Damage inside a deflated stream is found where it is inflated, and reading it twice is slow.
    """
    if codec(run.header.transfer_syntax).encapsulated or run.header.transfer_syntax == DEFLATED:
        return []
    doubts = require_aligned(pixels, frame_index, run.header, run.pixels_at)
    if run.frames.zeros_behind:
        opening = opening_of(pixels, run.header.shutter)
        size, columns = run.header.frames * pixels.size, pixels.shape[1]
        require_no_hidden_shift(pixels, run.pixels_at(size - columns, columns), opening)
    return [("PixelData (7FE0,0010)", doubt) for doubt in doubts]


def read_run_header(path: Path, *, name: str) -> RunHeader:
    """Read the facts of a run without decoding a frame.

    Parameters
    ----------
    path : Path
        The run's file.
    name : str
        What the file is called in errors.

    Raises
    ------
    DataError
        As :func:`read_frame`.
    """
    with _named(name, None), opened_run(path) as run:
        return run.header


@contextmanager
def _named(name: str, frame_index: int | None) -> Iterator[None]:
    """Turn what is wrong with a file into an error with the caller's name for it."""
    try:
        yield
    except UnreadableError as error:
        raise DataError.at(
            name, error.message, error.fix, row=frame_index, field=error.field
        ) from None
    except OSError as error:
        message = f"the file cannot be read ({error.strerror or 'input or output error'})."
        raise DataError.at(name, message, "Check data.dicom_root and the file.") from None


@contextmanager
def opened_run(path: Path) -> Iterator[Run]:
    """Open a run: its elements, header and the places of its frames; nothing is decoded.

    Raises
    ------
    UnreadableError
        If the file is no run that can be trusted.
    OSError
        If it cannot be read.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # a named pipe would be waited for, for ever
        raise UnreadableError("", "this is no file with content.", "Check the path.")
    with path.open("rb") as stream:
        size = state.st_size
        data_set = read_data_set(stream, size)
        header = run_header(data_set)
        if codec(header.transfer_syntax).encapsulated != (data_set.pixel_bytes is None):
            message = "pixels are encapsulated, but the transfer syntax is not, or the reverse."
            raise UnreadableError("TransferSyntaxUID (0002,0010)", message)
        yield Run(data_set=data_set, header=header, frames=frame_map(data_set, header))
