"""What each stage depends on in dvc.yaml is what it imports: no more, no less."""

import re
from pathlib import Path

import grimp
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]

# These cannot change a result: the schema holds no defaults (test_foundation); errors, the command
# wrapper and progress bars only word messages; the packages' own __init__ holds a version; the end
# of children whose parent was killed and the look at the machine before a training, with an
# estimate of what that takes, stop a stage or leave it as it is.
EXEMPT = {"sam3_angio", "stages"} | {
    f"sam3_angio.{name}"
    for name in (
        *("errors", "config", "command", "progress", "children"),
        *("detector.machine", "detector.preflight", "detector.activations"),
    )
}

# Files that a module reads at run time besides its own source.
PACKAGE_DATA = {
    "sam3_angio.unrelated": "sam3_angio/unrelated.csv",
    "sam3_angio.anatomy": "sam3_angio/anatomy.csv",
    "sam3_angio.detector.weights": "sam3_angio/detector/weights/tiny.*",
    "sam3_angio.report.page": "sam3_angio/report/templates/*",
}
CONFIGS = "sam3_angio/detector/configs"


def _stage_names() -> list[str]:
    with Repo(str(ROOT)) as repo:
        return [stage.name for stage in repo.index.stages if hasattr(stage, "name")]


def _file_of(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def _configs(name: str) -> set[str]:
    """Return a packaged Hydra configuration and those that it builds on."""
    path = ROOT / CONFIGS / f"{name}.yaml"
    before = YAML(typ="safe").load(path.read_text(encoding="utf-8")).get("defaults", [])
    return {f"{CONFIGS}/{name}.yaml"}.union(*(_configs(b) for b in before if b != "_self_"))


def _named_in(configs: set[str]) -> set[str]:
    """Return the modules whose classes configurations instantiate."""
    texts = [(ROOT / config).read_text(encoding="utf-8") for config in configs]
    return {name for text in texts for name in re.findall(r"(sam3_angio\.[\w.]+)\.\w+", text)}


def _needed(stage: str) -> set[str]:
    graph = grimp.build_graph("sam3_angio", "stages")
    module = f"stages.{stage}"
    modules = graph.find_upstream_modules(module) | {module}
    configs: set[str] = set()
    if "sam3_angio.detector.recipe" in modules:
        configs = _configs(stage.removeprefix("train_"))  # the stage's name is the recipe's
        named = _named_in(configs) & set(graph.modules) | {"sam3_angio.detector.configs"}
        modules |= named.union(*(graph.find_upstream_modules(name) for name in named))
    modules -= EXEMPT
    # A module's packages run before it does.
    packages = {m.rsplit(".", depth)[0] for m in modules for depth in range(1, m.count(".") + 1)}
    modules |= {p for p in packages if p not in EXEMPT and (ROOT / _file_of(p)).read_text().strip()}
    needed = {_file_of(name) for name in modules} | configs
    for pattern in (PACKAGE_DATA[name] for name in modules & PACKAGE_DATA.keys()):
        needed |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
    return needed


def _listed(stage: str) -> set[str]:
    with Repo(str(ROOT)) as repo:
        deps = next(s for s in repo.index.stages if getattr(s, "name", None) == stage).deps
        paths = {Path(dep.fs_path) for dep in deps if dep.fs_path}
    files = {path for path in paths if path.is_file()}
    files |= {file for folder in paths - files for file in folder.rglob("*.*") if file.is_file()}
    names = {file.relative_to(ROOT).as_posix() for file in files if file.is_relative_to(ROOT)}
    return {n for n in names if n.startswith(("sam3_angio/", "stages/")) and ".pyc" not in n}


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
        assert len(lines) <= 44, path.name
