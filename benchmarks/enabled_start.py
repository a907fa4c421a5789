"""What `python -m mnist_estimator.compat --enable` costs a program when it starts.

    python benchmarks/enabled_start.py --pairs=200 --tensorflow_pairs=5

Two virtual environments with the packages of this Python, one of them enabled, start in turns: an
empty program, and one that imports TensorFlow. Prints the median ratio of the pairs, and its
quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Makes the environments, runs the pairs and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--tensorflow_pairs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain, enabled = (environment(Path(folder, name)) for name in ("plain", "enabled"))
        subprocess.run([enabled, "-m", "mnist_estimator.compat", "--enable"], check=True)
        compare("an empty program", plain, enabled, "", arguments.pairs)
        statement = "import tensorflow"
        compare(statement, plain, enabled, statement, arguments.tensorflow_pairs)


def environment(folder: Path) -> str:
    """Makes a virtual environment that sees this one's packages. Returns its Python."""
    venv.create(folder, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    return str(folder / "bin/python")


def compare(name: str, plain: str, enabled: str, program: str, pairs: int) -> None:
    """Prints how much longer the enabled one takes, in pairs that run in turns."""
    for python in (plain, enabled):
        seconds(python, program)  # Compiles what is imported.
    took = [(seconds(plain, program), seconds(enabled, program)) for _ in range(pairs)]
    ratios = sorted(after / before for before, after in took)
    low, median, high = statistics.quantiles(ratios, n=4)
    milliseconds = 1000 * statistics.median(after - before for before, after in took)
    spread = f"({low:.3f} to {high:.3f})"
    print(f"{name}: ratio {median:.3f} {spread}, {milliseconds:+.1f} ms, {pairs} pairs")


def seconds(python: str, program: str) -> float:
    """How long a program takes from start to end."""
    begin = time.perf_counter()
    subprocess.run([python, "-c", program], check=True, capture_output=True, cwd="/")
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
