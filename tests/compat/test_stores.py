"""When unchanged programs find object stores, and what is said when they do not."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from google._upb import _message as message  # A library that can be loaded twice.

from mnist_estimator import InputError, storage
from mnist_estimator.compat import _stores, tf

NOT_IMPLEMENTED = "File system scheme '{}' not implemented (file: '{}://bucket/run')"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder in which the packages are; of others of these names nothing is found."""
    find = importlib.util.find_spec

    def find_spec(name, package=None):
        if name not in ("obstore", "tensorflow_io"):
            return find(name, package)
        place = tmp_path / name / "__init__.py"
        return importlib.util.spec_from_file_location(name, place) if place.exists() else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return tmp_path


@pytest.fixture
def installed(monkeypatch):
    """The calls of storage.install."""
    calls = []
    monkeypatch.setattr(storage, "install", lambda **options: calls.append(options))
    return calls


def add(packages: Path, name: str) -> None:
    (packages / name).mkdir()
    (packages / name / "__init__.py").write_text("")


def add_tensorflow_io(packages: Path, library: Path | None) -> None:
    """Its plugin is a library that can be loaded, or one that cannot."""
    add(packages, "tensorflow_io")
    place = packages / "tensorflow_io/python/ops/libtensorflow_io_plugins.so"
    place.parent.mkdir(parents=True)
    if library:
        shutil.copy(library, place)
    else:
        place.write_bytes(b"\x7fELF, of another TensorFlow")


def test_they_are_there_where_the_extra_is(packages, installed):
    _stores.offer()
    assert not installed
    add(packages, "obstore")
    _stores.offer()
    assert installed == [{}]


def test_a_tensorflow_io_that_works_keeps_its_schemes(packages, installed):
    add(packages, "obstore")
    add_tensorflow_io(packages, Path(message.__file__))
    _stores.offer()
    assert not installed
    hint = _stores.hint(
        tf.errors.UnimplementedError(None, None, NOT_IMPLEMENTED.format("s3", "s3"))
    )
    assert hint == "s3:// is left to tensorflow-io, which is installed: import tensorflow_io"


def test_a_tensorflow_io_that_cannot_be_loaded_does_not(packages, installed):
    add(packages, "obstore")
    add_tensorflow_io(packages, None)
    _stores.offer()
    assert installed == [{}]


def test_gs_is_taken_before_the_import_unless_tensorflow_io_may_have_it(packages, monkeypatch):
    told = []
    monkeypatch.setattr(storage, "before_tensorflow", lambda *paths: told.extend(paths))
    _stores.before_tensorflow()
    assert told == ["gs://"]
    add_tensorflow_io(packages, None)
    _stores.before_tensorflow()
    assert told == ["gs://"]


def test_where_it_cannot_be_installed_the_program_goes_on_and_the_hint_says_why(
    packages, monkeypatch
):
    def fails(*paths):
        raise InputError(f"{paths}: a part in C was not built")

    monkeypatch.setattr(storage, "install", fails)
    monkeypatch.setattr(storage, "install_for", fails)
    add(packages, "obstore")
    _stores.offer()
    error = tf.errors.UnimplementedError(None, None, NOT_IMPLEMENTED.format("az", "az"))
    assert _stores.hint(error) == "('az://',): a part in C was not built"


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.UnimplementedError(None, None, NOT_IMPLEMENTED.format("hdfs", "hdfs")),
        tf.errors.NotFoundError(None, None, "s3://bucket/run does not exist"),
        KeyError("s3"),
    ],
)
def test_other_errors_have_no_hint(error):
    assert _stores.hint(error) == ""
