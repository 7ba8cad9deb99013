"""What one sees while a training runs: the panel of frames and the picture of the curves."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3_angio.detector import curves  # noqa: E402
from sam3_angio.detector.curves import CurveLogger  # noqa: E402
from sam3_angio.detector.panel import draw_panel, draw_tile, panel_places  # noqa: E402
from sam3_angio.detector.predict import Answer  # noqa: E402
from sam3_angio.detector.progress_chart import write_progress  # noqa: E402

SIDE_PX = 8
FOUND, MISSED, ADDED = (0, 158, 115), (230, 159, 0), (204, 121, 167)


def answer(image_id=1, *, presence=0.9, marked=(), there=None, asked="proximal LAD"):
    """Return an answer whose mask is some rows, of a phrase that is there in others."""
    logits = torch.full((SIDE_PX, SIDE_PX), -9.0)
    logits[list(marked)] = 9.0
    target = None
    if there is not None:
        target = torch.zeros((SIDE_PX, SIDE_PX), dtype=torch.bool)
        target[list(there)] = True
    return Answer(
        image_id=image_id,
        category_id=12,
        asked=asked,
        presence=presence,
        scores=torch.tensor([presence]),
        instances=logits[None],
        semantic=logits,
        target=target,
    )


def sample(grey):
    data = torch.full((1, SIDE_PX, SIDE_PX), grey, dtype=torch.uint8)
    return SimpleNamespace(images=[SimpleNamespace(data=data)])


def middle_of(tile, row):
    """Return the colour in the middle of a row of the small picture."""
    scale = 240 / SIDE_PX
    return np.array(tile.getpixel((120, int((row + 0.5) * scale))), dtype=float)


def is_towards(colour, goal):
    grey = np.full(3, 128.0)
    return np.allclose(colour, grey + 0.65 * (np.array(goal) - grey), atol=12)


def test_found_missed_and_added_pixels_have_their_colours():
    picture = np.full((SIDE_PX, SIDE_PX), 128, np.uint8)
    tile = draw_tile(picture, [answer(marked=(1, 2, 3), there=(2, 3, 4, 5))])
    assert is_towards(middle_of(tile, 1), ADDED)
    assert is_towards(middle_of(tile, 2), FOUND)
    assert is_towards(middle_of(tile, 5), MISSED)
    assert np.allclose(middle_of(tile, 7), 128, atol=2)


def test_the_mask_of_a_phrase_that_is_not_there_is_not_drawn():
    picture = np.full((SIDE_PX, SIDE_PX), 128, np.uint8)
    tile = draw_tile(picture, [answer(marked=range(SIDE_PX), there=None)])
    assert np.allclose(middle_of(tile, 4), 128, atol=2)


def caption_colours(tile):
    return {tuple(colour) for colour in np.asarray(tile)[241:].reshape(-1, 3).tolist()}


def test_a_wrong_presence_is_written_in_another_colour():
    picture = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    right = [answer(presence=0.9, there=(1,)), answer(presence=0.1)]
    wrong = [answer(presence=0.2, there=(1,)), answer(presence=0.8)]
    assert MISSED not in caption_colours(draw_tile(picture, right))
    assert MISSED in caption_colours(draw_tile(picture, wrong))


def test_the_same_frames_are_shown_each_time_and_no_more_than_there_are():
    assert panel_places(1) == (0,)
    assert panel_places(82) == panel_places(82)
    for count in (2, 5, 6, 7, 82):
        places = panel_places(count)
        assert len(set(places)) == min(count, 6)
        assert places[0] == 0
        assert places[-1] == count - 1


def test_a_panel_holds_all_of_its_frames():
    samples = [sample(0), sample(128), sample(255), sample(128)]
    found = [answer(n, there=()) for n in (4, 5, 6, 7)]
    panel = draw_panel(samples, (0, 1, 2, 3), found)
    assert panel.shape[1] == 3 * 240
    greys = [panel[120, 120 + 240 * column].tolist() for column in range(3)]
    assert greys == [[0, 0, 0], [128, 128, 128], [255, 255, 255]]


@pytest.fixture
def first_worker(monkeypatch):
    monkeypatch.setenv("RANK", "0")


def logger_in(folder):
    return CurveLogger(
        tensorboard=str(folder / "events"),
        curves=str(folder / "curves"),
        pictures=str(folder / "pictures"),
    )


def test_a_panel_is_a_picture_that_a_slider_shows_and_the_curves_have_none(tmp_path, first_worker):
    logger = logger_in(tmp_path)
    logger.replay([])
    panel = np.full((20, 30, 3), 7, np.uint8)
    for epoch in (0, 3):
        logger.log_panel(panel, epoch)
    logger.close()
    names = sorted(path.name for path in logger.panel_folder.iterdir())
    assert names == ["000.png", "003.png"]
    assert logger.panel_folder.name == "panel"
    with Image.open(logger.panel_folder / "003.png") as picture:
        assert np.array_equal(np.asarray(picture), panel)
    assert not list((tmp_path / "curves").rglob("*.png"))  # Git keeps the curves


def test_tensorboard_has_the_panel(tmp_path, first_worker):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = logger_in(tmp_path)
    logger.replay([])
    logger.log_panel(np.zeros((20, 30, 3), np.uint8), 2)
    logger._writer.flush()
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("panel")] == [2]


def test_tensorboards_file_does_not_name_the_machine(tmp_path, first_worker, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "cathlab-geheim")
    logger = logger_in(tmp_path)
    logger.replay([])
    logger.log("loss", 1.0, 0)
    logger.close()
    logger._writer.close()
    (path,) = (tmp_path / "events").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    assert "geheim" not in path.name
    assert b"geheim" not in path.read_bytes()


def test_panels_of_earlier_epochs_stay_when_a_training_resumes(tmp_path, first_worker):
    for epoch in (1, 2):
        logger = logger_in(tmp_path)
        logger.replay([{"train/loss": 1.0}])
        logger.log_panel(np.zeros((4, 4, 3), np.uint8), epoch)
        logger.close()
    assert len(list(logger.panel_folder.iterdir())) == 2


def test_only_the_first_worker_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    logger = logger_in(tmp_path)
    logger.replay([])
    logger.log_panel(np.zeros((4, 4, 3), np.uint8), 0)
    logger.log_dict({"train/loss": 1.0}, 0)
    logger.close()
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("wait_s", [0.0, 1e9])
def test_the_picture_of_the_curves_is_rewritten_after_a_while_and_at_the_end(
    tmp_path, first_worker, monkeypatch, wait_s
):
    monkeypatch.setattr(curves, "REDRAW_S", wait_s)
    logger = logger_in(tmp_path)
    logger.replay([{"train/loss": 2.0, "train/lr": 0.1, "minutes": 1.0}])
    seen = []
    for epoch in (1, 2):
        logger.log_dict({"train/loss": 1.0 / epoch, "val/dice_semantic": 0.5 * epoch}, epoch)
        seen.append(logger.progress_file.read_bytes())
    logger.close()
    seen.append(logger.progress_file.read_bytes())
    is_new = [before != now for before, now in pairwise(seen)]
    assert is_new == ([True, False] if wait_s == 0 else [False, True])


def test_the_picture_of_the_curves_has_a_panel_for_what_is_known(tmp_path):
    heights = []
    for record in ({"train/loss": 1.0}, {"train/loss": 1.0, "train/lr": 0.1, "minutes": 2.0}):
        write_progress([record], tmp_path / "progress.png")
        with Image.open(tmp_path / "progress.png") as picture:
            heights.append(picture.height)
    assert heights == [250, 650]  # two inches a panel, and half of one for the axis below
