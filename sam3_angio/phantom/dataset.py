r"""The phantom's data set: a simulated site's export, imported as a user's would be, and the truth.

``data/export/`` is what a site hands over; the import that a user runs takes it in; ``data/truth/``
is what nobody has in reality. All is written into a temporary folder and moved at the end.

Conventions: the same seed gives the same bytes, for any number of processes and on any machine
that has the versions of the lock file; patient k is the same whatever the number of patients.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from sam3_angio.children import end_with_parent
from sam3_angio.errors import ConfigError
from sam3_angio.files import replacing
from sam3_angio.intake.importing import ImportSummary, import_table
from sam3_angio.manifest import read_manifest
from sam3_angio.phantom.patient_files import FrameFiles, write_patient
from sam3_angio.phantom.site import (
    LABELS_FOLDER,
    RUNS_FOLDER,
    TABLE_NAME,
    WINDOWS_ROOT,
    write_site_table,
)
from sam3_angio.phantom.truth_files import write_kind, write_truth
from sam3_angio.progress import tracked

#: Secret of the phantom's pseudonyms. It protects nobody, and has to be the same everywhere.
PHANTOM_SALT = "70" * 32

_BYTES_A_PATIENT = 8 * 2**20


def write_phantom(
    out: Path,
    *,
    patients: int = 120,
    seed: int = 0,
    processes: int = 0,
    force: bool = False,
) -> ImportSummary:
    """Simulate a data set.

    Parameters
    ----------
    out : Path
        Data folder to make.
    patients : int
        At least 1.
    seed : int
        Not negative; another seed draws other patients.
    processes : int
        Worker processes; 0 for one a core. Changes no byte.
    force : bool
        Replace the folder if it holds a phantom. Anything else is never replaced.

    Returns
    -------
    ImportSummary
        What the import of the simulated export took in.

    Raises
    ------
    ConfigError
        A number is out of range, the folder exists, or the disk is too small.
    """
    if patients < 1 or seed < 0 or processes < 0:
        raise ConfigError("A phantom needs a patient at least, and no negative numbers.")
    _require_replaceable(out, force)
    _require_space(out, patients)
    try:
        with replacing(out) as folder:
            return _write(folder, patients, seed, processes)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ConfigError("The disk is full; nothing was kept of the phantom.") from None


def _require_replaceable(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_phantom(out):
        raise ConfigError(
            f"{out.name} exists and is no phantom; it is not replaced. Give another --out."
        )
    if not force:
        raise ConfigError(f"{out.name} exists. Give --force to replace it, or another --out.")


def _is_phantom(folder: Path) -> bool:
    path = folder / "truth" / "truth.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(content == {"kind": "phantom"})


def _require_space(out: Path, patients: int) -> None:
    existing = next(folder for folder in out.resolve().parents if folder.is_dir())
    free, needed = shutil.disk_usage(existing).free, patients * _BYTES_A_PATIENT
    if free < needed:
        raise ConfigError(
            f"The disk has {free / 2**20:.0f} MiB left; "
            f"a phantom of {patients} patients needs up to {needed / 2**20:.0f} MiB."
        )


def _write(folder: Path, patients: int, seed: int, processes: int) -> ImportSummary:
    export = folder / "export"
    done = _simulated(partial(write_patient, export, seed), patients, processes)
    frames = list(chain.from_iterable(tracked(done, patients, "Simulating patients")))
    write_site_table(export / TABLE_NAME, (frame.row for frame in frames))
    write_kind(folder / "truth")
    summary = import_table(
        export / TABLE_NAME,
        folder,
        dicom_root=export / RUNS_FOLDER,
        primary_sign="RAO+",
        path_maps=[
            f"{WINDOWS_ROOT / name}={export / name}" for name in (RUNS_FOLDER, LABELS_FOLDER)
        ],
        salt=PHANTOM_SALT,
        processes=processes,
    )
    # the manifest is sorted by frame; its column `row` is the line of the site's table
    rows = read_manifest(folder / "manifest.csv")
    write_truth(folder / "truth", rows, [frames[row.row - 2].truth for row in rows])
    return summary


def _simulated(
    write_one: partial[list[FrameFiles]], patients: int, processes: int
) -> Iterator[list[FrameFiles]]:
    """Yield every patient's frames in order."""
    numbers = range(1, patients + 1)
    workers = min(processes or os.cpu_count() or 1, patients)
    if workers == 1:
        yield from map(write_one, numbers)
        return
    # spawned on every system, so that workers start from the same state
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(write_one, numbers)
