"""The tests reach no other machine, nor does what they start."""

import socket
import subprocess
import sys

import pytest

ELSEWHERE = "192.0.2.1"  # of RFC 5737: no machine has it


def child(code):
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_a_test_reaches_no_other_machine():
    with pytest.raises(RuntimeError, match=ELSEWHERE), socket.socket() as probe:
        probe.connect((ELSEWHERE, 80))


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
def test_a_child_process_reaches_no_other_machine(call):
    done = child(f"import socket; socket.socket().{call}(('{ELSEWHERE}', 80))")
    assert done.returncode == 1
    assert f"wants to reach {ELSEWHERE}" in done.stderr


def test_a_request_by_url_is_refused_too():
    done = child(f"import urllib.request as u; u.urlopen('https://{ELSEWHERE}', timeout=5)")
    assert f"wants to reach {ELSEWHERE}" in done.stderr


def test_a_child_process_reaches_its_own_machine():
    done = child(
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(s.getsockname()).close()"
    )
    assert done.returncode == 0, done.stderr
