"""Reads the curves of a run from TensorBoard's events and from its evaluations."""

from __future__ import annotations

import os

from google.protobuf import message
from tensorboard.backend.event_processing import event_accumulator

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import records
from mnist_estimator.reporting import plots
from mnist_estimator.runs.evaluations import STEP, Evaluations
from mnist_estimator.runtime import files


def read(model_dir: str) -> plots.Curves:
    """Reads the curves of the run in a model_dir, as far as its files can be read."""
    history = Evaluations(model_dir).history
    steps = [entry[STEP] for entry in history]
    evaluation = {name: (steps, [entry[name] for entry in history]) for name in plots.METRICS}
    training, problem = _training_curves(model_dir)
    return plots.Curves(training, evaluation if history else {}, problem)


def _training_curves(model_dir: str) -> tuple[dict[str, plots.Points], str]:
    """Reads TensorBoard's events as TensorBoard does; also returns what is wrong with them."""
    paths = _event_files(model_dir)
    try:
        for path in paths:
            files.check_plain(path)  # TensorBoard's reader would wait for a FIFO.
    except InputError as error:
        return {}, f"The events in {model_dir} cannot be read ({error})."
    problem = _damaged_events(paths)
    sizes = {event_accumulator.SCALARS: 0, event_accumulator.IMAGES: 1}  # 0 means all.
    events = event_accumulator.EventAccumulator(model_dir, size_guidance=sizes)
    try:
        events.Reload()
        found = set(events.Tags()[event_accumulator.SCALARS]) & set(plots.METRICS)
        points = {name: events.Scalars(name) for name in found}
    except (tf.errors.OpError, OSError, ValueError, message.DecodeError) as error:
        return {}, f"The events in {model_dir} cannot be read ({' '.join(str(error).split())})."
    curves = {
        name: ([event.step for event in listed], [event.value for event in listed])
        for name, listed in points.items()
    }
    if not curves and not problem:
        problem = f"No training curve: {model_dir} holds no events of one."
    return curves, problem


def _event_files(model_dir: str) -> list[str]:
    names = sorted(tf.io.gfile.listdir(model_dir))
    return [os.path.join(model_dir, name) for name in names if "tfevents" in name]


def _damaged_events(paths: list[str]) -> str:
    """Names the first events file that is damaged: TensorBoard's reader ends there silently."""
    for path in paths:
        try:
            for _ in records.read_records(path):
                pass
        except InputError as error:
            return f"The training curve ends early: {error}."
    return ""
