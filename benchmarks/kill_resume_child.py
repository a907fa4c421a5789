"""The training program that kill_resume.py kills: the real one, with a log of what it consumes.

  python benchmarks/kill_resume_child.py --log=FILE [train flags]
  python benchmarks/kill_resume_child.py --log=FILE --ordinary [train flags]

The log has a line for each step, with its number and the ids of its examples, and a line for each
phase that begins: starting, saving, training, evaluating, exporting. With --ordinary, Estimator's
own train_and_evaluate trains the same network on an ordinary input_fn (shuffle, repeat, batch).
"""

from __future__ import annotations

import os

from absl import flags

from mnist_estimator import config
from mnist_estimator.cluster import roles
from mnist_estimator.data.manifest import Dataset, read_manifest
from mnist_estimator.runtime import program

_LOG = flags.DEFINE_string("log", None, "File to append to.", required=True)
_ORDINARY = flags.DEFINE_bool("ordinary", False, "Train with an ordinary input_fn.")
_EXAMPLES = "examples"


def main(argv: list[str]) -> None:
    """Trains."""
    del argv
    log = Log(_LOG.value)
    log("starting")
    settings = config.train_config()
    watch(log)
    if _ORDINARY.value:
        train_ordinarily(settings)
    else:
        from mnist_estimator.training import training

        training.train(settings, roles.Task())


class Log:
    """Writes lines that are in the file at once, even if the process is killed next."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


def watch(log: Log) -> None:
    """Makes the model_fn, the saver, evaluations and the first hook of training write to it."""
    from mnist_estimator import estimators, model_fn
    from mnist_estimator.compat import estimator, v1
    from mnist_estimator.data import inputs
    from mnist_estimator.scoring import one_graph
    from mnist_estimator.serving import signatures
    from mnist_estimator.training import hooks

    phases = {"train": "training", "eval": "evaluating", "infer": "exporting"}
    build, save, guard = model_fn.model_fn, v1.train.Saver.save, hooks.FiniteGuard
    evaluate = one_graph.OneGraph.evaluate

    # Estimator reads the names of a model_fn's arguments.
    def logged_model_fn(
        features: dict, labels: object, mode: str, params: dict
    ) -> estimator.EstimatorSpec:
        log(phases[mode])
        if mode == estimator.ModeKeys.TRAIN:
            v1.add_to_collection(_EXAMPLES, features[inputs.INDEX])
        return build(features, labels, mode, params)

    def logged_save(*args: object, **options: object) -> str:
        log("saving")
        path = save(*args, **options)
        log("training")
        return path

    def logged_evaluate(*args: object, **options: object) -> dict:
        log("evaluating")
        return evaluate(*args, **options)

    class LogExamples(guard):
        """Before any other hook: what a step consumed is known before its checkpoint is there."""

        def before_run(self, run_context: object) -> v1.train.SessionRunArgs:
            (examples,) = v1.get_collection(_EXAMPLES)
            return v1.train.SessionRunArgs([super().before_run(run_context).fetches, examples])

        def after_run(self, run_context: object, run_values: object) -> None:
            results, examples = run_values.results
            log(f"{run_context.session.run(self._global_step)} {' '.join(map(str, examples))}")
            super().after_run(run_context, run_values._replace(results=results))

    estimators.model_fn = signatures.model_fn = logged_model_fn
    v1.train.Saver.save = logged_save
    one_graph.OneGraph.evaluate = logged_evaluate
    hooks.FiniteGuard = LogExamples


def train_ordinarily(settings: config.TrainConfig) -> None:
    """Trains as the guides to Estimator show."""
    from mnist_estimator import estimators
    from mnist_estimator.compat import estimator, tf
    from mnist_estimator.data import inputs, records
    from mnist_estimator.training import hooks

    manifest = read_manifest(settings.data_dir)
    features = {
        records.IMAGE_KEY: tf.io.FixedLenFeature([], tf.string),
        records.LABEL_KEY: tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(index: tf.Tensor, serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        parsed = tf.io.parse_example(serialized, features)
        pixels = tf.io.decode_raw(parsed[records.IMAGE_KEY], tf.uint8)
        images = tf.reshape(pixels, [-1, *manifest.image_shape])
        return {inputs.IMAGES: images, inputs.INDEX: index}, parsed[records.LABEL_KEY]

    def input_fn() -> tf.data.Dataset:
        files = Dataset(settings.data_dir, manifest).shard_paths("train")
        numbered = tf.data.TFRecordDataset(files).enumerate()
        return (
            numbered.shuffle(settings.shuffle_buffer).repeat().batch(settings.batch_size).map(parse)
        )

    run = estimator.Estimator(
        estimators.model_fn,
        params=settings.model_params(manifest),
        config=estimator.RunConfig(
            settings.model_dir, save_checkpoints_steps=settings.save_checkpoints_steps
        ),
    )
    estimator.train_and_evaluate(
        run,
        estimator.TrainSpec(
            input_fn,
            max_steps=settings.max_steps,
            hooks=[hooks.FiniteGuard(settings.model_dir)],
        ),
        estimator.EvalSpec(
            lambda: inputs.eval_batches(
                Dataset(settings.data_dir, manifest),
                "validation",
                batch_size=settings.eval_batch_size,
            ),
            steps=None,
            start_delay_secs=0,
            throttle_secs=0,
        ),
    )


if __name__ == "__main__":
    config.define_train_flags()
    program.run(main)
