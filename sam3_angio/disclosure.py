"""Patients' data where none may be: what a commit, or the whole history, would disclose.

Looked for are DICOM files, whatever they are called and inside archives too; dumps of patients'
elements; names as DICOM writes them; and what is known of this data set alone: the identifiers of
its manifest, its salt, and the expressions of ``.private-patterns``, a file that Git does not
track, of one regular expression a line. A phantom's identifiers are nobody's: they may pass.

Conventions
-----------
A fault never repeats what was found, nor a path that holds it.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import io
import json
import lzma
import re
import struct
import subprocess
import unicodedata
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from html.entities import codepoint2name
from pathlib import Path
from typing import Any

import ahocorasick

from sam3_angio.errors import ConfigError, Fault
from sam3_angio.manifest import fold_patient_id
from sam3_angio.table import read_records, read_text

PATTERNS_FILE = ".private-patterns"

_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_DEPTH = 2

_MIN_IDENTIFIER = 5
#: Shorter numbers that were an identifier with separators stand in masks and tables by chance:
#: they count by themselves, and not within what the run lengths of a mask are written with.
_MIN_DIGITS = 10
#: The literal comes first: so a search for it is fast.
_DIGITS_ALONE = rb"%(it)s(?<![.0-z]%(it)s)(?![0-z])"
_MAX_UNPACKED_BYTES = 256 * 2**20
_MAX_MEMBERS = 10_000
_FIX = "Take it out of the index: git rm --cached FILE. If it is no patient's, commit --no-verify."
#: What dcmdump, pydicom, and the JSON and XML models of PS3.18 and PS3.19 write of a patient.
_DUMPS = (
    re.compile(rb"\(0010, ?00[1-4]0\)[^\n]{0,40}(PN|LO|DA|CS)\W{1,4}\w"),
    re.compile(rb"\"(00100010|00100020|00100030)\"\s*:\s*\{"),
    re.compile(rb"keyword=\"Patient(Name|ID|BirthDate)\""),
    re.compile(rb"\"Patient(Name|ID|BirthDate|sName)\"\s*:\s*\"[^\"]+\""),
)
_PERSON = re.compile(rb"\b[A-Z][a-z'-]{2,}\^[A-Z][a-z'-]{2,}")
#: Invented people stand in tests.
_SOURCE_SUFFIXES = (".py", ".mjs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What is known of one data set and must not leave it.

    Attributes
    ----------
    plain : frozenset of bytes
        Spellings in lower case, for text in lower case.
    coded : frozenset of bytes
        Base64 of them, in which case matters.
    patterns : tuple of re.Pattern
        Of the user.
    """

    plain: frozenset[bytes]
    coded: frozenset[bytes]
    patterns: tuple[re.Pattern[bytes], ...] = ()

    def are_in(self, content: bytes) -> bool:
        """Tell whether one of them is in some bytes."""
        return (
            _any_in(self.plain, content.lower())
            or _any_in(self.coded, content)
            or any(pattern.search(content) for pattern in self.patterns)
        )


@lru_cache(maxsize=8)
def _search_of(words: frozenset[bytes]) -> Callable[[str], Iterator[Any]]:
    """Return a search for many words in one pass (Aho and Corasick)."""
    automaton = ahocorasick.Automaton()
    for word in words:
        automaton.add_word(word.decode("latin-1"), True)
    automaton.make_automaton()
    search: Callable[[str], Iterator[Any]] = automaton.iter
    return search


def _any_in(words: frozenset[bytes], content: bytes) -> bool:
    """Tell whether one of many words is in some bytes."""
    return bool(words) and any(True for _ in _search_of(words)(content.decode("latin-1")))


def spellings(values: Sequence[str], patterns: Sequence[re.Pattern[bytes]] = ()) -> Secrets:
    """Return values in the encodings in which they hide.

    UTF-8, -16 and -32, URL, HTML, JSON, hexadecimal, base64; and as file names have them, with
    other separators or none.

    Examples
    --------
    >>> spellings(["Müller"]).are_in("see m%C3%BCller.png".encode())
    True
    """
    plain: set[bytes] = set()
    coded: set[bytes] = set()
    for form in (form for value in values for form in _written(value)):
        # bytes in lower case keep the case of letters beyond ASCII
        for text in {form} if form.isascii() else {form, form.lower(), form.upper()}:
            raw = {text.encode(code, "ignore") for code in _ENCODINGS}
            raw.add(text.encode("latin-1", "replace"))
            plain |= {one.lower() for one in raw} | {one.hex().encode() for one in raw}
            plain |= {escaped.lower().encode() for escaped in _escaped(text)}
            coded |= {code for one in raw for code in _base64_forms(one)}
    digits = {
        _DIGITS_ALONE % {b"it": form.encode()} for value in values for form in _short_digits(value)
    }
    return Secrets(
        plain=frozenset(plain),
        coded=frozenset(coded),
        patterns=(*patterns, *(re.compile(form) for form in sorted(digits))),
    )


def _written(value: str) -> set[str]:
    """Return the ways in which people and programs write a value: separators, accents."""
    forms = {value, *(value.replace("^", other) for other in (" ", "_", ", "))}
    for gaps in (r"\s+", r"[\s^-]+"):
        forms |= {re.sub(gaps, other, value) for other in ("_", "-", "")}
    forms |= {unicodedata.normalize(how, form) for how in ("NFC", "NFD") for form in set(forms)}
    kept = {form for form in forms if len(form) >= min(len(value), _MIN_IDENTIFIER)}
    return kept - set(_short_digits(value))


def _short_digits(value: str) -> list[str]:
    """Return the digits of an identifier without its separators, if they are few."""
    digits = re.sub(r"[\s^-]+", "", value)
    is_short = digits != value and digits.isdecimal() and len(digits) < _MIN_DIGITS
    return [digits] if is_short and len(digits) >= _MIN_IDENTIFIER else []


def _escaped(text: str) -> set[str]:
    """Return a text as URLs, JSON, HTML and XML have it."""
    return {
        urllib.parse.quote(text),
        urllib.parse.quote(text, safe=""),
        urllib.parse.quote_plus(text),
        json.dumps(text)[1:-1],
        html.escape(text),
        text.encode("ascii", "xmlcharrefreplace").decode(),
        "".join(f"&#x{ord(letter):x};" if ord(letter) > 127 else letter for letter in text),
        "".join(f"&{codepoint2name.get(ord(c), '')};" if ord(c) > 127 else c for c in text),
    }


def _base64_forms(content: bytes) -> Iterator[bytes]:
    """Yield the base64 of bytes that begin at each of the three places of a group."""
    for before in range(3):
        code = base64.b64encode(bytes(before) + content)
        first, last = -(-before * 8 // 6), (before + len(content)) * 8 // 6
        yield code[first:last]


def data_set_secrets(repository: Path) -> Secrets:
    """Return what is known of the data set in a repository's working tree.

    Raises
    ------
    ConfigError
        An expression of the user is none.
    """
    values = _identifiers(repository / "data")
    salt = repository / "data" / "salt"
    if salt.is_file():
        values.append(salt.read_text(encoding="latin-1").strip())
    known = [value for value in values if len(value) >= _MIN_IDENTIFIER]
    return spellings(known, _patterns(repository / PATTERNS_FILE))


def _identifiers(data: Path) -> list[str]:
    manifest, truth = data / "manifest.csv", data / "truth" / "truth.json"
    if not manifest.is_file() or (truth.is_file() and "phantom" in truth.read_text("utf-8")):
        return []
    header, *records = (record for _, record in read_records("", read_text(manifest), ","))
    column = header.index("patient_id")
    found = {record[column] for record in records}
    return sorted(found | {fold_patient_id(value) for value in found})


def _patterns(path: Path) -> list[re.Pattern[bytes]]:
    lines = path.read_bytes().splitlines() if path.is_file() else []
    try:
        return [re.compile(line, re.IGNORECASE) for line in lines if line.strip()]
    except re.error:
        raise ConfigError(f"{PATTERNS_FILE} holds a line that is no regular expression.") from None


def is_dicom(content: bytes) -> bool:
    """Tell a DICOM file by its content: with the prefix of PS3.10, or without a preamble."""
    if content[128:132] == b"DICM":
        return True
    group, element, length = struct.unpack("<HHI", content[:8].ljust(8, b"\xff"))
    if group not in (0x0002, 0x0008) or element > 0x0020:
        return False
    is_explicit = content[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH", b"DA")
    return is_explicit or length <= 64


def unpacked(content: bytes) -> Iterator[bytes]:
    """Yield bytes, and what is in them if they are an archive or a compressed picture.

    Two levels deep, and no more than a quarter of a gigabyte each.
    """
    yield from _unpacked(content, _DEPTH)


def _unpacked(content: bytes, depth: int) -> Iterator[bytes]:
    yield content
    for start, parts in _PACKED.items():
        if depth and content.startswith(start):
            for part in _opened(partial(parts, content)):
                yield from _unpacked(part, depth - 1)


def _opened(parts: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    try:
        yield from parts()
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, struct.error):
        return  # what cannot be opened was looked at as it is
    except zipfile.BadZipFile:
        return  # what cannot be opened was looked at as it is
    except (NotImplementedError, RuntimeError):  # another compression; a password
        return


def _gzipped(content: bytes) -> Iterator[bytes]:
    yield gzip.GzipFile(fileobj=io.BytesIO(content)).read(_MAX_UNPACKED_BYTES)


def _bzipped(content: bytes) -> Iterator[bytes]:
    yield bz2.BZ2File(io.BytesIO(content)).read(_MAX_UNPACKED_BYTES)


def _xzipped(content: bytes) -> Iterator[bytes]:
    yield lzma.LZMADecompressor().decompress(content, _MAX_UNPACKED_BYTES)


def _deflated(content: bytes) -> Iterator[bytes]:
    yield zlib.decompressobj().decompress(content, _MAX_UNPACKED_BYTES)


def _members(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist()[:_MAX_MEMBERS]:
            yield member.filename.encode()
            with archive.open(member) as stream:
                yield stream.read(_MAX_UNPACKED_BYTES)


def _png_texts(content: bytes) -> Iterator[bytes]:
    """Yield the compressed texts of a PNG picture (its zTXt and iTXt chunks)."""
    place = 8
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        chunk = content[place + 8 : place + 8 + length]
        for start in range(len(chunk)) if kind in (b"zTXt", b"iTXt") else ():
            if chunk[start] == 0x78:  # how a deflated text begins
                try:
                    yield zlib.decompressobj().decompress(chunk[start:], _MAX_UNPACKED_BYTES)
                except zlib.error:
                    continue
        place += 12 + length


#: By the bytes that they begin with.
_PACKED: dict[bytes, Callable[[bytes], Iterator[bytes]]] = {
    b"\x1f\x8b": _gzipped,
    b"BZh": _bzipped,
    b"\xfd7zXZ\0": _xzipped,
    b"\x78\x01": _deflated,
    b"\x78\x9c": _deflated,
    b"\x78\xda": _deflated,
    b"PK": _members,
    b"\x89PNG\r\n\x1a\n": _png_texts,
}


def disclosures(name: str, content: bytes, secrets: Secrets) -> list[Fault]:
    """Return what a file would disclose.

    Parameters
    ----------
    name : str
        Its path in the repository.
    content : bytes
    secrets : Secrets
        Of the data set.
    """
    shown = "a file whose path holds an identifier" if secrets.are_in(name.encode()) else name
    found = ["its path holds an identifier of the data set."] if shown != name else []
    parts = list(unpacked(content))
    if any(map(is_dicom, parts)) or Path(name).name == "DICOMDIR":
        found.append("it is, or holds, a DICOM file.")
    if any(map(secrets.are_in, parts)):
        found.append("it holds an identifier of the data set, its salt, or a private pattern.")
    if Path(name).suffix not in _SOURCE_SUFFIXES:
        if any(pattern.search(part) for part in parts for pattern in _DUMPS):
            found.append("it holds a dump of a patient's elements.")
        if b"\0" not in content[:8192] and _PERSON.search(content):
            found.append("it holds a person's name as DICOM writes it.")
    return [Fault(file=shown, message=message, fix=_FIX) for message in found]


def staged_disclosures(repository: Path) -> list[Fault]:
    """Return what the next commit would disclose.

    Raises
    ------
    ConfigError
        The folder is no Git repository.
    """
    secrets = data_set_secrets(repository)
    listed = _git(
        repository, "diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames",
        "--diff-filter=ACMT",
    )  # fmt: skip
    fields = listed.split(b"\0")
    faults: list[Fault] = []
    for entry, path in zip(fields[0::2], fields[1::2], strict=False):
        _old_mode, mode, _old, blob, _status = entry.split(b" ")
        if mode != b"160000":  # another repository's commit
            content = _git(repository, "cat-file", "blob", blob.decode())
            faults += disclosures(path.decode("utf-8", "replace"), content, secrets)
    return faults


def history_disclosures(repository: Path) -> list[Fault]:
    """Return what any object of a repository discloses: files, paths, messages of commits.

    Raises
    ------
    ConfigError
        The folder is no Git repository.
    """
    secrets = data_set_secrets(repository)
    listed = _git(repository, "cat-file", "--batch-all-objects", "--batch-check").decode()
    faults: list[Fault] = []
    for line in listed.splitlines():
        name, kind, _size = line.split(" ")
        content = _git(repository, "cat-file", kind, name)
        if kind == "blob":
            faults += disclosures(f"blob {name}", content, secrets)
        elif secrets.are_in(content):
            message = "it holds an identifier of the data set, its salt, or a private pattern."
            faults.append(Fault(file=f"{kind} {name}", message=message, fix="Rewrite the history."))
    return faults


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=False)
    if done.returncode:
        raise ConfigError("This is no Git repository, or it is damaged.")
    return done.stdout
