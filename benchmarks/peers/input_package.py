"""This package's input: the batches that `train` takes, in memory or streamed, in a session."""

from __future__ import annotations

import common
import input_meter

from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Dataset, read_manifest


def main() -> None:
    """Measures and prints a line of JSON."""
    parser = input_meter.arguments()
    parser.add_argument("--cache_mb", type=int, default=1024, help="0 streams from the disk")
    parser.add_argument("--floats", action="store_true", help="as float32 from 0 to 1")
    given = parser.parse_args()
    folder = str(common.WORK / "mnist")
    dataset = Dataset(folder, read_manifest(folder))
    images = min(given.images, dataset.manifest.num_examples("train"))
    with tf.Graph().as_default(), v1.Session() as session:
        batches = inputs.train_batches(
            dataset,
            start_step=0,
            batch_size=given.batch,
            seed=0,
            cache_bytes=given.cache_mb * 2**20,
            shuffle_buffer=TrainConfig().shuffle_buffer,
        )
        iterator = v1.data.make_initializable_iterator(batches)
        features, labels = iterator.get_next()
        if given.floats:
            features = {
                **features,
                inputs.IMAGES: tf.cast(features[inputs.IMAGES], tf.float32) / 255,
            }
        session.run(iterator.initializer)
        # Nothing is fetched: the step of a training takes its batch within the session, too.
        step = session.make_callable(tf.group(features, labels))

        def epoch() -> int:
            for _ in range(images // given.batch):
                step()
            return images // given.batch * given.batch

        input_meter.measure(epoch, given.seconds)


if __name__ == "__main__":
    main()
