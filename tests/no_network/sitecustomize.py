"""No Python that a test starts reaches another machine.

Python imports this module before anything else where its folder is in ``PYTHONPATH``;
``tests/conftest.py`` puts it there. Within the tests' own process pytest-socket does the same.
"""

import socket

_HERE = {"", "localhost", "::1", "::", "0.0.0.0", socket.gethostname()}


def _is_here(host):
    if host in _HERE or host.startswith("127."):
        return True
    try:
        return host in socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        return False


def _guarded(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(str(address[0])):
            raise RuntimeError(f"a test's child process wants to reach {address[0]}")
        return connect(self, address)

    return guarded


socket.socket.connect = _guarded(socket.socket.connect)
socket.socket.connect_ex = _guarded(socket.socket.connect_ex)
