"""Profiles switch params.yaml forth and back, and lose nothing of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from typer.testing import CliRunner

from sam3_angio.cli import _commands
from sam3_angio.config import load_config
from sam3_angio.errors import ConfigError
from sam3_angio.profiles import Change, apply_profile, profile_names, read_profile

ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "profiles"
NAMES = profile_names(PROFILES)
DEFAULT = "phantom-cpu"


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def own_keys(name: str) -> dict[str, object]:
    """Return what a profile's own file sets, without the one that it extends."""
    content = YAML(typ="safe").load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
    return {
        f"{section}.{key}": value
        for section, values in content.items()
        if section != "extends"
        for key, value in values.items()
    }


def test_the_profiles_of_this_project_are_there():
    assert {DEFAULT, "phantom-cpu-long", "rtx3090x2", "single-24gb", "lora-16gb", "h100"} <= set(
        NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_gives_valid_parameters_with_its_values(name, params):
    apply_profile(name, params, PROFILES, dry_run=False)
    config = load_config(params).model_dump()
    for key, value in read_profile(name, PROFILES).items():
        section, last = key.split(".")
        assert config[section][last] == value, key


def test_the_default_profile_is_what_params_yaml_holds(params):
    assert apply_profile(DEFAULT, params, PROFILES, dry_run=True) == ()


def test_the_default_profile_undoes_every_other_one():
    keys = set().union(*(own_keys(name) for name in NAMES if name != DEFAULT))
    # Every profile is for one machine.
    assert own_keys(DEFAULT).keys() == keys | {"train.launcher", "train.nodes"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != DEFAULT])
def test_a_profile_holds_only_what_differs_from_the_one_that_it_extends(name):
    content = YAML(typ="safe").load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))
    above = read_profile(content["extends"], PROFILES)
    same = {key for key, value in own_keys(name).items() if above.get(key) == value}
    assert same == set()


@settings(max_examples=4, deadline=None)
@given(order=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
def test_the_way_to_a_profile_does_not_matter_and_the_way_back_gives_the_same_bytes(
    order, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("params")
    original = (ROOT / "params.yaml").read_bytes()
    direct, wound = folder / "direct.yaml", folder / "wound.yaml"
    for path in (direct, wound):
        path.write_bytes(original)
    apply_profile(order[-1], direct, PROFILES, dry_run=False)
    for name in order:
        apply_profile(name, wound, PROFILES, dry_run=False)
    assert direct.read_bytes() == wound.read_bytes()
    apply_profile(DEFAULT, wound, PROFILES, dry_run=False)
    assert wound.read_bytes() == original


def test_comments_order_and_other_keys_stay(params):
    before = params.read_text(encoding="utf-8").splitlines()
    changes = apply_profile("rtx3090x2", params, PROFILES, dry_run=False)
    after = params.read_text(encoding="utf-8").splitlines()
    assert len(after) == len(before)
    different = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(different) == len(changes)
    for old, new in different:
        assert old.split(":")[0] == new.split(":")[0]
        assert old.partition("#")[2] == new.partition("#")[2]


def test_the_difference_is_returned_and_a_dry_run_writes_nothing(params):
    before = params.read_bytes()
    changes = apply_profile("single-24gb", params, PROFILES, dry_run=True)
    assert params.read_bytes() == before
    assert Change(key="model.size", before="tiny", after="published") in changes
    assert Change(key="train.workers", before=2, after=1) in changes
    assert list(params.parent.iterdir()) == [params]


def test_an_unknown_profile_is_refused_with_the_names_that_there_are(params):
    with pytest.raises(
        ConfigError, match=r"no profile '\.\./params'.*h100, lora-16gb, phantom-cpu"
    ):
        apply_profile("../params", params, PROFILES, dry_run=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {wrokers: 3}\n", r"odd\.yaml, field 'train\.wrokers': params\.yaml has no such"),
        ("train: {workers: 0}\n", r"params\.yaml is not valid:\n.*train\.workers"),
        ("model: {size: published}\n", "checkpoint 'tiny' is of size 'tiny'"),
        ("train: [\n", r"odd\.yaml is not valid YAML"),
        ("- train\n", r"odd\.yaml holds no sections"),
        ("extends: odd\n", "extends itself"),
        ("extends: base\n", "no profile 'base'. There are: odd"),
    ],
)
def test_a_wrong_profile_is_refused_and_changes_nothing(text, message, params, tmp_path):
    folder = write(tmp_path / "profiles" / "odd.yaml", text).parent
    content = params.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        apply_profile("odd", params, folder, dry_run=False)
    assert params.read_text(encoding="utf-8") == content


def test_the_command_shows_the_difference(params):
    runner = CliRunner()
    words = ["profile", "phantom-cpu-long", "--params", str(params), "--profiles", str(PROFILES)]
    done = runner.invoke(_commands, [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "train_phase1.epochs" in done.output
    assert "not written" in done.output
    assert "was written" in runner.invoke(_commands, words).output
    assert "already" in runner.invoke(_commands, words).output
