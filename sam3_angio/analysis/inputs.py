"""Which files are runs, and what they are called without saying whose they are.

Conventions
-----------
A run's name is ``run-`` and the first ten hexadecimal digits of its file's SHA-256: the same file
has the same name in every call, and nobody learns from it whose it is who has not the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sam3_angio.errors import ConfigError, DataError, Fault
from sam3_angio.files import sha256

_PREAMBLE, _MAGIC = 128, b"DICM"


def find_runs(inputs: Sequence[Path], out: Path) -> tuple[Path, ...]:
    """Return the files to analyse: files as given, folders with all below them, sorted.

    In a folder a file counts that ends in ``.dcm`` or is a DICOM file by its first bytes; a
    ``DICOMDIR`` and what lies in `out` do not. A file that is met twice counts once.

    Parameters
    ----------
    inputs : sequence of Path
        Files and folders.
    out : Path
        Where results go.

    Raises
    ------
    ConfigError
        An input is neither file nor folder, or there is no run in them.
    """
    faults = [
        Fault(file=f"input {place}", message="it is neither a file nor a folder.")
        for place, path in enumerate(inputs, 1)
        if not path.exists()
    ]
    if faults:
        raise ConfigError("Not all inputs are there:", faults)
    found = {
        run.resolve(): None
        for path in inputs
        for run in (_runs_below(path, out.resolve()) if path.is_dir() else [path])
    }
    if not found:
        raise ConfigError("There is no DICOM file in what was given.")
    return tuple(found)


def pseudonym(path: Path, *, position: str) -> str:
    """Return a run's name.

    Raises
    ------
    DataError
        The file cannot be read; it goes by its position.
    """
    try:
        return f"run-{sha256(path)[:10]}"
    except OSError as error:
        reason = error.strerror or "input or output error"
        raise DataError.at(position, f"the file cannot be read ({reason}).") from None


def _runs_below(folder: Path, out: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and out not in path.resolve().parents and _may_be_run(path):
            yield path


def _may_be_run(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() == ".dcm":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return True  # what it is will be said when it is read
