"""The tests themselves: none imports another, none waits without a deadline."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
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
