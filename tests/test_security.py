"""What a file from elsewhere could use to run code is nowhere in the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "sam3_angio").rglob("*.py"), *(ROOT / "stages").rglob("*.py")])

#: Builtins and functions that run, or unpickle, what they are given.
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open",
    "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load", "joblib.load",
    "dill.load", "dill.loads", "pandas.read_pickle", "pd.read_pickle", "pydoc.locate",
}  # fmt: skip


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def _keyword(call: ast.Call, name: str) -> object:
    values = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return ast.literal_eval(values[0]) if values and isinstance(values[0], ast.Constant) else None


def _forbidden(name: str, call: ast.Call) -> bool:
    return (
        name in FORBIDDEN_NAMES | FORBIDDEN_CALLS
        or (name == "torch.load" and _keyword(call, "weights_only") is not True)
        or (name in ("np.load", "numpy.load") and _keyword(call, "allow_pickle") is True)
        or (name.startswith("subprocess.") and _keyword(call, "shell") is True)
        or (name == "YAML" and _keyword(call, "typ") not in (None, "safe", "rt"))
        or (name.endswith("Environment") and not _escapes(call))
    )


def _escapes(call: ast.Call) -> bool:
    """Tell whether a template's environment escapes HTML, by constant or by suffix."""
    given = [keyword for keyword in call.keywords if keyword.arg == "autoescape"]
    return bool(given) and _keyword(call, "autoescape") is not False


def test_yaml_is_read_by_ruamel_alone_which_makes_no_objects() -> None:
    for path in SOURCES:
        assert "import yaml" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_or_unpickles_what_it_reads(path: Path) -> None:
    assert [f"line {c.lineno}: {n}" for n, c in _calls(path) if _forbidden(n, c)] == []


@pytest.mark.parametrize(
    ("line", "is_forbidden"),
    [
        ("eval(text)", True),
        ("model.eval()", False),
        ("re.compile(text)", False),
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("subprocess.run(text, shell=True)", True),
        ("subprocess.run([text], check=True)", False),
        ("YAML(typ='unsafe')", True),
        ("YAML(typ='safe', pure=True)", False),
        ("Environment(loader=loader)", True),
        ("Environment(autoescape=True)", False),
    ],
)
def test_the_search_knows_its_cases(tmp_path: Path, line: str, is_forbidden: bool) -> None:
    path = tmp_path / "source.py"
    path.write_text(line)
    assert any(_forbidden(name, call) for name, call in _calls(path)) == is_forbidden


def test_the_lock_pins_every_package_by_hash() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = [place for place, line in enumerate(lines) if line[:1].isalnum()]
    assert len(pinned) > 50
    for place in pinned:
        assert "==" in lines[place] or " @ " in lines[place], lines[place]
        assert "--hash=sha256:" in lines[place + 1], lines[place]
