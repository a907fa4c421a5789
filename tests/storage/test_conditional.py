"""Writes on a condition."""

import json
import secrets

import pytest
from obstore import exceptions

from mnist_estimator import RunError, storage
from mnist_estimator.storage import _conditional, _objects, _paths


@pytest.fixture
def path():
    return f"memory://{secrets.token_hex(4)}/run/lock"


def test_an_object_is_written_if_there_is_none_and_then_if_it_is_as_it_was_seen(path):
    assert storage.read_version(path) is None
    first = storage.write_if(path, b"one", None)
    assert storage.read_version(path) == (b"one", first)
    second = storage.write_if(path, b"two", first)
    assert storage.read_version(path) == (b"two", second) and second != first


def test_what_another_has_changed_stays(path):
    first = storage.write_if(path, b"one", None)
    with pytest.raises(storage.ChangedError, match=path):
        storage.write_if(path, b"mine", None)
    second = storage.write_if(path, b"two", first)
    with pytest.raises(storage.ChangedError):
        storage.write_if(path, b"mine", first)
    assert storage.read_version(path) == (b"two", second)


def test_what_is_there_and_is_the_same_is_not_taken_for_a_write_that_took_place(path):
    storage.write_if(path, b"one", None)
    with pytest.raises(storage.ChangedError):
        storage.write_if(path, b"one", None)


def test_the_probe_leaves_nothing(path):
    storage.write_if(path, b"one", None)
    location = _paths.parse(path)
    (page,) = _objects.listed(location._replace(key=""))
    assert _objects.keys_of(page) == ["run/lock"]


def faulty(monkeypatch, fault):
    """Have each write go through `fault`, which gets the real one."""
    real = _objects.put
    monkeypatch.setattr(_objects, "put", lambda *arguments: fault(real, *arguments))


def test_a_store_that_ignores_a_condition_is_told_apart(monkeypatch, path):
    faulty(monkeypatch, lambda put, location, content, mode=None: put(location, content))
    with pytest.raises(storage.UnconditionalError, match="conditional writes"):
        storage.write_if(path, b"one", None)
    assert storage.read_version(path) is None


def test_a_store_that_ignores_a_version_only_is_told_apart(monkeypatch, path):
    def put(real, location, content, mode=None):
        return real(location, content, "create" if mode == "create" else None)

    faulty(monkeypatch, put)
    with pytest.raises(storage.UnconditionalError):
        storage.write_if(path, b"one", None)


def test_a_store_that_says_it_knows_no_conditions_is_told_apart(monkeypatch, path):
    def put(real, location, content, mode=None):
        raise exceptions.NotSupportedError("no conditions here")

    faulty(monkeypatch, put)
    with pytest.raises(storage.UnconditionalError, match="no conditions here"):
        storage.write_if(path, b"one", None)


@pytest.mark.parametrize("error", ["silence", "refused after a try that took place"])
def test_a_write_whose_answer_was_lost_took_place(monkeypatch, path, error):
    first = storage.write_if(path, b"one", None)

    def put(real, location, content, mode=None):
        real(location, content, mode)
        if error == "silence":
            raise exceptions.GenericError("HTTP error: error sending request")
        raise exceptions.PreconditionError("in 2s, after 1 retries, max_retries: 9 - 412")

    faulty(monkeypatch, put)
    second = storage.write_if(path, b"two", first)
    assert storage.read_version(path) == (b"two", second)


def test_a_write_that_did_not_take_place_is_an_error_in_one_line(monkeypatch, path):
    first = storage.write_if(path, b"one", None)

    def put(real, location, content, mode=None):
        raise exceptions.GenericError("GET http://me:hunter2222@host failed\n\nDebug source:\nx")

    faulty(monkeypatch, put)
    with pytest.raises(RunError, match=path) as raised:
        storage.write_if(path, b"one", first)
    assert "hunter2222" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_lost_answer_to_the_probe_is_no_reason_to_mistrust(monkeypatch, path):
    lost = []

    def put(real, location, content, mode=None):
        found = real(location, content, mode)
        if not lost:
            lost.append(location)
            raise exceptions.AlreadyExistsError("after 1 retries - 412")
        return found

    faulty(monkeypatch, put)
    assert storage.write_if(path, b"one", None) and lost


def test_an_object_that_is_gone_is_changed(path):
    with pytest.raises((storage.ChangedError, RunError)):
        storage.write_if(path, b"one", json.dumps({"e_tag": '"77"'}))
    assert storage.read_version(path) is None


def test_each_bucket_is_probed_once(monkeypatch, path):
    storage.write_if(path, b"one", None)
    probed = []
    monkeypatch.setattr(_conditional, "_refuses", lambda probe: probed.append(probe))
    storage.write_if(path + "2", b"one", None)
    assert not probed
