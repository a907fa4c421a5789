"""Runs Estimator's own tests through `mnist_estimator.compat` on the installed TensorFlow.

    git clone https://github.com/tensorflow/estimator    # at the 2.15 release
    python benchmarks/estimator_suite.py estimator --json=suite.json

The test modules come from the checkout, what they test is the installed tensorflow-estimator:
each is run as a program of its own after `compat.install()`. The table on standard output has a row
a module; the tests that did not pass are listed under it.
Exits with 1 if there are any.

With --folders=s3://bucket/folder, or memory://anything, the tests have their temporary folders, and
so their model_dirs, in that store; see remote_folders.py.

The tests need two more packages: portpicker, and pandas, without which those of pandas_input_fn
pass without testing anything, as their authors wrote them. Python 3.12 removed some old names of
unittest's assertions that the tests use; they are put back here.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import fnmatch
import json
import os
import pathlib
import re
import runpy
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import remote_folders

from mnist_estimator import compat

ROOT = pathlib.PurePath("tensorflow_estimator", "python", "estimator")
PROJECT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = "ESTIMATOR_SUITE_FOLDERS"  # Tells a test's process what --folders says.
# One client that drives a cluster by collective operations: on machines without several GPUs these
# wait forever, on TensorFlow 2.15 as on later ones.
LEFT_OUT = re.compile(r"standalone_client_(collective_nccl|.*_traindistributecls.*AllReduce)")
RENAMED_ASSERTIONS = {
    "assertEquals": "assertEqual",
    "assertNotRegexpMatches": "assertNotRegex",
    "assertRaisesRegexp": "assertRaisesRegex",
    "assertRegexpMatches": "assertRegex",
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What one test module gave. `problem` is set if it did not run to its end."""

    module: str
    seconds: float
    tests: int = 0
    failed: tuple[str, ...] = ()
    skipped: int = 0
    problem: str = ""

    @property
    def passed(self) -> int:
        return self.tests - len(self.failed) - self.skipped

    @property
    def ok(self) -> bool:
        return not self.failed and not self.problem


def main(argv: list[str] | None = None) -> int:
    """Runs the chosen modules and prints the table. Returns the exit status."""
    options = parse_arguments(argv)
    folder = pathlib.Path(options.checkout, ROOT)
    left_out = set()
    if not options.canned:
        left_out |= {"canned", "head"}
    if not options.tpu:
        left_out.add("tpu")
    modules = find_modules(folder, options.modules, left_out)
    if not modules:
        print(f"{folder}: no test modules that match {options.modules}", file=sys.stderr)
        return 2
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    path = [str(PROJECT), os.environ.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    environment[FOLDERS] = options.folders
    if options.no_keras:
        environment["TF_USE_LEGACY_KERAS"] = "0"
    results = run_all(folder, modules, environment, jobs=options.jobs, timeout=options.timeout)
    versions = installed_versions(environment)
    print(table(results, versions))
    if options.json:
        content = {"versions": versions, "modules": [dataclasses.asdict(r) for r in results]}
        pathlib.Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    return 0 if all(result.ok for result in results) else 1


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", help="a checkout of tensorflow/estimator at its 2.15 release")
    parser.add_argument(
        "--modules",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="only these, by path without _test.py: `estimator hooks/* training`",
    )
    parser.add_argument("--canned", action="store_true", help="canned estimators and heads too")
    parser.add_argument("--tpu", action="store_true", help="TPUEstimator too; no TPU is needed")
    parser.add_argument("--no-keras", action="store_true", help="as if tf-keras were not installed")
    parser.add_argument("--folders", default="", metavar="URL", help="of the tests, in a store")
    parser.add_argument("--jobs", type=int, default=1, help="modules at a time (default 1)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds a module (default 900)")
    parser.add_argument("--json", metavar="FILE", help="write the results here as well")
    return parser.parse_args(argv)


def find_modules(folder: pathlib.Path, patterns: list[str], left_out: set[str]) -> list[str]:
    """The paths of the test modules under `folder`, without `_test.py`, in order."""
    found = []
    for path in sorted(folder.rglob("*_test.py")):
        relative = path.relative_to(folder)
        name = str(relative.with_name(path.name.removesuffix("_test.py")).as_posix())
        if relative.parts[0] in left_out:
            continue
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            found.append(name)
    return found


def run_all(
    folder: pathlib.Path,
    modules: list[str],
    environment: dict[str, str],
    *,
    jobs: int,
    timeout: float,
) -> list[Result]:
    """Runs each module in a process of its own; a line on standard error as each ends."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run_module, folder, name, environment, timeout) for name in modules]
        for future in concurrent.futures.as_completed(futures):
            result = future.result()
            results.append(result)
            verdict = result.problem or ("ok" if result.ok else f"{len(result.failed)} failed")
            progress = f"[{len(results)}/{len(modules)}] {result.module}: {result.tests} tests"
            print(f"{progress}, {verdict}, {result.seconds:.0f} s", file=sys.stderr, flush=True)
    return sorted(results, key=lambda result: result.module)


def run_module(
    folder: pathlib.Path, name: str, environment: dict[str, str], timeout: float
) -> Result:
    """Runs one test module and reads its results from the report that absl's tests write."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "report.xml")
        log = pathlib.Path(scratch, "log")
        command = [sys.executable, __file__, "--run-test-file", str(folder / f"{name}_test.py")]
        problem = ""
        with log.open("wb") as output:
            try:
                status = subprocess.run(
                    [*command, f"--xml_output_file={report}", f"--test_tmpdir={scratch}"],
                    env={**environment, "TEST_TMPDIR": scratch},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                ).returncode
            except subprocess.TimeoutExpired:
                started = re.findall(r"\[ RUN +\] (\S+)", log.read_text(errors="replace"))
                last = started[-1] if started else "its imports"
                status, problem = None, f"stopped after {timeout:.0f} s in {last}"
        seconds = time.monotonic() - start
        if report.exists() and report.stat().st_size:  # Written at the end of all tests.
            tests, failed, skipped = read_report(report)
            return Result(name, seconds, tests, tuple(failed), skipped, problem)
        return Result(name, seconds, problem=problem or f"exit {status}: {last_line(log)}")


def read_report(report: pathlib.Path) -> tuple[int, list[str], int]:
    """The number of tests, the names of those that failed, and the number skipped."""
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    failed, skipped = [], 0
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}")
        elif case.get("status") == "notrun" or case.find("skipped") is not None:
            skipped += 1
    return len(cases), failed, skipped


def last_line(log: pathlib.Path) -> str:
    """The last line that a program wrote, which for a Python error is the error."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"


def installed_versions(environment: dict[str, str]) -> dict[str, str]:
    """The versions of what was tested, and whether Keras 2 was in use."""
    program = (
        "import json, platform; from importlib.metadata import version\n"
        "from mnist_estimator.compat import tf\n"
        "keras = tf.keras.Model.__module__.partition('.')[0]\n"
        "print(json.dumps({'Python': platform.python_version(), 'TensorFlow': tf.__version__,"
        " 'tensorflow-estimator': version('tensorflow-estimator'), keras: version(keras)}))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return json.loads(output)


def table(results: list[Result], versions: dict[str, str]) -> str:
    """The results as a Markdown table, the totals, and what did not pass."""
    lines = [
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        "| module | tests | passed | failed | skipped | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        failed = result.problem or len(result.failed)
        row = (result.module, result.tests, result.passed, failed, result.skipped)
        lines.append("| " + " | ".join(map(str, row)) + f" | {result.seconds:.0f} |")
    tests, passed, failed, skipped = (
        sum(getattr(result, name) if name != "failed" else len(result.failed) for result in results)
        for name in ("tests", "passed", "failed", "skipped")
    )
    seconds = sum(result.seconds for result in results)
    lines.append(f"| total | {tests} | {passed} | {failed} | {skipped} | {seconds:.0f} |")
    ok = sum(result.ok for result in results)
    lines += ["", f"{ok} of {len(results)} modules pass."]
    lines += [f"- {result.module}: {test}" for result in results for test in result.failed]
    return "\n".join(lines)


def run_test_file(path: str) -> None:
    """Runs a test file as a program, as `python -m mnist_estimator.compat` would."""
    compat.install()
    if os.environ.get(FOLDERS):
        remote_folders.install(os.environ[FOLDERS])
    for old, new in RENAMED_ASSERTIONS.items():
        if not hasattr(unittest.TestCase, old):
            setattr(unittest.TestCase, old, getattr(unittest.TestCase, new))
    find = unittest.TestLoader.getTestCaseNames
    unittest.TestLoader.getTestCaseNames = lambda loader, case: [
        name for name in find(loader, case) if not LEFT_OUT.search(name)
    ]
    sys.argv = [path, *sys.argv[3:]]
    sys.path[0] = ""  # Not this folder: the tests are to find what any program finds.
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run-test-file"]:
        run_test_file(sys.argv[2])
    else:
        sys.exit(main())
