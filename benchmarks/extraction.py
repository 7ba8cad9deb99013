"""One frame of a run: ours against pydicom and DCMTK, and what the checks cost.

``python benchmarks/extraction.py [--frames 60] [--data data] [--markdown]`` writes a run in each
transfer syntax (and takes the runs under ``--data``, if there are any), then reads its middle frame
in turn with: ours; pydicom decoding the whole run; pydicom decoding one frame by index; DCMTK's
converter for the same frame, as the process that it is. The readers take turns; times are those of
the processor, children included, so that other work on the machine counts little. Medians are shown
as milliseconds for ours and as multiples of it for the others.

``checks`` is what we spend beyond reading and decoding, as a share of decoding. Reading is what
pydicom takes to find the same frame's bytes, decoding what our decoder takes for them. Uncompressed
frames are not decoded; their share is that of reading and copying the frame as pydicom does it.

DCMTK 3.6 cannot read JPEG 2000. Its pixels are no reference: it scales 12 bits.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pydicom
import typer
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    XRayAngiographicImageStorage,
)
from result_table import show_table

from sam3_angio.dicom import read_frame, read_run_header
from sam3_angio.dicom.decode import codec
from sam3_angio.dicom.header import RunHeader
from sam3_angio.dicom.reader import opened_run
from sam3_angio.phantom.xa_file import encode_frame

SYNTAXES = {
    ExplicitVRLittleEndian: "native",
    RLELossless: "RLE",
    JPEGLSLossless: "JPEG-LS",
    JPEGLosslessSV1: "JPEG Lossless",
    JPEG2000Lossless: "JPEG 2000",
}
SIZES = ((512, 8), (1024, 12))
#: What a JPEG 2000 frame says of its encoder, and another one of the same length.
OURS, THEIRS = b"Created by OpenJPEG", b"Produced elsewhere!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median milliseconds of the readers for one run; NaN where a reader cannot."""

    name: str
    ours_ms: float
    read_ms: float
    decode_ms: float
    whole_ms: float
    index_ms: float
    dcmtk_ms: float


def picture(size: int, bits: int, random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    smooth = 0.55 + 0.25 * np.sin(3 * x + 1) * np.cos(2 * y)
    vessels = sum(
        np.exp(-(((y - 0.15 * j - 0.1 * np.sin(5 * x + random.random())) / 0.006) ** 2))
        for j in range(1, 7)
    )
    values = smooth - 0.25 * vessels + random.normal(0, 0.02, smooth.shape)
    return np.clip(values * ((1 << bits) - 1), 1, (1 << bits) - 2).astype(f"u{1 + bits // 9}")


def write_run(path: Path, run: np.ndarray, bits: int, syntax: UID) -> None:
    dataset = Dataset()
    dataset.SOPClassUID = XRayAngiographicImageStorage
    dataset.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset.Modality = "XA"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = run.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * run.itemsize, bits, bits - 1
    if syntax == ExplicitVRLittleEndian:
        dataset.PixelData = run.tobytes()
    else:
        dataset.PixelData = encapsulate([encode_frame(frame, bits, syntax) for frame in run])
    native_words = syntax == ExplicitVRLittleEndian and run.itemsize == 2
    dataset["PixelData"].VR = "OW" if native_words else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)


def dcmtk_command(path: Path, syntax: str, index: int, out: Path) -> list[str] | None:
    program = "dcml2pnm" if syntax == JPEGLSLossless else "dcmj2pnm"
    if syntax == JPEG2000Lossless or shutil.which(program) is None:
        return None
    return [program, "+F", str(index + 1), "+op", str(path), str(out)]


def frame_bytes(path: Path, index: int, header: RunHeader) -> object:
    """Return a frame's bytes as pydicom finds them."""
    if not codec(header.transfer_syntax).encapsulated:
        return pixel_array(path, index=index)
    with path.open("rb") as stream:
        pydicom.dcmread(stream, stop_before_pixels=True)
        stream.seek(12, os.SEEK_CUR)  # tag, representation and length of Pixel Data
        return get_frame(stream, index, number_of_frames=header.frames)


def readers(path: Path, index: int, scratch: Path) -> dict[str, Callable[[], object]]:
    with opened_run(path) as run:
        code, header = run.code(index), run.header
    found: dict[str, Callable[[], object]] = {
        "ours": lambda: read_frame(path, index, name="run"),
        "read": lambda: frame_bytes(path, index, header),
        "decode": lambda: codec(header.transfer_syntax).decode(code, header),
        "whole": lambda: pydicom.dcmread(path).pixel_array[index],
        "index": lambda: pixel_array(path, index=index),
    }
    command = dcmtk_command(path, header.transfer_syntax, index, scratch / "frame.pgm")
    if command is not None:
        found["dcmtk"] = lambda: subprocess.run(command, check=True, capture_output=True)
    return found


def processor_ms() -> float:
    """Return the processor time of this process and its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (time.process_time() + children.ru_utime + children.ru_stime)


def timing(name: str, path: Path, repeats: int, scratch: Path) -> Timing:
    index = read_run_header(path, name=name).frames // 2
    functions = readers(path, index, scratch)
    spent: dict[str, list[float]] = {reader: [] for reader in functions}
    for repeat in range(repeats):
        for reader, function in functions.items():
            if reader == "whole" and repeat > 2:
                continue
            function()  # whoever came before has left the processor's caches full of its own
            begun = processor_ms()
            function()
            spent[reader].append(processor_ms() - begun)
    medians = {reader: statistics.median(times) for reader, times in spent.items()}
    columns = {f"{reader}_ms": medians.get(reader, float("nan")) for reader in
               ("ours", "read", "decode", "whole", "index", "dcmtk")}  # fmt: skip
    return Timing(name=name, **columns)


def synthetic(folder: Path, frames: int) -> dict[str, Path]:
    random = np.random.default_rng(0)
    paths = {}
    for size, bits in SIZES:
        run = np.array([picture(size, bits, random) for _ in range(frames)])
        for syntax, short in SYNTAXES.items():
            name = f"{short} {size}² {bits} bit"
            paths[name] = folder / f"{len(paths)}.dcm"
            write_run(paths[name], run, bits, syntax)
            if syntax == JPEG2000Lossless:
                content = paths[name].read_bytes()
                if content.count(OURS) != frames:
                    raise RuntimeError("the encoder's comment is not in each frame")
                foreign = f"{name}, another encoder"  # whose frames are not encoded again
                paths[foreign] = folder / f"{len(paths)}.dcm"
                paths[foreign].write_bytes(content.replace(OURS, THEIRS))
    return paths


def present(data: Path) -> dict[str, Path]:
    """Return one run of each transfer syntax and size under a folder."""
    found = {}
    for path in sorted(data.rglob("*.dcm")):
        header = read_run_header(path, name="a run")
        syntax = UID(header.transfer_syntax)
        short = SYNTAXES.get(syntax, syntax.name)
        found[f"data: {short} {header.columns}² {header.bits_stored} bit"] = path
    return found


COLUMNS = (
    "run",
    "ours, ms",
    "reading",
    "decoding",
    "checks",
    "whole run",
    "pydicom index",
    "DCMTK",
)


def cells(row: Timing) -> list[str]:
    is_native = row.decode_ms < 0.1
    checks_ms = row.ours_ms - row.read_ms - (0 if is_native else row.decode_ms)
    yardstick_ms = row.read_ms if is_native else row.decode_ms
    others = [value / row.ours_ms for value in (row.whole_ms, row.index_ms, row.dcmtk_ms)]
    return [
        row.name,
        f"{row.ours_ms:.1f}",
        f"{row.read_ms:.1f}",
        "–" if is_native else f"{row.decode_ms:.1f}",
        f"{max(checks_ms, 0) / yardstick_ms:.0%}",
        *("–" if np.isnan(value) else f"{value:.1f}×" for value in others),
    ]


def main(
    frames: Annotated[int, typer.Option(help="Frames of a synthetic run.")] = 60,
    repeats: Annotated[int, typer.Option(help="Rounds.")] = 9,
    data: Annotated[Path, typer.Option(help="Folder with runs of your own.")] = Path("data"),
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> None:
    """Time the reading of one frame."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = synthetic(folder, frames) | present(data)
        rows = [timing(name, path, repeats, folder) for name, path in paths.items()]
    show_table("One frame of a run", COLUMNS, map(cells, rows), markdown=markdown)


if __name__ == "__main__":
    typer.run(main)
