"""MNIST from local files: what is read, in which order, and what is wrong with a file."""

from __future__ import annotations

import gzip
import importlib.resources

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.compat.contrib import mnist

TRAIN, TEST = 12, 5


@pytest.fixture(params=["", ".gz"])
def folder(request, tmp_path):
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        write(tmp_path / f"{part}-images-idx3-ubyte{request.param}", images(part))
        write(tmp_path / f"{part}-labels-idx1-ubyte{request.param}", np.arange(count) % 3)
    return tmp_path


def images(part):
    count, start = (TRAIN, 0) if part == "train" else (TEST, 100)
    return np.arange(count * 6).reshape(count, 3, 2) % 256 + (start > 0)


def write(path, array, magic=None, extra=b"", shape=None):
    magic = magic or {3: 2051, 1: 2049}[array.ndim]
    header = np.array([magic, *(shape or array.shape)], ">u4").tobytes()
    data = header + array.astype(np.uint8).tobytes() + extra
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_three_parts(folder):
    data = mnist.read_data_sets(str(folder), validation_size=4)
    pixels = images("train").reshape(TRAIN, 6).astype(np.float32) / 255
    np.testing.assert_allclose(data.validation.images, pixels[:4], rtol=1e-6)
    np.testing.assert_allclose(data.train.images, pixels[4:], rtol=1e-6)
    np.testing.assert_array_equal(data.train.labels, np.arange(4, TRAIN) % 3)
    test = images("t10k").reshape(TEST, 6) / 255
    np.testing.assert_allclose(data.test.images, test, rtol=1e-6)
    assert [part.num_examples for part in data] == [8, 4, TEST]
    assert (data.train.images.dtype, data.train.labels.dtype) == (np.float32, np.uint8)


def test_as_bytes_and_one_hot(folder):
    data = mnist.read_data_sets(
        str(folder), one_hot=True, dtype=tf.uint8, reshape=False, validation_size=0
    )
    np.testing.assert_array_equal(data.train.images, images("train")[..., None])
    np.testing.assert_array_equal(data.test.labels, np.eye(10)[np.arange(TEST) % 3])
    assert data.validation.num_examples == 0
    with pytest.raises(TypeError, match="int32"):
        mnist.read_data_sets(str(folder), dtype=tf.int32, validation_size=0)


def dataset(count=10, **options):
    pictures = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return mnist.DataSet(pictures, np.arange(count), dtype=tf.uint8, **options)


def test_each_epoch_holds_each_example_once_in_another_order():
    data = dataset(seed=3)
    batches = []
    for _ in range(10):
        pictures, labels = data.next_batch(4)
        assert pictures[:, 0].tolist() == labels.tolist() and len(labels) == 4
        batches += labels.tolist()
    epochs = [batches[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4 and list(range(10)) not in epochs
    assert data.epochs_completed == 3  # Counted when a batch goes beyond the end.
    data.next_batch(1)
    assert data.epochs_completed == 4


def test_in_order():
    data = dataset()
    found = [data.next_batch(4, shuffle=False)[1].tolist() for _ in range(3)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_a_seed_gives_the_order_of_tensorflow_1():
    for _ in range(2):  # What TensorFlow 1.15.0 gives.
        assert dataset(seed=3).next_batch(5)[1].tolist() == [5, 4, 1, 2, 9]


def test_wrong_batches_are_refused():
    for size in (-1, 11):
        with pytest.raises(ValueError, match=f"batch_size is {size}, expected 0 to 10"):
            dataset().next_batch(size)
    for use in (
        lambda: dataset(fake_data=True),
        lambda: dataset().next_batch(1, fake_data=True),
        lambda: mnist.read_data_sets("x", fake_data=True),
    ):
        with pytest.raises(NotImplementedError, match="mnist_estimator.sample"):
            use()


def test_missing_files_are_named(tmp_path, monkeypatch):
    write(tmp_path / "train-images-idx3-ubyte.gz", images("train"))
    with pytest.raises(InputError) as error:
        mnist.read_data_sets(str(tmp_path))
    message = str(error.value)
    assert message.startswith(f"{tmp_path}: missing train-labels-idx1-ubyte[.gz], t10k-images")
    assert "train-images" not in message
    command = f"python -m mnist_estimator.prepare --dataset=mnist --data_dir={tmp_path}"
    assert message.endswith(command)
    with pytest.raises(InputError, match="nothing is downloaded"):
        mnist.maybe_download("none", str(tmp_path), "http://127.0.0.1:9/")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="MNIST-data: missing"):
        mnist.load_dataset("mnist")
    with pytest.raises(ValueError, match="'iris', expected one of"):
        mnist.load_dataset("iris")


def test_the_sample_of_the_package_can_be_read():
    folder = importlib.resources.files("mnist_estimator.sample")
    data = mnist.read_data_sets(str(folder), validation_size=500)
    assert [part.num_examples for part in data] == [3500, 500, 1000]
    assert (data.train.images.shape, data.train.images.max()) == ((3500, 784), 1.0)
    assert np.bincount(data.test.labels).tolist() == [100] * 10


def test_the_sizes_of_the_parts_have_to_fit(folder):
    with pytest.raises(ValueError, match="validation_size is 13, expected 0 to 12"):
        mnist.read_data_sets(str(folder), validation_size=13)
    (path,) = folder.glob("t10k-labels*")
    write(path, np.arange(4))
    with pytest.raises(InputError, match="t10k has 5 images and 4 labels"):
        mnist.read_data_sets(str(folder), validation_size=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"magic": 2049}, "magic number 2049, expected 2051"),
        ({"extra": b"!"}, "found more bytes, expected 72"),
        ({"extra": bytes(1 << 24)}, "found more bytes, expected 72"),
        ({"shape": (13, 3, 2)}, "found the end 6 bytes early"),
        ({"shape": (2**20, 2**10, 2)}, "at most 1073741824 bytes"),
        ({"shape": (2**31, 2**31, 2**31)}, "at most 1073741824 bytes"),
    ],
)
def test_a_wrong_file_is_named(folder, options, message):
    (path,) = folder.glob("train-images*")
    write(path, images("train"), **options)
    with pytest.raises(InputError, match=message) as error:
        mnist.read_data_sets(str(folder), validation_size=0)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("cut", [slice(0, 30), slice(0, -4), slice(0, 1)])
def test_damaged_gzip_data_is_named(tmp_path, cut):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write(path, images("train"))
    path.write_bytes(path.read_bytes()[cut])
    with path.open("rb") as file, pytest.raises(InputError, match="get the file again"):
        mnist.extract_images(file)


def test_single_files(folder):
    (path,) = folder.glob("t10k-labels*")
    with path.open("rb") as file:
        np.testing.assert_array_equal(mnist.extract_labels(file), [0, 1, 2, 0, 1])
    with path.open("rb") as file:
        one_hot = mnist.extract_labels(file, one_hot=True, num_classes=3)
    np.testing.assert_array_equal(one_hot, np.eye(3)[[0, 1, 2, 0, 1]])
    with pytest.raises(InputError, match="label 2, expected 0 to 1"):
        mnist.dense_to_one_hot(np.array([0, 2]), 2)
