"""What our code imports when it runs may be handed on: no GPL, and a licence that says so.

The lesser form of the GPL leaves those free who import; the full form does not.
"""

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("sam3_angio", "stages") for path in (ROOT / folder).rglob("*.py")]
CONFIGS = list((ROOT / "sam3_angio" / "detector" / "configs").glob("*.yaml"))

#: Loaded by sam3 on import, though not named by our code.
BY_SAM3 = {"torchvision", "torchmetrics", "timm", "iopath", "ftfy", "regex"}
FULL_GPL = re.compile(r"\b(A?GPL|(Affero )?General Public License)", re.I)


def imported(text: str) -> set[str]:
    """Return the first names of all absolute imports of a module, lazy ones too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def run_time_modules() -> set[str]:
    names = set(BY_SAM3).union(*(imported(path.read_text(encoding="utf-8")) for path in SOURCES))
    for path in CONFIGS:
        names |= set(re.findall(r"_target_: (\w+)\.", path.read_text(encoding="utf-8")))
    return names - set(sys.stdlib_module_names) - {"sam3_angio", "stages"}


def distributions() -> list[str]:
    owners = metadata.packages_distributions()
    return sorted({owner for name in run_time_modules() for owner in owners.get(name, [])})


def licence(distribution: str) -> str:
    """Return what a distribution's metadata say of its licence, in one text."""
    about = metadata.metadata(distribution)
    names = [about.get("License-Expression") or "", (about.get("License") or "")[:200]]
    kinds = [c for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    return " | ".join(part for part in (*names, *kinds) if part)


def texts(distribution: str) -> list[str]:
    """Return the first lines of a distribution's licence files."""
    files = metadata.files(distribution) or []
    wanted = [f for f in files if re.search(r"(licen[cs]e|copying)", f.name, re.I)]
    return [f.read_text(encoding="utf-8")[:300] for f in wanted if f.locate().is_file()]


def is_full_gpl(text: str) -> bool:
    without_lesser = re.sub(
        r"\bLGPL[\w.+-]*|Lesser General Public License\S*", "", text, flags=re.I
    )
    return bool(FULL_GPL.search(without_lesser))


def test_what_is_imported_is_found():
    assert {"torch", "sam3", "monai", "pydicom", "numpy", "highdicom"} <= run_time_modules()
    assert {"monai", "pydicom", "sam3"} <= set(distributions())


@pytest.mark.parametrize("name", distributions())
def test_no_package_that_our_code_imports_is_under_the_gpl(name):
    said = licence(name) or " ".join(texts(name))
    assert said, f"{name} names no licence"
    assert not is_full_gpl(said), f"{name}: {said}"


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("GPL-3.0-or-later", True),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True),
        ("AGPL-3.0", True),
        ("GNU Affero General Public License v3", True),
        ("LGPL-2.1-only", False),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", False),
        ("Apache-2.0", False),
        ("MIT", False),
    ],
)
def test_the_full_gpl_is_told_from_its_lesser_form(text, full):
    assert is_full_gpl(text) is full


def test_this_project_is_under_the_apache_licence():
    assert metadata.metadata("sam3-angio")["License-Expression"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:200]
