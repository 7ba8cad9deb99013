"""What is edited while a stage runs is not vouched for."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sam3_angio.errors import ConfigError
from sam3_angio.recorded import recorded, unedited

PIPELINE = """\
stages:
  split:
    cmd: python -m stages.split
    deps: [sam3_angio/module.py, sam3_angio/part, data]
    params: [split]
"""
MODULE, PARAMETERS = Path("sam3_angio/module.py"), Path("params.yaml")
PART = Path("sam3_angio/part/deep/page.html")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE)
    PART.parent.mkdir(parents=True)
    PART.write_text("<p>")
    MODULE.write_text("x = 1\n")
    PARAMETERS.write_text("split: {seed: 0}\nother: {a: 1}\n")


def _edit(path: Path, text: str) -> Callable[[], None]:
    def edit() -> None:
        path.write_text(text)

    return edit


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (_edit(MODULE, "x = 2\n"), "sam3_angio/module.py"),
        (MODULE.unlink, "sam3_angio/module.py"),
        (_edit(PART, "<b>"), "sam3_angio/part/deep/page.html"),
        (_edit(PARAMETERS, "split: {seed: 1}\nother: {a: 1}\n"), "params.yaml:split"),
        (_edit(PARAMETERS, "other: {a: 1}\n"), "params.yaml:split"),
    ],
)
def test_an_edit_meanwhile_fails_the_stage(
    project: None, edit: Callable[[], None], named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"Edited while split ran: {named}\."):
        unedited("split")(edit)()


@pytest.mark.parametrize(
    "edit",
    [
        _edit(MODULE, "x = 1\n"),
        _edit(PARAMETERS, "# a remark\nother: {a: 2}\nsplit:\n  seed: 0\n"),
        _edit(Path("data"), "is DVC's to compare"),
    ],
)
def test_what_the_stage_does_not_depend_on_may_be_edited(
    project: None, edit: Callable[[], None]
) -> None:
    unedited("split")(edit)()


def test_a_stage_that_fails_says_its_own_fault(project: None) -> None:
    def failing() -> None:
        MODULE.write_text("x = 2\n")
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        unedited("split")(failing)()


def test_where_nothing_is_recorded_nothing_is_compared(project: None) -> None:
    Path("dvc.yaml").unlink()
    unedited("split")(_edit(MODULE, "x = 2\n"))()


@pytest.mark.parametrize("stage", ["extract", "convert", "split", "evaluate"])
def test_the_stages_that_train_nothing_are_compared(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr("sam3_angio.recorded.run", started.append)
    monkeypatch.setattr("sam3_angio.recorded.unedited", lambda name: lambda _: name)
    monkeypatch.delitem(sys.modules, f"stages.{stage}", raising=False)
    runpy.run_module(f"stages.{stage}", run_name="__main__")
    assert started == [stage]
    names = recorded(stage)
    assert f"stages/{stage}.py" in names
    assert f"params.yaml:{stage}" in names
