"""The benchmark of training runs, on both sides by their own trainers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(1800)]  # a minute a way
pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
WAYS = ("stock, one frame", "one frame", "two frames in two parts")
RATIO, ALIKE, READY = 3, 4, 5


def table(*words: str) -> list[list[str]]:
    """Return the cells of the table that the benchmark prints, its head first."""
    only = [word for way in WAYS for word in ("--only", way)]
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py"), *only, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--markdown"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def test_ratios_to_the_stock_trainer_and_losses_at_several_steps_are_printed(tmp_path):
    no_data = str(tmp_path / "none")
    head, *rows = table("--dataset", no_data, "--resolution", "64", "--steps", "1", "--rounds", "2")
    assert head[-1] == "loss after 0, 3, 4 steps"
    stock, ours, two = rows
    assert [row[0] for row in rows] == list(WAYS)
    assert [row[1] for row in rows] == ["1", "1", "2"]
    assert stock[RATIO] == stock[ALIKE] == stock[READY] == "1.00"
    assert float(ours[RATIO]) > 0
    assert ours[RATIO] == ours[ALIKE]
    assert two[RATIO]
    assert not two[ALIKE]  # stock with two frames was not measured
    losses = [[float(loss) for loss in row[-1].split(",")] for row in rows]
    assert [len(curve) for curve in losses] == [3, 3, 3]
    assert len({curve[0] for curve in losses}) == 1  # the same weights
    assert all(curve[-1] < curve[0] for curve in losses)
