"""Frames as a file each and in archives: what it costs to write, to read and to hash them.

``python benchmarks/pictures.py [--frames 4000] [--side 256] [--shards 4 16]`` writes as many noisy
pictures as PNG, packs them, and measures in turn, in a temporary folder: packing them or leaving
them as they are, reading all in the order of their names and in a random order, linking or copying
them as ``split`` does, and ``dvc add`` of the folder in a new repository, first and again with
nothing changed. Times are those of the clock, a single run each, with the files in the page cache:
a disk that turns or a network drive makes loose files slower still.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from sam3_angio.pictures import copy_pictures, pack_pictures, read_picture

_FRAMES_A_PATIENT = 4
HEAD = (
    "form",
    "files",
    "pack, s",
    "read in order, s",
    "at random, s",
    "split, s",
    "dvc add, s",
    "again, s",
)


def write_pictures(folder: Path, frames: int, side_px: int) -> dict[str, str]:
    """Write PNGs; return the patient of each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    patients = {}
    for number in range(frames):
        patient = f"p{number // _FRAMES_A_PATIENT:010x}"
        name = f"{patient}-{number:08x}.png"
        stream = io.BytesIO()
        grey = rng.integers(0, 32, (side_px, side_px), dtype=np.uint8)
        Image.fromarray(grey).save(stream, "PNG", compress_level=1)
        (folder / name).write_bytes(stream.getvalue())
        patients[name] = patient
    return patients


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def read_all(folder: Path, names: list[str]) -> None:
    """Read pictures one after the other."""
    for name in names:
        read_picture(folder / name)


def hashed(folder: Path) -> tuple[float, float]:
    """Return how long ``dvc add`` takes at first, and with nothing changed."""
    repo = folder.parent / f"repo-{folder.name}"
    repo.mkdir()
    shutil.copytree(folder, repo / "frames")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=repo, check=True)
    subprocess.run(
        [*dvc, "config", "core.site_cache_dir", str(repo / "site")], cwd=repo, check=True
    )
    add = [*dvc, "add", "-q", "frames"]
    first, again = (seconds(lambda: subprocess.run(add, cwd=repo, check=True)) for _ in range(2))
    return first, again


def measure(loose: Path, patients: dict[str, str], shards: int) -> tuple[str, ...]:
    """Return a line of the table."""
    folder = loose.parent / f"shards-{shards}"
    shutil.copytree(loose, folder)
    packing = seconds(lambda: pack_pictures(folder, patients, shards)) if shards else 0.0
    names = sorted(patients)
    in_order = seconds(lambda: read_all(folder, names))
    random.Random(0).shuffle(names)
    at_random = seconds(lambda: read_all(folder, names))
    paths = (folder / name for name in sorted(patients))
    split = seconds(lambda: copy_pictures(paths, loose.parent / f"split-{shards}"))
    found = (packing, in_order, at_random, split, *hashed(folder))
    form = f"{shards} archives at most" if shards else "a file each"
    return (form, str(len(list(folder.iterdir()))), *(f"{value:.2f}" for value in found))


def main(
    frames: Annotated[int, typer.Option(help="Pictures.")] = 4000,
    side: Annotated[int, typer.Option(help="Of a picture, in pixels.")] = 256,
    shards: Annotated[tuple[int, int], typer.Option(help="Archives, two numbers.")] = (4, 16),
) -> None:
    """Compare the forms."""
    with tempfile.TemporaryDirectory() as scratch:
        loose = Path(scratch) / "loose"
        patients = write_pictures(loose, frames, side)
        size = sum(path.stat().st_size for path in loose.iterdir()) / frames
        typer.echo(f"{frames} pictures of {side} px, {size / 1000:.0f} kB each\n")
        typer.echo(" | ".join(HEAD))
        for count in (0, *shards):
            typer.echo(" | ".join(measure(loose, patients, count)))


if __name__ == "__main__":
    typer.run(main)
