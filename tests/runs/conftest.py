"""Checkpoints of three steps, which the tests of this folder damage, move and copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.saved import save_steps


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    save_steps(folder / "sealed")
    save_steps(folder / "plain", seal=False)
    return folder


@pytest.fixture
def model_dir(made, tmp_path):
    return Path(shutil.copytree(made / "sealed", tmp_path / "run"))
