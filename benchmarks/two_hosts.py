"""Trains one run on two hosts that share nothing but an object store, and compares it with one.

  sudo python benchmarks/two_hosts.py              # needs network namespaces; two minutes

Each host is a network namespace of this machine with an address, a name, and a /tmp of its own,
which is empty. On one of them runs a SeaweedFS, from the tests' extra. The data are prepared in it,
a chief on one host and a worker on the other train synchronously with the model_dir in it, and what
they end with is compared, byte by byte, with two workers on the disk of one host. The exit code is
1 if anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import kill_remote
import numpy as np
from kill_remote import ROOT, object_stores

HOSTS = {"chief": "10.77.0.1", "worker": "10.77.0.2"}
_PORT = 2222
_TIMEOUT_SECS = 900
_HERE = "--download"


def main() -> int:
    """Trains on two hosts and on one, and prints whether they agree."""
    if sys.argv[1:2] == [_HERE]:  # As a program on one of the hosts.
        kill_remote.downloaded(sys.argv[2], pathlib.Path(sys.argv[3]))
        return 0
    flags = parsed()
    train = [f"--max_steps={flags.steps}", "--save_checkpoints_steps=20", "--batch_size=64"]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch, hosts() as names:
        folder = pathlib.Path(scratch)
        with object_stores.server(HOSTS["chief"], names["chief"]) as server:
            os.environ.update(object_stores.environment(server.endpoint))
            bucket = f"s3://{server.make_bucket()}"
            apart = [f"--model_dir={bucket}/run", f"--data_dir={bucket}/data"]
            finish(start(names["chief"], "prepare", "--dataset=sample", apart[1]))
            tasks = [
                start(name, "train", *apart, *train, role=role) for role, name in names.items()
            ]
            for task in tasks:
                finish(task)
            fetch = [sys.executable, __file__, _HERE, f"{bucket}/run", str(folder / "run")]
            command = ["ip", "netns", "exec", names["chief"], *fetch]
            subprocess.run(command, check=True, timeout=_TIMEOUT_SECS)
        together = [f"--model_dir={folder / 'alone'}", f"--data_dir={folder / 'data'}"]
        run_module("prepare", "--dataset=sample", together[1])
        run_module("launch", "--workers=2", "--", *together, *train)
        found, expected = variables(folder / "run"), variables(folder / "alone")
    same = found == expected
    print(f"{len(expected)} variables after {flags.steps} steps: {'identical' if same else 'NOT'}")
    return 0 if same else 1


def parsed() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="steps of the run")
    return parser.parse_args()


@contextlib.contextmanager
def hosts() -> Iterator[dict[str, str]]:
    """Two network namespaces with a cable between them; yields their names by role."""
    names = {role: f"two-hosts-{role}" for role in HOSTS}
    with contextlib.ExitStack() as stack:
        for name in names.values():
            ip("netns", "add", name)
            stack.callback(ip, "netns", "delete", name)
            ip("-n", name, "link", "set", "lo", "up")
        one, other = names.values()
        ip(
            "-n",
            one,
            "link",
            "add",
            "cable",
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            other,
        )
        for role, name in names.items():
            ip("-n", name, "address", "add", f"{HOSTS[role]}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield names


def ip(*words: str) -> None:
    """Runs the command ip."""
    subprocess.run(["ip", *words], check=True, timeout=60)


def start(host: str, module: str, *flags: str, role: str = "") -> subprocess.Popen:
    """Starts a command of the package on a host."""
    environment = dict(os.environ, PYTHONPATH="/mnt")
    if role:
        cluster = {name: [f"{address}:{_PORT}"] for name, address in HOSTS.items()}
        environment["TF_CONFIG"] = json.dumps(
            {"cluster": cluster, "task": {"type": role, "index": 0}}
        )
    command = shlex.join([sys.executable, "-m", f"mnist_estimator.{module}", *flags])
    # The mounts are of this process and its children only: ip makes a namespace for them.
    script = (
        f"mount --bind {shlex.quote(str(ROOT))} /mnt && mount -t tmpfs tmpfs /tmp && "
        f"hostname {host} && cd /mnt && exec {command}"
    )
    enter = ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c", script]
    return subprocess.Popen(enter, env=environment)


def finish(process: subprocess.Popen) -> None:
    """Waits for a command; raises RuntimeError if it fails."""
    with kill_remote.ended_at_last(process):
        if process.wait(_TIMEOUT_SECS):
            raise RuntimeError(f"exit code {process.returncode}: {process.args}")


def run_module(module: str, *flags: str) -> None:
    """Runs a command of the package here, to its end."""
    command = [sys.executable, "-m", f"mnist_estimator.{module}", *flags]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    subprocess.run(command, check=True, timeout=_TIMEOUT_SECS, env=environment)


def variables(model_dir: pathlib.Path) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, slots, global step."""
    from mnist_estimator.compat import tf

    reader = tf.train.load_checkpoint(str(model_dir))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    sys.exit(main())
