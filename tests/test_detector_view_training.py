"""The arms of the view-angle experiment: equal but for the view, and never trained twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# Imported here, so that forked workers need not.
import fvcore.common.param_scheduler  # noqa: E402, F401
from detector_case import SIDE_PX, run_workers, start_workers, vessel, write_params  # noqa: E402
from PIL import Image  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

from sam3_angio.anatomy import segments  # noqa: E402
from sam3_angio.coco import (  # noqa: E402
    Category,
    Document,
    ImageEntry,
    annotate,
    load_document,
    write_document,
)
from sam3_angio.detector.build import build  # noqa: E402
from sam3_angio.detector.checkpoint import save_weights  # noqa: E402
from sam3_angio.detector.training import Outs  # noqa: E402
from sam3_angio.detector.view_training import train_arms  # noqa: E402
from sam3_angio.view_table import load_table  # noqa: E402

ARMS = ("none", "text", "exemplar", "embedding", "shuffled")
OUTS = Outs(
    model=Path("models/phase3"),
    predictions=Path("predictions/phase3"),
    curves=Path("metrics/phase3"),
)
START = Path("models/phase2")
ASKED = (2, 12)


def train() -> None:
    train_arms(dataset=Path("dataset"), start=START, outs=OUTS)


def entry(number: int, patient: int) -> ImageEntry:
    segment = ASKED[number % 2]
    frame = f"p{patient:010x}-{number:08x}"
    return ImageEntry(
        id=number,
        file_name=f"{frame}.png",
        width=SIDE_PX,
        height=SIDE_PX,
        frame_id=frame,
        patient=frame[:11],
        artery=segments()[segment].artery,
        cass_segment=segment,
        primary_deg=float((37 * number) % 90 - 45),
        secondary_deg=float((23 * number) % 60 - 30),
        spacing_row_mm=None,
        spacing_column_mm=None,
        spacing_source="none",
    )


def write_split(folder: Path, images: list[ImageEntry]) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "segments").mkdir()
    marks = []
    for image in images:
        picture, mask = vessel(image.id)
        Image.fromarray(picture).save(folder / "images" / image.file_name)
        marks.append(
            annotate(
                mask,
                annotation_id=100 + image.id,
                image_id=image.id,
                category_id=image.cass_segment,
                phrase=segments()[image.cass_segment].phrase,
            )
        )
    document = Document(
        images=tuple(images),
        annotations=tuple(marks),
        categories=tuple(Category(id=n, name=segments()[n].phrase) for n in ASKED),
    )
    write_document(folder / "segments" / "annotations.json", document)


def set_params(project: Path, **phase3: object) -> None:
    write_params(project)
    yaml = YAML()
    path = project / "params.yaml"
    params = yaml.load(path.read_text(encoding="utf-8"))
    params["train"]["workers"] = 1
    params["train_phase3"].update(
        {"epochs": 2, "batch_size": 2, "val_every": 2, "instances": 1, "mask_points": None}
    )
    params["train_phase3"].update(phase3)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Return a project of eight training frames of four patients and four to validate on."""
    root = tmp_path_factory.mktemp("case")
    write_split(root / "dataset/train", [entry(k, (k + 1) // 2) for k in range(1, 9)])
    write_split(root / "dataset/val", [entry(k, k) for k in range(9, 13)])
    torch.manual_seed(0)
    (root / START).mkdir(parents=True)
    save_weights(build("tiny", SIDE_PX), root / START / "checkpoint.pt")
    return root


@pytest.fixture
def project(case, tmp_path):
    for name in ("dataset", "models"):
        (tmp_path / name).mkdir()
    (tmp_path / "dataset").rmdir()
    (tmp_path / "dataset").symlink_to(case / "dataset")
    (tmp_path / START).symlink_to(case / START)
    return tmp_path


@pytest.fixture(scope="module")
def trained(case):
    """Return the project with all arms trained, by one stage."""
    set_params(case, arms=list(ARMS))
    assert run_workers(train, folder=case) == [0], log_of(case)
    return case


def log_of(project):
    return (project / "rank0.log").read_text()


def weights_of(project, arm):
    return torch.load(project / OUTS.model / arm / "checkpoint.pt", weights_only=True)["model"]


def metadata_of(project, arm):
    return json.loads((project / OUTS.model / arm / "metadata.json").read_text())


def queries_of(project, arm):
    return json.loads((project / OUTS.predictions / arm / "queries.json").read_text())


def same_weights(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_each_arm_publishes_model_answers_and_curves(trained):
    for arm in ARMS:
        assert {path.name for path in (trained / OUTS.model / arm).iterdir()} == {
            "checkpoint.pt",
            "config.yaml",
            "metadata.json",
            "progress.png",
            "views.json",
        }
        assert (trained / OUTS.predictions / arm / "results.json").is_file()
        curve = trained / OUTS.curves / arm / "plots/metrics/train/loss.tsv"
        assert len(curve.read_text().splitlines()) == 3


def test_arms_have_one_start_and_one_budget(trained):
    told = [metadata_of(trained, arm) for arm in ARMS]
    for name in ("initial_sha256", "data_sha256", "steps", "workers", "threads"):
        assert len({json.dumps(metadata[name]) for metadata in told}) == 1, name
    assert told[0]["steps"] == 8
    assert len({metadata["fingerprint"] for metadata in told}) == len(ARMS)
    parameters = dict(zip(ARMS, (metadata["parameters"] for metadata in told), strict=True))
    assert parameters["text"] == parameters["none"]
    assert parameters["shuffled"] == parameters["embedding"] > parameters["none"]


def test_every_arm_answers_the_same_questions(trained):
    plain = [
        (query["image_id"], query["category_id"], query["phrase"])
        for query in queries_of(trained, "none")
    ]
    assert len(plain) == len(set(plain)) == 4 * (14 + 3)
    for arm in ARMS:
        queries = queries_of(trained, arm)
        assert [(q["image_id"], q["category_id"], q["phrase"]) for q in queries] == plain
        for query in queries:
            said = query["asked"].removeprefix(query["phrase"])
            assert said.startswith((", RAO ", ", LAO ", ", AP")) if arm == "text" else not said


def test_every_arm_learns_something_of_its_own(trained):
    answers = {arm: tuple(query["presence"] for query in queries_of(trained, arm)) for arm in ARMS}
    assert len(set(answers.values())) == len(ARMS)
    for arm, name in (("embedding", "view_angle.2.weight"), ("exemplar", "view_exemplar.weight")):
        assert weights_of(trained, arm)[name].abs().sum() > 0


def test_shuffled_frames_have_the_views_of_other_patients_of_their_split(trained):
    table = load_table(trained / OUTS.model / "shuffled" / "views.json")
    angles = table.angles
    for split in ("train", "val"):
        images = load_document(trained / f"dataset/{split}/segments/annotations.json").images
        patient = {image.id: image.patient for image in images}
        own = Counter((image.primary_deg, image.secondary_deg) for image in images)
        told = Counter(
            (angles[image.id].primary_deg, angles[image.id].secondary_deg) for image in images
        )
        assert told == own
        for view in table.views:
            if view.image_id in patient:
                assert patient[view.from_image_id] != patient[view.image_id]
    straight = load_table(trained / OUTS.model / "embedding" / "views.json")
    assert all(view.image_id == view.from_image_id for view in straight.views)


def test_exemplars_are_training_frames_of_other_patients_for_present_and_absent_alike(trained):
    table = load_table(trained / OUTS.model / "exemplar" / "views.json")
    training = load_document(trained / "dataset/train/segments/annotations.json")
    validation = load_document(trained / "dataset/val/segments/annotations.json")
    patient = {image.id: image.patient for image in (*training.images, *validation.images)}
    segment = {mark.id: (mark.image_id, mark.category_id) for mark in training.annotations}
    for found in table.exemplars:
        assert segment[found.annotation_id] == (found.from_image_id, found.category_id)
        assert patient[found.image_id] != patient[found.from_image_id]
    assert table.exemplar_of.keys() == {
        (image_id, category) for image_id in patient for category in ASKED
    }


def test_an_arm_does_not_depend_on_the_arms_before_it(trained, project):
    set_params(project, arms=["embedding"])
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert same_weights(weights_of(project, "embedding"), weights_of(trained, "embedding"))
    assert queries_of(project, "embedding") == queries_of(trained, "embedding")


def test_two_workers_share_an_arm_and_answer_each_question_once(trained, project):
    set_params(project, arms=["exemplar"])
    assert run_workers(train, folder=project, count=2) == [0, 0], log_of(project)
    assert metadata_of(project, "exemplar")["steps"] == 4
    asked = [
        [(query["image_id"], query["phrase"]) for query in queries_of(place, "exemplar")]
        for place in (project, trained)
    ]
    assert asked[0] == asked[1]


def begun_arms(runs):
    """Return the folders of arms that can be resumed and are not finished."""
    begun = {path.parents[1] for path in runs.glob("*/state/checkpoint.pt")}
    return begun - {path.parents[1] for path in runs.glob("*/finished/predictions")}


def test_an_interrupted_stage_repeats_no_finished_arm(trained, project):
    set_params(project, arms=["none", "exemplar"])
    (worker,) = start_workers(train, folder=project, count=1)
    runs = project / "runs/phase3"
    while not (list(runs.glob("*/finished/predictions")) and begun_arms(runs)):
        assert os.waitpid(worker.pid, os.WNOHANG) == (0, 0), log_of(project)
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert not (project / OUTS.model).exists()
    (finished,) = runs.glob("*/finished/model/checkpoint.pt")
    assert not (finished.parents[2] / "state").exists()
    before = finished.stat().st_mtime_ns
    (project / "rank0.log").write_text("")
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert "Phase 3, none" not in log_of(project)
    assert "Phase 3, exemplar: resuming after epoch" in log_of(project)
    assert finished.stat().st_mtime_ns == before
    for arm in ("none", "exemplar"):
        assert same_weights(weights_of(project, arm), weights_of(trained, arm))
        assert queries_of(project, arm) == queries_of(trained, arm)


def test_another_list_of_arms_repeats_none_of_them(trained):
    kept = {path: path.stat().st_mtime_ns for path in trained.glob("runs/**/checkpoint.pt")}
    assert len(kept) == len(ARMS)
    set_params(trained, arms=["shuffled", "none"], text={"template": "{view}: {phrase}",
                                                         "round_deg": 5})  # fmt: skip
    assert run_workers(train, folder=trained) == [0], log_of(trained)
    assert {path: path.stat().st_mtime_ns for path in trained.glob("runs/**/checkpoint.pt")} == kept
    assert {path.name for path in (trained / OUTS.model).iterdir()} == {"shuffled", "none"}


def test_words_that_the_text_encoder_would_cut_off_are_refused_before_any_arm_trains(project):
    long = {"template": "{phrase}" + " a" * 30 + " {view}", "round_deg": 10}
    set_params(project, arms=["none", "text"], text=long)
    assert run_workers(train, folder=project) == [1]
    assert "tokens, more than 32" in log_of(project)
    assert not list((project / "runs").glob("phase3/*/state"))


def test_weights_of_another_model_are_refused(project):
    (project / START).unlink()
    (project / START).mkdir()
    save_weights(torch.nn.Linear(2, 2), project / START / "checkpoint.pt")
    set_params(project, arms=["embedding"])
    assert run_workers(train, folder=project) == [1]
    assert "does not fit the model" in log_of(project)
    assert "view_angle" not in log_of(project)
    assert np.all([not path.exists() for path in (project / OUTS.model, project / OUTS.curves)])
