"""Test modules that need torch are not even imported where their tests are deselected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_NEEDS_TORCH = re.compile(r"^pytestmark = .*\bmark\.torch\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over a torch module under ``-m "not torch …"``: importing torch takes seconds."""
    if collection_path.suffix != ".py" or "not torch" not in config.getoption("markexpr"):
        return None
    return True if _NEEDS_TORCH.search(collection_path.read_text(encoding="utf-8")) else None
