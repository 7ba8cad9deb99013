"""DVC's cache against itself: every file is named by the MD5 of its content.

DVC trusts a cached file that is write-protected without reading it again, so that damage on the
disk, or an edit through a link, passes into every later result. A file whose name ends in ``.dir``
lists the files of a tracked folder.

Source: DVC's documentation, "Internal directories and files", layout ``files/md5/{2}/{30}[.dir]``.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from sam3_angio.checking.finding import CheckReport, Finding, Notes, in_order
from sam3_angio.errors import ConfigError
from sam3_angio.progress import in_threads

_LAYOUT = Path("files") / "md5"
_NAME = re.compile(r"[0-9a-f]{30}(\.dir)?")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_FIX = "Delete it there; then run `dvc fetch`, or `dvc repro --force` of the stage that made it."


def cache_folder(repository: Path) -> Path:
    """Return where a DVC repository keeps its cache, which its configuration may have moved.

    Raises
    ------
    ConfigError
        The folder belongs to no DVC repository.
    """
    from dvc.exceptions import DvcException  # takes a second, which other checks need not pay
    from dvc.repo import Repo

    try:
        with Repo(str(repository)) as repo:
            return Path(repo.cache.local.path).parents[1]
    except DvcException:
        raise ConfigError("This is no DVC repository: go to its folder.") from None


def check_cache(cache: Path, processes: int = 0) -> CheckReport:
    """Read every file of a cache and compare it with its name.

    Parameters
    ----------
    cache : Path
        DVC's cache folder, such as ``.dvc/cache``.
    processes : int
        Files that are read at once; 0 for one a core.

    Returns
    -------
    CheckReport
        Its rows are the files of the cache.
    """
    root = cache / _LAYOUT
    files = sorted(path for path in root.glob("*/*") if path.is_file())
    objects = [path for path in files if _is_object(path)]
    found = in_threads(_findings, objects, processes, "Reading the cache")
    strays = [_stray(path) for path in files if not _is_object(path)]
    flat = [*strays, *(one for findings in found for one in findings)]
    return CheckReport(rows=len(files), findings=in_order(flat))


def _is_object(path: Path) -> bool:
    return bool(_FOLDER.fullmatch(path.parent.name) and _NAME.fullmatch(path.name))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _stray(path: Path) -> Finding:
    notes = Notes(file="cache", row=None)
    found = "a file that is not named by a hash, such as DVC leaves when it is killed."
    notes.warning(path.parent.name, found, "32 hexadecimal digits", "Delete it.")
    return notes.findings[0]


def _findings(path: Path) -> list[Finding]:
    notes = Notes(file=_name(path), row=None)
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "md5").hexdigest()
    except OSError as error:
        notes.error("", f"the file cannot be read ({error.strerror}).", "a cached file", _FIX)
        return notes.findings
    expected = f"{path.parent.name}{path.name.removesuffix('.dir')}"
    if digest != expected:
        notes.error("", f"the content has the MD5 {digest}.", f"{expected}, as its name says", _FIX)
    elif path.suffix == ".dir":
        _listing(path, notes)
    return notes.findings


def _listing(path: Path, notes: Notes) -> None:
    """Note files of a tracked folder that are not in the cache."""
    root = path.parents[1]
    try:
        entries = json.loads(path.read_bytes())
        hashes = [str(entry["md5"]) for entry in entries]
    except (ValueError, TypeError, KeyError):
        notes.error("", "it is no list of files.", "JSON, as DVC writes it", _FIX)
        return
    missing = sum(not (root / digest[:2] / digest[2:]).is_file() for digest in hashes)
    if missing:
        found = f"{missing} of the {len(hashes)} files of the folder are not in the cache."
        notes.warning("", found, "all of them", "Run `dvc fetch`, if the folder is still in use.")
