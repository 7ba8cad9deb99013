"""The command ``analyze``, with small models of random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from detector_case import REPOSITORY, SIDE_PX, vessel, write_dataset, write_params  # noqa: E402
from highdicom.seg import segread  # noqa: E402
from PIL import Image  # noqa: E402
from results_case import PLANTED  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402
from xa_files import LOSSLESS, pictures, write_run  # noqa: E402

from sam3_angio import cli  # noqa: E402
from sam3_angio.acquisition import ViewAngle  # noqa: E402
from sam3_angio.analysis.models import chosen_models  # noqa: E402
from sam3_angio.coco import Rle, decode_mask  # noqa: E402
from sam3_angio.config import load_config  # noqa: E402
from sam3_angio.detector.asking import Detector, chosen_device  # noqa: E402
from sam3_angio.detector.build import build_model, model_spec  # noqa: E402
from sam3_angio.detector.checkpoint import save_weights  # noqa: E402
from sam3_angio.detector.frames import load_frames, prepare  # noqa: E402
from sam3_angio.detector.predict import answer_rows, answers  # noqa: E402
from sam3_angio.detector.published import read_published  # noqa: E402
from sam3_angio.detector.queries import PreparedFrames, PromptedFrames, ToTensors  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402
from sam3_angio.manifest import read_manifest  # noqa: E402
from sam3_angio.prompts import TreeQuestions  # noqa: E402
from sam3_angio.results import NOTICE  # noqa: E402
from sam3_angio.scoring.predictions import read_predictions  # noqa: E402

RUN = {
    **PLANTED,
    "ImagerPixelSpacing": [0.3, 0.3],
    "DistanceSourceToDetector": 1000,
    "DistanceSourceToPatient": 750,
    "PositionerPrimaryAngle": -30,
    "PositionerSecondaryAngle": 20,
}
PERSONAL = [value for keyword, value in PLANTED.items() if keyword != "PatientSex"]
FILES = {"index.html", "overlay.png", "analysis.json", "segmentation.dcm", "measurements.dcm"}
QUESTIONS = {
    "Phase 1": "sam3_angio.prompts.TreeQuestions",
    "Phase 2": "sam3_angio.prompts.AllQuestions",
    "Phase 3, text": "sam3_angio.prompts.AllQuestions",
    "Phase 4": "sam3_angio.lesion_prompts.WithLesions",
}


def publish(folder, label, *, seed=0, **run):
    """Write what a training phase publishes, of random weights that find something."""
    torch.manual_seed(seed)
    model = build_model(model_spec("tiny", SIDE_PX))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    folder.mkdir(parents=True)
    save_weights(model, folder / "checkpoint.pt")
    config = {
        "scratch": {
            "model": {"size": "tiny", "resolution": SIDE_PX},
            "phase": {"instances": 2},
            "prompts": {"segments": "analysed"},
            "run": {"label": label, **run},
        },
        "questions": {"prediction": {"_target_": QUESTIONS[label]}},
    }
    with (folder / "config.yaml").open("w", encoding="utf-8") as stream:
        YAML().dump(config, stream)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    publish(root / "models" / "phase1", "Phase 1", seed=1)
    publish(root / "models" / "phase4", "Phase 4", seed=4)
    return root


@pytest.fixture
def analyze(models, monkeypatch, capsys):
    """Return the command line, run in a project with models; it gives exit code and output."""
    monkeypatch.chdir(models)
    monkeypatch.setenv("COLUMNS", "200")
    write_params(models, section="evaluate", score_threshold=0.001, agreement=0)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["sam3-angio", "analyze", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            cli.app()
        said = capsys.readouterr()
        return leaving.value.code or 0, said.out + said.err

    return command


def _run(path, syntax=None, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    given = () if syntax is None else (syntax,)
    return write_run(path, pictures(), 8, *given, **(RUN | changes))


def test_a_run_gives_a_folder_of_results_without_a_person(tmp_path, analyze):
    run = _run(tmp_path / "Planted^Name" / "PLANTED-0815.dcm")
    code, said = analyze(run, "--out", tmp_path / "out")
    assert code == 0
    (folder,) = (tmp_path / "out").iterdir()
    assert {path.name for path in folder.iterdir()} == FILES
    found = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    assert (found["name"], found["notice"]) == (folder.name, NOTICE)
    assert found["model"].startswith("Phase 1 ")
    assert ", Phase 4 " in found["model"]
    assert found["view"]["text"] == "RAO 30 CRA 20"
    assert found["scale"]["row_mm"] == pytest.approx(0.225)
    assert found["scale"]["source"] == "sod_sid"
    assert found["segments"]
    assert {segment["qca"]["scale_source"] for segment in found["segments"] if segment["qca"]} <= {
        "sod_sid"
    }
    contents = [said.encode(), folder.name.encode()]
    contents += [
        (folder / name).read_bytes() for name in ("index.html", "overlay.png", "analysis.json")
    ]
    for content in contents:
        assert [value for value in PERSONAL if value.encode() in content] == []
    assert "Research use only" in said


def test_a_display_that_ruins_the_picture_is_told(tmp_path, analyze):
    narrow = _run(tmp_path / "narrow.dcm", WindowCenter="140", WindowWidth="15")
    sound = _run(tmp_path / "sound.dcm", WindowCenter="140", WindowWidth="200")
    code, said = analyze(narrow, sound, "--out", tmp_path / "out", "--tree-only")
    assert code == 0
    assert "Warning: run 1 of 2: the display makes" in said
    assert "Warning: run 2" not in said


def test_each_transfer_syntax_gives_the_same_numbers(tmp_path, analyze):
    runs = [_run(tmp_path / f"{place:02d}.dcm", syntax) for place, syntax in enumerate(LOSSLESS)]
    code, _ = analyze(*runs, "--out", tmp_path / "out", "--tree-only")
    assert code == 0
    folders = list((tmp_path / "out").iterdir())
    assert len(folders) == len(LOSSLESS)
    numbers = [json.loads((folder / "analysis.json").read_text()) for folder in folders]
    assert all({**one, "name": ""} == {**numbers[0], "name": ""} for one in numbers)
    assert numbers[0]["tree"]["area_px"] > 0


def test_a_broken_run_is_named_by_position_and_the_others_are_finished(tmp_path, analyze):
    study = tmp_path / "Planted^Name"
    _run(study / "1.dcm")
    whole = _run(study / "2.dcm", SOPInstanceUID="1.2.826.0.1.3680043.8.498.9")
    (study / "2.dcm").write_bytes(whole.read_bytes()[:-20_000])
    _run(study / "3.dcm", SOPInstanceUID="1.2.826.0.1.3680043.8.498.7")
    code, said = analyze(study, "--out", tmp_path / "out", "--tree-only")
    assert code == 1
    assert "1 of 3 runs could not be analysed; 2 were" in said
    assert "- run 2 of 3" in said
    assert "Planted" not in said
    folders = list((tmp_path / "out").iterdir())
    assert len(folders) == 2
    assert all({path.name for path in folder.iterdir()} == FILES for folder in folders)


def test_a_frame_that_a_run_has_not_leaves_nothing(tmp_path, analyze):
    run = _run(tmp_path / "run.dcm")
    code, said = analyze(run, "--out", tmp_path / "out", "--frame", 6, "--tree-only")
    assert code == 1
    assert "there is no frame 6; the run has 6, counted from 0" in said
    assert not (tmp_path / "out").exists()


def test_a_given_frame_is_the_one_that_is_referred_to(tmp_path, analyze):
    run = _run(tmp_path / "run.dcm")
    code, _ = analyze(run, "--out", tmp_path / "out", "--frame", 4, "--tree-only")
    assert code == 0
    (folder,) = (tmp_path / "out").iterdir()
    found = segread(folder / "segmentation.dcm")
    group = found.PerFrameFunctionalGroupsSequence[0]
    assert group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 5
    numbers = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    assert (numbers["frame_index"], numbers["frame_reason"]) == (4, "given")


def test_results_that_cannot_be_written_are_said_of_each_run(tmp_path, analyze):
    (tmp_path / "out").write_text("a file where the folder should be")
    code, said = analyze(_run(tmp_path / "run.dcm"), "--out", tmp_path / "out", "--tree-only")
    assert code == 1
    assert "run 1 of 1: its results cannot be written" in said
    assert "Traceback" not in said


def test_a_missing_model_is_one_error(tmp_path, analyze, monkeypatch):
    run = _run(tmp_path / "run.dcm")
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, said = analyze(run, "--out", "out")
    assert code == 1
    assert "There is no trained model 'phase1'" in said
    assert "--model" in said
    assert not (tmp_path / "out").exists()


# ---- models --------------------------------------------------------------------------------------


def test_a_given_model_takes_the_place_of_the_one_that_does_the_same(tmp_path, models):
    other = publish(tmp_path / "mine", "Phase 2")
    root = models / "models"
    assert chosen_models([other / "checkpoint.pt"], root) == (
        root / "phase1", other / "checkpoint.pt",
    )  # fmt: skip
    assert chosen_models([root / "phase1"], tmp_path) == (root / "phase1", tmp_path / "phase4")
    with pytest.raises(ConfigError, match="Two of the given models name segments"):
        chosen_models([other, root / "phase4"], root)


def test_what_each_phase_is_asked(tmp_path, models):
    tree = read_published(models / "models" / "phase1").prompts(None)
    assert [prompt.text for prompt in tree] == ["coronary artery"]
    found = read_published(models / "models" / "phase4").prompts(None)
    assert [prompt.text for prompt in found][-2:] == ["ramus intermedius", "stenosis"]
    assert len(found) == 15
    run = {"carrier": "text", "template": "{phrase}, {view}", "round_deg": 10}
    told = read_published(publish(tmp_path / "text", "Phase 3, text", **run))
    view = ViewAngle(primary_deg=-28, secondary_deg=21)
    assert told.needs_view
    assert "proximal LAD, RAO 30 cranial 20" in [prompt.text for prompt in told.prompts(view)]


def test_a_run_without_angles_is_no_run_for_a_model_that_is_told_them(tmp_path, analyze):
    run = {"carrier": "text", "template": "{phrase}, {view}", "round_deg": 10}
    told = publish(tmp_path / "text", "Phase 3, text", **run)
    without = {"PositionerPrimaryAngle": None, "PositionerSecondaryAngle": None}
    bare = {key: value for key, value in RUN.items() if key not in without}
    path = write_run(tmp_path / "run.dcm", pictures(), 8, **bare)
    code, said = analyze(path, "--out", tmp_path / "out", "--model", told)
    assert code == 1
    assert "the header has no view angle" in said


def test_a_model_that_is_told_the_view_by_more_than_words_is_refused(tmp_path):
    folder = publish(tmp_path / "arm", "Phase 3, text", carrier="embedding")
    with pytest.raises(ConfigError, match="told the view by more than words"):
        read_published(folder)


@pytest.mark.parametrize("text", ["scratch: 1", "scratch: {model: [}", ""])
def test_a_folder_that_does_not_say_what_it_is_is_refused(tmp_path, text):
    folder = publish(tmp_path / "broken", "Phase 1")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="does not say which model it is"):
        read_published(folder)


def test_a_frame_of_the_data_set_gets_the_answer_that_the_training_wrote(tmp_path, models):
    dataset = write_dataset(tmp_path, train=1, val=2)
    frames = load_frames(dataset, "val", "vessel_tree")
    prepare(frames, SIDE_PX, tmp_path / "store")
    data = PreparedFrames(
        img_folder="",
        ann_file=str(frames.document_path),
        coco_json_loader=lambda path: PromptedFrames(
            path, store=str(tmp_path / "store"), questions=TreeQuestions()
        ),
        transforms=[ToTensors()],
        max_ann_per_img=1000,
        multiplier=1,
    )
    detector = Detector(read_published(models / "models" / "phase1"), chosen_device("cpu", 1))
    for answer in answers(detector._model, data, range(2), torch.device("cpu")):
        image = frames.images[answer.image_id]
        row = answer_rows(answer, "coronary artery", image, 2)
        picture = np.asarray(Image.open(frames.folder / image.file_name))
        (found,) = detector.ask(picture, detector.published.prompts(None))
        assert found.presence == answer.presence
        own = [
            *((one.score, one.mask) for one in found.instances),
            (answer.presence, found.semantic),
        ]
        for result, (score, mask) in zip(row["results"], own, strict=True):
            assert result["score"] == score
            np.testing.assert_array_equal(decode_mask(Rle(**result["segmentation"])), mask)


def test_a_picture_of_another_size_gets_masks_of_its_own_size(models):
    detector = Detector(read_published(models / "models" / "phase1"), chosen_device("auto", 1))
    picture, _ = vessel(1, side_px=96)
    (found,) = detector.ask(picture[:80], detector.published.prompts(None))
    assert found.semantic.shape == (80, 96)
    assert {one.mask.shape for one in found.instances} == {(80, 96)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no CUDA device"):
        chosen_device("cuda", 1)


@pytest.mark.slow
def test_runs_of_validation_patients_give_the_trees_that_the_training_wrote(tmp_path, monkeypatch):
    """Needs what `dvc repro` makes; compares five runs, from the file to the segmentation."""
    monkeypatch.chdir(REPOSITORY)
    if not Path("predictions/phase1/queries.json").is_file():
        pytest.skip("the pipeline was not run here")
    written = {query.frame_id: query for query in read_predictions(Path("predictions/phase1"))}
    rows = [row for row in read_manifest(Path("data/manifest.csv")) if row.frame_id in written]
    dicom_root = Path(load_config().data.dicom_root)
    for row in rows[:: len(rows) // 5]:
        out = tmp_path / row.frame_id
        arguments = [dicom_root / row.dicom, "--out", out, "--frame", row.frame_index]
        run = ["sam3-angio", "analyze", *map(str, arguments), "--tree-only", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", run)
        with pytest.raises(SystemExit) as leaving:
            cli.app()
        assert not leaving.value.code
        (folder,) = out.iterdir()
        found = segread(folder / "segmentation.dcm").pixel_array.reshape(-1, *frame_shape(folder))
        np.testing.assert_array_equal(found[0] > 0, decode_mask(written[row.frame_id].semantic))


def frame_shape(folder):
    """Return the size of an analysed frame in pixels, rows first."""
    numbers = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    return numbers["rows"], numbers["columns"]
