"""The pinned virtual environments of the contenders, made from `benchmarks/peers/*.txt`.

The first line of a requirement file says for which Python it is: `# Python 3.11`. This package
runs in the environment `tensorflow` too, from the sources around this file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.comparison.children import PEERS, ROOT, die_with_parent

_COMPLETE = "complete"  # Holds the digest of the requirements that are installed.
_MOST_SECONDS = 1800


class EnvironmentMissingError(Exception):
    """An environment that cannot be made; the message says why."""


def python(name: str, work_dir: Path) -> str:
    """The Python of an environment, which is made first if it is not there.

    Raises:
      EnvironmentMissingError: if it cannot be made.
    """
    folder = work_dir / "environments" / name
    executable, mark = folder / "bin" / "python", folder / _COMPLETE
    if not mark.exists() or mark.read_text() != digest(name):
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making the environment {name} in {folder}", flush=True)
        _make(name, folder, executable)
        mark.write_text(digest(name))
    return str(executable)


def digest(name: str) -> str:
    """A digest of what an environment holds by its requirement file."""
    return hashlib.sha256((PEERS / f"{name}.txt").read_bytes()).hexdigest()[:12]


@functools.cache
def package_digest() -> str:
    """A digest of the sources of this package."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "mnist_estimator").rglob("*")):
        if path.suffix in (".py", ".c", ".gz"):
            found.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return found.hexdigest()[:12]


def pins(name: str) -> str:
    """What a requirement file pins, in one line."""
    lines = (PEERS / f"{name}.txt").read_text().splitlines()
    wanted = _python_version(name)
    return f"Python {wanted}, " + ", ".join(x for x in lines if x and not x.startswith("#"))


def _python_version(name: str) -> str:
    first = (PEERS / f"{name}.txt").read_text().splitlines()[0]
    found = re.fullmatch(r"# Python (3\.\d+).*", first)
    if not found:
        raise ValueError(f"{name}.txt: found {first!r}, expected '# Python 3.N'")
    return found[1]


def _make(name: str, folder: Path, executable: Path) -> None:
    base = _base_python(_python_version(name))
    _run([base, "-m", "venv", str(folder)])
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([str(executable), *install, "-r", str(PEERS / f"{name}.txt")])


def _base_python(version: str) -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{version}.*/bin/python"))
    path = str(found[-1]) if found else shutil.which(f"python{version}")
    if not path:
        raise EnvironmentMissingError(f"found no Python {version}, neither on PATH nor of pyenv")
    return path


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentMissingError(f"{command[2]}: took more than {_MOST_SECONDS} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["no message"]
        raise EnvironmentMissingError(f"{command[2]} failed: {errors[-1][:200]}")
