"""Fixtures of the tests of reports: two runs and their pages, made once for all of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from support.reports import make_page, make_runs, require


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of softmax regression, and a copy of it that has lost its events."""
    require(importlib.util.find_spec("matplotlib"), "matplotlib, of the extra 'report'")
    folder = tmp_path_factory.mktemp("work")
    make_runs(folder)
    return folder


@pytest.fixture(scope="session")
def pages(work: Path) -> dict[str, str]:
    """The pages of one run and of both."""
    one = make_page(work, model_dir="runs/first", grid_class=1)
    return {"one": one, "two": make_page(work, model_dir="runs/first,runs/second")}
