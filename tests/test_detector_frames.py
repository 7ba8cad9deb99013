"""Frames: validated as a whole, prepared once, asked by phrase."""

from __future__ import annotations

import json
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image as Pil

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from detector_case import SIDE_PX, vessel, write_dataset  # noqa: E402

from sam3_angio.detector.frames import (  # noqa: E402
    FrameStore,
    load_frames,
    prepare,
    prepared_bytes,
    resize,
)
from sam3_angio.detector.grey import normalised  # noqa: E402
from sam3_angio.detector.queries import (  # noqa: E402
    Augment,
    PreparedFrames,
    PromptedFrames,
    ToTensors,
    mask_box,
)
from sam3_angio.errors import AngioError, DataError  # noqa: E402
from sam3_angio.prompts import TreeQuestions  # noqa: E402


@pytest.fixture
def frames(tmp_path):
    return load_frames(write_dataset(tmp_path), "train", "vessel_tree")


def dataset_of(frames, folder, side_px, transforms):
    prepare(frames, side_px, folder)
    return PreparedFrames(
        img_folder="",
        ann_file=str(frames.document_path),
        max_ann_per_img=10,
        multiplier=1,
        transforms=transforms,
        coco_json_loader=lambda path: PromptedFrames(
            path, store=str(folder), questions=TreeQuestions()
        ),
    )


def test_halving_a_picture_keeps_the_place_of_an_edge():
    # Columns 0 to 3 are dark, 4 to 7 bright: the edge lies between pixels 3 and 4, and after
    # halving between pixels 1 and 2. Bilinear antialiasing spreads it by one pixel to both sides.
    values = np.repeat([[0, 0, 0, 0, 200, 200, 200, 200]], 8, axis=0).astype(np.uint8)
    halved = resize(values, 4)
    assert halved.shape == (4, 4)
    assert halved[0] + halved[0, ::-1] == pytest.approx([200] * 4)
    assert halved[0, 1] < 100 < halved[0, 2]


def test_a_picture_of_the_right_size_is_not_touched():
    picture, _ = vessel(1)
    assert (resize(picture, SIDE_PX) == picture).all()


def test_all_faults_of_a_split_are_reported_at_once(tmp_path):
    folder = write_dataset(tmp_path) / "train"
    pictures = sorted((folder / "images").iterdir())
    pictures[0].unlink()
    Pil.new("RGB", (SIDE_PX, SIDE_PX)).save(pictures[1])
    Pil.new("L", (8, 8)).save(pictures[2])
    path = folder / "vessel_tree" / "annotations.json"
    document = json.loads(path.read_text())
    del document["annotations"][4]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError) as caught:
        load_frames(folder.parent, "train", "vessel_tree")
    told = {fault.field or fault.file for fault in caught.value.faults}
    without_label = document["images"][4]["frame_id"]
    assert told == {pictures[0].name, pictures[1].name, pictures[2].name, without_label}


def test_a_mask_of_a_pixel_or_two_is_refused(tmp_path):
    from sam3_angio.coco import annotate

    dataset = write_dataset(tmp_path)
    path = dataset / "val" / "vessel_tree" / "annotations.json"
    document = json.loads(path.read_text())
    dot = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    dot[3, 5] = True
    mark = document["annotations"][0]
    small = annotate(
        dot, annotation_id=mark["id"], image_id=mark["image_id"], category_id=1, phrase="x"
    )
    code = {"size": list(small.segmentation.size), "counts": small.segmentation.counts}
    mark.update(segmentation=code, bbox=small.bbox, area=1.0)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="1 pixels"):
        load_frames(dataset, "val", "vessel_tree")


def test_a_damaged_picture_stops_the_preparation(frames, tmp_path):
    path = frames.folder / next(iter(frames.images.values())).file_name
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="damaged"):
        prepare(frames, SIDE_PX, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("side_px", [SIDE_PX, 100])
def test_the_files_are_those_that_numpy_would_save_of_the_whole(frames, tmp_path, side_px):
    prepare(frames, side_px, tmp_path / "store")
    size = 0
    for name in ("pictures", "masks"):
        written = (tmp_path / "store" / f"{name}.npy").read_bytes()
        whole = np.load(tmp_path / "store" / f"{name}.npy")
        np.save(tmp_path / "whole.npy", whole)
        assert written == (tmp_path / "whole.npy").read_bytes()
        assert len(whole) == len(frames.images)
        size += whole.nbytes
    assert prepared_bytes(frames.document, side_px) == size


def test_the_memory_of_the_preparation_does_not_grow_with_the_frames(tmp_path):
    side_px = 512

    def peak_bytes(count):
        root = tmp_path / str(count)
        frames = load_frames(write_dataset(root, train=count, val=1), "train", "vessel_tree")
        tracemalloc.start()
        prepare(frames, side_px, root / "store")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(2)  # what is imported and remembered in the first call
    few, many = peak_bytes(4), peak_bytes(16)
    assert many - few < side_px**2  # 12 frames more are 12 times that, at a byte a pixel


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_disk_that_fills_up_leaves_nothing_of_the_preparation(frames, tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    half = len(frames.images) * SIDE_PX**2 // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (half, limits[1]))
    try:
        with pytest.raises(AngioError, match="store cannot be written"):
            prepare(frames, SIDE_PX, tmp_path / "made" / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "made").iterdir())


@pytest.mark.parametrize("side_px", [SIDE_PX, 24, 100])
def test_the_store_gives_the_frames_and_masks_at_the_wanted_size(frames, tmp_path, side_px):
    prepare(frames, side_px, tmp_path / "store")
    store = FrameStore(tmp_path / "store")
    for image_id in frames.images:
        picture, mask = vessel(image_id)
        assert np.abs(store.picture(image_id) - resize(picture, side_px)).max() <= 0.5
        expected = resize(mask.astype(np.uint8), side_px) >= 0.5
        assert (store.mask(image_id) == expected).all()


def test_a_thin_mask_does_not_vanish_when_it_is_made_smaller(tmp_path):
    dataset = write_dataset(tmp_path)
    frames = load_frames(dataset, "train", "vessel_tree")
    prepare(frames, 8, tmp_path / "store")
    assert all(FrameStore(tmp_path / "store").mask(image_id).any() for image_id in frames.images)


def test_the_data_set_s_digest_follows_its_pictures(frames, tmp_path):
    before = frames.digest
    picture = frames.folder / next(iter(frames.images.values())).file_name
    Pil.new("L", (SIDE_PX, SIDE_PX)).save(picture)
    after = load_frames(frames.folder.parent.parent, "train", "vessel_tree").digest
    assert before != after


def test_a_sample_asks_for_the_tree_and_has_its_mask_and_box(frames, tmp_path):
    sample = dataset_of(frames, tmp_path / "store", SIDE_PX, [ToTensors()])[0]
    _, mask = vessel(1)
    (query,), (image,) = sample.find_queries, sample.images
    assert (query.query_text, query.object_ids_output) == ("coronary artery", [0])
    assert query.inference_metadata.original_image_id == 1
    assert (image.data.shape, image.data.dtype) == ((1, SIDE_PX, SIDE_PX), torch.uint8)
    assert image.data.min() < image.data.max()
    assert (image.objects[0].segment.numpy() == mask).all()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = (np.ptp(rows) + 1) / SIDE_PX, (np.ptp(columns) + 1) / SIDE_PX
    assert image.objects[0].bbox[2:].tolist() == pytest.approx([width, height])


def test_augmentation_depends_on_epoch_and_frame_and_on_nothing_else(frames, tmp_path):
    augment = Augment(seed=1, contrast=0.2, rotation_deg=10, scale=0.1, shift=0.05)
    data = dataset_of(frames, tmp_path / "store", SIDE_PX, [augment, ToTensors()])

    def picture(epoch, place):
        data.set_epoch(epoch)
        return data[place].images[0].data

    first = picture(0, 2)
    picture(3, 1)  # whatever was drawn in between
    assert torch.equal(first, picture(0, 2))
    assert not torch.equal(first, picture(1, 2))


def test_variants_of_a_frame_return_in_turns(frames, tmp_path):
    augment = Augment(seed=5, contrast=0.1, rotation_deg=20, scale=0.1, shift=0.05, variants=3)
    data = dataset_of(frames, tmp_path / "store", SIDE_PX, [augment, ToTensors()])

    def sample(epoch):
        data.set_epoch(epoch)
        image = data[2].images[0]
        return torch.cat([image.data.flatten(), image.objects[0].segment.float().flatten()])

    turn = [sample(epoch) for epoch in range(3)]
    assert all(torch.equal(sample(epoch + 3), turn[epoch]) for epoch in range(3))
    assert not any(torch.equal(turn[a], turn[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_augmentation_moves_picture_and_mask_alike(frames, tmp_path):
    augment = Augment(seed=5, contrast=0.0, rotation_deg=20, scale=0.1, shift=0.05)
    data = dataset_of(frames, tmp_path / "store", SIDE_PX, [augment, ToTensors()])
    for place in range(len(data)):
        image = data[place].images[0]
        mask = image.objects[0].segment.bool()
        values = normalised(image.data[0])
        assert values[mask].mean() + 0.4 < values[~mask].mean()


def test_no_augmentation_turns_left_into_right():
    # Three dots that run clockwise go on doing so, at the largest settings that are allowed.
    corners = [(24, 24), (24, 40), (40, 24)]
    dots = np.zeros((3, 64, 64), dtype=np.uint8)
    for dot, (row, column) in zip(dots, corners, strict=True):
        dot[row - 2 : row + 3, column - 2 : column + 3] = 1
    augment = Augment(seed=0, contrast=0.5, rotation_deg=30, scale=0.3, shift=0.2)
    for frame in range(50):
        moved = augment(sample_of(dots, frame), epoch=0).images[0].objects
        first, second, third = (target.segment.nonzero().double().mean(0) for target in moved)
        (a, b), (c, d) = (second - first).tolist(), (third - first).tolist()
        assert b * c - a * d > 0


def sample_of(masks, frame):
    from sam3.train.data.sam3_image_dataset import (
        Datapoint,
        FindQueryLoaded,
        Image,
        InferenceMetadata,
        Object,
    )

    from sam3_angio.detector.queries import Picture

    size = masks.shape[1:]
    details = InferenceMetadata(
        coco_image_id=frame,
        original_image_id=frame,
        original_category_id=1,
        original_size=size,
        object_id=1,
        frame_index=0,
    )
    query = FindQueryLoaded(
        query_text="x",
        image_id=0,
        object_ids_output=list(range(len(masks))),
        is_exhaustive=True,
        inference_metadata=details,
    )
    targets = [
        Object(bbox=torch.zeros(4), area=1.0, segment=torch.from_numpy(mask)) for mask in masks
    ]
    picture = Picture(masks.max(axis=0) * np.uint8(200))
    return Datapoint(find_queries=[query], images=[Image(data=picture, objects=targets, size=size)])


def test_an_empty_mask_has_no_box():
    assert mask_box(torch.zeros(4, 4, dtype=torch.uint8)) is None
