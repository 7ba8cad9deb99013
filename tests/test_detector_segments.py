"""Phase 2: named segments, from the weights of another training, with negatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

import fvcore.common.param_scheduler  # noqa: E402, F401 - here, so that forked workers need not
from detector_case import (  # noqa: E402
    SIDE_PX,
    run_workers,
    segment_picture,
    write_params,
    write_segments,
)

from sam3_angio.anatomy import analysed_segments, segments  # noqa: E402
from sam3_angio.coco import annotate, load_document, write_document  # noqa: E402
from sam3_angio.detector.build import build  # noqa: E402
from sam3_angio.detector.checkpoint import save_weights  # noqa: E402
from sam3_angio.detector.frames import load_frames, prepare  # noqa: E402
from sam3_angio.detector.predict import answers  # noqa: E402
from sam3_angio.detector.queries import (  # noqa: E402
    Augment,
    PreparedFrames,
    PromptedFrames,
    ToTensors,
)
from sam3_angio.detector.runtime import prepare as prepare_runtime  # noqa: E402
from sam3_angio.detector.training import Outs, segments_job, session, train_phase  # noqa: E402
from sam3_angio.files import sha256  # noqa: E402
from sam3_angio.prompts import AllQuestions, TrainingQuestions  # noqa: E402

OUTS = Outs(
    model=Path("models/phase2"), predictions=Path("predictions/phase2"), curves=Path("curves")
)
WRONG = ("bicycle", "left kidney", "wug")
VISION, TEXT = "backbone.vision_backbone.", "backbone.language_backbone.encoder."


def train():
    with session():
        train_phase(segments_job(Path("start")), dataset=Path("dataset"), outs=OUTS)


@pytest.fixture(autouse=True, scope="module")
def runtime():
    prepare_runtime(threads=1)


@pytest.fixture
def project(tmp_path):
    write_segments(tmp_path)
    (tmp_path / "start").mkdir()
    torch.manual_seed(3)
    save_weights(build("tiny", SIDE_PX), tmp_path / "start" / "checkpoint.pt")
    write_params(tmp_path, section="train_phase2")
    return tmp_path


def log_of(project, rank=0):
    return (project / f"rank{rank}.log").read_text()


def read(project, name):
    return json.loads((project / OUTS.predictions / name).read_text())


def moved(project, part):
    """Return by how much the weights of a part moved from the start, at most."""
    load = {"map_location": "cpu", "weights_only": True}
    before = torch.load(project / "start" / "checkpoint.pt", **load)["model"]
    after = torch.load(project / OUTS.model / "checkpoint.pt", **load)["model"]
    real = [n for n in before if n.startswith(part) and before[n].is_floating_point()]
    return max(float((after[n] - before[n]).abs().nan_to_num().max()) for n in real)


# ---- queries ------------------------------------------------------------------------------------


def prepared(dataset, questions, folder, split="train", transforms=None):
    frames = load_frames(dataset, split, "segments")
    prepare(frames, SIDE_PX, folder)
    return PreparedFrames(
        img_folder="",
        ann_file=str(frames.document_path),
        max_ann_per_img=100,
        multiplier=1,
        transforms=transforms or [ToTensors()],
        coco_json_loader=lambda path: PromptedFrames(path, store=str(folder), questions=questions),
    )


def training_questions(policy="all", per_image=3):
    return TrainingQuestions(
        asked="analysed",
        policy=policy,
        per_image=per_image,
        phrases=("rib",),
        phrases_per_image=1,
        seed=4,
    )


def asked_of(sample):
    return [query.query_text for query in sample.find_queries]


def test_a_frame_s_questions_and_picture_depend_on_the_epoch_and_on_nothing_before(tmp_path):
    augment = Augment(seed=4, contrast=0.2, rotation_deg=5, scale=0.1, shift=0.05)
    dataset = write_segments(tmp_path)

    def fresh():
        transforms = [augment, ToTensors()]
        return prepared(dataset, training_questions(), tmp_path / "store", transforms=transforms)

    straight, resumed = fresh(), fresh()
    for epoch in range(3):
        straight.set_epoch(epoch)
        _ = [straight[place] for place in range(len(straight))]
    resumed.set_epoch(2)
    for place in range(len(straight)):
        first, second = straight[place], resumed[place]
        assert asked_of(first) == asked_of(second)
        assert torch.equal(first.images[0].data, second.images[0].data)
    straight.set_epoch(3)
    assert asked_of(straight[0]) != asked_of(resumed[0])


def test_negatives_have_no_target_and_the_label_s_phrase_has_its_mask(tmp_path):
    data = prepared(write_segments(tmp_path), training_questions(), tmp_path / "store")
    for place in range(len(data)):
        sample = data[place]
        first, *others = sample.find_queries
        cass = first.inference_metadata.original_category_id
        number = first.inference_metadata.original_image_id
        assert first.query_text == segments()[cass].phrase
        (target,) = first.object_ids_output
        shown = sample.images[0].objects[target].segment.numpy()
        assert (shown == segment_picture(cass, number)[1]).all()
        assert len(others) == 4
        assert not any(query.object_ids_output for query in others)


def test_all_labels_of_a_frame_are_positives_where_a_data_set_has_several(tmp_path):
    path = write_segments(tmp_path) / "train" / "segments" / "annotations.json"
    document = load_document(path)
    image = document.images[0]
    mask = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    mask[5:9, 5:50] = True
    second = annotate(mask, annotation_id=1000, image_id=image.id, category_id=13, phrase="mid LAD")
    assert image.cass_segment == 12
    changed = type(document)(
        images=document.images,
        annotations=(*document.annotations, second),
        categories=document.categories,
    )
    write_document(path, changed)
    sample = prepared(tmp_path / "dataset", training_questions(), tmp_path / "store")[0]
    answered = {q.query_text for q in sample.find_queries if q.object_ids_output}
    assert answered == {"proximal LAD", "mid LAD"}
    assert asked_of(sample).count("mid LAD") == 1


# ---- answers ------------------------------------------------------------------------------------


def test_answers_do_not_depend_on_how_many_queries_pass_together(tmp_path, monkeypatch):
    questions = AllQuestions(asked="analysed", wrong=WRONG)
    data = prepared(write_segments(tmp_path), questions, tmp_path / "store", split="val")
    torch.manual_seed(1)
    model = build("tiny", SIDE_PX).eval()
    device = torch.device("cpu")
    found = {}
    for at_once in (3, 17, 100):
        monkeypatch.setattr("sam3_angio.detector.predict.QUERIES_AT_ONCE", at_once)
        found[at_once] = list(answers(model, data, range(2), device))
    assert len(found[3]) == 34
    for one, other in (
        *zip(found[3], found[17], strict=True),
        *zip(found[3], found[100], strict=True),
    ):
        assert one.asked == other.asked
        assert one.presence == pytest.approx(other.presence, abs=1e-5)
        assert torch.allclose(one.semantic, other.semantic, atol=1e-4)
        assert torch.allclose(one.instances, other.instances, atol=1e-4)


def test_answers_are_those_of_sam_3_s_own_forward_pass(tmp_path):
    from functools import partial

    from sam3.train.data.collator import collate_fn_api

    questions = AllQuestions(asked="analysed", wrong=WRONG)
    data = prepared(write_segments(tmp_path), questions, tmp_path / "store", split="val")
    model = build("tiny", SIDE_PX).eval()
    collate = partial(collate_fn_api, dict_key="x", with_seg_masks=True)
    with torch.no_grad():
        out = model(collate([data[0]])["x"])[0]
    for place, answer in enumerate(answers(model, data, [0], torch.device("cpu"))):
        presence = out["presence_logit_dec"].flatten()[place].sigmoid()
        assert answer.presence == pytest.approx(float(presence), abs=1e-5)
        assert torch.allclose(answer.instances, out["pred_masks"][place], atol=1e-4)
        assert torch.allclose(answer.semantic, out["semantic_seg"][place, 0], atol=1e-4)


def test_a_frame_passes_the_vision_backbone_once_and_a_text_its_encoder_once(tmp_path):
    questions = AllQuestions(asked="analysed", wrong=WRONG)
    data = prepared(write_segments(tmp_path), questions, tmp_path / "store", split="val")
    model = build("tiny", SIDE_PX).eval()
    pictures, texts = [], []
    forward_image, forward_text = model.backbone.forward_image, model.backbone.forward_text

    def counted_image(batch):
        pictures.append(len(batch))
        return forward_image(batch)

    def counted_text(captions, **options):
        texts.extend(captions)
        return forward_text(captions, **options)

    model.backbone.forward_image, model.backbone.forward_text = counted_image, counted_text
    assert len(list(answers(model, data, range(4), torch.device("cpu")))) == 4 * 17
    assert sum(pictures) == 4
    assert sorted(texts) == sorted([segments()[n].phrase for n in analysed_segments()] + [*WRONG])


# ---- training -----------------------------------------------------------------------------------


def test_every_validation_frame_is_asked_for_all_segments_and_all_wrong_phrases(project):
    assert run_workers(train, folder=project, count=2) == [0, 0], log_of(project)
    queries = read(project, "queries.json")
    assert {query["image_id"] for query in queries} == {9, 10, 11, 12}
    expected = {segments()[n].phrase: n for n in analysed_segments()} | dict.fromkeys(WRONG, 0)
    for image_id in range(9, 13):
        mine = [query for query in queries if query["image_id"] == image_id]
        assert {query["phrase"]: query["category_id"] for query in mine} == expected
        assert all(query["asked"] == query["phrase"] for query in mine)
    results = read(project, "results.json")
    assert {result["query_id"] for result in results} == set(range(1, len(queries) + 1))
    metadata = json.loads((project / OUTS.model / "metadata.json").read_text())
    assert metadata["initial_sha256"] == sha256(project / "start" / "checkpoint.pt")


def presence_of_the_other_artery(project):
    queries = read(project, "queries.json")
    artery = {9: "LCA", 10: "RCA", 11: "LCA", 12: "RCA"}
    wrong = [
        query["presence"]
        for query in queries
        if query["category_id"]
        and segments()[query["category_id"]].artery != artery[query["image_id"]]
    ]
    return float(np.mean(wrong))


@pytest.mark.slow  # fifty seconds
def test_negatives_lower_the_presence_of_phrases_that_are_not_there(project):
    found = {}
    for policy in ("none", "other_artery"):
        negatives = {"policy": policy, "phrases_per_image": 0, "unrelated_per_image": 0}
        write_params(project, section="train_phase2", epochs=6, val_every=6, negatives=negatives)
        assert run_workers(train, folder=project) == [0], log_of(project)
        found[policy] = presence_of_the_other_artery(project)
    assert found["none"] > 0.9
    assert found["other_artery"] < 0.6


def test_frozen_parts_do_not_move_and_the_rest_does(project):
    write_params(project, section="train_phase2", freeze_text=True, freeze_vision=True)
    assert run_workers(train, folder=project) == [0], log_of(project)
    assert moved(project, VISION) == 0
    assert moved(project, TEXT) == 0
    assert moved(project, "transformer.") > 1e-4


def test_vision_and_text_learn_at_their_own_rates(project):
    rates = {"lr": 1e-3, "lr_vision": 1e-7, "lr_text": 1e-5}
    write_params(project, section="train_phase2", freeze_text=False, freeze_vision=False, **rates)
    assert run_workers(train, folder=project) == [0], log_of(project)
    steps = 3 * 4
    # A step of AdamW moves no weight by much more than the rate.
    assert 0 < moved(project, VISION) < 1.5 * steps * 1e-7
    assert 1e-6 < moved(project, TEXT) < 1.5 * steps * 1e-5
    assert moved(project, "transformer.") > 1e-4


def test_a_label_that_no_phrase_asks_for_is_refused_with_its_frame(project):
    path = project / "dataset/train/segments/annotations.json"
    document = json.loads(path.read_text())
    document["annotations"][2]["category_id"] = 11
    path.write_text(json.dumps(document))
    assert run_workers(train, folder=project) == [1]
    told = log_of(project)
    assert document["images"][2]["frame_id"] in told
    assert "segment 11 is annotated, and not asked for" in told


def test_a_phrase_that_the_text_encoder_would_cut_is_refused(project):
    long = " ".join("abcdefghijklmnopqrstuvwxyzabcdefgh")
    write_params(project, section="train_phase2", negatives={"phrases": ["rib", long]})
    assert run_workers(train, folder=project) == [1]
    assert "field 'negatives.phrases': 'a b c d" in log_of(project)


def test_a_missing_model_to_start_from_is_named(project):
    (project / "start" / "checkpoint.pt").unlink()
    assert run_workers(train, folder=project) == [1]
    assert "start/checkpoint.pt" in log_of(project)
