"""Weights from files: our own, and those that Meta publishes."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from importlib import resources

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from sam3 import model_builder  # noqa: E402
from sam3.model.decoder import TransformerDecoder  # noqa: E402

from sam3_angio.detector import build  # noqa: E402
from sam3_angio.detector.checkpoint import (  # noqa: E402
    load_weights,
    require_loadable,
    save_weights,
)
from sam3_angio.detector.low_rank import add_low_rank  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402

SMALL = replace(build.TINY, resolution_px=64)
NECK = "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.weight"
GLOBAL_TABLE = "backbone.vision_backbone.trunk.blocks.3.attn.freqs_cis"


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """Return the names and shapes of Meta's file, without numbers.

    The package loads ``sam3.pt`` strictly into its video model, so that model's names are the
    file's.
    """
    stock_positions = model_builder.PositionEmbeddingSine
    with pytest.MonkeyPatch.context() as patch:
        # The package fills two stores on a CUDA device while it builds; no weight is in them.
        patch.setattr(
            model_builder,
            "PositionEmbeddingSine",
            lambda **options: stock_positions(**{**options, "precompute_resolution": None}),
        )
        patch.setattr(
            TransformerDecoder,
            "_get_coords",
            staticmethod(lambda height, width, device: (None, None)),
        )
        vocabulary = resources.files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz")
        with build.NoMemory():
            video = model_builder.build_sam3_video_model(
                load_from_HF=False, bpe_path=str(vocabulary), device="meta"
            )
    return video.state_dict()


@pytest.fixture
def stand_in(published) -> dict[str, torch.Tensor]:
    """Return Meta's file in small: its names where the tiny model has them too, and the tracker's.

    The tracker's weights are one number each.
    """
    torch.manual_seed(1)
    tiny = build.build_model(SMALL).state_dict()
    tracking = {
        name: torch.zeros(1)
        for name in published
        if name.startswith("tracker.") or ".sam2_convs." in name
    }
    return {**{f"detector.{name}": value for name, value in tiny.items()}, **tracking}


def write(path, content):
    torch.save(content, path)
    return path


def same(model, weights) -> bool:
    return all(
        torch.equal(value, weights[f"detector.{name}"])
        for name, value in model.state_dict().items()
    )


def shape(spec=SMALL, rank=0) -> dict[str, torch.Tensor]:
    with build.NoMemory():
        model = build.build_model(spec)
        if rank:
            add_low_rank(model.backbone.vision_backbone.trunk, rank, ["qkv"])
    return model.state_dict()


def refused(check) -> str | None:
    """Return what a check says against a file; None where it takes it."""
    try:
        check()
    except ConfigError as error:
        return str(error)
    return None


def test_the_tiny_model_s_names_are_published_ones(published):
    names = {f"detector.{name}" for name in build.build_model(SMALL).state_dict()}
    assert names <= published.keys()


def test_the_published_model_takes_all_of_meta_s_detector_and_nothing_else(
    published, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch, "load", lambda *_, **__: published)
    with build.NoMemory():
        model = build.build_model(build.PUBLISHED)
    load_weights(model, tmp_path / "sam3.pt")
    unused = [
        name for name in published if name.removeprefix("detector.") not in dict(model.state_dict())
    ]
    assert all(n.startswith("tracker.") or ".vision_backbone.sam2_convs." in n for n in unused)
    assert len(published) - len(unused) == len(model.state_dict()) == 1134


@pytest.mark.parametrize("nested", [False, True])
def test_meta_s_file_is_loaded_into_the_detector(stand_in, nested, tmp_path, caplog):
    path = write(tmp_path / "sam3.pt", {"model": stand_in} if nested else stand_in)
    model = build.build_model(SMALL)
    assert not same(model, stand_in)
    with caplog.at_level(logging.WARNING):
        load_weights(model, path)
    assert same(model, stand_in)
    unused = sum(1 for name in stand_in if "tracker." in name or "sam2_convs" in name)
    assert caplog.messages == [f"sam3.pt: {unused} weights of the video tracker are not used."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("detector.dot_prod_scoring.hs_proj.bias"), "missing in the file"),
        (lambda w: w.update({"detector.novelty": torch.zeros(1)}), "'novelty': not in the model"),
        (lambda w: w.update({"novelty": torch.zeros(1)}), "'novelty': not in the model"),
        (
            lambda w: w.update({"detector.dot_prod_scoring.hs_proj.bias": torch.zeros(3)}),
            r"\(3,\) in the file, \(48,\) in the model",
        ),
        (lambda w: w.pop(f"detector.{GLOBAL_TABLE}"), "freqs_cis': missing in the file"),
    ],
)
def test_every_weight_that_meta_s_file_lacks_or_has_beyond_the_model_is_an_error(
    stand_in, change, message, tmp_path
):
    change(stand_in)
    with pytest.raises(ConfigError, match=message):
        load_weights(build.build_model(SMALL), write(tmp_path / "sam3.pt", stand_in))
    with pytest.raises(ConfigError, match=message):
        require_loadable(tmp_path / "sam3.pt", shape())


def test_a_file_without_the_tracker_will_do(stand_in, tmp_path):
    own = {n: w for n, w in stand_in.items() if "tracker." not in n and "sam2_convs" not in n}
    model = build.build_model(SMALL)
    load_weights(model, write(tmp_path / "sam3.pt", own))
    assert same(model, stand_in)


def test_another_resolution_keeps_its_own_position_tables_and_says_which(
    stand_in, tmp_path, caplog
):
    larger = build.build_model(replace(SMALL, resolution_px=128))
    own_table = larger.state_dict()[GLOBAL_TABLE].clone()
    load_weights(larger, write(tmp_path / "sam3.pt", stand_in))
    (line,) = [line for line in caplog.messages if "position tables" in line]
    assert line == f"sam3.pt: position tables of another resolution, built anew: {GLOBAL_TABLE}."
    assert torch.equal(larger.state_dict()[GLOBAL_TABLE], own_table)
    rest = {n: w for n, w in stand_in.items() if GLOBAL_TABLE not in n}
    assert all(
        torch.equal(larger.state_dict()[n.removeprefix("detector.")], w)
        for n, w in rest.items()
        if n.startswith("detector.") and "sam2_convs" not in n
    )


def test_position_tables_of_another_width_are_an_error(stand_in, tmp_path):
    table = stand_in[f"detector.{GLOBAL_TABLE}"]
    stand_in[f"detector.{GLOBAL_TABLE}"] = torch.cat([table, table])[:, :3]
    with pytest.raises(ConfigError, match="freqs_cis"):
        load_weights(build.build_model(SMALL), write(tmp_path / "sam3.pt", stand_in))


def test_our_own_weights_fit_another_resolution_too(tmp_path):
    save_weights(build.build_model(SMALL), tmp_path / "own.pt")
    load_weights(build.build_model(replace(SMALL, resolution_px=128)), tmp_path / "own.pt")


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "low rank"])
@pytest.mark.parametrize("side_px", [64, 128])
@pytest.mark.parametrize("written_with", [0, 2])
def test_a_look_at_the_shapes_says_what_loading_would(tmp_path, lora, side_px, written_with):
    source = build.build_model(SMALL)
    if written_with:
        add_low_rank(source.backbone.vision_backbone.trunk, written_with, ["qkv"])
    path = write(tmp_path / "state.pt", {"model": source.state_dict()})
    spec = replace(SMALL, resolution_px=side_px)
    model = build.build_model(spec)
    if lora:
        add_low_rank(model.backbone.vision_backbone.trunk, 4, ["qkv"])
    loaded = refused(lambda: load_weights(model, path))
    assert refused(lambda: require_loadable(path, shape(spec, 4 if lora else 0))) == loaded
    assert (loaded is None) == (not (lora and written_with))  # another rank


def test_weights_that_may_be_lacking_may_be_lacking_in_the_look_too(tmp_path):
    own = shape()
    save_weights(build.build_model(SMALL), tmp_path / "own.pt")
    more = {**own, "view_angle.weight": torch.empty(2, device="meta")}
    require_loadable(tmp_path / "own.pt", more, added="view_")
    with pytest.raises(ConfigError, match=r"view_angle\.weight': missing"):
        require_loadable(tmp_path / "own.pt", more)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_seen_without_being_read(tmp_path, part):
    path = tmp_path / "own.pt"
    save_weights(build.build_model(SMALL), path)
    whole = path.read_bytes()
    require_loadable(path, shape())
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ConfigError, match="not a readable file of weights"):
        require_loadable(path, shape())


def test_the_look_at_the_shapes_holds_no_numbers(tmp_path, monkeypatch):
    save_weights(build.build_model(SMALL), tmp_path / "own.pt")
    mapped = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **o: mapped.append(o["mmap"]) or load(*a, **o))
    require_loadable(tmp_path / "own.pt", shape())
    assert mapped == [True]


def test_a_file_of_the_older_form_is_looked_at_too(tmp_path):
    state = {"model": build.build_model(SMALL).state_dict()}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    require_loadable(tmp_path / "old.pt", shape())


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize(
    "content",
    [{"model": {"weight": Trap()}}, {"epoch": 3}, [torch.zeros(1)], {}, {1: torch.zeros(1)}],
)
def test_what_is_not_a_file_of_tensors_is_refused_and_not_run(content, tmp_path):
    with pytest.raises(ConfigError, match=r"sam3\.pt"):
        load_weights(torch.nn.Linear(1, 1), write(tmp_path / "sam3.pt", content))
    with pytest.raises(ConfigError, match=r"sam3\.pt"):
        require_loadable(tmp_path / "sam3.pt", torch.nn.Linear(1, 1).state_dict())


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    (tmp_path / "sam3.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ConfigError, match="not a readable file"):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "sam3.pt")
