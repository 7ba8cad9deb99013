"""Nobody gets the weights without the licence, the card and the record."""

import json

import pytest
from huggingface_hub import ModelCard

from sam3_angio.errors import ConfigError
from sam3_angio.files import sha256, write_json
from sam3_angio.report import model_card
from sam3_angio.report.model_card import Subject, write_companions

FIGURE = {"mean": 0.8159, "low": 0.7993, "high": 0.8298, "n": 82}
TRAINED = {
    "steps": 1440,
    "seconds": 376,
    "parameters": 4567066,
    "parameters_trained": 1270042,
    "versions": {"torch": "2.15.0", "sam3": "0.1.4"},
}


@pytest.fixture
def made(tmp_path):
    """Return a function that writes the companions of a phase's model."""

    def make(phase=1, arm=None):
        folder = tmp_path / "models" / f"phase{phase}"
        write_json(folder / "metadata.json", TRAINED)
        weights = tmp_path / "out" / "m.pt"
        weights.parent.mkdir(exist_ok=True)
        weights.write_bytes(b"weights")
        subject = Subject(
            phase=phase, arm=arm, folder=folder, weights=weights, remarks=("It is tiny.",)
        )
        write_companions(subject, tmp_path / "metrics")
        return tmp_path / "out"

    return make


def test_the_licence_notice_card_and_record_stand_beside_the_weights(made):
    folder = made()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["m.LICENSE.txt", "m.NOTICE.txt", "m.json", "m.md", "m.pt"]
    assert (folder / "m.LICENSE.txt").read_text(encoding="utf-8").startswith("SAM License")
    notice = (folder / "m.NOTICE.txt").read_text(encoding="utf-8")
    assert "must acknowledge" in notice
    assert "m.LICENSE.txt" in notice


def test_the_hub_reads_the_card(made):
    card = ModelCard.load(made() / "m.md")
    assert card.data.license == "other"
    assert card.data.license_name == "sam-license"
    assert card.data.license_link == "m.LICENSE.txt"
    for words in ("Research use only. Not a medical device.", "It is tiny.", "1440 steps"):
        assert words in card.text


def test_the_record_pins_the_file_and_says_how_it_was_trained(made):
    folder = made()
    record = json.loads((folder / "m.json").read_text(encoding="utf-8"))
    assert record["sha256"] == sha256(folder / "m.pt")
    assert record["training"] == TRAINED
    assert record["license"] == "sam-license"


def test_the_card_has_the_figures_of_its_phase_alone(tmp_path, made):
    write_json(tmp_path / "metrics" / "phase1.json", {"dice": {"truth": FIGURE}})
    write_json(tmp_path / "metrics" / "baseline.json", {"dice": {"truth": FIGURE | {"mean": 0.7}}})
    text = (made() / "m.md").read_text(encoding="utf-8")
    assert "| Dice | the truth | 0.816 | 0.799 to 0.830 | 82 |" in text
    assert "0.700" not in text


def test_an_arm_has_its_own_figures(tmp_path, made):
    arms = {
        name: {"top1": {"annotated": FIGURE | {"mean": mean}}}
        for name, mean in (("none", 0.5), ("text", 0.6))
    }
    write_json(tmp_path / "metrics" / "phase3.json", {"arms": arms})
    record = json.loads((made(phase=3, arm="text") / "m.json").read_text(encoding="utf-8"))
    assert [row["value"] for row in record["results"]] == ["0.600"]
    assert "text" in record["name"]


def test_a_model_that_was_not_evaluated_says_so(made):
    assert "Not evaluated." in (made() / "m.md").read_text(encoding="utf-8")


def test_without_the_licence_nothing_is_written(tmp_path, made, monkeypatch):
    monkeypatch.setattr(model_card.metadata, "files", lambda _: [])
    with pytest.raises(ConfigError, match="has no LICENSE"):
        made()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.pt"]
