"""The tests themselves: each module has its own, none imports another, none waits for ever."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mnist_estimator

TESTS = Path(__file__).parent
PACKAGE = Path(mnist_estimator.__file__).parent
MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
# Modules that have no file of tests of their own, and the one that tests them.
TESTED_IN = {
    # A docstring, as test_package.py checks; that of `compat` hands out Estimator.
    **{module: "test_package.py" for module in MODULES if module.endswith("__init__.py")},
    "compat/__init__.py": "compat/test_compat.py",
    # What `python -m mnist_estimator` prints is one line a command, found in the whole package.
    "__main__.py": "test_package.py",
    "compat/__main__.py": "compat/test_main.py",
    # They make Estimator as users import it.
    "compat/_gaps.py": "compat/test_compat.py",
    "compat/_loaded.py": "compat/test_compat.py",
    # It runs clusters: what its tasks do is to be seen in programs alone.
    "compat/estimator_training.py": "programs/test_compat_cluster.py",
}
FILES = sorted(str(path.relative_to(TESTS)) for path in TESTS.rglob("*.py"))
# Methods that wait for ever if they are given nothing, and what a call has to give at least.
WAITING = {"wait": 1, "join": 1, "communicate": 2, "get": 1}
# What has a deadline of its own.
HAVE_THEIR_OWN = {"watch.wait()"}


def parsed(name: str) -> ast.Module:
    return ast.parse((TESTS / name).read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def waits_for_ever(call: ast.Call) -> bool:
    """Whether a call waits without a deadline, as far as its text tells."""
    if not isinstance(call.func, ast.Attribute) or ast.unparse(call) in HAVE_THEIR_OWN:
        return False
    if any(word.arg in ("timeout", None) for word in call.keywords):
        return False
    if ast.unparse(call.func.value) == "subprocess":
        return call.func.attr in ("run", "call", "check_call", "check_output")
    return len(call.args) < WAITING.get(call.func.attr, 0)


def own_tests(module: str) -> str:
    """The file of tests that goes with a module: data/test_idx.py with data/idx.py."""
    place = Path(module)
    return str(place.with_name(f"test_{place.name.lstrip('_')}"))


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_a_file_of_tests(module):
    assert TESTED_IN.get(module, own_tests(module)) in FILES


def test_only_modules_that_are_there_and_have_no_file_are_tested_in_another():
    assert set(TESTED_IN) <= set(MODULES)
    assert not [module for module in TESTED_IN if own_tests(module) in FILES]


@pytest.mark.parametrize("name", FILES)
def test_no_test_imports_another(name):
    tests = {Path(each).stem for each in FILES if Path(each).name.startswith("test_")}
    assert not (tests | {"conftest"}) & set(imported(parsed(name)))


@pytest.mark.parametrize("name", FILES)
def test_nothing_waits_without_a_deadline(name):
    calls = [node for node in ast.walk(parsed(name)) if isinstance(node, ast.Call)]
    found = [f"line {call.lineno}: {ast.unparse(call)}" for call in calls if waits_for_ever(call)]
    assert not found, "give it a timeout, or use support.programs"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("subprocess.run(['a'])", True),
        ("subprocess.run(['a'], timeout=5)", False),
        ("process.wait()", True),
        ("process.wait(5)", False),
        ("process.communicate('text')", True),
        ("process.communicate(timeout=5)", False),
        ("thread.join()", True),
        ("', '.join(words)", False),
        ("queue.get()", True),
        ("table.get('key')", False),
    ],
)
def test_a_wait_without_a_deadline_is_found(source, expected):
    (statement,) = ast.parse(source).body
    assert waits_for_ever(statement.value) is expected


def test_the_files_that_come_first_are_there():
    (long,) = [
        node.value
        for node in parsed("conftest.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LONG"
    ]
    assert set(ast.literal_eval(long)) <= set(FILES)
