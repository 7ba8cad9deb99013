"""Processes of a pool end with the process that started them, however that one ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

POOLS = [
    "from sam3_angio.extraction import _pool; pool = _pool(2)",
    "from concurrent.futures import ProcessPoolExecutor\n"
    "from multiprocessing import get_context\n"
    "from sam3_angio.children import end_with_parent\n"
    "pool = ProcessPoolExecutor(2, mp_context=get_context('spawn'), initializer=end_with_parent)",
]
_WAITING = """
import time

if __name__ == "__main__":
    {pool}
    list(pool.map(time.sleep, [0.5, 0.5]))
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a job's processes otherwise")
@pytest.mark.parametrize("pool", POOLS)
def test_no_process_of_a_pool_outlives_a_killed_parent(pool: str, tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(_WAITING.format(pool=pool.replace("\n", "\n    ")), encoding="utf-8")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert len(children) >= 2
    assert alive == []
