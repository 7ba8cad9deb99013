"""What a repository discloses: its staged files, or all that it holds."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from sam3_angio.disclosure.data_set import data_set_secrets
from sam3_angio.disclosure.dicom_traces import holds_dicom
from sam3_angio.disclosure.packed import MAX_UNPACKED_BYTES, Unpacking
from sam3_angio.disclosure.personal import (
    INVENTED_FILE,
    Invented,
    personal_data,
    read_invented,
)
from sam3_angio.disclosure.spelling import Secrets
from sam3_angio.errors import ConfigError, Fault

_FIX = (
    "Take it out of the index: git rm --cached FILE. If it is no patient's, commit --no-verify; an "
    f"invented person's name goes into {INVENTED_FILE}."
)
_IDENTIFIER = "it holds an identifier of the data set, its salt, or a private pattern."
_NOT_WHOLE = (
    "it cannot be searched whole: it is, or holds, an archive that is encrypted, of another kind, "
    f"or larger than {MAX_UNPACKED_BYTES >> 20} MiB."
)
_NOTHING_INVENTED = Invented()


def disclosures(
    name: str, content: bytes, secrets: Secrets, invented: Invented = _NOTHING_INVENTED
) -> list[Fault]:
    """Return what a file would disclose.

    Parameters
    ----------
    name : str
        Its path in the repository.
    content : bytes
    secrets : Secrets
        Of the data set.
    invented : Invented
        People who are nobody.
    """
    shown = "a file whose path holds an identifier" if secrets.are_in(name.encode()) else name
    found = ["its path holds an identifier of the data set."] if shown != name else []
    unpacking = Unpacking()
    parts = list(unpacking.parts(content))
    if any(map(holds_dicom, parts)) or PurePosixPath(name).name == "DICOMDIR":
        found.append("it is, or holds, a DICOM file.")
    if any(map(secrets.are_in, parts)):
        found.append(_IDENTIFIER)
    found += personal_data(name, parts, invented)
    if not unpacking.is_whole:
        found.append(_NOT_WHOLE)
    return [Fault(file=shown, message=message, fix=_FIX) for message in found]


def staged_disclosures(repository: Path) -> list[Fault]:
    """Return what the next commit would disclose.

    Raises
    ------
    ConfigError
        The folder is no Git repository.
    """
    secrets, invented = data_set_secrets(repository), read_invented(repository)
    listed = _git(
        repository, "diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames",
        "--diff-filter=ACMT",
    )  # fmt: skip
    staged = list(_entries(listed))
    contents = _objects(repository, [blob for blob, _ in staged])
    faults: list[Fault] = []
    for (_, path), (_, content) in zip(staged, contents, strict=True):
        faults += disclosures(path, content, secrets, invented)
    return faults


def _entries(listed: bytes) -> Iterator[tuple[str, str]]:
    """Yield object and path of each entry of ``--raw -z``; other repositories' commits left out."""
    fields = iter(listed.split(b"\0"))
    for entry in fields:
        if entry.startswith(b":"):
            _old_mode, mode, _old, blob, _status = entry.lstrip(b":").split(b" ")
            path = next(fields)
            if mode not in (b"160000", b"000000"):
                yield blob.decode(), path.decode("utf-8", "replace")


def history_disclosures(repository: Path) -> list[Fault]:
    """Return what any object of a repository discloses: files, paths, messages of commits.

    Raises
    ------
    ConfigError
        The folder is no Git repository.
    """
    secrets, invented = data_set_secrets(repository), read_invented(repository)
    paths = _paths(repository)
    listed = _git(repository, "cat-file", "--batch-all-objects", "--batch-check").decode()
    names = [line.split(" ")[0] for line in listed.splitlines()]
    faults: list[Fault] = []
    for name, (kind, content) in zip(names, _objects(repository, names), strict=True):
        if kind == "blob":
            faults += _blob_disclosures(name, content, paths[name], (secrets, invented))
        elif secrets.are_in(content):
            faults.append(
                Fault(file=f"{kind} {name}", message=_IDENTIFIER, fix="Rewrite the history.")
            )
    return faults


def _blob_disclosures(
    name: str, content: bytes, paths: Iterable[str], known: tuple[Secrets, Invented]
) -> list[Fault]:
    """Return what a file discloses under any of its paths; these themselves stand in trees."""
    found = [
        fault
        for path in (paths or [""])
        for fault in disclosures(path, content, *known)
        if not fault.message.startswith("its path")
    ]
    messages = dict.fromkeys(fault.message for fault in found)
    return [Fault(file=f"blob {name}", message=one, fix=_FIX) for one in messages]


def _paths(repository: Path) -> dict[str, set[str]]:
    """Return the paths under which each file ever stood in a commit."""
    listed = _git(
        repository, "log", "--all", "--reflog", "--raw", "-z", "-m", "--root", "--no-abbrev",
        "--no-renames", "--format=",
    )  # fmt: skip
    paths: dict[str, set[str]] = defaultdict(set)
    for blob, path in _entries(listed):
        paths[blob].add(path)
    return paths


def _objects(repository: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield kind and content of objects, one after the other."""
    with subprocess.Popen(
        ["git", "cat-file", "--batch"],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise ConfigError("Git cannot be talked to.")
        for name in names:
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            head = process.stdout.readline().split()
            if len(head) != 3:
                raise ConfigError("This is no Git repository, or it is damaged.")
            yield head[1].decode(), process.stdout.read(int(head[2]) + 1)[:-1]
        process.stdin.close()


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=False)
    if done.returncode:
        raise ConfigError("This is no Git repository, or it is damaged.")
    return done.stdout
