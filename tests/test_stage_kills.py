"""A stage that is killed, a clock that is wrong, two runs at once: nothing half-written is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import test_stage_checks
from test_stage_checks import DATA, FRAMES, LISTING

ROOT = Path(__file__).parents[1]
phantom, repository = test_stage_checks.phantom, test_stage_checks.repository  # fixtures
pytestmark = pytest.mark.timeout(300)

#: Runs a stage whose last step never ends.
HANGING = """
import sys, time
from pathlib import Path
import {module} as module
module.{last} = lambda *_: time.sleep(600)
from stages.{stage} import {function} as stage
stage(*map(Path, sys.argv[1:]))
"""
EXTRACT = (DATA / "manifest.csv", DATA / "labels", FRAMES, LISTING)
CONVERT = (
    DATA / "manifest.csv", DATA / "labels", FRAMES / "geometry.csv", Path("converted"), LISTING
)  # fmt: skip


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _wait(until: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def _killed(program: str, arguments: tuple[Path, ...], begun: Callable[[], object]) -> None:
    """Start a stage, wait until it has begun to write, and kill it as no program can refuse."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(begun)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL


def test_extract_that_is_killed_leaves_the_frames_of_before(repository: Path) -> None:
    before = _contents(FRAMES)
    program = HANGING.format(
        module="sam3_angio.extraction", last="write_geometry", stage="extract", function="extract"
    )
    _killed(program, EXTRACT, lambda: len(list(repository.glob(".frames.*.tmp/*.png"))) == 4)
    assert _contents(FRAMES) == before
    shutil.rmtree(FRAMES)
    test_stage_checks._extract(FRAMES)
    assert _contents(FRAMES) == before


def test_convert_that_is_killed_leaves_nothing_under_its_name(repository: Path) -> None:
    program = HANGING.format(
        module="sam3_angio.conversion", last="write_measurements", stage="convert", function="main"
    )
    begun = ".converted.*.tmp/lesions.json"
    _killed(program, CONVERT, lambda: list(repository.glob(begun)))
    assert not Path("converted").exists()
    test_stage_checks._convert()
    assert Path("converted/report.json").exists()


@pytest.mark.usefixtures("repository")
def test_a_clock_that_is_set_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    test_stage_checks._convert(Path("now"))
    for path in DATA.rglob("*"):
        os.utime(path, (10**9, 10**9))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    test_stage_checks._extract(Path("again"))
    test_stage_checks._convert(Path("then"))
    assert _contents(Path("again")) == _contents(FRAMES)
    assert _contents(Path("then")) == _contents(Path("now"))


def test_two_repros_at_once_are_one(tmp_path: Path) -> None:
    work = "import pathlib, time; time.sleep(20); pathlib.Path('out').write_text('done')"
    (tmp_path / "work.py").write_text(work)
    stage = {"slow": {"cmd": f'"{sys.executable}" work.py', "deps": ["work.py"], "outs": ["out"]}}
    (tmp_path / "dvc.yaml").write_text(repr({"stages": stage}))
    environment = os.environ | {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
    }

    def dvc(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    assert dvc("init", "--no-scm").wait() == 0
    first = dvc("repro")
    _wait((tmp_path / ".dvc" / "tmp" / "rwlock").exists)
    second = dvc("repro")
    told, _ = second.communicate()
    assert second.returncode != 0
    assert "busy" in told or "lock" in told
    assert first.wait() == 0
    shown, _ = dvc("status").communicate()
    assert "up to date" in shown
    assert (tmp_path / "out").read_text() == "done"
