"""A folder of pictures, each a file or all in archives; one way to read both.

A hundred thousand small files are slow to hash, link and copy, and quick in a few hundred archives.
``extract.shards`` of ``params.yaml`` says how many archives; a picture's bytes are the same in both
forms, and so is its path for who reads it: ``folder/name.png``.

Conventions
-----------
An archive is a ZIP file without compression, ``frames-007.zip``, whose bytes depend on its pictures
alone. All pictures of a patient are in one, chosen by SHA-256 of the pseudonym: a patient who is
added changes one archive.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

_PATTERN = "frames-*.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def read_picture(path: Path) -> bytes:
    """Return the bytes of a picture.

    Parameters
    ----------
    path : Path
        As if it were a file, in an archive or not.

    Raises
    ------
    OSError
        It is not there, or its archive is damaged.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        archive = archive_of(path)
        if archive is None:
            raise
    try:
        return _opened(archive, *_stamp(archive)).read(path.name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise OSError(f"{archive.name}, {path.name}: {error}") from error


def has_picture(path: Path) -> bool:
    """Whether a picture is there, as a file or in an archive."""
    return path.is_file() or archive_of(path) is not None


def archive_of(path: Path) -> Path | None:
    """Return the archive that a picture is in, if it is in one.

    Raises
    ------
    OSError
        An archive beside it is damaged.
    """
    if not path.parent.is_dir():
        return None
    return _contents(path.parent, *_stamp(path.parent)).get(path.name)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what tells a changed file; and the process, since an open file has one place in it."""
    seen = path.stat()
    return seen.st_mtime_ns, seen.st_size, os.getpid()


@lru_cache(maxsize=8)
def _contents(folder: Path, *stamp: int) -> dict[str, Path]:
    del stamp
    archives = sorted(folder.glob(_PATTERN))
    return {name: path for path in archives for name in _opened(path, *_stamp(path)).namelist()}


@lru_cache(maxsize=256)
def _opened(archive: Path, *stamp: int) -> zipfile.ZipFile:
    del stamp
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise OSError(f"{archive.name}: {error}") from error


def pack_pictures(folder: Path, patients: Mapping[str, str], count: int) -> None:
    """Put the pictures of a folder into archives.

    Parameters
    ----------
    folder : Path
    patients : mapping of str to str
        Pseudonym by name of the picture.
    count : int
        Archives, at most.
    """
    shards = defaultdict(list)
    for name, patient in patients.items():
        number = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") % count
        shards[f"frames-{number:03d}.zip"].append(folder / name)
    for archive, paths in shards.items():
        _write_archive(folder / archive, paths)
        for path in paths:
            path.unlink()


def copy_pictures(paths: Iterable[Path], folder: Path) -> None:
    """Bring pictures into a folder, in the form that they have.

    Parameters
    ----------
    paths : iterable of Path
        Files are linked where the file system can, copied elsewhere.
    folder : Path
        Is made.
    """
    folder.mkdir(parents=True)
    shards = defaultdict(list)
    for path in paths:
        if path.is_file():
            _link(path.resolve(), folder / path.name)
        elif archive := archive_of(path):
            shards[archive.name].append(path)
    for name, members in shards.items():
        _write_archive(folder / name, members)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_archive(target: Path, paths: Iterable[Path]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(paths, key=lambda path: path.name):
            entry = zipfile.ZipInfo(path.name, _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, read_picture(path))
