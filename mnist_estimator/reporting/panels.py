"""Makes the page of a report: a panel for each part, with a column for each run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mnist_estimator import __version__, config
from mnist_estimator.data import splits
from mnist_estimator.pictures import preparation
from mnist_estimator.reporting import curves, examples, page, plots
from mnist_estimator.reporting.pngs import data_uri
from mnist_estimator.reporting.results import Result
from mnist_estimator.runs import checkpoints, layout, starts
from mnist_estimator.runtime import files, json_files
from mnist_estimator.scoring import summaries
from mnist_estimator.scoring.scores import CLASS_METRICS, OVERALL_METRICS, Mistake, Scores

_TABLE_CLASSES = 30  # A confusion matrix of more classes is shown as a picture.
_SHOWN_UNITS = 64
_SHOWN_CONFUSIONS = 10
_TOO_MANY = "Left out: the data has more classes than can be looked through."


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
        examples.section(names, results, grid_class),
    ]
    lead = f"{_lead(results)} {layout.REPORT_MARK}{__version__}."
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
        for metric in OVERALL_METRICS:
            values[metric.label.capitalize()] = f"{metric.compute(scores):.4f}"
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
    return _training_facts(result) | _data_facts(result) | _other_facts(result)


def _training_facts(result: Result) -> dict[str, str]:
    record = result.run.record
    found = starts.trained(record, checkpoints.step_of(result.run.checkpoint))
    trained, changed = found.config, ", ".join(found.changed)
    before = {"Flags before": f"up to step {found.since:,} others: {changed}"} if changed else {}
    hidden = f" ({trained.hidden_units})" if trained.model == "dnn" else ""
    return {
        "Model": trained.model + hidden,
        "Optimizer": trained.optimizer,
        "Learning rate": f"{trained.learning_rate:g}, {trained.schedule}",
        "Batch size": f"{trained.batch_size:,}",
        "Steps": f"{trained.max_steps:,}",
        "Seed": str(trained.seed),
        "Computed in": str(record.get("compute_dtype", "not recorded")),
        "Other flags": _other_flags(dataclasses.asdict(trained)),
        **before,
    }


def _data_facts(result: Result) -> dict[str, str]:
    manifest, kind = result.manifest, result.run.trained_on.pictures
    height, width, channels = manifest.image_shape
    counts = [f"{manifest.num_examples(split):,} {split}" for split in splits.SPLITS]
    return {
        "Data": f"{manifest.dataset}, {height}x{width}x{channels}, "
        f"{manifest.num_classes:,} classes",
        "Pictures": f"{preparation.DESCRIPTIONS[kind]} ({kind})",
        "Examples": ", ".join(counts),
        "Validation": manifest.split_rule,
        "Data folder": result.data_dir,
    }


def _other_facts(result: Result) -> dict[str, str]:
    versions = result.run.record.get("versions", {})
    return {
        "Checkpoint": result.run.checkpoint,
        "Result of training": _recorded(
            result.run.config.model_dir, checkpoints.digest(result.run.checkpoint)
        ),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _other_flags(given: dict[str, Any]) -> str:
    """The flags that a run was given unlike their defaults."""
    usual = {field.name: field.default for field in dataclasses.fields(config.TrainConfig)}
    usual["strategy"] = "none"  # A record has the strategy that auto became.
    changed = [
        f"--{field.name}={given[field.name]}"
        for field in dataclasses.fields(config.TrainConfig)
        if not _is_shown_elsewhere(field) and given[field.name] != usual[field.name]
    ]
    return " ".join(changed) or "all at their defaults"


def _is_shown_elsewhere(field: dataclasses.Field[Any]) -> bool:
    """Whether a flag has a line of its own, or says where a process ran and not what it learned."""
    return bool(field.metadata["report_line"]) or config.PLACE in field.metadata["affects"]


def _recorded(model_dir: str, digest: str = "") -> str:
    """What metrics.json says, and whether it is of another checkpoint than that of a digest."""
    path = os.path.join(model_dir, layout.METRICS_FILE)
    data = files.read_bytes(path, json_files.MOST_BYTES)
    if data is None:
        return "not written"
    try:
        found = json_files.expect(json_files.parse(data, finite=False), dict, "the whole")
        accuracy, loss = (json_files.number(found.get(name), name) for name in ("accuracy", "loss"))
        step = json_files.whole(found.get("global_step"), "global_step", 0, 2**63 - 1)
    except ValueError as error:
        return f"damaged ({error})"
    is_other = found.get(layout.CHECKPOINT_SHA256, digest) != digest  # Older files have none.
    other = ", of another checkpoint" if digest and is_other else ""
    return f"test accuracy {accuracy:.4f}, loss {loss:.4f} at step {step:,}{other}"


def _classes(result: Result) -> str:
    scores = result.scores
    if scores is None:
        return page.note(_TOO_MANY)
    table = _class_table(scores, result.classes)
    if scores.num_classes <= _TABLE_CLASSES:
        return page.pair(page.confusion(scores.confusion.tolist(), result.classes), table)
    return page.pair(_confusion_picture(scores, result.classes), table)


def _class_table(scores: Scores, classes: Sequence[str]) -> str:
    per_class = scores.per_class()
    columns = [[f"{rate:.4f}" for rate in per_class[metric.name]] for metric in CLASS_METRICS]
    columns.append([f"{count:,}" for count in per_class["examples"]])
    rows = list(zip(classes, *columns, strict=True))
    header = ("class", *(metric.label for metric in CLASS_METRICS), "examples")
    return page.table("Each class", header, rows, css="rates")


def _confusion_picture(scores: Scores, classes: Sequence[str]) -> str:
    """The confusion matrix as a picture, above a table of its most frequent confusions."""
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_SHOWN_CONFUSIONS]
    pairs = [divmod(int(place), scores.num_classes) for place in order]
    rows = [(f"{classes[a]} → {classes[b]}", f"{wrong[a, b]:,}") for a, b in pairs if wrong[a, b]]
    src = data_uri(plots.confusion_pixels(scores.confusion))
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
    shown = [_mistake(mistake, result) for mistake in result.scores.mistakes]
    return page.pictures(shown, "Worst mistakes", size="large")


def _mistake(mistake: Mistake, result: Result) -> page.Picture:
    label, prediction = result.classes[mistake.label], result.classes[mistake.prediction]
    return page.Picture(
        data_uri(mistake.image),
        f"{result.split} example {mistake.index}: {label}, taken for {prediction}",
        (
            f"{label} → {prediction}",
            f"{mistake.label_probability:.3f} → {mistake.probability:.3f}",
            f"#{mistake.index}",
        ),
    )


def _first_layer(result: Result) -> str:
    weights = summaries.trained_weights(result.run.checkpoint)
    units = summaries.first_layer(weights, result.manifest.image_shape)
    if units is None:
        return page.note("The network has no layer that could be shown as images.")
    # Softmax regression has one unit for each class.
    names = result.classes if result.run.config.model == "softmax" else None
    shown = [_unit(unit, number, names) for number, unit in enumerate(units[:_SHOWN_UNITS])]
    size = "medium" if units.shape[1] > 12 else "small"
    html = page.pictures(shown, "First layer", size=size)
    if len(shown) < len(units):
        html += page.note(f"The first {len(shown)} of {len(units):,} units.")
    return html


def _unit(weights: np.ndarray, number: int, names: Sequence[str] | None) -> page.Picture:
    src = data_uri(plots.signed_pixels(weights.mean(axis=-1)))
    if names is None:
        return page.Picture(src, f"weights of unit {number}")
    return page.Picture(src, f"weights of {names[number]}", (names[number],))
