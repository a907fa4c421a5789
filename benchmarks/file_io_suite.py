"""Runs TensorFlow's own tests of files in object stores, and on the local disk beside them.

    python benchmarks/file_io_suite.py file_io_test.py memory://tests s3://bucket/tests

The test file is tensorflow/python/lib/io/file_io_test.py of the repository tensorflow/tensorflow.
The table on standard output has a row for each test that does not pass everywhere.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

import estimator_suite

TIMEOUT_SECS = 900


def main(argv: list[str]) -> int:
    """Runs the file once for each place. Returns 1 if a test fails in a store only."""
    options = parse_arguments(argv)
    file = pathlib.Path(options.test_file).resolve()
    results = {place: run(file, place) for place in ("", *options.folders)}
    print(table(results))
    local, *others = results.values()
    return int(any(set(other.failed) - set(local.failed) or other.problem for other in others))


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("test_file")
    parser.add_argument("folders", nargs="*", metavar="URL", help="where the tests write")
    return parser.parse_args(argv)


def run(file: pathlib.Path, place: str) -> estimator_suite.Result:
    """Runs the test file with its folders in a store, or on the local disk for ""."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(estimator_suite.PROJECT),
        estimator_suite.FOLDERS: place,
    }
    name = file.name.removesuffix("_test.py")
    return estimator_suite.run_module(file.parent, name, environment, TIMEOUT_SECS)


def table(results: dict[str, estimator_suite.Result]) -> str:
    """What fails where, and the totals, as a Markdown table."""
    places = [place or "local disk" for place in results]
    lines = [f"| test | {' | '.join(places)} |", f"| --- |{' --- |' * len(places)}"]
    for test in sorted({test for result in results.values() for test in result.failed}):
        verdicts = ["fails" if test in result.failed else "" for result in results.values()]
        lines.append(f"| {test} | {' | '.join(verdicts)} |")
    totals = [result.problem or f"{result.passed} pass" for result in results.values()]
    return "\n".join([*lines, f"| total | {' | '.join(totals)} |"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
