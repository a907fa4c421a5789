"""What a report shows of runs and their evaluations, panel by panel, as the HTML of one page."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mnist_estimator import __version__, config
from mnist_estimator.compat import tf
from mnist_estimator.data import records, splits
from mnist_estimator.data.manifest import Manifest, shard_paths
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.pictures import preparation
from mnist_estimator.reporting import curves, page, plots
from mnist_estimator.runs import open_run
from mnist_estimator.runtime import files, json_files, progress
from mnist_estimator.scoring import summaries
from mnist_estimator.scoring.scores import Scores, visible

_TABLE_CLASSES = 30  # A confusion matrix of more is shown as a picture.
_SHOWN_CLASSES = 100
_SHOWN_UNITS = 64
_GRID = 25
_TOO_MANY = "Left out: the data has more classes than can be looked through."


@dataclasses.dataclass(frozen=True)
class Result:
    """A run, and what its checkpoint made of the split; `scores` is None with too many classes."""

    name: str
    run: open_run.OpenRun
    data_dir: str
    manifest: Manifest
    split: str
    metrics: dict[str, Any]
    scores: Scores | None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.class_names


def document(results: Sequence[Result], title: str, grid_class: int) -> str:
    """The whole page, HTML; an empty title is made of the runs' names."""
    names = _short_names([result.name for result in results])
    read = [curves.read(result.run.config.model_dir) for result in results]

    def section(heading: str, columns: Iterator[str] | Sequence[str], intro: str = "") -> str:
        return page.section(heading, names, list(columns), intro)

    sections = [
        section("Result", map(_tiles, results)),
        plots.comparison(names, read),
        section("Run", _facts(results), _DIFFERING if len(results) > 1 else ""),
        section("Curves", [plots.run_charts(f"run{n}", c) for n, c in enumerate(read)]),
        section("Classes", map(_classes, results)),
        section("Calibration", [_calibration(f"run{n}", r) for n, r in enumerate(results)]),
        section("Worst mistakes", map(_mistakes, results), _MISTAKES),
        section("First layer", map(_first_layer, results), _FIRST_LAYER),
        _data(names, results, grid_class),
    ]
    lead = f"{_lead(results)} Made by mnist_estimator {__version__}."
    default = f"{results[0].manifest.dataset}: {' and '.join(names)}"
    return page.document(title or default, lead, sections, columns=len(results))


_DIFFERING = "What differs between the runs is marked."
_MISTAKES = (
    "True class → prediction, with the probability given to each; the example's place in its "
    "split. The least probability of the true class comes first."
)
_FIRST_LAYER = (
    "The weights that see the image: orange is positive, blue negative, white 0. Each unit has a "
    "scale of its own."
)


def _short_names(model_dirs: Sequence[str]) -> list[str]:
    """The last part of each path, if that tells the runs apart."""
    last = [os.path.basename(name.rstrip("/")) for name in model_dirs]
    return last if all(last) and len(set(last)) == len(last) else list(model_dirs)


def _lead(results: Sequence[Result]) -> str:
    lines = []
    for result in results:
        manifest = result.manifest
        line = (
            f"Evaluated on all {manifest.num_examples(result.split):,} {result.split} examples of "
            f"{manifest.dataset}."
        )
        if result.split != splits.TEST and not manifest.num_examples(splits.TEST):
            line += " The data has no test split."
        if line not in lines:
            lines.append(line)
    return " ".join(lines)


def _tiles(result: Result) -> str:
    metrics, scores = result.metrics, result.scores
    values = {"Accuracy": f"{metrics['accuracy']:.2%}", "Loss": f"{metrics['loss']:.4f}"}
    if scores:
        values["Macro F1"] = f"{scores.per_class()['f1'].mean():.4f}"
        values["Calibration error"] = f"{scores.calibration_error:.4f}"
        values["Mistakes"] = f"{scores.examples - int(np.trace(scores.confusion)):,}"
    values["Step"] = f"{metrics['global_step']:,}"
    return page.tiles(values)


def _facts(results: Sequence[Result]) -> list[str]:
    listed = [_facts_of(result) for result in results]
    every = {name for values in listed for name in values}
    differing = {name for name in every if len({values.get(name) for values in listed}) > 1}
    return [page.facts(values, differing) for values in listed]


def _facts_of(result: Result) -> dict[str, str]:
    """What run.json and metrics.json say of a run."""
    settings, record = result.run.config, result.run.record
    height, width, channels = result.manifest.image_shape
    counts = {split: f"{result.manifest.num_examples(split):,} {split}" for split in splits.SPLITS}
    versions = record.get("versions", {})
    kind = result.run.trained_on.pictures
    return {
        "Model": settings.model + f" ({settings.hidden_units})" * (settings.model == "dnn"),
        "Optimizer": settings.optimizer,
        "Learning rate": f"{settings.learning_rate:g}, {settings.schedule}",
        "Batch size": f"{settings.batch_size:,}",
        "Steps": f"{settings.max_steps:,}",
        "Seed": str(settings.seed),
        "Computed in": str(record.get("compute_dtype", "not recorded")),
        "Other flags": _other_flags(record["flags"]),
        "Data": f"{result.manifest.dataset}, {height}x{width}x{channels}, "
        f"{result.manifest.num_classes:,} classes",
        "Pictures": f"{preparation.DESCRIPTIONS[kind]} ({kind})",
        "Examples": ", ".join(counts.values()),
        "Validation": result.manifest.split_rule,
        "Data folder": result.data_dir,
        "Checkpoint": result.run.checkpoint,
        "Result of training": _recorded(result.run.config.model_dir),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


# Those that stand in lines of their own, or say where a process ran and not what was learned.
_TOLD = {"model", "hidden_units", "optimizer", "learning_rate", "schedule", "batch_size"}
_TOLD |= {"max_steps", "seed", "precision", "model_dir", "data_dir", "dataset", "validation_split"}
_TOLD |= {"job_name", "task_index"}


def _other_flags(given: dict[str, Any]) -> str:
    """The flags that a run was given unlike their defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(config.TrainConfig)}
    changed = [
        f"--{name}={value}"
        for name, value in given.items()
        if name not in _TOLD and value != defaults[name]
    ]
    return " ".join(changed) or "all at their defaults"


def _recorded(model_dir: str) -> str:
    path = os.path.join(model_dir, open_run.METRICS_FILE)
    data = files.read_bytes(path, json_files.MOST_BYTES)
    if data is None:
        return "not written"
    try:
        found = json_files.expect(json_files.parse(data, finite=False), dict, "the whole")
        accuracy, loss = (json_files.number(found.get(name), name) for name in ("accuracy", "loss"))
        step = json_files.whole(found.get("global_step"), "global_step", 0, 2**63 - 1)
    except ValueError as error:
        return f"damaged ({error})"
    return f"test accuracy {accuracy:.4f}, loss {loss:.4f} at step {step:,}"


def _classes(result: Result) -> str:
    scores = result.scores
    if scores is None:
        return page.note(_TOO_MANY)
    per_class = scores.per_class()
    rows = [
        (name, *(f"{per_class[rate][number]:.4f}" for rate in ("precision", "recall", "f1")), count)
        for number, (name, count) in enumerate(
            zip(result.classes, (f"{n:,}" for n in per_class["examples"]), strict=True)
        )
    ]
    header = ("class", "precision", "recall", "F1", "examples")
    table = page.table("Each class", header, rows, css="rates")
    if scores.num_classes <= _TABLE_CLASSES:
        return page.pair(page.confusion(scores.confusion.tolist(), result.classes), table)
    return page.pair(_confusion_picture(scores, result.classes), table)


def _confusion_picture(scores: Scores, classes: Sequence[str]) -> str:
    wrong = scores.confusion * (1 - np.eye(scores.num_classes, dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [divmod(int(place), scores.num_classes) for place in order]
    rows = [(f"{classes[a]} → {classes[b]}", f"{wrong[a, b]:,}") for a, b in pairs if wrong[a, b]]
    src = _png(plots.confusion_pixels(scores.confusion))
    return page.confusion_map(
        page.Picture(src, "Confusion matrix: rows are the true classes, columns the predictions")
    ) + page.table("Most frequent confusions", ("true → predicted", "examples"), rows, css="rates")


def _calibration(name: str, result: Result) -> str:
    if result.scores is None:
        return page.note(_TOO_MANY)
    bins = list(result.scores.calibration())
    return plots.calibration(name, bins, result.scores.calibration_error)


def _mistakes(result: Result) -> str:
    if result.scores is None:
        return page.note(_TOO_MANY)
    if not result.scores.mistakes:
        return page.note(f"None: all {result.split} examples are classified correctly.")
    shown = []
    for mistake in result.scores.mistakes:
        label, prediction = (result.classes[n] for n in (mistake.label, mistake.prediction))
        shown.append(
            page.Picture(
                _png(mistake.image),
                f"{result.split} example {mistake.index}: {label}, taken for {prediction}",
                (
                    f"{label} → {prediction}",
                    f"{mistake.label_probability:.3f} → {mistake.probability:.3f}",
                    f"#{mistake.index}",
                ),
            )
        )
    return page.pictures(shown, "Worst mistakes", size="large")


def _first_layer(result: Result) -> str:
    weights = summaries.trained_weights(result.run.checkpoint)
    units = summaries.first_layer(weights, result.manifest.image_shape)
    if units is None:
        return page.note("The network has no layer that could be shown as images.")
    # Softmax regression has a unit a class.
    named = result.run.config.model == "softmax"
    shown = [
        page.Picture(
            _png(plots.signed_pixels(unit.mean(axis=-1))),
            f"weights of {result.classes[number] if named else f'unit {number}'}",
            (result.classes[number],) if named else (),
        )
        for number, unit in enumerate(units[:_SHOWN_UNITS])
    ]
    left_out = len(units) - len(shown)
    more = page.note(f"The first {len(shown)} of {len(units):,} units.") if left_out else ""
    size = "medium" if units.shape[1] > 12 else "small"
    return page.pictures(shown, "First layer", size=size) + more


def _data(names: Sequence[str], results: Sequence[Result], grid_class: int) -> str:
    """Examples of the split; once, if all runs were evaluated on the same."""
    same = len({(result.manifest.digest, result.split) for result in results}) == 1
    shown = results[:1] if same else results
    html = [_examples(result, grid_class) for result in shown]
    return page.section("Data", names[: len(html)], html)


def _examples(result: Result, grid_class: int) -> str:
    classes = result.classes[:_SHOWN_CLASSES]
    firsts, grid = _find_examples(result, len(classes), grid_class)
    ones = [
        page.Picture(_png(image), f"{result.split} example {index}: {classes[n]}", (classes[n],))
        for n, (index, image) in sorted(firsts.items())
    ]
    many = [page.Picture(_png(image), f"{result.split} example {index}") for index, image in grid]
    left = page.subheading(f"One of each class, {result.split} split")
    left += page.pictures(ones, "One of each class")
    if len(ones) < result.manifest.num_classes:
        left += page.note(f"Shown are {len(ones)} of {result.manifest.num_classes:,} classes.")
    name = result.classes[grid_class]
    right = page.subheading(f"{len(many)} of class {name}" if many else f"Class {name}")
    if many:
        right += page.pictures(many, f"Examples of class {name}", size="five")
    else:
        right += page.note(f"The {result.split} split has no example of it.")
    return page.pair(left, right)


def _find_examples(
    result: Result, num_classes: int, grid_class: int
) -> tuple[dict[int, tuple[int, np.ndarray]], list[tuple[int, np.ndarray]]]:
    """The first example of each of the first classes, and the first 25 of one class.

    An example is its place in the split and its image uint8 [H,W,C].
    """
    firsts, grid = {}, []
    with progress.ProgressLine() as report:
        for index, (label, image) in enumerate(_read_examples(result)):
            report(f"looking for examples of each class: {index:,} read")
            if label < num_classes:
                firsts.setdefault(label, (index, image))
            if label == grid_class and len(grid) < _GRID:
                grid.append((index, image))
            if len(firsts) == num_classes and len(grid) == _GRID:
                break
    return firsts, grid


def _read_examples(result: Result) -> Iterator[tuple[int, np.ndarray]]:
    shape = result.manifest.image_shape
    for path in shard_paths(result.data_dir, result.manifest, result.split):
        for record in records.read_records(path):
            features = tf.train.Example.FromString(record).features.feature
            pixels = features[records.IMAGE_KEY].bytes_list.value[0]
            image = np.frombuffer(pixels, np.uint8).reshape(shape)
            label = features[records.LABEL_KEY].int64_list.value[0]
            yield label, visible(image, full_scale(result.manifest.brightest_pixel))


def _png(image: np.ndarray) -> str:
    """An image uint8 [H,W,C] as a data URI; of channels other than 1, 3 or 4 the first is shown."""
    shown = image if image.shape[-1] in (1, 3, 4) else image[..., :1]
    encoded = tf.io.encode_png(np.ascontiguousarray(shown)).numpy()
    return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"
