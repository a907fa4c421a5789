"""input_fns over prepared records: which examples a step sees, in which order.

Example `i` of a run (`i = step * batch_size + position`) is element `perm(seed, epoch)[i mod n]` of
the training split, with `epoch = i div n`. It is computed from the seed and the global step, never
from the state of an iterator, so a restarted run goes on with exactly the examples that come next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import shard_cache, shard_streams
from mnist_estimator.data.checked_records import (
    checked_path,
    numbered_records,
    read_split,
    taken_path,
)
from mnist_estimator.data.manifest import Dataset, Manifest
from mnist_estimator.data.records import IMAGE_KEY, LABEL_KEY

# Feature keys.
IMAGES = "images"  # uint8 [B,H,W,C]
INDEX = "index"  # int64 [B]: place of the example in its split, counted over the shards in order
BATCH_MEAN = "batch_mean"  # float32 []: the evaluation's examples divided by its batches

_FOREVER = tf.int64.max
# Four rounds, which tf.random.experimental.index_shuffle fixes, leave neighbouring seeds correlated
# (0.82 between epochs of 55,000 examples); with 24 no correlation is measurable.
_SHUFFLE_ROUNDS = 24
_GATHERED_BYTES = 2**20  # Of images at once; more fits no core's cache.

# AutoGraph has nothing to convert here, and leaves temporary files where a process is killed.
_no_autograph = tf.autograph.experimental.do_not_convert


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """The part of a run's examples that one input pipeline feeds; the default is all of it.

    Synchronous training: each batch is cut into `replicas` equal slices, and this pipeline feeds
    the `local_replicas` slices from `first_replica` on, one element a slice.
    Asynchronous training: batch number t belongs to worker t mod `workers`, whenever each of them
    starts, and this pipeline feeds those of `worker`.
    """

    replicas: int = 1
    first_replica: int = 0
    local_replicas: int = 1
    workers: int = 1
    worker: int = 0


def train_input_fn(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    cache_bytes: int,
    shuffle_buffer: int,
    saved_step: Callable[[], int],
    worker: int = 0,
    num_workers: int = 1,
) -> Callable[..., tf.data.Dataset]:
    """Returns the input_fn of a training run; it starts at the step that its session restores.

    Args:
      saved_step: returns the global step of the checkpoint that the session will restore, 0 if
        there is none. It is called where the graph has no global step yet.
      worker, num_workers: this worker's place among those that train asynchronously.
      The others are as in `train_batches`.
    """

    def input_fn(input_context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        share = Share(workers=num_workers, worker=worker)
        if input_context is not None:
            share = _synchronous_share(input_context)
        with tf.name_scope("input"):
            return train_batches(
                dataset,
                start_step=_start_step(saved_step),
                batch_size=batch_size,
                seed=seed,
                cache_bytes=cache_bytes,
                shuffle_buffer=shuffle_buffer,
                share=share,
            )

    return input_fn


@_no_autograph
def train_batches(
    dataset: Dataset,
    *,
    start_step: int | tf.Tensor,
    batch_size: int,
    seed: int,
    cache_bytes: int,
    shuffle_buffer: int,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Batches of the training split from `start_step` on, without end.

    Args:
      cache_bytes: a split whose images take at most this much is held in memory and gathered by
        index, a perfect shuffle; a larger one streams through a buffer of `shuffle_buffer`
        examples.

    Returns:
      A dataset of `({"images": uint8 [b,H,W,C], "index": int64 [b]}, labels int64 [b])` with
      `b = batch_size / share.replicas`.

    Raises:
      InputError: if the split is empty or the replicas cannot share a batch evenly.
    """
    share = share or Share()
    check_split(dataset, "train")
    manifest = dataset.manifest
    examples = manifest.num_examples("train")
    if batch_size % share.replicas:
        raise InputError(
            f"--batch_size: found {batch_size}, expected a multiple of the {share.replicas} "
            "replicas that share each batch"
        )
    start_step = tf.convert_to_tensor(start_step, tf.int64)
    first_step = start_step + (share.worker - start_step) % share.workers
    if examples * _image_bytes(manifest) <= cache_bytes:
        batches = _gathered(dataset, first_step, batch_size, seed, share)
    else:
        batches = _streamed(dataset, first_step, batch_size, seed, shuffle_buffer, share)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(_options())


@_no_autograph
def eval_batches(dataset: Dataset, split: str, *, batch_size: int) -> tf.data.Dataset:
    """Every example of a split once, in order; the last batch may be smaller.

    Returns:
      A dataset of `({"images": uint8 [B,H,W,C], "index": int64 [B], "batch_mean": float32 []},
      labels int64 [B])`.

    Raises:
      InputError: if the split is empty.
    """
    check_split(dataset, split)
    manifest = dataset.manifest
    examples = manifest.num_examples(split)
    batch_mean = examples / -(-examples // batch_size)

    def parse(index: tf.Tensor, serialized: tf.Tensor):
        features, labels = _parse(index, serialized, manifest.image_shape)
        return {**features, BATCH_MEAN: tf.constant(batch_mean, tf.float32)}, labels

    records = read_split(dataset, split)
    numbered = tf.data.Dataset.zip((tf.data.Dataset.range(examples), records))
    batches = numbered.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(_options())


def decode_images(pixels: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """The images of records, string [B], as uint8 [B,H,W,C]."""
    return tf.reshape(tf.io.decode_raw(pixels, tf.uint8), [-1, *image_shape])


def check_split(dataset: Dataset, split: str) -> None:
    """Raises InputError unless the split has examples."""
    if not dataset.manifest.num_examples(split):
        raise InputError(
            f"{dataset.folder}: found no examples in the {split} split; choose another one"
        )


def _start_step(saved_step: Callable[[], int]) -> int | tf.Tensor:
    step = v1.train.get_global_step()
    if step is not None:
        # The iterator is initialized after the checkpoint is restored, also when a session recovers
        # from a lost parameter server. So this step always agrees with the weights.
        return tf.cast(step, tf.int64)
    # Under a synchronous strategy Estimator makes the input before the global step.
    return saved_step()


def _gathered(
    dataset: Dataset, first_step: tf.Tensor, batch_size: int, seed: int, share: Share
) -> tf.data.Dataset:
    manifest = dataset.manifest
    examples = manifest.num_examples("train")
    slice_size = batch_size // share.replicas
    # An operation costs as much as some hundred examples, so one gathers several batches.
    together = max(1, _GATHERED_BYTES // (slice_size * _image_bytes(manifest)))

    def batches(features: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.data.Dataset:
        def gather(number: tf.Tensor):
            turns = number * together + tf.range(together, dtype=tf.int64)
            numbers = _numbers(turns, first_step, batch_size, share)
            index = shuffled_index(tf.reshape(numbers, [-1]), examples, seed)
            images = tf.gather(features[IMAGES], index)
            images = tf.reshape(images, [together, slice_size, *manifest.image_shape])
            return {IMAGES: images, INDEX: tf.reshape(index, numbers.shape)}, tf.reshape(
                tf.gather(labels, index), numbers.shape
            )

        return tf.data.Dataset.range(_FOREVER).map(gather, num_parallel_calls=2).unbatch()

    # One element holds the whole split; the batches made from it share its memory. It is read by
    # the dataset and not captured from Python, which would put it into the graph and event files.
    numbered = numbered_records(
        tf.data.Dataset.range(examples), read_split(dataset, "train", trains=True), examples
    )
    return (
        numbered.batch(examples)
        .map(lambda index, serialized: _parse(index, serialized, manifest.image_shape))
        .flat_map(batches)
    )


def _numbers(turns: tf.Tensor, first_step: tf.Tensor, batch_size: int, share: Share) -> tf.Tensor:
    """The run's numbers of the examples that a pipeline feeds in its turns [t]: int64 [t,slice]."""
    slice_size = batch_size // share.replicas
    replica = turns % share.local_replicas
    steps = first_step + turns // share.local_replicas * share.workers
    first = steps * batch_size + (share.first_replica + replica) * slice_size
    return first[:, tf.newaxis] + tf.range(slice_size, dtype=tf.int64)


def _streamed(
    dataset: Dataset,
    first_step: tf.Tensor,
    batch_size: int,
    seed: int,
    shuffle_buffer: int,
    share: Share,
) -> tf.data.Dataset:
    manifest = dataset.manifest
    examples = manifest.num_examples("train")
    first = first_step * batch_size
    epochs = tf.data.Dataset.range(first // examples, _FOREVER)
    cache = shard_cache.of(dataset)
    stream = cache.stream(trains=True) if cache else None
    serialized = epochs.flat_map(
        lambda epoch: _epoch_records(dataset, stream, epoch, seed, shuffle_buffer)
    )
    batches = serialized.skip(first % examples).batch(batch_size, drop_remainder=True)
    if share.workers > 1:
        batches = batches.shard(share.workers, 0)
    if share.replicas > 1:
        batches = batches.map(lambda *batch: _slices(batch, batch_size, share)).unbatch()
    # One at a time: with deterministic operations TensorFlow runs what follows a shuffle so anyway,
    # and prints an error of its own when it has to change that.
    return batches.map(lambda index, records: _parse(index, records, manifest.image_shape))


def _epoch_records(
    dataset: Dataset,
    stream: shard_streams.Stream | None,
    epoch: tf.Tensor,
    seed: int,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """(index int64 [], serialized string []) of one epoch, shuffled by the seed and the epoch."""
    # Dataset.shuffle mixes in the seed of the graph around it, which here is this function's own.
    v1.set_random_seed(seed)
    files, manifest = dataset.shard_paths("train"), dataset.manifest
    counts = tf.constant([shard.examples for shard in manifest.splits["train"]], tf.int64)
    starts = tf.cumsum(counts, exclusive=True)

    def shard_records(shard: tf.Tensor, needs: tf.Tensor | None = None) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(starts[shard], starts[shard] + counts[shard])
        if stream is None:
            path = checked_path(tf.gather(tf.constant(files), shard), manifest)
        else:
            path = taken_path(stream, dataset, "train", needs)
        return numbered_records(numbers, tf.data.TFRecordDataset(path), counts[shard])

    place = tf.range(len(files), dtype=tf.int64)
    order = shuffled_index(epoch * len(files) + place, len(files), seed)
    shards = tf.data.Dataset.from_tensor_slices(order)
    if stream is not None:
        next_order = shuffled_index((epoch + 1) * len(files) + place, len(files), seed)
        needs = tf.concat([order, next_order], axis=0)
        shards = shards.enumerate().map(lambda place, shard: (shard, needs[place:]))
    shuffle_seed = tf.random.stateless_uniform(
        [], [seed, epoch], minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )
    return shards.flat_map(shard_records).shuffle(
        shuffle_buffer, seed=shuffle_seed, reshuffle_each_iteration=False
    )


def _slices(batch: tuple[tf.Tensor, ...], batch_size: int, share: Share) -> tuple[tf.Tensor, ...]:
    last = share.first_replica + share.local_replicas
    slice_size = batch_size // share.replicas
    return tuple(
        tf.reshape(tensor, [share.replicas, slice_size])[share.first_replica : last]
        for tensor in batch
    )


def shuffled_index(number: tf.Tensor, examples: int, seed: int) -> tf.Tensor:
    """perm(seed, number div examples)[number mod examples], int64 of the same shape [b]."""
    epoch = number // examples
    seeds = [tf.fill(tf.shape(epoch), tf.constant(seed, tf.int64)), epoch, tf.zeros_like(epoch)]
    return tf.raw_ops.RandomIndexShuffle(
        index=number - epoch * examples,
        seed=tf.stack(seeds, axis=1),
        max_index=tf.constant(examples - 1, tf.int64),
        rounds=_SHUFFLE_ROUNDS,
    )


def _parse(index: tf.Tensor, serialized: tf.Tensor, image_shape: tuple[int, int, int]):
    parsed = tf.io.parse_example(
        serialized,
        {
            IMAGE_KEY: tf.io.FixedLenFeature([], tf.string),
            LABEL_KEY: tf.io.FixedLenFeature([], tf.int64),
        },
    )
    images = decode_images(parsed[IMAGE_KEY], image_shape)
    return {IMAGES: images, INDEX: index}, parsed[LABEL_KEY]


def _image_bytes(manifest: Manifest) -> int:
    height, width, channels = manifest.image_shape
    return height * width * channels


def _synchronous_share(context: tf.distribute.InputContext) -> Share:
    local = context.num_replicas_in_sync // context.num_input_pipelines
    return Share(
        replicas=context.num_replicas_in_sync,
        first_replica=context.input_pipeline_id * local,
        local_replicas=local,
    )


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # The share above already says who reads what; sharding once more would drop examples.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # The autotuner's thread can miss that it is to end, and then sleeps on while a session closes:
    # 35 to 105 s in 5 of 11 runs of a minute on TensorFlow 2.21.
    options.autotune.enabled = False
    return options
