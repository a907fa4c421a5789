"""Which versions can be used, and how those that are installed are found."""

from __future__ import annotations

import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import _versions


@pytest.mark.parametrize("version", ["2.15.0", "2.15.1", "2.18.0", "2.21.0", "2.21.1-rc0", ""])
def test_supported_version(version):
    _versions.check_versions(version, "2.15.0")


@pytest.mark.parametrize("version", ["1.15.5", "2.14.1", "2.22.0", "2.22.0-rc1", "3.0.0", "head"])
def test_unsupported_version_is_named_with_those_that_work(version):
    with pytest.raises(InputError) as error:
        _versions.check_versions(version, "2.15.0")
    assert f"TensorFlow {version} is installed" in str(error.value)
    assert "TensorFlow 2.15 to 2.21" in str(error.value)
    assert "pip install 'tensorflow>=2.15,<2.22'" in str(error.value)


def test_no_tensorflow():
    with pytest.raises(InputError, match="TensorFlow is not installed"):
        _versions.check_versions(None, None)


@pytest.mark.parametrize(
    ("version", "found"),
    [(None, "tensorflow-estimator is not"), ("2.16.0", "tensorflow-estimator 2.16.0 is")],
)
def test_wrong_tensorflow_estimator(version, found):
    with pytest.raises(InputError, match=f"^{found} installed.*'tensorflow-estimator==2.15.*'"):
        _versions.check_versions("2.21.0", version)


def test_version_is_known_without_an_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "some_module.py").write_text("raise SystemExit('imported')")
    assert _versions.installed("some_module", "some-module") == ""
    (tmp_path / "some_module-1.2.dist-info").mkdir()
    (tmp_path / "some_module-1.2.dist-info" / "METADATA").write_text("Version: 1.2\n")
    assert _versions.installed("some_module", "some-module") == "1.2"
    assert _versions.installed("no_such_module", "no-such-module") is None


@pytest.mark.parametrize(
    ("version", "expected"), [("2.21.0-rc1", (2, 21)), ("2.9", (2, 9)), ("3", (0, 0)), ("", (0, 0))]
)
def test_a_release_is_the_first_two_numbers(version, expected):
    assert _versions.release(version) == expected
