"""Anatomy, view angles, parameters, errors and files."""

import json
import os
import pickle
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr.codedict import codes
from ruamel.yaml import YAML

from sam3_angio import anatomy, config, files
from sam3_angio.acquisition import ViewAngle
from sam3_angio.errors import ConfigError, DataError, Fault

ROOT = Path(__file__).parents[1]


# ---- anatomy: against DICOM's own table -------------------------------------------------------


def test_every_snomed_code_is_one_of_cid_3014_and_names_the_same_vessel():
    official = {}
    for scheme, words in cid_concepts[3014].items():
        for word in words:
            code = getattr(codes.cid3014, word, None)
            if code is not None and scheme == "SCT":
                official[code.value] = code.meaning.lower()
    expected_words = {
        "RCA": "right",
        "LAD": "anterior descending",
        "LCX": "circumflex",
        "diagonal": "diagonal",
        "OM": "marginal",
        "LM": "left main",
        "PDA": "posterior descending",
        "ramus": "ramus",
    }
    for segment in anatomy.segments().values():
        if segment.snomed:
            assert segment.snomed in official, segment
            word = expected_words.get(segment.vessel)
            if word:
                assert word in official[segment.snomed], (segment, official[segment.snomed])


def test_proximal_mid_and_distal_agree_with_the_codes_meaning():
    for number, word in {
        1: "Proximal", 2: "Mid", 3: "Distal", 12: "Proximal", 13: "Mid", 14: "Distal",
        18: "Proximal", 15: "1st", 16: "2nd", 29: "3rd", 20: "1st", 21: "2nd", 22: "3rd",
    }.items():  # fmt: skip
        code = anatomy.segments()[number].snomed
        meanings = [
            getattr(codes.cid3014, name).meaning
            for name in cid_concepts[3014]["SCT"]
            if getattr(codes.cid3014, name).value == code
        ]
        assert len(meanings) == 1
        assert meanings[0].startswith(word), (number, meanings)


def test_the_fourteen_analysed_segments_are_those_of_the_core_laboratory():
    assert anatomy.analysed_segments() == (1, 2, 3, 4, 12, 13, 14, 15, 16, 18, 19, 20, 21, 28)
    assert sorted(anatomy.segments()) == list(range(1, 30))


def test_similar_segments_exist_and_never_include_the_segment_itself():
    table = anatomy.segments()
    for segment in table.values():
        assert segment.cass not in segment.similar
        assert set(segment.similar) <= set(table)


def test_phrases_are_unique():
    phrases = [segment.phrase for segment in anatomy.segments().values()]
    assert len(set(phrases)) == len(phrases)


# ---- views ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("primary_deg", "secondary_deg", "text", "name"),
    [
        (-30.2, 20.1, "RAO 30 CRA 20", "RAO cranial"),
        (45, -25, "LAO 45 CAU 25", "LAO caudal"),
        (0, 0, "AP", "AP"),
        (5, 35, "LAO 5 CRA 35", "AP cranial"),
        (-30, 0, "RAO 30", "RAO"),
    ],
)
def test_a_view_is_written_as_a_cardiologist_writes_it(primary_deg, secondary_deg, text, name):
    view = ViewAngle(primary_deg=primary_deg, secondary_deg=secondary_deg)
    assert str(view) == text
    assert view.name == name


# ---- parameters -------------------------------------------------------------------------------


def _write_changed(folder: Path, section: str, key: str, value: object) -> Path:
    yaml = YAML()
    content = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content[section][key] = value
    target = folder / "params.yaml"
    with target.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)
    return target


def test_the_committed_parameters_are_valid():
    assert config.load_config(ROOT / "params.yaml").split.val_fraction == 0.2


def test_no_parameter_has_a_default_so_that_the_schema_cannot_change_a_result():
    pending: list[type[BaseModel]] = [config.Config]
    while pending:
        model = pending.pop()
        for name, field in model.model_fields.items():
            assert field.is_required(), f"{model.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                pending.append(field.annotation)


def test_an_unknown_key_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="split.val_fractoin"):
        config.load_config(_write_changed(tmp_path, "split", "val_fractoin", 0.2))


def test_a_value_out_of_range_is_refused_with_the_range(tmp_path):
    with pytest.raises(ConfigError, match=r"split.val_fraction.*less than 1"):
        config.load_config(_write_changed(tmp_path, "split", "val_fraction", 1.5))


def test_all_wrong_values_are_reported_at_once(tmp_path):
    path = _write_changed(tmp_path, "split", "val_fraction", 2)
    yaml = YAML()
    content = yaml.load(path.read_text(encoding="utf-8"))
    content["evaluate"]["bootstrap_samples"] = 1
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)
    with pytest.raises(ConfigError) as caught:
        config.load_config(path)
    assert len(caught.value.faults) == 2


def test_a_number_in_the_exponent_form_that_dvc_writes_is_a_number(tmp_path):
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "val_fraction: 0.2" in text
    path.write_text(text.replace("val_fraction: 0.2", "val_fraction: 2e-01"), encoding="utf-8")
    assert config.load_config(path).split.val_fraction == 0.2


def test_an_experiment_rewrites_only_the_parameter_that_it_changes(tmp_path):
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    apply_overrides(path, ["train_phase2.negatives.policy=similar+other_artery"])
    before, after = text.splitlines(), path.read_text(encoding="utf-8").splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0].startswith("    policy: similar+other_artery ")
    assert config.load_config(path).train_phase2.negatives.policy == "similar+other_artery"


def test_steps_that_do_not_fall_into_equal_parts_are_refused_with_every_phase(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    sizes = {"train_phase1": 4, "train_phase2": 3, "train_phase3": 2, "train_phase4": 1}
    apply_overrides(path, [f"{phase}.batch_size={size}" for phase, size in sizes.items()])
    apply_overrides(path, ["train.parts=2"])
    told = r"train.parts \(2\) does not divide train_phase2.batch_size \(3\), train_phase4"
    with pytest.raises(ConfigError, match=told):
        config.load_config(path)
    apply_overrides(path, ["train_phase2.batch_size=4", "train_phase4.batch_size=2"])
    assert config.load_config(path).train.parts == 2


@pytest.mark.parametrize("content", ["{", "- a\n- b\n", "", "a: 1\na: 2\n"])
def test_what_is_no_parameter_file_is_a_configuration_error(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError):
        config.load_config(path)


# ---- errors -----------------------------------------------------------------------------------


def test_an_error_lists_every_fault_with_file_row_field_and_fix():
    error = DataError(
        "The table cannot be used:",
        [
            Fault(file="t.csv", row=3, field="a", message="17 is no segment.", fix="Use 1-4."),
            Fault(file="t.csv", message="is empty."),
        ],
    )
    assert "t.csv, row 3, field 'a': 17 is no segment. Use 1-4." in str(error)
    assert "t.csv: is empty." in str(error)


def test_an_error_survives_a_process_pool():
    error = pickle.loads(pickle.dumps(DataError.at("a.csv", "is empty.", row=2)))
    assert isinstance(error, DataError)
    assert error.faults[0].row == 2


# ---- files ------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "a.txt"
    files.write_text(target, "old")
    with pytest.raises(RuntimeError, match="stop"), files.replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_directory_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "d"
    for content in ("one", "two"):
        with files.replacing(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert os.listdir(target) == ["two"]
    assert os.listdir(tmp_path) == ["d"]


def test_a_failed_directory_leaves_the_old_one(tmp_path):
    target = tmp_path / "d"
    target.mkdir()
    (target / "one").write_text("one")
    with pytest.raises(RuntimeError, match="stop"), files.replacing(target) as temporary:
        temporary.mkdir()
        raise RuntimeError("stop")
    assert os.listdir(target) == ["one"]
    assert os.listdir(tmp_path) == ["d"]


def test_json_with_nan_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_json_comes_back_as_written(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


def test_the_hash_is_the_published_one_of_abc(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-4, example B.1
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
