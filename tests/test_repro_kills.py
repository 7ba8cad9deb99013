"""``dvc repro`` that is killed again and again: the next one completes, and records the same."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import test_stage_checks
from ruamel.yaml import YAML

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
phantom = test_stage_checks.phantom  # the fixture
STAGES = ("extract", "convert")


def _project(phantom: Path, folder: Path) -> Path:
    """Write a repository of the first two stages, with four analysed frames."""
    folder.mkdir()
    for name in ("sam3_angio", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(phantom / "data", folder / "data")
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    yaml = YAML()
    content = yaml.load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    stages = {name: content["stages"][name] for name in STAGES}
    with (folder / "dvc.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump({"stages": stages}, stream)
    assert _dvc(folder, "init", "--no-scm").wait() == 0
    return folder


def _dvc(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=folder,
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "DVC_NO_ANALYTICS": "1",
                "DVC_SITE_CACHE_DIR": str(folder / ".site"),
            },
            stdout=log,
            stderr=log,
        )


def _recorded(folder: Path) -> object:
    lock = YAML(typ="safe").load((folder / "dvc.lock").read_text(encoding="utf-8"))
    return {name: lock["stages"][name].get("outs") for name in STAGES}


def _kill(repro: subprocess.Popen[str], draw: random.Random) -> None:
    """Kill DVC alone, or one of the processes under it, as no program can refuse."""
    family = psutil.Process(repro.pid).children(recursive=True)
    victim = draw.choice([psutil.Process(repro.pid), *family])
    victim.send_signal(signal.SIGKILL)
    if victim.pid != repro.pid:
        repro.wait()


def test_a_repro_killed_at_random_moments_comes_to_the_same_record(
    phantom: Path, tmp_path: Path
) -> None:
    whole = _project(phantom, tmp_path / "whole")
    started = time.monotonic()
    assert _dvc(whole, "repro").wait() == 0, (whole / "log").read_text()
    seconds = time.monotonic() - started
    broken, draw, kills = _project(phantom, tmp_path / "broken"), random.Random(6), 0
    for _ in range(4):
        repro = _dvc(broken, "repro")
        time.sleep(draw.uniform(0.1, 0.8) * seconds)
        if repro.poll() is None:
            _kill(repro, draw)
            repro.wait()
            kills += 1
    assert _dvc(broken, "repro").wait() == 0, (broken / "log").read_text()
    assert kills
    assert _recorded(broken) == _recorded(whole)
    status = _dvc(broken, "status")
    assert status.wait() == 0
    assert "up to date" in (broken / "log").read_text().splitlines()[-1]
