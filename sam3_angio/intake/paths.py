r"""From the absolute Windows paths of a site's table to files of this machine.

Conventions
-----------
``\`` and ``/`` mean the same, case does not matter, as on Windows; UNC paths
(``\\server\share\…``) and the long form (``\\?\E:\…``) are understood. Prefixes end between two
parts of a path: ``E:\Angio`` is no prefix of ``E:\Angios\run.dcm``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sam3_angio.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PathMapping:
    """One prefix of the table's paths and the folder that it means here."""

    prefix: tuple[str, ...]
    folder: Path


def parse_mapping(text: str) -> PathMapping:
    r"""Read ``PREFIX=FOLDER``, such as ``E:\AngioMLDL_data=/mnt/e/AngioMLDL_data``.

    Raises
    ------
    ConfigError
        There is no ``=``, a side is empty, or the folder does not exist.
    """
    prefix, sign, folder = text.partition("=")
    if not (sign and prefix.strip() and folder.strip()):
        raise ConfigError("--map needs PREFIX=FOLDER, such as --map 'E:\\Angios=/mnt/e/Angios'.")
    if not Path(folder).is_dir():
        raise ConfigError(f"--map: there is no folder for the prefix {prefix}.")
    return PathMapping(prefix=tuple(_folded(part) for part in _parts(prefix)), folder=Path(folder))


class SitePaths:
    """Finds the files that a table's paths mean.

    Parameters
    ----------
    mappings : iterable of PathMapping
        The longest prefix that fits wins.
    base : Path
        Folder that relative paths start from.
    """

    def __init__(self, mappings: Iterable[PathMapping], base: Path) -> None:
        self._mappings = sorted(mappings, key=lambda mapping: -len(mapping.prefix))
        self._base = base
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def find(self, text: str) -> Path | None:
        """Return the file that a path of the table means, or None where there is none."""
        parts = _parts(text)
        if ".." in parts:
            return None
        folded = tuple(_folded(part) for part in parts)
        for mapping in self._mappings:
            count = len(mapping.prefix)
            if folded[:count] == mapping.prefix:
                return self._existing(mapping.folder, parts[count:])
        path = Path(text)
        if not path.is_absolute() and not parts[0].startswith("//") and ":" not in parts[0]:
            return self._existing(self._base, parts)
        return path if is_file(path) else None

    def _existing(self, folder: Path, parts: list[str]) -> Path | None:
        path = folder.joinpath(*parts)
        if is_file(path):
            return path
        # Windows takes any case and any Unicode form of a name; other systems do not.
        for part in parts:
            names = self._listing(folder).get(_folded(part), [])
            if len(names) != 1:
                return None
            folder = folder / names[0]
        return folder if is_file(folder) else None

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            for name in _names(folder):
                listing.setdefault(_folded(name), []).append(name)
            self._listings[folder] = listing
        return self._listings[folder]


def is_file(path: Path) -> bool:
    """Whether a path leads to a file; False for a name that is too long, or a closed folder."""
    try:
        return path.is_file()
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:  # no folder, or one that may not be read
        return []


def _parts(text: str) -> list[str]:
    path = text.strip().replace("\\", "/")
    if path.upper().startswith("//?/UNC/"):
        path = "//" + path[len("//?/UNC/") :]
    path = path.removeprefix("//?/")
    root = "//" if path.startswith("//") else "/" if path.startswith("/") else ""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return [root + parts[0], *parts[1:]] if parts else [root]


def _folded(part: str) -> str:
    return unicodedata.normalize("NFC", part).casefold()
