"""What each stage depends on in dvc.yaml is what it imports: no more, no less."""

from pathlib import Path

import grimp
import pytest
from dvc.repo import Repo

ROOT = Path(__file__).parents[1]

# These cannot change a result: the schema holds no defaults (test_foundation), errors and the
# command wrapper only word messages, and a package's __init__ without code imports nothing.
EXEMPT = {"sam3_angio.errors", "sam3_angio.config", "sam3_angio.command", "stages", "sam3_angio"}

# Files that a module reads at run time besides its own source.
PACKAGE_DATA = {
    "sam3_angio.anatomy": ["sam3_angio/anatomy.csv"],
    "sam3_angio.detector.training": ["sam3_angio/detector/configs"],
}


def _stage_names() -> list[str]:
    with Repo(str(ROOT)) as repo:
        return [stage.name for stage in repo.index.stages if hasattr(stage, "name")]


def _file_of(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def _needed(stage: str) -> set[str]:
    graph = grimp.build_graph("sam3_angio", "stages")
    module = f"stages.{stage}"
    modules = (graph.find_upstream_modules(module) | {module}) - EXEMPT
    # A module's packages run before it does.
    packages = {m.rsplit(".", depth)[0] for m in modules for depth in range(1, m.count(".") + 1)}
    modules |= {p for p in packages if p not in EXEMPT and (ROOT / _file_of(p)).read_text().strip()}
    needed = {_file_of(name) for name in modules}
    for name in modules & PACKAGE_DATA.keys():
        needed |= set(PACKAGE_DATA[name])
    return needed


def _listed(stage: str) -> set[str]:
    with Repo(str(ROOT)) as repo:
        deps = next(s for s in repo.index.stages if getattr(s, "name", None) == stage).deps
        paths = [Path(d.fs_path).relative_to(ROOT).as_posix() for d in deps if d.fs_path]
    return {p for p in paths if p.startswith(("sam3_angio", "stages"))}


@pytest.mark.parametrize("stage", _stage_names())
def test_a_stage_depends_on_just_the_modules_that_it_imports(stage):
    needed, listed = _needed(stage), _listed(stage)
    assert sorted(needed - listed) == [], f"dvc.yaml, {stage}: missing in deps"
    assert sorted(listed - needed) == [], f"dvc.yaml, {stage}: listed but not imported"


@pytest.mark.parametrize("stage", _stage_names())
def test_a_stage_is_one_simple_command_named_as_its_script(stage):
    with Repo(str(ROOT)) as repo:
        cmd = next(s for s in repo.index.stages if getattr(s, "name", None) == stage).cmd
    assert isinstance(cmd, str)
    assert f"-m stages.{stage} " in cmd
    assert not any(sign in cmd for sign in ("&&", ";", "|", ">"))
    assert (ROOT / "stages" / f"{stage}.py").exists()


def test_a_stage_script_is_thin():
    for path in (ROOT / "stages").glob("*.py"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert len(lines) <= 48, path.name
