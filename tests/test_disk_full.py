"""A full disk in any stage is one error without a path, and what was there before stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import test_evaluate
from PIL import Image, UnidentifiedImageError
from test_convert import Converted
from test_evaluate import miniature, run_stage, write_miniature
from test_split import Dataset

from sam3_angio import extraction, files
from sam3_angio.command import reporting
from sam3_angio.errors import AngioError
from sam3_angio.extraction import ExtractionSettings, extract_frames

workspace = test_evaluate.workspace  # the fixture


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/mnt/Geheim^Gerda/frame.png")


def _refused(run: object, folder: Path) -> str:
    """Run a stage that cannot write; return its error, after a look at what it leaves."""
    before = _state(folder)
    with pytest.raises(AngioError, match=r"cannot be written \(No space left on device\)") as error:
        run()  # type: ignore[operator]
    assert _state(folder) == before
    assert "/" not in str(error.value)
    assert "Geheim" not in str(error.value)
    return str(error.value)


def _state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_extract_tells_a_full_disk_that_a_worker_process_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Converted(tmp_path / "Geheim^Gerda")
    site.load()
    settings = ExtractionSettings(
        dicom_root=site.site.angios,
        data_folder=site.site.out,
        percentile_low=0.5,
        percentile_high=99.5,
    )
    frames = tmp_path / "Geheim^Gerda" / "frames"
    extract_frames(site.rows, frames, settings, 1)
    monkeypatch.setattr(extraction, "_extract_run", _full)  # spawned processes import this module
    message = _refused(lambda: extract_frames(site.rows, frames, settings, 1), frames.parent)
    assert message.startswith("frames cannot be written")


@pytest.mark.parametrize("names", ["vessel_tree.json", "report.json"])
def test_convert_tells_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    work = Converted(tmp_path / "Geheim^Gerda")
    work.load()
    work.run()
    write = Path.write_text

    def full_at(path: Path, *rest: object, **options: object) -> int:
        return _full() if names in path.name else write(path, *rest, **options)  # type: ignore[return-value, arg-type]

    monkeypatch.setattr(Path, "write_text", full_at)
    _refused(work.run, tmp_path)


def test_split_tells_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset(tmp_path / "Geheim^Gerda")
    data.write()
    with monkeypatch.context() as patch:
        patch.setattr("os.link", _full)
        patch.setattr("shutil.copyfile", _full)
        patch.setattr(Path, "hardlink_to", _full)
        _refused(data.write, tmp_path)
    monkeypatch.setattr(Path, "write_text", _full)
    _refused(data.write, tmp_path)


@pytest.mark.parametrize(("kind", "name"), [(Path, "write_text"), (Image.Image, "save")])
def test_evaluate_tells_a_full_disk(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, kind: type, name: str
) -> None:
    write_miniature(workspace, miniature())
    monkeypatch.setattr(kind, name, _full)
    before = {path for path in _state(workspace) if path.startswith("report")}
    with pytest.raises(AngioError, match="No space left on device") as error:
        run_stage(workspace)
    assert "Geheim" not in str(error.value)
    assert {path for path in _state(workspace) if path.startswith("report")} == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_directory_whose_last_move_fails_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    target = tmp_path / "frames"
    target.mkdir()
    (target / "one").write_text("one")
    move = Path.replace

    def refuse(path: Path, to: Path) -> Path:
        if path.name.endswith(".tmp"):
            raise OSError(number, "refused", str(path))
        return move(path, to)

    monkeypatch.setattr(Path, "replace", refuse)
    with (
        pytest.raises(AngioError, match="frames cannot be written"),
        files.replacing(target) as new,
    ):
        new.mkdir()
    assert _state(tmp_path) == {"frames/one": b"one"}


def test_a_folder_that_must_not_be_written_is_told(tmp_path: Path) -> None:
    target = tmp_path / "out" / "table.csv"
    refused = PermissionError(errno.EACCES, "Permission denied", str(target.parent))
    with (
        pytest.raises(AngioError, match="table.csv cannot be written"),
        files.replacing(target),
    ):
        raise refused


def test_an_input_that_must_not_be_read_is_not_taken_for_the_output(tmp_path: Path) -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "input" / "a.csv"))
    with pytest.raises(PermissionError), files.replacing(tmp_path / "out" / "table.csv"):
        raise refused


@pytest.mark.parametrize(
    "refusal",
    [
        OSError(errno.ENOSPC, "No space left on device", "/mnt/Geheim^Gerda/state.pt"),
        OSError(errno.EROFS, "Read-only file system", "/mnt/Geheim^Gerda/state.pt"),
        RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598"),
    ],
)
def test_a_disk_that_refuses_anywhere_in_a_command_is_told_without_path_or_traceback(
    refusal: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"), reporting():
        raise refusal
    told = capsys.readouterr().err
    assert "The disk is full, or a file must not be used" in told
    assert "Geheim" not in told


SECRET = "/mnt/Geheim^Gerda/run.dcm"


def _unidentified() -> None:
    raise UnidentifiedImageError(f"cannot identify image file '{SECRET}'")


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_no_number_of_the_operating_system_is_told_with_a_path_or_a_traceback(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"), reporting():
        raise OSError(number, os.strerror(number), SECRET, None, f"{SECRET}.tmp")
    told = capsys.readouterr().err
    assert os.strerror(number) in told
    assert "Geheim" not in told
    assert "Traceback" not in told


def test_where_an_error_was_met_is_told_by_module_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"), reporting():
        files.sha256(tmp_path / "Geheim^Gerda" / "run.dcm")
    assert "is missing, or was removed meanwhile. Met in sam3_angio.files, line " in _told(capsys)
    with pytest.raises(SystemExit, match="1"), reporting():
        files.sha256(tmp_path / ("Geheim" * 100))
    assert "File name too long" in _told(capsys)
    with pytest.raises(SystemExit, match="1"), reporting():
        files.write_text(tmp_path, "text")
    assert "A folder stands where a file is expected." in _told(capsys)


def _told(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err
    assert "Geheim" not in told and "/" not in told
    return told


def test_errors_without_a_number_that_name_files_are_told_without_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="1"), reporting():
        _unidentified()
    assert "UnidentifiedImageError" in _told(capsys)
    with pytest.raises(OSError, match="a defect"), reporting():
        raise OSError("a defect")


def test_a_whole_command_shows_no_part_of_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "Geheim Gerda"
    folder.mkdir()
    (folder / "params.yaml").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "sam3_angio", "check", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert "Geheim" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
