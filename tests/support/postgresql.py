"""A PostgreSQL server on this machine, where it is installed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import programs

_USER = "sweeper"
_DEBIAN = Path("/usr/lib/postgresql")


@dataclasses.dataclass
class Server:
    """A running server that knows one user."""

    process: subprocess.Popen
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{_USER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """Ends it with its connections."""
        self.process.send_signal(signal.SIGINT)  # "Fast Shutdown", as its manual calls it.
        self.process.wait(60)


@contextlib.contextmanager
def server(scratch: Path) -> Iterator[Server]:
    """Runs a server on loopback with its data in a folder of its own; skips where there is none."""
    initdb, postgres = _program("initdb"), _program("postgres")
    password = "a-secret-of-tests"
    (scratch / "password").write_text(password)
    with tempfile.TemporaryDirectory(prefix="postgresql") as folder:
        who = _owner(folder)
        shutil.copy(scratch / "password", folder)
        os.chmod(f"{folder}/password", 0o644)
        make = [initdb, f"--pgdata={folder}/data", f"--username={_USER}", "--auth=scram-sha-256"]
        make += [f"--pwfile={folder}/password", "--no-sync", "--locale=C", "--encoding=UTF8"]
        subprocess.run(make, check=True, capture_output=True, timeout=120, cwd=folder, **who)
        port = _free_port()
        words = [postgres, "-D", f"{folder}/data", "-p", str(port), "-h", "127.0.0.1"]
        words += ["-k", folder, "-c", "fsync=off"]
        with (scratch / "log").open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, **who)
        running = Server(process, port, password)
        try:
            _wait(running, scratch / "log")
            yield running
        finally:
            if process.poll() is None:
                running.stop()


def _program(name: str) -> str:
    found = shutil.which(name) or next(map(str, _DEBIAN.glob(f"*/bin/{name}")), None)
    if found is None:
        pytest.skip(f"{name} is not here: no PostgreSQL to try")
    return found


def _owner(folder: str) -> dict[str, object]:
    """Who runs it: PostgreSQL refuses root."""
    if os.getuid():
        return {}
    shutil.chown(folder, "postgres", "postgres")
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(server: Server, log: Path) -> None:
    def answers() -> bool:
        return "ready to accept connections" in log.read_text()

    programs.wait_until(answers, process=server.process, timeout=60)
