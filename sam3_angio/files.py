"""Writing files so that a reader never sees half of one.

Every output is written under a temporary name in the target's folder and moved into place with
``os.replace``, which is atomic on POSIX and on Windows.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam3_angio.errors import AngioError


def require_regular(path: Path) -> os.stat_result:
    """Return the state of a regular file; a named pipe, once opened, is waited for without end.

    Raises
    ------
    OSError
        There is nothing, or something else than a file: a folder, a pipe, a device.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "no regular file")
    return state


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; move it to `path` when the block succeeds.

    Works for a file and for a directory. On an error nothing of the new stays and the old is
    untouched; a disk that is full or must not be written raises an ``AngioError`` that names `path`
    alone, since whole paths may hold patients' names. A directory cannot be replaced in one step:
    the old one is set aside first and removed last, so that at every moment one whole version is
    on the disk.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    aside = path.parent / f".{path.name}.{os.getpid()}.old"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_dir() and path.exists():
            path.replace(aside)
        temporary.replace(path)
    except OSError as error:
        if not _is_refusal(error, path.parent):
            raise
        message = f"{path.name} cannot be written ({os.strerror(error.errno or 0)})."
        raise AngioError(f"{message} Nothing was changed.") from None
    finally:
        if aside.exists() and not path.exists():
            aside.replace(path)
        _remove(temporary)
    _remove(aside)


def _is_refusal(error: OSError, folder: Path) -> bool:
    """Whether the disk is full, or what is in the folder must not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return True
    if error.errno not in (errno.EACCES, errno.EPERM) or error.filename is None:
        return False
    refused, folder = Path(os.fsdecode(error.filename)).resolve(), folder.resolve()
    return folder == refused or folder in refused.parents or refused in folder.parents


@contextmanager
def replacing_entries(folder: Path, *, last: str) -> Iterator[Path]:
    """Give a temporary folder; move all that is written to it into `folder`, or nothing of it.

    Entries of `folder` that are not written stay. On an error everything is as it was. The entry
    `last` is the first to go and the last to come, so that it never stands beside entries of
    another version; a process that is killed between these two leaves the old ones set aside, and
    the next call puts them back.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    staged, aside, replaced = (folder / f".{name}" for name in ("coming", "going", "gone"))
    try:
        _put_back(folder, aside)
        _remove(staged)
        staged.mkdir()
        yield staged
        _exchange(folder, staged, aside, last)
        _remove(replaced)
        aside.replace(replaced)
    finally:
        _remove(staged)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
    _remove(replaced)


def _exchange(folder: Path, staged: Path, aside: Path, last: str) -> None:
    names = sorted((path.name for path in staged.iterdir()), key=lambda name: (name == last, name))
    aside.mkdir()
    try:
        for name in reversed(names):
            if (folder / name).exists():
                (folder / name).replace(aside / name)
        for name in names:
            (staged / name).replace(folder / name)
    except BaseException:
        for name in names:
            if not (staged / name).exists():
                (folder / name).replace(staged / name)
        _put_back(folder, aside)
        raise


def _put_back(folder: Path, aside: Path) -> None:
    """Undo an exchange that did not come to its end."""
    if not aside.exists():
        return
    for old in sorted(aside.iterdir()):
        _remove(folder / old.name)
        old.replace(folder / old.name)
    aside.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix newlines on every system."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object, *, indent: int | None = 1) -> None:
    """Write JSON; NaN and infinity are refused, since JSON has neither."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
