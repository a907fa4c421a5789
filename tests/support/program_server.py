"""Imports TensorFlow once, and forks a process for each program that programs.py asks for.

    python program_server.py SOCKET_DESCRIPTOR

Each message on the socket is a program's arguments, folder and environment as JSON, and the
descriptors of its standard streams. The answer is the program's process id. The program is forked
by a child that ends at once, so that its parent is then the process that asked, not this one.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import socket
import sys
from typing import Any


def main(connection: socket.socket) -> None:
    """Forks programs until the other end is closed; returns only in a program, to run it."""
    _import_what_programs_need()
    while True:
        message, streams, *_ = socket.recv_fds(connection, 1 << 20, 3)
        if not message:
            os._exit(0)
        if _fork_orphan(connection):
            connection.close()
            become(json.loads(message.decode(errors="surrogateescape")), streams)
            return
        for stream in streams:
            os.close(stream)


def _import_what_programs_need() -> None:
    from mnist_estimator import compat

    compat.quiet()
    import mnist_estimator.scoring.evaluation
    import mnist_estimator.serving.saved_model
    import mnist_estimator.training.training  # noqa: F401


def _fork_orphan(connection: socket.socket) -> bool:
    """Forks a process whose parent has ended by the time its id is sent; True in that process."""
    end_of_parent, held_by_parent = os.pipe()
    told, tell = os.pipe()
    parent = os.fork()
    if not parent:
        if pid := os.fork():
            os.write(tell, str(pid).encode())
            os._exit(0)
        os.close(held_by_parent)
        os.read(end_of_parent, 1)  # Returns when the parent has ended.
        for descriptor in (end_of_parent, told, tell):
            os.close(descriptor)
        return True
    for descriptor in (end_of_parent, held_by_parent, tell):
        os.close(descriptor)
    os.waitpid(parent, 0)
    connection.send(os.read(told, 99))
    os.close(told)
    return False


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Gives this process what a new one would have been started with."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.stdout = _text(1, line_buffering=False)
    sys.stderr = _text(2, line_buffering=True)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))  # Of a script, the first place.
    sys.argv = request["words"]


def _text(number: int, **options: bool) -> io.TextIOWrapper:
    errors = "backslashreplace" if number == 2 else None
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    return io.TextIOWrapper(raw, errors=errors, **options)


def run_program() -> None:
    """Runs what sys.argv says, as `python -m MODULE` or `python FILE` does."""
    if sys.argv[0] == "-m":
        _, module, *arguments = sys.argv
        sys.argv = [module, *arguments]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
    run_program()
