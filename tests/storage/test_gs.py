"""Who serves gs://."""

import os
import sys

import pytest

from mnist_estimator.storage import _gs


@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("STORAGE_EMULATOR_HOST", "127.0.0.1:4443", "http://127.0.0.1:4443"),
        ("STORAGE_EMULATOR_HOST", "localhost:4443", "http://localhost:4443"),
        ("STORAGE_EMULATOR_HOST", "https://host", "https://host"),
        ("GOOGLE_BASE_URL", "http://host:1", "http://host:1"),
    ],
)
def test_the_environment_names_another_server(monkeypatch, variable, value, url):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv(variable, value)
    assert _gs.emulator() == url


def test_without_one_it_is_google_s(monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_BASE_URL", raising=False)
    assert _gs.emulator() == ""


def test_what_tells_tensorflow_is_taken_back(monkeypatch):
    monkeypatch.delenv("TF_USE_MODULAR_FILESYSTEM", raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow_io_gcs_filesystem", raising=False)
    modules = {name: each for name, each in sys.modules.items() if name != "tensorflow"}
    monkeypatch.setattr(sys, "modules", modules)
    _gs.reserve()
    assert os.environ["TF_USE_MODULAR_FILESYSTEM"] == "1"
    assert "tensorflow_io_gcs_filesystem" in sys.modules
    _gs.end_reserve()
    assert "TF_USE_MODULAR_FILESYSTEM" not in os.environ
    assert "tensorflow_io_gcs_filesystem" not in sys.modules


def test_a_tensorflow_that_is_there_is_left_alone(monkeypatch):
    monkeypatch.delenv("TF_USE_MODULAR_FILESYSTEM", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    _gs.reserve()
    assert "TF_USE_MODULAR_FILESYSTEM" not in os.environ
