"""Writing files so that a reader never sees half of one.

Every output is written under a temporary name in the target's folder and moved into place with
``os.replace``, which is atomic on POSIX and on Windows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; move it to `path` when the block succeeds.

    Works for a file and for a directory. On an error nothing of the new stays and the old is
    untouched. A directory cannot be replaced in one step: the old one is set aside first and
    removed last, so that at every moment one whole version is on the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    aside = path.parent / f".{path.name}.{os.getpid()}.old"
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            path.replace(aside)
        temporary.replace(path)
    finally:
        _remove(temporary)
    _remove(aside)


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
