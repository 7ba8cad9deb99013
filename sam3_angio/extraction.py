"""The analysed frame of each run as an 8-bit PNG, with its geometry: the ``extract`` stage.

Every run's size and SHA-256 are compared with the manifest before it is read; a run that several
rows share is hashed once. Runs are read in child processes with limits of time and memory, so a
file that crashes or hangs a decoder is named like any other broken one. All files are tried before
the stage fails, and nothing is written unless all are good.

Conventions
-----------
``docs/reference/files.md``, section ``frames/``. In errors a frame goes by its pseudonym and the
row of the site's table.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sam3_angio.acquisition import ViewAngle
from sam3_angio.children import end_with_parent
from sam3_angio.dicom import XAFrame, read_frame
from sam3_angio.dicom.burned_in import Blanked, Blanking
from sam3_angio.dicom.display import display_kind
from sam3_angio.dicom.picture import DISPLAY_FIELD, PictureSettings, display_doubt, frame_picture
from sam3_angio.dicom.spacing import contradicts, object_spacing
from sam3_angio.errors import DataError, Fault, Severity
from sam3_angio.files import replacing, sha256
from sam3_angio.geometry_table import FrameGeometry, write_geometry
from sam3_angio.manifest import ManifestRow
from sam3_angio.medis import read_contour
from sam3_angio.pictures import pack_pictures
from sam3_angio.progress import tracked

#: Angles of table and header that differ by more than this are counted.
MAX_ANGLE_DIFFERENCE_DEG = 2.0
#: Calibration beyond this is no calibration: a pixel of 1 mm, or of 0.05 mm, at the object.
PLAUSIBLE_PX_PER_MM = (1.0, 20.0)

#: What a warning of burned-in text is about.
TEXT_FIELD = "PixelData (7FE0,0010)"
#: Elements that warnings about pictures name.
PICTURE_FIELDS = frozenset({TEXT_FIELD, DISPLAY_FIELD})

_SECONDS_A_FRAME = 60
_MEMORY_BYTES = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionSettings:
    """Where runs, labels and pictures are, and how values without a window become grey levels.

    Attributes
    ----------
    dicom_root : Path
        What the manifest's runs are relative to.
    data_folder : Path
        What the manifest's label paths are relative to.
    percentile_low, percentile_high : float
        See :func:`sam3_angio.dicom.display.display_8bit`.
    shards : int
        Archives that the pictures are put into, at most; 0 for a file each.
    blanking : Blanking
        What is made black in every frame.
    """

    dicom_root: Path
    data_folder: Path
    percentile_low: float
    percentile_high: float
    shards: int = 0
    blanking: Blanking = Blanking()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """What became of one row of the manifest.

    Attributes
    ----------
    geometry : FrameGeometry or None
        None where the frame could not be extracted.
    faults : tuple of Fault
        Errors and warnings.
    angle_difference_deg : float
        Between table and header, the larger of both angles; NaN where either has none.
    """

    geometry: FrameGeometry | None
    faults: tuple[Fault, ...]
    angle_difference_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What the stage found.

    Attributes
    ----------
    frames, runs : int
        How many were read.
    compared_angles, different_angles : int
        Rows whose angles are in table and header, and those that differ by more than
        :data:`MAX_ANGLE_DIFFERENCE_DEG`.
    warnings : tuple of Fault
        Facts that were dropped or contradict each other.
    """

    frames: int
    runs: int
    compared_angles: int
    different_angles: int
    warnings: tuple[Fault, ...]


def extract_frames(
    rows: Sequence[ManifestRow], out: Path, settings: ExtractionSettings, processes: int
) -> Extraction:
    """Extract the analysed frame of every row.

    Parameters
    ----------
    rows : sequence of ManifestRow
    out : Path
        Folder for ``{frame_id}.png``, or archives of these, and ``geometry.csv``; replaced as a
        whole, and only when all frames are good.
    settings : ExtractionSettings
    processes : int
        Child processes; 0 for one a core.

    Returns
    -------
    Extraction

    Raises
    ------
    DataError
        With every fault of every row.
    AngioError
        If `out` cannot be written.
    """
    with replacing(out) as folder:
        folder.mkdir()
        results = read_runs(rows, folder, settings, processes)
        faults = sorted((fault for result in results for fault in result.faults), key=str)
        errors = [fault for fault in faults if fault.severity == "error"]
        if errors:
            raise DataError(f"{len(errors)} faults in {len(rows)} frames; none is written:", errors)
        if settings.shards:
            patients = {f"{row.frame_id}.png": row.patient for row in rows}
            pack_pictures(folder, patients, settings.shards)
        write_geometry(
            folder / "geometry.csv",
            [result.geometry for result in results if result.geometry is not None],
        )
    differences = [result.angle_difference_deg for result in results]
    return Extraction(
        frames=len(rows),
        runs=len({row.dicom for row in rows}),
        compared_angles=sum(not math.isnan(value) for value in differences),
        different_angles=sum(value > MAX_ANGLE_DIFFERENCE_DEG for value in differences),
        warnings=tuple(faults),
    )


def read_runs(
    rows: Sequence[ManifestRow], folder: Path, settings: ExtractionSettings, processes: int
) -> list[FrameResult]:
    """Read all frames in child processes; runs that a crash cost are read again one by one.

    Parameters
    ----------
    rows, settings, processes
        As in :func:`extract_frames`.
    folder : Path
        For the pictures of the frames that are good.
    """
    named: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        named[row.dicom].append(row)
    runs = list(named.values())
    processes = processes or os.cpu_count() or 1
    results: list[FrameResult] = []
    lost: list[list[ManifestRow]] = []
    with _pool(min(processes, len(runs))) as pool:
        futures = {pool.submit(_extract_run, run, folder, settings): run for run in runs}
        for future in tracked(as_completed(futures), len(runs), "Extracting frames"):
            try:
                results.extend(future.result())
            except BrokenProcessPool:
                lost.append(futures[future])
    for run in tracked(lost, len(lost), "Extracting frames one by one"):
        results.extend(_alone(run, folder, settings))
    return results


def _alone(
    run: list[ManifestRow], folder: Path, settings: ExtractionSettings
) -> Iterator[FrameResult]:
    """Read the frames of a run in a child process each, so that a crash has one possible cause."""
    for row in run:
        with _pool(1) as pool:
            try:
                yield from pool.submit(_extract_run, [row], folder, settings).result()
            except BrokenProcessPool:
                message = f"reading it crashed, or took more than {_SECONDS_A_FRAME} seconds."
                yield _failed([Fault(file=_name(row), message=message, field="dicom")])


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)


def _begin() -> None:
    end_with_parent()
    _limit_memory()


def _limit_memory() -> None:
    """Let a child die of a decompression bomb before the machine does; POSIX only."""
    if sys.platform != "win32":
        import resource  # does not exist on Windows

        _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(_MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _limit_seconds(seconds: int) -> None:
    """Let a child die of a hanging decoder; 0 takes the limit back; POSIX only."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _extract_run(
    rows: list[ManifestRow], folder: Path, settings: ExtractionSettings
) -> list[FrameResult]:
    """Extract the frames of one run; runs in a child process."""
    path = settings.dicom_root / rows[0].dicom
    try:
        size = path.stat().st_size
        digest = sha256(path) if path.is_file() else ""  # a named pipe has none, and never ends
    except OSError as error:
        message = f"the run cannot be read ({error.strerror})."
        fix = "Check data.dicom_root in params.yaml."
        return [_failed([_fault(row, "dicom", message, fix)]) for row in rows]
    return [
        _extract_frame(row, path, folder, settings)
        if (size, digest) == (row.dicom_bytes, row.dicom_sha256)
        else _failed([_fault(row, "dicom_sha256", *_CHANGED)])
        for row in rows
    ]


_CHANGED = (
    "the run is not the one that was imported: its size or SHA-256 differs.",
    "Import the table again, or restore the file.",
)


def _extract_frame(
    row: ManifestRow, path: Path, folder: Path, settings: ExtractionSettings
) -> FrameResult:
    _limit_seconds(_SECONDS_A_FRAME)
    try:
        frame = read_frame(path, row.frame_index, name=_name(row))
        picture = frame_picture(path, frame, _picture_settings(settings), name=_name(row))
        calibration, warnings = _calibration(row, frame, settings.data_folder)
    except DataError as error:
        return _failed(error.faults)
    except MemoryError:
        return _failed([_fault(row, "dicom", f"reading it takes over {_MEMORY_BYTES >> 30} GiB.")])
    finally:
        _limit_seconds(0)
    if frame.view is None and math.isnan(row.view.primary_deg + row.view.secondary_deg):
        message = "neither the run's header nor the site's table has a view angle."
        return _failed([_fault(row, "primary_deg", message, "Fill it in the table.")])
    Image.fromarray(picture.picture).save(folder / f"{row.frame_id}.png")
    return FrameResult(
        geometry=_geometry(row, frame, calibration, picture),
        faults=(
            *frame.warnings,
            *warnings,
            *_text_left(row, picture),
            *_odd_display(row, frame, settings),
        ),
        angle_difference_deg=_angle_difference_deg(row.view, frame.view),
    )


def _picture_settings(settings: ExtractionSettings) -> PictureSettings:
    return PictureSettings(
        percentile_low=settings.percentile_low,
        percentile_high=settings.percentile_high,
        blanking=settings.blanking,
    )


def _odd_display(row: ManifestRow, frame: XAFrame, settings: ExtractionSettings) -> list[Fault]:
    """Warn of a window that hides much of the picture."""
    doubt = display_doubt(frame, _picture_settings(settings))
    fix = "Look at the frame; WindowCenter, WindowWidth or the rescaling may be wrong."
    return [_fault(row, DISPLAY_FIELD, doubt, fix, warning=True)] if doubt else []


def _text_left(row: ManifestRow, picture: Blanked) -> list[Fault]:
    """Warn of marks that look like text, by their places alone."""
    if not picture.left:
        return []
    places = "; ".join(
        f"x {left}-{right}, y {top}-{bottom}" for left, top, right, bottom in picture.left
    )
    message = f"marks that look like burned-in text stay still over the run, at {places}."
    fix = "Look at the frame; extract.blank or extract.blank_text in params.yaml make it black."
    return [_fault(row, TEXT_FIELD, message, fix, warning=True)]


def _geometry(
    row: ManifestRow, frame: XAFrame, calibration: float | None, picture: Blanked
) -> FrameGeometry:
    header = frame.header
    return FrameGeometry(
        frame_id=row.frame_id,
        patient=row.patient,
        rows=header.rows,
        columns=header.columns,
        frame_index=row.frame_index,
        frames=header.frames,
        view=frame.view or row.view,
        angle_source="table" if frame.view is None else "header",
        spacing=object_spacing(header.geometry, calibration),
        transfer_syntax=header.transfer_syntax,
        bits_stored=header.bits_stored,
        display=display_kind(header.display),
        blanked=picture.boxes,
    )


def _calibration(
    row: ManifestRow, frame: XAFrame, data_folder: Path
) -> tuple[float | None, list[Fault]]:
    """Return the catheter calibration (pixels a millimetre) and what is odd about it."""
    if not row.contour:
        return None, []
    scale = read_contour(data_folder / row.contour).calibration.scale_px_per_mm
    if math.isnan(scale):
        return None, []
    low, high = PLAUSIBLE_PX_PER_MM
    if not low <= scale <= high:
        message = f"{scale:g} px/mm is outside {low:g} to {high:g}; not used."
        fix = "It may be the inverse, millimetres a pixel."
        return None, [_fault(row, "calibration.scale_factor", message, fix, warning=True)]
    if contradicts(frame.header.geometry, scale):
        message = f"{scale:g} px/mm contradicts the header's geometry by more than 25 %."
        return scale, [_fault(row, "calibration.scale_factor", message, warning=True)]
    return scale, []


def _angle_difference_deg(table: ViewAngle, header: ViewAngle | None) -> float:
    if header is None or math.isnan(table.primary_deg) or math.isnan(table.secondary_deg):
        return math.nan
    around = (table.primary_deg - header.primary_deg + 180) % 360 - 180
    return max(abs(around), abs(table.secondary_deg - header.secondary_deg))


def _name(row: ManifestRow) -> str:
    return f"{row.frame_id} (row {row.row} of the site's table)"


def _fault(
    row: ManifestRow, field: str, message: str, fix: str = "", *, warning: bool = False
) -> Fault:
    severity: Severity = "warning" if warning else "error"
    return Fault(file=_name(row), field=field, message=message, fix=fix, severity=severity)


def _failed(faults: Sequence[Fault]) -> FrameResult:
    return FrameResult(geometry=None, faults=tuple(faults), angle_difference_deg=math.nan)
