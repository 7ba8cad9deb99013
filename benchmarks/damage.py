"""Damaged frames of a data set's runs: what is found, with and without regard for shutters.

``python benchmarks/damage.py [--data data] [--every 3] [--seed 5] [--markdown]`` decodes the middle
frame of every third run, damages its pixels in five ways, one at a time (16 or 64 bytes zeroed or
random, four rows exchanged), and asks the checks of a decoded picture: of the whole frame, and
inside the opening that its shutter leaves. It counts what each finds, what each refuses of the
intact frames, and for how many of those each looks at the neighbours.

Then it flips ``--flips`` single bits of the same frames' code, one at a time, anywhere behind the
headers and, separately, in its last 600 bytes, reads the frame, and counts what is refused, what
gives the same picture, and what passes; of the last, by how much pixels differ at the most, as a
share of the largest value, and how many of them do.

Last it lays the middle frame and those beside it one behind the other as uncompressed pixels,
shifts all of them, and asks whether the middle one is where it should be: with the shutter's edges
known, unknown, and of what lies inside of them only.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydicom.uid import UID
from result_table import show_table

from sam3_angio.dicom import read_frame
from sam3_angio.dicom.alignment import require_aligned
from sam3_angio.dicom.codestream import JPEG_LOSSLESS, JPEG_LOSSLESS_SV1
from sam3_angio.dicom.decode import WITHOUT_SIZE, Pixels, codec, decode
from sam3_angio.dicom.header import RunHeader
from sam3_angio.dicom.plausibility import (
    require_level_rows,
    require_like_neighbours,
    require_no_zeroed_bytes,
)
from sam3_angio.dicom.reader import Run, opened_run
from sam3_angio.dicom.shutter import WHOLE, Opening, opening_of
from sam3_angio.dicom.tags import UnreadableError
from sam3_angio.errors import DataError

COLUMNS = ("frame", "n", "whole: refused", "opening: refused", "only by one", "whole: neighbours",
           "opening: neighbours")  # fmt: skip

SHIFT_COLUMNS = ("pixels", "n", "refused", "warned", "passed")
FLIP_COLUMNS = ("bits flipped", "n", "refused", "same", "passed", "largest change", "pixels")


def damaged(pixels: Pixels, random: np.random.Generator) -> Iterator[tuple[str, Pixels]]:
    """Yield the frame in each kind of damage that changes it."""
    for count in (16, 64):
        length = count // pixels.itemsize
        start = random.integers(0, pixels.size - length)
        for kind in ("zeroed", "random"):
            copy = pixels.copy()
            noise = random.integers(0, int(pixels.max()) + 1, length)
            copy.reshape(-1)[start : start + length] = noise if kind == "random" else 0
            yield f"{count} bytes {kind}", copy
    copy, row = pixels.copy(), random.integers(0, len(pixels) // 2 - 4)
    copy[row : row + 4] = pixels[row + len(pixels) // 2 :][:4]
    yield "four rows exchanged", copy


def refused(
    run: Run, pixels: Pixels, others: Sequence[Pixels], opening: Opening
) -> tuple[bool, bool]:
    """Return whether a frame is refused, and whether its neighbours were looked at."""
    looks = []

    def neighbours() -> Sequence[Pixels]:
        looks.append(True)
        return others

    try:
        if run.header.transfer_syntax in WITHOUT_SIZE:
            require_no_zeroed_bytes(pixels, neighbours, opening)
        require_like_neighbours(pixels, neighbours, opening)
        if run.header.transfer_syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
            require_level_rows(pixels, neighbours, opening)
    except UnreadableError:
        return True, bool(looks)
    return False, bool(looks)


@dataclass(slots=True)
class Flips:
    """What became of flipped bits."""

    refused: int = 0
    same: int = 0
    largest: list[float] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """Return what is shown of them."""
        passed = len(self.largest)
        total = self.refused + self.same + passed
        worst = f"{max(self.largest):.1%}" if passed else "–"
        usual = f"{statistics.median(self.pixels):.0f}" if passed else "–"
        return (*map(str, (total, self.refused, self.same, passed)), worst, usual)


def flip(path: Path, count: int, random: np.random.Generator, found: dict[str, Flips]) -> None:
    """Read one run's middle frame with single bits of its code flipped."""
    with opened_run(path) as run:
        index, syntax = run.header.frames // 2, UID(run.header.transfer_syntax).name.split(",")[0]
        if not codec(run.header.transfer_syntax).encapsulated:
            return
        (fragment,) = run.frames.frames[index]
        intact, most = decode(run.code(index), run.header), (1 << run.header.bits_stored) - 1
    content = bytearray(path.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "run.dcm")
        for where, first in (("anywhere", 70), ("last 600 bytes", fragment.size - 600)):
            flips = found.setdefault(f"{syntax}, {where}", Flips())
            for _ in range(count):
                place = fragment.offset + int(random.integers(first, fragment.size - 4))
                bit = 1 << int(random.integers(8))
                content[place] ^= bit
                copy.write_bytes(content)
                content[place] ^= bit
                try:
                    pixels = read_frame(copy, index, name="run").pixels
                except DataError:
                    flips.refused += 1
                    continue
                difference = np.abs(pixels.astype(int) - intact)
                if difference.any():
                    flips.largest.append(difference.max() / most)
                    flips.pixels.append(np.count_nonzero(difference))
                else:
                    flips.same += 1


def shift(path: Path, random: np.random.Generator, found: dict[str, Counter[str]]) -> None:
    """Count what is found in one run's middle frame as uncompressed pixels that are shifted."""
    with opened_run(path) as run:
        middle = run.header.frames // 2
        frames = [decode(run.code(middle + k), run.header) for k in (-1, 0, 1)]
        stored, shutter = np.stack(frames), run.header.shutter
        inside = stored[:, *opening_of(frames[1], shutter)]
        inside = np.ascontiguousarray(inside[:, 6:-6, 6:-6])  # without what blades dim
        for kind, pixels, edges in (
            ("shutter known", stored, shutter),
            ("shutter unknown", stored, None),
            ("no blades", inside, None),
        ):
            _count, rows, columns = pixels.shape
            header = replace(run.header, frames=3, rows=rows, columns=columns, shutter=edges)
            some = int(random.integers(2, 40_000))
            shifts = {"intact": 0, "1 column": 1, "2 columns": 2, "8 rows": 8 * columns}
            for name, by in (shifts | {"8 rows back": -8 * columns, "some": some}).items():
                flat = np.roll(pixels.ravel(), by)
                counts = found.setdefault(f"{kind}, {name}", Counter())
                counts[_aligned(flat, header)] += 1


def _aligned(flat: Pixels, header: RunHeader) -> str:
    frame = flat.reshape(3, header.rows, header.columns)[1]
    try:
        doubts = require_aligned(frame, 1, header, lambda start, n: flat[start : start + n])
    except UnreadableError:
        return "refused"
    return "warned" if doubts else "passed"


def judge(path: Path, random: np.random.Generator, found: dict[str, Counter[str]]) -> None:
    """Count what is found in one run's middle frame."""
    with opened_run(path) as run:
        index = run.header.frames // 2
        intact = decode(run.code(index), run.header)
        others = [picture for _code, picture in run.neighbours(index)]
        for kind, pixels in (("intact", intact), *damaged(intact, random)):
            if kind != "intact" and np.array_equal(pixels, intact):
                continue
            whole, looked = refused(run, pixels, others, WHOLE)
            opening = opening_of(pixels, run.header.shutter)
            inside, looked_inside = refused(run, pixels, others, opening)
            counts = (1, whole, inside, whole != inside, looked, looked_inside)
            found.setdefault(kind, Counter()).update(dict(zip(COLUMNS[1:], counts, strict=True)))


def main(
    data: Annotated[Path, typer.Option(help="Folder with runs.")] = Path("data"),
    every: Annotated[int, typer.Option(help="Take every so many runs.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the damage.")] = 5,
    flips: Annotated[int, typer.Option(help="Bits to flip in each frame, twice.")] = 4,
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> None:
    """Count damaged frames that are found."""
    random, found = np.random.default_rng(seed), dict[str, Counter[str]]()
    runs = sorted(data.rglob("*.dcm"))[::every]
    for path in runs:
        judge(path, random, found)
    rows = [(kind, *(str(counts[name]) for name in COLUMNS[1:])) for kind, counts in found.items()]
    show_table("Frames that are refused", COLUMNS, rows, markdown=markdown)
    flipped: dict[str, Flips] = {}
    for path in runs:
        flip(path, flips, random, flipped)
    cells = [(kind, *flipped[kind].cells()) for kind in sorted(flipped)]
    show_table("Bits that are flipped", FLIP_COLUMNS, cells, markdown=markdown)
    shifted: dict[str, Counter[str]] = {}
    for path in runs:
        shift(path, random, shifted)
    cells = [
        (kind, str(counts.total()), *(str(counts[name]) for name in SHIFT_COLUMNS[2:]))
        for kind, counts in shifted.items()
    ]
    show_table("Uncompressed pixels that are shifted", SHIFT_COLUMNS, cells, markdown=markdown)


if __name__ == "__main__":
    typer.run(main)
