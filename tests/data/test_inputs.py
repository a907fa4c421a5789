"""The order of examples: a pure function of the seed and the step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from support.datasets import TEST, TRAIN, VALIDATION, record_header

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import checked_records, inputs, records, shard_cache
from mnist_estimator.data.manifest import Dataset, read_manifest
from mnist_estimator.runtime import files

BATCH = 16
IN_MEMORY, STREAMING = 2**30, 0
both = pytest.mark.parametrize("cache_bytes", [IN_MEMORY, STREAMING], ids=["memory", "stream"])


def batches(
    data_dir, steps, *, start_step=0, seed=3, cache_bytes=IN_MEMORY, share=None, batch=BATCH
):
    dataset = inputs.train_batches(
        Dataset(data_dir, read_manifest(data_dir)),
        start_step=start_step,
        batch_size=batch,
        seed=seed,
        cache_bytes=cache_bytes,
        shuffle_buffer=20,
        share=share,
    )
    return list(dataset.take(steps).as_numpy_iterator())


def indices(*args, **options):
    return [features["index"].tolist() for features, _ in batches(*args, **options)]


def in_order(data_dir, split="train"):
    """(images, labels) of a split, read the plain way."""
    manifest = read_manifest(data_dir)
    examples = [
        tf.train.Example.FromString(record)
        for path in Dataset(data_dir, manifest).shard_paths(split)
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator()
    ]
    images = [e.features.feature["image_raw"].bytes_list.value[0] for e in examples]
    labels = [e.features.feature["label"].int64_list.value[0] for e in examples]
    return [np.frombuffer(i, np.uint8).reshape(manifest.image_shape) for i in images], labels


@both
def test_every_epoch_has_every_example_once(make_dataset, cache_bytes):
    data_dir = make_dataset()
    drawn = sum(indices(data_dir, 3 * TRAIN // BATCH + 1, cache_bytes=cache_bytes), [])
    epochs = [drawn[n * TRAIN : (n + 1) * TRAIN] for n in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(TRAIN))] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


@both
@pytest.mark.parametrize("start_step", [1, 4, 5, 13])
def test_any_step_can_be_entered(make_dataset, cache_bytes, start_step):
    # 4 steps end inside the first epoch, step 4 spans two epochs, 13 starts in the third.
    data_dir = make_dataset()
    whole = indices(data_dir, start_step + 6, cache_bytes=cache_bytes)
    entered = indices(data_dir, 6, start_step=start_step, cache_bytes=cache_bytes)
    assert entered == whole[start_step:]


@both
@pytest.mark.parametrize("limit", [None, 2], ids=["room for all", "room for two"])
def test_a_store_gives_the_batches_of_the_disk(make_dataset, tmp_path, cache_bytes, limit):
    data_dir = make_dataset(shards=5)
    with files.memory_folder() as store:
        for path in Path(data_dir).iterdir():
            tf.io.gfile.copy(str(path), f"{store}/{path.name}")
        dataset = Dataset(store, read_manifest(store))
        size = max(shard.bytes for shard in dataset.manifest.splits["train"])
        limit = limit and limit * size
        with shard_cache.opened(dataset, folder=str(tmp_path / "cache"), limit=limit):
            options = {"start_step": 3, "cache_bytes": cache_bytes}
            found, expected = batches(store, 9, **options), batches(data_dir, 9, **options)
        for (features, labels), (others, other_labels) in zip(found, expected, strict=True):
            assert features["index"].tolist() == others["index"].tolist()
            np.testing.assert_array_equal(features["images"], others["images"])
            assert labels.tolist() == other_labels.tolist()
    copies = sum(path.stat().st_size for path in tmp_path.glob("cache/shards/*.tfrecord"))
    whole = dataset.manifest.num_bytes("train")
    assert copies == whole if limit is None else copies <= limit


@pytest.mark.parametrize("together", [1, 3])
def test_batches_are_the_same_however_many_are_gathered_at_once(
    make_dataset, monkeypatch, together
):
    data_dir = make_dataset()
    share = inputs.Share(replicas=4, first_replica=2, local_replicas=2)
    whole = indices(data_dir, 11, start_step=2), indices(data_dir, 11, share=share)
    slice_bytes = BATCH * np.prod(read_manifest(data_dir).image_shape)
    monkeypatch.setattr(inputs, "_GATHERED_BYTES", together * slice_bytes)
    assert indices(data_dir, 11, start_step=2) == whole[0]
    monkeypatch.setattr(inputs, "_GATHERED_BYTES", together * slice_bytes // 4)
    assert indices(data_dir, 11, share=share) == whole[1]


@both
def test_images_and_labels_are_those_of_the_index(make_dataset, cache_bytes):
    data_dir = make_dataset()
    images, labels = in_order(data_dir)
    for features, batch_labels in batches(data_dir, 5, cache_bytes=cache_bytes):
        assert features["images"].dtype == np.uint8
        np.testing.assert_array_equal(features["images"], [images[i] for i in features["index"]])
        np.testing.assert_array_equal(batch_labels, [labels[i] for i in features["index"]])


@both
def test_the_seed_decides_the_order(make_dataset, cache_bytes):
    data_dir = make_dataset()
    first, again, other = (
        indices(data_dir, 4, seed=seed, cache_bytes=cache_bytes) for seed in (3, 3, 4)
    )
    assert first == again != other


@both
def test_the_program_around_does_not_change_the_order(make_dataset, cache_bytes):
    data_dir = make_dataset()
    tf.random.set_seed(4)
    before = indices(data_dir, 4, cache_bytes=cache_bytes)
    tf.random.set_seed(5)
    assert indices(data_dir, 4, cache_bytes=cache_bytes) == before


def test_the_order_in_memory_is_the_same_on_every_tensorflow(make_dataset):
    # A change here changes what every run started before would consume next.
    assert indices(make_dataset(), 1, seed=7)[0][:6] == [30, 33, 0, 61, 41, 18]


@both
@pytest.mark.parametrize("replicas", [2, 4])
def test_synchronous_replicas_share_each_batch(make_dataset, cache_bytes, replicas):
    data_dir = make_dataset()
    whole = indices(data_dir, 6, start_step=2, cache_bytes=cache_bytes)
    parts = [
        indices(
            data_dir,
            6,
            start_step=2,
            cache_bytes=cache_bytes,
            share=inputs.Share(replicas=replicas, first_replica=replica),
        )
        for replica in range(replicas)
    ]
    assert [sum((part[step] for part in parts), []) for step in range(6)] == whole


@both
def test_replicas_of_one_pipeline_take_their_slices_in_turn(make_dataset, cache_bytes):
    data_dir = make_dataset()
    whole = indices(data_dir, 3, cache_bytes=cache_bytes)
    share = inputs.Share(replicas=4, first_replica=2, local_replicas=2)
    turns = indices(data_dir, 6, cache_bytes=cache_bytes, share=share)
    assert [turns[2 * s] + turns[2 * s + 1] for s in range(3)] == [b[BATCH // 2 :] for b in whole]


@both
def test_asynchronous_workers_never_share_a_batch(make_dataset, cache_bytes):
    data_dir = make_dataset()
    whole = indices(data_dir, 9, cache_bytes=cache_bytes)
    # Each starts when the others are somewhere else already.
    for worker, start_step, steps in [(0, 0, [0, 3, 6]), (1, 2, [4, 7]), (2, 5, [5, 8])]:
        share = inputs.Share(workers=3, worker=worker)
        own = indices(
            data_dir, len(steps), start_step=start_step, cache_bytes=cache_bytes, share=share
        )
        assert own == [whole[step] for step in steps]


def test_a_batch_may_be_larger_than_the_training_set(make_dataset):
    data_dir = make_dataset(train=5, validation=3, test=2)
    for cache_bytes in (IN_MEMORY, STREAMING):
        (batch,) = indices(data_dir, 1, batch=12, cache_bytes=cache_bytes)
        assert sorted(batch[:5]) == sorted(batch[5:10]) == list(range(5))


def test_streaming_mixes_beyond_the_order_of_the_shards(make_dataset):
    data_dir = make_dataset()
    drawn = np.array(sum(indices(data_dir, 4, cache_bytes=STREAMING), []))
    assert np.abs(np.diff(drawn)).mean() > 5


def test_replicas_that_cannot_share_a_batch_are_refused(make_dataset):
    with pytest.raises(InputError, match="--batch_size: found 16, expected a multiple of the 3"):
        batches(make_dataset(), 1, share=inputs.Share(replicas=3))


def test_the_data_stays_out_of_the_graph(make_dataset):
    data_dir = make_dataset()
    image = in_order(data_dir)[0][0].tobytes()
    with tf.Graph().as_default() as graph:
        input_fn = inputs.train_input_fn(
            Dataset(data_dir, read_manifest(data_dir)),
            batch_size=BATCH,
            seed=0,
            cache_bytes=IN_MEMORY,
            shuffle_buffer=1,
            saved_step=lambda: 0,
        )
        input_fn()
        assert image not in graph.as_graph_def().SerializeToString()


@pytest.mark.parametrize(
    ("split", "examples"), [("train", TRAIN), ("validation", VALIDATION), ("test", TEST)]
)
def test_evaluation_reads_every_example_once_in_order(make_dataset, split, examples):
    data_dir = make_dataset()
    manifest = read_manifest(data_dir)
    read = list(
        inputs.eval_batches(Dataset(data_dir, manifest), split, batch_size=8).as_numpy_iterator()
    )
    images, labels = in_order(data_dir, split)
    assert len(labels) == examples
    np.testing.assert_array_equal(np.concatenate([f["images"] for f, _ in read]), images)
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in read]), labels)
    np.testing.assert_array_equal(np.concatenate([f["index"] for f, _ in read]), range(examples))
    assert read[0][0]["batch_mean"] == pytest.approx(examples / len(read))


def test_an_empty_split_is_refused(make_dataset):
    data_dir = make_dataset(test=0)
    with pytest.raises(InputError, match="no examples in the test split"):
        inputs.eval_batches(Dataset(data_dir, read_manifest(data_dir)), "test", batch_size=8)


@both
@pytest.mark.parametrize("records_left", [0, 1, TRAIN - 1])
@pytest.mark.parametrize("trailing", [0, 5], ids=["whole", "and a piece"])
def test_records_that_are_missing_are_an_error(make_dataset, cache_bytes, records_left, trailing):
    data_dir = make_dataset(shards=1)
    path = f"{data_dir}/train-00000-of-00001.tfrecord"
    with open(path, "rb") as file:
        data = file.read()
    # TensorFlow takes less than a record's header for the end of the file.
    end = records_left * (16 + int.from_bytes(data[:8], "little")) + trailing
    with open(path, "wb") as file:
        file.write(data[:end])
    left = "1 element" if records_left == 1 else f"{records_left} elements"
    found = rf"expected to contain {TRAIN} elements but contained only {left}\."
    with pytest.raises(tf.errors.FailedPreconditionError, match=found):
        batches(data_dir, TRAIN // BATCH + 1, cache_bytes=cache_bytes)


def with_length(data_dir: str, split: str, length: int, scratch: Path) -> Path:
    """Gives the second record of a split's second shard a length, and the checksum of it."""
    path = sorted(Path(data_dir).glob(f"{split}-*"))[1]
    data = path.read_bytes()
    second = 16 + int.from_bytes(data[:8], "little")
    path.write_bytes(data[:second] + record_header(length, scratch) + data[second + 12 :])
    return path


@both
@pytest.mark.parametrize("length", [2**40, 2**64 - 1])
def test_a_length_that_no_memory_can_hold_is_an_error(make_dataset, tmp_path, cache_bytes, length):
    data_dir = make_dataset()
    with_length(data_dir, "train", length, tmp_path / "scratch")
    expected = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)
    with pytest.raises(expected, match="record 1 is corrupt .it is longer than the file"):
        batches(data_dir, TRAIN // BATCH + 1, cache_bytes=cache_bytes)


def test_an_evaluation_reads_no_length_that_no_memory_can_hold(make_dataset, tmp_path):
    data_dir = make_dataset()
    with_length(data_dir, "test", 2**40, tmp_path / "scratch")
    with pytest.raises(tf.errors.DataLossError, match="record 1 is corrupt"):
        inputs.eval_batches(Dataset(data_dir, read_manifest(data_dir)), "test", batch_size=8)


@both
def test_a_shard_that_is_no_file_is_not_waited_for(make_dataset, cache_bytes):
    data_dir = make_dataset()
    path = sorted(Path(data_dir).glob("train-*"))[1]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((InputError, tf.errors.InvalidArgumentError), match="not a plain file"):
        batches(data_dir, TRAIN // BATCH + 1, cache_bytes=cache_bytes)


@both
def test_lengths_are_looked_at_once_in_a_process(make_dataset, monkeypatch, cache_bytes):
    data_dir, looked = make_dataset(), []
    find = records.find_overlong

    def spy(path, most=None):
        looked.append(path)
        return find(path, most)

    monkeypatch.setattr(checked_records, "find_overlong", spy)
    for _ in range(2):
        batches(data_dir, 3 * TRAIN // BATCH, cache_bytes=cache_bytes)
    assert sorted(looked) == sorted(Dataset(data_dir, read_manifest(data_dir)).shard_paths("train"))


@both
def test_nothing_is_left_in_the_temporary_folder(make_dataset, monkeypatch, tmp_path, cache_bytes):
    """AutoGraph's files are removed by an ending process only, and not by one that is killed."""
    data_dir, temporary = make_dataset(), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    batches(data_dir, 2, cache_bytes=cache_bytes)
    inputs.eval_batches(Dataset(data_dir, read_manifest(data_dir)), "test", batch_size=8)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("cache_bytes", [IN_MEMORY, STREAMING], ids=["memory", "stream"])
def test_without_a_global_step_the_saved_step_is_where_training_starts(make_dataset, cache_bytes):
    data_dir = make_dataset()
    input_fn = inputs.train_input_fn(
        Dataset(data_dir, read_manifest(data_dir)),
        batch_size=BATCH,
        seed=3,
        cache_bytes=cache_bytes,
        shuffle_buffer=20,
        saved_step=lambda: 5,
    )
    with tf.Graph().as_default(), v1.Session() as session:
        features, _ = v1.data.make_one_shot_iterator(input_fn()).get_next()
        index = session.run(features["index"]).tolist()
    assert index == indices(data_dir, 1, start_step=5, cache_bytes=cache_bytes)[0]
