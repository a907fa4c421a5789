"""A small dataset in colour, prepared once for each file of tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import colours_dataset as colours


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    colours.write(folder)
    return folder


@pytest.fixture
def data_dir(prepared: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))
