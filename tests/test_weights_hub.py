"""Meta's weights from a hub: the client's own code against a stand-in on this machine."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants

from sam3_angio.detector.weights import resolve
from sam3_angio.errors import ConfigError

TOKEN = "hf_standin"
CONTENT = b"weights"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A hub with one gated file, which the bearer of the token may have."""

    granted = True
    broken = False
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self._answer():
            self.wfile.write(CONTENT)

    def _answer(self) -> bool:
        self.asked.append(self.path)
        bearer = self.headers.get("Authorization")
        if self.broken and self.command == "GET":
            return self._send(410)
        if bearer is None:
            return self._send(401, {"X-Error-Code": "GatedRepo"})
        if bearer != f"Bearer {TOKEN}" or not self.granted:
            return self._send(403, {"X-Error-Code": "GatedRepo"})
        return self._send(
            200,
            {
                "X-Repo-Commit": COMMIT,
                "ETag": '"abc"',
                "Content-Length": str(len(CONTENT)),
            },
        )

    def _send(self, status: int, headers: dict[str, str] | None = None) -> bool:
        self.send_response(status)
        for name, value in (headers or {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()
        return status == 200

    def log_message(self, *_: object) -> None:
        pass


def move_hub(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    endpoint = f"http://127.0.0.1:{port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class Own(Hub):
        asked: ClassVar[list[str]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    move_hub(monkeypatch, server.server_port)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield Own
    server.shutdown()
    server.server_close()


def test_the_user_s_token_downloads_meta_s_weights_once(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    path = resolve("hf")
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert path.name == "sam3.pt"
    count = len(hub.asked)
    assert count > 0
    assert resolve("hf") == path
    assert len(hub.asked) == count  # from the store, so that it works without a network


@pytest.mark.parametrize(
    ("token", "granted", "message"),
    [
        (None, True, "no token was found. Log in with `hf auth login`"),
        (TOKEN, False, "the token's account has no access"),
        ("hf_other", True, "the token's account has no access"),
    ],
)
def test_a_refusal_says_where_to_ask_for_access(hub, monkeypatch, token, granted, message):
    hub.granted = granted
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError) as refused:
        resolve("hf")
    assert message in str(refused.value)
    assert "Ask for access at https://huggingface.co/facebook/sam3." in str(refused.value)
    assert "give its path as model.checkpoint" in str(refused.value)
    assert token is None or token not in str(refused.value)


def test_without_a_network_it_says_that_and_the_other_way(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="cannot be reached") as refused:
        resolve("hf")
    assert "https://huggingface.co/facebook/sam3" in str(refused.value)
    assert hub.asked == []


def test_a_hub_that_nobody_answers_at_is_out_of_reach(hub, monkeypatch):
    move_hub(monkeypatch, 9)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with pytest.raises(ConfigError, match="cannot be reached"):
        resolve("hf")


def test_a_hub_that_fails_in_the_middle_says_so(hub, monkeypatch):
    hub.broken = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match="answers with error 410"):
        resolve("hf")


def test_a_full_disk_says_how_much_room_is_needed(hub, monkeypatch):
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/someone/hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(ConfigError, match=r"No space left on device.*3\.4 GB") as refused:
        resolve("hf")
    assert "someone" not in str(refused.value)
