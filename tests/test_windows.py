"""What runs here runs on Windows, as far as Linux can tell."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("sam3_angio", "stages") for path in (ROOT / folder).rglob("*.py")
)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
#: Modules that Windows lacks, and what its ``os`` and ``signal`` lack (Python's documentation).
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        *("chown", "fchmod", "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups"),
        *("getloadavg", "getpgid", "getuid", "killpg", "lchown", "mkfifo", "nice", "pread"),
        *("pwrite", "sched_getaffinity", "sched_setaffinity", "sendfile", "setsid", "setuid"),
        *("statvfs", "sync", "sysconf", "uname", "wait", "wait4", "waitid", "WNOHANG"),
    },
    "signal": {
        *("ITIMER_REAL", "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP"),
        *("SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_kill", "setitimer", "sigwait"),
    },
}
#: What a condition looks at that tells the systems apart.
GUARDS = ("sys.platform", "os.name", "hasattr(os")


def posix_use(node: ast.AST) -> str | None:
    """Return the POSIX-only thing that a node of a syntax tree takes, if it does."""
    if isinstance(node, ast.Import):
        named = {alias.name.split(".")[0] for alias in node.names}
        return next(iter(named & POSIX_MODULES), None)
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        module = str(node.module).split(".")[0]
        taken = {alias.name for alias in node.names} & POSIX_NAMES.get(module, set())
        return module if module in POSIX_MODULES else next(iter(taken), None)
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return None
    of, name = node.value.id, node.attr
    return f"{of}.{name}" if name in POSIX_NAMES.get(of, set()) else None


def unguarded(nodes: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Yield line and name of what is taken without a look at the system before."""
    for node in nodes:
        if isinstance(node, ast.If) and any(sign in ast.unparse(node.test) for sign in GUARDS):
            if isinstance(node.body[-1], ast.Return | ast.Raise):
                return  # what follows is for the other systems
            continue
        blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
        handlers = [handler.body for handler in getattr(node, "handlers", [])]
        for block in (*blocks, *handlers):
            yield from unguarded(block)
        inside = {part for block in (*blocks, *handlers) for s in block for part in ast.walk(s)}
        for part in ast.walk(node):
            if part not in inside and (name := posix_use(part)):
                yield part.lineno, name


def found_in(text: str) -> list[str]:
    return [name for _, name in unguarded(ast.parse(text).body)]


def imports(tree: ast.Module) -> set[str]:
    """Return the modules that are imported under their own names."""
    return {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}


def test_the_search_finds_what_windows_lacks_and_passes_what_is_guarded():
    assert found_in("import fcntl") == ["fcntl"]
    assert found_in("import os\ndef f():\n    return os.fork()") == ["os.fork"]
    assert found_in("from signal import SIGKILL") == ["SIGKILL"]
    assert found_in("try:\n    pass\nfinally:\n    os.getuid()") == ["os.getuid"]
    assert found_in("import sys\nif sys.platform != 'win32':\n    import resource") == []
    assert (
        found_in("def f():\n    if sys.platform != 'linux':\n        return\n    os.fork()") == []
    )


def test_nothing_that_windows_lacks_is_taken_without_a_look_at_the_system():
    found = [
        f"{path.relative_to(ROOT)}, line {line}: {name}"
        for path, tree in TREES.items()
        for line, name in unguarded(tree.body)
        if name.split(".")[0] in imports(tree) | POSIX_MODULES
    ]
    assert found == []


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield every call with its place and the name of what is called."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                place = f"{path.relative_to(ROOT)}, line {node.lineno}"
                yield place, ast.unparse(node.func).rpartition(".")[2], node


def test_a_pool_says_that_its_processes_are_spawned():
    pools = [(place, call) for place, name, call in calls() if name == "ProcessPoolExecutor"]
    assert len(pools) > 5
    assert [p for p, c in pools if "mp_context" not in {k.arg for k in c.keywords}] == []


def test_a_text_file_is_opened_with_its_encoding():
    """Windows' own encoding is not UTF-8."""
    most = {"read_text": 0, "write_text": 1}  # arguments before the encoding
    bare = [
        place
        for place, name, call in calls()
        if name in most and isinstance(call.func, ast.Attribute)
        if len(call.args) <= most[name] and "encoding" not in {k.arg for k in call.keywords}
    ]
    assert bare == []


@pytest.mark.torch
def test_a_phase_trains_without_fork_nccl_and_triton_in_a_folder_with_spaces(tmp_path):
    from detector_case import write_dataset, write_params
    from ruamel.yaml import YAML

    project = tmp_path / "My angiograms (E)"
    project.mkdir()
    write_dataset(project, train=4, val=1)
    write_params(project, epochs=1, val_every=1)
    yaml, path = YAML(), project / "params.yaml"
    params = yaml.load(path.read_text(encoding="utf-8"))
    params["train"]["loader_workers"] = 1
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)
    places = ("--dataset=dataset", "--out=model", "--predictions=answers", "--curves=curves")
    done = subprocess.run(
        [sys.executable, ROOT / "tests/windows_like.py", "stages.train_phase1", *places],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (project / "model" / "checkpoint.pt").is_file()
    assert (project / "answers" / "results.json").is_file()
