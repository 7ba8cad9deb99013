"""No commit takes a patient's data along: whatever a file is called, however it is packed."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import unicodedata
import urllib.parse
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from small_site import write_run

from sam3_angio.disclosure import disclosures, is_dicom, spellings
from sam3_angio.manifest import COLUMNS

ROOT = Path(__file__).parents[1]
PATIENT = "SITE B 007-4711"


class Repository:
    """A repository with the project's hook and a data folder that Git ignores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "--quiet")
        self.git("config", "core.hooksPath", str(ROOT / "hooks"))
        (path / "data").mkdir()
        (path / ".gitignore").write_text("/data\n/.private-patterns\n")
        row = dict.fromkeys(COLUMNS, "") | {"patient_id": PATIENT}
        lines = [",".join(COLUMNS), ",".join(row[column] for column in COLUMNS)]
        (path / "data" / "manifest.csv").write_text("\n".join(lines) + "\n")
        (path / "data" / "salt").write_text("5a" * 32 + "\n")

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }
        return subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def commit(self, name: str, content: bytes) -> subprocess.CompletedProcess[str]:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.git("add", "--", name)
        return self.git("commit", "--quiet", "--message", "Something")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("run") / "a" / "b" / "c" / "d" / "run.dcm"
    write_run(path, 30.0, 0.0)
    return path.read_bytes()


def _zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", content)
    return stream.getvalue()


def _png(text: str) -> bytes:
    stream, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    texts.add_text("Comment", text, zip=True)
    Image.new("L", (4, 4)).save(stream, "PNG", pnginfo=texts)
    return stream.getvalue()


def test_an_innocent_commit_passes(repository: Repository) -> None:
    done = repository.commit("notes.md", b"Dice 0.80 of 260 patients, mean^2\n")
    assert done.returncode == 0, done.stderr
    assert repository.git("log", "--oneline").stdout.count("\n") == 1


def test_a_dicom_file_is_refused_by_git_whatever_its_name(
    repository: Repository, run: bytes
) -> None:
    done = repository.commit("picture.png", run)
    assert done.returncode != 0
    assert "picture.png: it is, or holds, a DICOM file" in done.stderr
    assert repository.git("log", "--oneline").stdout == ""


def test_a_patient_of_the_data_set_is_refused_by_git_and_not_repeated(
    repository: Repository,
) -> None:
    done = repository.commit(f"figures/{PATIENT.lower()}.txt", b"a figure")
    assert done.returncode != 0
    assert "path holds an identifier" in done.stderr
    assert PATIENT.lower() not in (done.stdout + done.stderr).lower()


def test_what_is_staged_counts_and_not_what_lies_in_the_folder(
    repository: Repository, run: bytes
) -> None:
    path = repository.path / "run"
    path.write_bytes(run)
    repository.git("add", "run")
    path.write_bytes(b"harmless by now")
    assert repository.git("commit", "--quiet", "--message", "x").returncode != 0


def test_a_private_pattern_of_the_user_is_refused(repository: Repository) -> None:
    (repository.path / ".private-patterns").write_text("Geheim\\w+\n\nB-\\d{4}\n")
    assert repository.commit("a.txt", b"seen by geheimrat").returncode != 0
    assert repository.commit("a.txt", b"see B-12345").returncode != 0
    assert repository.commit("a.txt", b"nothing").returncode == 0


def test_a_pattern_that_is_none_is_told(repository: Repository) -> None:
    (repository.path / ".private-patterns").write_text("(\n")
    assert "no regular expression" in repository.commit("a.txt", b"nothing").stderr


def test_a_phantoms_identifiers_may_be_committed(repository: Repository) -> None:
    (repository.path / "data" / "truth").mkdir()
    (repository.path / "data" / "truth" / "truth.json").write_text('{"kind": "phantom"}')
    assert repository.commit("a.txt", PATIENT.encode()).returncode == 0


def test_the_history_is_searched_with_its_messages_and_paths(
    repository: Repository, run: bytes
) -> None:
    repository.commit("first", b"harmless")
    repository.git("commit", "--allow-empty", "--no-verify", "--message", f"for {PATIENT}")
    (repository.path / "run").write_bytes(run)
    (repository.path / f"{PATIENT}.txt").write_bytes(b"harmless, too")
    repository.git("add", "--all")
    repository.git("commit", "--no-verify", "--message", "All")
    repository.git("rm", "--quiet", "run")
    repository.git("commit", "--no-verify", "--message", "Gone, but not from the history")
    done = subprocess.run(
        [sys.executable, "-m", "sam3_angio", "guard", "--history"],
        cwd=repository.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    told = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("  - ")]
    assert set(told) == {"blob", "commit", "tree"}
    assert PATIENT not in done.stderr


SECRETS = spellings([PATIENT, "Müller-Lüdenscheidt"])
HIDDEN = {
    "utf-8": PATIENT.encode(),
    "upper case": "MÜLLER-LÜDENSCHEIDT".encode(),
    "utf-16": PATIENT.encode("utf-16-be"),
    "latin-1": "Müller-Lüdenscheidt".encode("latin-1"),
    "url": urllib.parse.quote(PATIENT).encode(),
    "form": urllib.parse.quote_plus(PATIENT).encode(),
    "json": json.dumps({"a": "Müller-Lüdenscheidt"}).encode(),
    "hexadecimal": PATIENT.encode().hex().upper().encode(),
    **{f"base64 at {k}": base64.b64encode(b"x" * k + PATIENT.encode() + b"y") for k in range(4)},
    "zip": _zipped(b"... " + PATIENT.encode()),
    "gzip": gzip.compress(PATIENT.encode()),
    "png text": _png(PATIENT),
    "utf-32": PATIENT.encode("utf-32-le"),
    "decomposed": unicodedata.normalize("NFD", "Müller-Lüdenscheidt").encode(),
    "html": b"M&uuml;ller-L&uuml;denscheidt",
    "xml": b"M&#252;ller-L&#252;denscheidt",
    "file name": PATIENT.replace(" ", "_").encode(),
    "no separators": PATIENT.replace(" ", "").replace("-", "").encode(),
    "deflated": zlib.compress(PATIENT.encode()),
    "bzip2": bz2.compress(PATIENT.encode()),
    "xz": lzma.compress(9 * PATIENT.encode()),
    "gzip in zip": _zipped(gzip.compress(PATIENT.encode())),
}


@pytest.mark.parametrize("place", [0, 1 << 20, (1 << 20) - 2, 3 << 20, None])
def test_a_large_file_is_searched_to_its_last_byte(place: int | None) -> None:
    secrets = spellings(["Tigger^Anna", "Müller^Jörg", "19-50-12"])
    noise = np.random.default_rng(3).integers(0, 256, 3 << 20, dtype=np.uint8).tobytes()
    assert not secrets.are_in(noise)
    for word in sorted(secrets.plain | secrets.coded)[::25] if place is not None else []:
        start = min(place, len(noise) - len(word))
        hidden = noise[:start] + word + noise[start + len(word) :]
        assert secrets.are_in(hidden), word


def test_a_few_digits_by_themselves_are_no_identifier() -> None:
    counts = b'"counts": "SUc13l?1010001OO001011N0"'  # of a mask
    assert not spellings(["101-0001"]).are_in(counts)
    assert spellings(["101-0001"]).are_in(b"frame_101_0001.png")
    for alone in (b"a/1010001.png", b"patient 1010001", b'{"id": "1010001"}', b"1010001,2"):
        assert spellings(["101-0001"]).are_in(alone)
    assert not spellings(["101-0001"]).are_in(b"0.1010001,91010001")
    assert spellings(["101-00012345"]).are_in(b"10100012345")
    assert spellings(["1010001"]).are_in(b"patient 1010001")


@pytest.mark.parametrize("how", HIDDEN)
def test_an_identifier_is_found_however_it_is_written(how: str) -> None:
    assert disclosures("a.bin", HIDDEN[how], SECRETS)


@pytest.mark.parametrize(
    "text",
    [
        "(0010,0010) PN [Roe^Jane]   # 8, 1 PatientName",
        "(0010, 0020) Patient ID                          LO: 'A17'",
        '{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "X"}]}}',
        '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID">',
        '{"PatientName": "Jane"}',
        "reported by Roe^Jane^Dr",
    ],
)
def test_a_dump_of_a_patients_elements_is_found(text: str) -> None:
    assert disclosures("dump.txt", text.encode(), spellings([]))


def test_dicom_is_told_without_a_preamble_and_in_archives(run: bytes) -> None:
    assert is_dicom(run)
    assert is_dicom(run[132:])
    for packed in (_zipped(run), gzip.compress(run)):
        assert disclosures("archive", packed, spellings([]))
    for content in (b"", b"{}", b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"\x1f\x8bdamaged"):
        assert not disclosures("other", content, spellings([]))


def test_this_repository_discloses_nothing() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()]
    assert len(names) > 100
    for name in names:
        assert not disclosures(name, (ROOT / name).read_bytes(), spellings([])), name
