"""Which test modules are imported, and which come first; nothing reaches another machine.

Test modules that need torch are not even imported where their tests are deselected. Those that fork
workers come first: a fork of a process that has taken a gradient can take none (PyTorch wiki,
"Autograd and Fork"). So does the pipeline, which takes longest. Under pytest-xdist the order holds
with ``--no-loadscope-reorder`` alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

# No example is timed: a machine with other work to do is slow, and nothing is wrong. The examples
# are the same each time; HYPOTHESIS_PROFILE=explore looks for others.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# pytest-socket holds in this process alone; what tests start inherits this.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parent / "no_network"), os.environ.get("PYTHONPATH")])
)

_NEEDS_TORCH = re.compile(r"^pytestmark = .*\bmark\.torch\b", re.MULTILINE)
_FORKS = re.compile(r"\b(run|start)_(workers|machines)\(")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over a torch module under ``-m "not torch …"``: importing torch takes seconds."""
    if collection_path.suffix != ".py" or "not torch" not in config.getoption("markexpr"):
        return None
    return True if _NEEDS_TORCH.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the pipeline and the tests of modules that fork before all others."""
    forks = {
        path: bool(_FORKS.search(path.read_text(encoding="utf-8")))
        for path in {item.path for item in items}
        if path.suffix == ".py"
    }
    items.sort(key=lambda item: not (forks.get(item.path) or item.get_closest_marker("pipeline")))
