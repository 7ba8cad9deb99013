"""An exported model gives stock ``sam3`` the answers that it gave here."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from typer.testing import CliRunner

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from omegaconf import OmegaConf  # noqa: E402
from PIL import Image  # noqa: E402
from sam3 import model_builder  # noqa: E402
from sam3.model.sam3_image import Sam3Image  # noqa: E402
from sam3.model.sam3_image_processor import Sam3Processor  # noqa: E402
from sam3.model.text_encoder_ve import VETextEncoder  # noqa: E402

from sam3_angio.cli import _commands  # noqa: E402
from sam3_angio.detector import build, export, view_model  # noqa: E402
from sam3_angio.detector.checkpoint import load_weights, save_weights  # noqa: E402
from sam3_angio.detector.runtime import prepare  # noqa: E402
from sam3_angio.errors import ConfigError  # noqa: E402

SIDE_PX = 64
SMALL = replace(build.TINY, resolution_px=SIDE_PX)


@pytest.fixture(autouse=True)
def _runtime():
    prepare(threads=1)


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """Move every weight, those too that are zero or one at first."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return model.eval()


def publish(model, folder, *, size="tiny", resolution_px=SIDE_PX):
    """Write what a training phase publishes of a model."""
    folder.mkdir(parents=True)
    save_weights(model, folder / "checkpoint.pt")
    settings = {"scratch": {"model": {"size": size, "resolution": resolution_px}}}
    OmegaConf.save(OmegaConf.create(settings), folder / "config.yaml")
    return folder


@pytest.fixture
def stock(monkeypatch):
    """Return the stock builder; its parts, of ``sam3``'s own classes, are as small as ours.

    The builder's assembly, its loader and the classes are the package's; the sizes, which it has
    no parameters for, are changed.
    """
    spec = replace(SMALL, recompute=True)  # stock containers, not those that keep activations
    monkeypatch.setattr(build, "PhraseEncoder", VETextEncoder)
    parts = {
        "_create_vision_backbone": build._vision,
        "_create_text_encoder": build._text,
        "_create_dot_product_scoring": build._scoring,
        "_create_segmentation_head": build._segmentation,
        "_create_geometry_encoder": build._geometry,
    }
    for name, part in parts.items():
        monkeypatch.setattr(model_builder, name, lambda *_, part=part, **__: part(spec))
    monkeypatch.setattr(
        model_builder,
        "_create_sam3_transformer",
        lambda: model_builder.TransformerWrapper(
            encoder=build._encoder(spec), decoder=build._decoder(spec), d_model=spec.width
        ),
    )
    return lambda path: model_builder.build_sam3_image_model(
        checkpoint_path=str(path), device="cpu", load_from_HF=False
    )


def ask(model, picture: Image.Image, phrase: str) -> dict[str, torch.Tensor]:
    """Return the answer that stock ``sam3``'s own processor gets of a model."""
    processor = Sam3Processor(model, resolution=SIDE_PX, device="cpu", confidence_threshold=0.0)
    state = processor.set_text_prompt(phrase, processor.set_image(picture))
    return {name: state[name] for name in ("masks_logits", "boxes", "scores")}


def test_stock_sam3_answers_as_the_trained_model_does(stock, tmp_path, capsys):
    ours = stirred(build.build_model(SMALL))
    export.export(publish(ours, tmp_path / "phase4"), tmp_path / "out.pt")
    theirs = stock(tmp_path / "out.pt")
    assert "missing" not in capsys.readouterr().out  # what the stock loader prints of lost weights
    assert type(theirs) is Sam3Image
    noise = np.random.default_rng(5).integers(0, 256, (80, 96), dtype=np.uint8)
    picture = Image.fromarray(noise).convert("RGB")
    for phrase in ("coronary artery", "mid LAD"):
        expected, found = ask(ours, picture, phrase), ask(theirs, picture, phrase)
        assert expected["masks_logits"].shape == (SMALL.queries, 1, 80, 96)
        for name, value in expected.items():
            assert torch.allclose(found[name], value, atol=1e-5), name


def test_the_unexported_checkpoint_loads_nothing_into_stock_sam3(stock, tmp_path, capsys):
    publish(build.build_model(SMALL), tmp_path / "phase4")
    stock(tmp_path / "phase4" / "checkpoint.pt")
    assert "missing" in capsys.readouterr().out


def test_an_exported_file_is_a_start_for_another_training(tmp_path):
    ours = stirred(build.build_model(SMALL))
    export.export(publish(ours, tmp_path / "phase2"), tmp_path / "out.pt")
    again = build.build_model(SMALL)
    load_weights(again, tmp_path / "out.pt")
    assert all(torch.equal(again.state_dict()[n], w) for n, w in ours.state_dict().items())


def test_a_published_model_of_another_resolution_gets_the_stock_model_s_position_tables(
    stock, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "PUBLISHED", SMALL)  # a small stand-in for 1008 pixels
    larger = stirred(build.build_model(replace(SMALL, resolution_px=2 * SIDE_PX)))
    folder = publish(larger, tmp_path / "phase1", resolution_px=2 * SIDE_PX)
    exported = export.export(folder, tmp_path / "out.pt")
    assert "trained at 128 px; stock sam3 sees 64 px" in exported.remarks[0]
    theirs = stock(tmp_path / "out.pt").state_dict()
    fresh = build.build_model(SMALL).state_dict()
    for name, value in larger.state_dict().items():
        of = fresh if name.endswith("freqs_cis") else {name: value}
        assert torch.equal(theirs[name], of[name]), name


def test_the_published_size_is_exported_under_just_the_names_of_the_stock_model(
    tmp_path, monkeypatch
):
    with build.NoMemory():
        ours = build.build_model(build.PUBLISHED)
    written = {}
    monkeypatch.setattr(export, "read_weights", lambda path: ours.state_dict())
    monkeypatch.setattr(torch, "save", lambda content, stream: written.update(content["model"]))
    folder = publish(torch.nn.Linear(1, 1), tmp_path / "p", size="published", resolution_px=1008)
    exported = export.export(folder, tmp_path / "out.pt")
    assert exported == export.Exported(tensors=1134, parameters=840_509_750, remarks=())
    stock_positions = model_builder._create_position_encoding
    monkeypatch.setattr(
        model_builder, "_create_position_encoding", lambda **_: stock_positions(None)
    )
    monkeypatch.setattr(
        model_builder.TransformerDecoder,
        "_get_coords",
        staticmethod(lambda height, width, device: (None, None)),
    )
    monkeypatch.setattr(torch, "load", lambda *_, **__: {"model": written})
    (tmp_path / "out.pt").touch()
    loaded = []
    real = Sam3Image.load_state_dict
    monkeypatch.setattr(
        Sam3Image,
        "load_state_dict",
        lambda self, state, strict: loaded.append(real(self, state, strict=True)) or loaded[0],
    )
    with build.NoMemory():
        model_builder.build_sam3_image_model(
            bpe_path=str(resources.files("open_clip") / "bpe_simple_vocab_16e6.txt.gz"),
            device="cpu",
            checkpoint_path=str(tmp_path / "out.pt"),
        )
    assert len(loaded) == 1


@pytest.mark.parametrize("arm", ["embedding", "exemplar"])
def test_an_arm_with_parts_that_stock_sam3_lacks_is_refused(arm, tmp_path):
    folder = publish(view_model.build("tiny", SIDE_PX, arm), tmp_path / arm)
    with pytest.raises(ConfigError, match="stock sam3 does not have"):
        export.export(folder, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_a_checkpoint_that_is_not_its_configuration_s_is_refused(tmp_path):
    folder = publish(torch.nn.Linear(1, 1), tmp_path / "phase1")
    with pytest.raises(ConfigError, match="does not fit the model"):
        export.export(folder, tmp_path / "out.pt")


def test_a_phase_that_was_not_trained_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="run its phase first"):
        export.export(tmp_path / "phase1", tmp_path / "out.pt")
    publish(build.build_model(SMALL), tmp_path / "phase2")
    (tmp_path / "phase2" / "config.yaml").write_text("trainer: {}\n")
    with pytest.raises(ConfigError, match="does not say which model"):
        export.export(tmp_path / "phase2", tmp_path / "out.pt")


def run(*words: str):
    return CliRunner().invoke(_commands, ["export", *words])


def test_the_command_exports_a_phase_and_an_arm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish(build.build_model(SMALL), tmp_path / "models" / "phase4")
    publish(build.build_model(SMALL), tmp_path / "models" / "phase3" / "text")
    done = run("--phase", "4", "--out", "a.pt")
    assert done.exit_code == 0, done.output
    assert "not of the published size" in " ".join(done.output.split())
    assert run("--phase", "3", "--arm", "text", "--out", "b.pt").exit_code == 0
    assert (tmp_path / "a.pt").is_file()
    assert (tmp_path / "b.pt").is_file()


@pytest.mark.parametrize("words", [("--phase", "3"), ("--phase", "4", "--arm", "text")])
def test_an_arm_is_said_for_phase_3_and_for_no_other(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = run(*words).exception
    assert isinstance(error, ConfigError)
    assert "--arm" in str(error)
