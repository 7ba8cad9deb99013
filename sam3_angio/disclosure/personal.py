"""What a text says of a person: names as DICOM writes them, dumps of elements, tables of patients.

Invented people stand in tests. Which may, and where, is listed in ``hooks/invented-people.txt``, of
which each line is a pattern of files, a space, and the text that is nobody's there.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sam3_angio.disclosure.dumps import holds_dump
from sam3_angio.disclosure.names import holds_name
from sam3_angio.disclosure.tables import holds_table
from sam3_angio.disclosure.text import in_utf_8

INVENTED_FILE = "hooks/invented-people.txt"
_SOURCE_SUFFIXES = (".py", ".mjs", ".js", ".ts", ".c", ".cpp", ".h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invented:
    """Texts that are nobody's in some files.

    Attributes
    ----------
    lines : tuple of (str, bytes)
        Pattern of files, and text.
    """

    lines: tuple[tuple[str, bytes], ...] = ()

    def texts(self, name: str) -> tuple[bytes, ...]:
        """Return what is nobody's in a file; in the list itself, all that it holds."""
        return tuple(
            text
            for pattern, text in self.lines
            if name == INVENTED_FILE or fnmatch.fnmatchcase(name, pattern)
        )


def read_invented(repository: Path) -> Invented:
    """Read the list of a repository; empty where there is none."""
    path = repository / INVENTED_FILE
    lines = path.read_bytes().splitlines() if path.is_file() else []
    pairs = (line.split(b" ", 1) for line in lines if not line.startswith(b"#") and b" " in line)
    return Invented(lines=tuple((pattern.decode(), text) for pattern, text in pairs))


def personal_data(name: str, parts: Iterable[bytes], invented: Invented) -> list[str]:
    """Return what the text of a file says of persons, a sentence a kind.

    Parameters
    ----------
    name : str
        Path in the repository.
    parts : iterable of bytes
        What is in the file.
    invented : Invented
        What is left out of account.
    """
    is_source = PurePosixPath(name).suffix.lower() in _SOURCE_SUFFIXES
    nobodys = invented.texts(name)
    found: list[str] = []
    for part in parts:
        content = in_utf_8(part)
        for text in nobodys:
            content = content.replace(text, b"")
        if holds_dump(content, is_source=is_source):
            found.append("it holds a dump of a patient's elements.")
        if holds_table(content):
            found.append("it holds a table of patients.")
        if holds_name(content, is_source=is_source):
            found.append("it holds a person's name as DICOM writes it.")
    return list(dict.fromkeys(found))
