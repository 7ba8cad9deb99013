"""``sam3-angio check --cache``: damage in DVC's cache is found, whatever DVC itself believes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sam3_angio.checking.cache import cache_folder, check_cache
from sam3_angio.cli import _commands
from sam3_angio.errors import ConfigError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository and, beside it, its cache, which holds a file and a folder of two."""
    folder = tmp_path_factory.mktemp("made")
    root = folder / "repository"
    (root / "folder").mkdir(parents=True)
    (root / "one.bin").write_bytes(bytes(range(256)) * 50)
    (root / "folder" / "a.txt").write_bytes(b"line\r\nline\n")
    (root / "folder" / "b.txt").write_bytes(b"")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "s")}
    for command in (
        ["init", "--no-scm", "--quiet"],
        ["cache", "dir", os.path.join("..", "a cache")],
        ["add", "--quiet", "one.bin", "folder"],
    ):
        subprocess.run(["dvc", *command], cwd=root, env=environment, check=True)
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


def _objects(repository: Path) -> dict[str, Path]:
    files = (cache_folder(repository) / "files" / "md5").glob("*/*")
    sizes = {path: path.stat().st_size for path in files}
    folder = next(path for path in sizes if path.suffix == ".dir")
    largest = max(sizes, key=lambda path: sizes[path])
    small = next(path for path, size in sizes.items() if size == 11)
    return {"one": largest, "folder": folder, "text": small}


def _edit(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


def test_an_intact_cache_has_no_finding(repository: Path) -> None:
    report = check_cache(cache_folder(repository))
    assert (report.rows, report.findings) == (4, ())


@pytest.mark.parametrize("which", ["one", "folder", "text"])
@pytest.mark.parametrize("place", [0, 5, -1])
def test_a_flipped_bit_is_found_in_its_file(repository: Path, which: str, place: int) -> None:
    path = _objects(repository)[which]
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    _edit(path, bytes(content))
    errors = [
        one for one in check_cache(cache_folder(repository)).findings if one.severity == "error"
    ]
    assert [one.file for one in errors] == [f"{path.parent.name}/{path.name}"]
    assert "MD5" in errors[0].found and "dvc fetch" in errors[0].fix


def test_damage_that_dvc_trusts_is_found(repository: Path) -> None:
    path = _objects(repository)["one"]
    _edit(path, path.read_bytes()[:-1])
    (repository / "one.bin").unlink()
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run(["dvc", "checkout"], cwd=repository, env=environment, check=True)
    assert (repository / "one.bin").read_bytes() == path.read_bytes()
    assert check_cache(cache_folder(repository)).errors == 1


def test_a_folder_whose_file_is_gone_is_a_warning(repository: Path) -> None:
    _objects(repository)["text"].unlink()
    report = check_cache(cache_folder(repository))
    assert report.errors == 0
    assert "1 of the 2 files" in report.findings[0].found


def test_what_a_killed_dvc_left_is_a_warning(repository: Path) -> None:
    path = _objects(repository)["one"]
    shutil.copy(path, path.parent / f"{path.name}.tmp")
    report = check_cache(cache_folder(repository))
    assert (report.errors, report.warnings) == (0, 1)


def test_the_command_leaves_with_1_on_damage_and_0_without(repository: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(_commands, ["check", "--cache"])
    assert done.exit_code == 0 and "4 files: 0 errors" in done.stdout
    _edit(_objects(repository)["one"], b"other")
    done = runner.invoke(_commands, ["check", "--cache", "--csv", "found.csv"])
    assert done.exit_code == 1
    assert len(Path("found.csv").read_text().splitlines()) == 2


def test_a_folder_that_is_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no DVC repository"):
        cache_folder(tmp_path)
