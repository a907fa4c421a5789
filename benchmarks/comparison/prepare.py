"""`prepare` and streaming training: images/s, the processor's time, and the peak of memory."""

from __future__ import annotations

import shutil

from benchmarks.comparison.parts import Options, Part, Task, Value

_TEXT = """\
`prepare` writes records and reads them back, from start to end of the command, TensorFlow's import
included. *MNIST* are its 70,000 images, for both; the large file has MNIST's digits drawn by a seed
and shifted, and is measured once. *Training* streams the large set (`--cache_mb=0`); its images/s
are those of the progress lines after the first. The peak is of all processes of the command
together, and the last table has what it is above a process that only imports TensorFlow. TensorFlow
Datasets (`download_and_prepare`, without a download) writes PNG."""

_OURS = "mnist_estimator"
_LARGE, _LARGE_QUICK = 8_100_000, 200_000


def _tasks(options: Options, round_number: int) -> list[Task]:
    tasks = [
        Task(_OURS, "MNIST", "tensorflow", "prepare_package.py", deadline=900),
        Task("TensorFlow Datasets", "MNIST", "datasets", "prepare_datasets.py", deadline=900),
    ]
    return tasks if round_number else tasks + _large(options)


def _large(options: Options) -> list[Task]:
    images, steps = (_LARGE_QUICK, 50) if options.quick else (_LARGE, 500)
    command = "tensorflow", "prepare_package.py"
    flags = (f"--images={images}",)
    training = (*flags, f"--train_steps={steps}")
    return [
        Task(_OURS, f"{images:,} images", *command, flags, deadline=3600),
        Task(_OURS, f"training on {images:,} images", *command, training, deadline=3600),
    ]


def _clean(options: Options) -> None:
    """Removes the large file and what was made of it, also after a run that was killed."""
    for folder in options.work_dir.glob("large_*"):
        shutil.rmtree(folder)


PART = Part(
    name="prepare",
    title="Preparing data, and large data",
    text=_TEXT,
    values=(
        Value("images_per_second", "Preparing and training", "images/s"),
        Value(
            "cpu_seconds_per_million",
            "Processor's time of preparing",
            "s per million images",
            larger_is_better=False,
            absent="not measured",
        ),
        Value("peak_mib", "Peak of memory", "MiB", larger_is_better=False),
        Value(
            "above_tensorflow_mib",
            "Peak of memory above TensorFlow's own",
            "MiB",
            larger_is_better=False,
        ),
    ),
    ours=_OURS,
    tasks=_tasks,
    clean=_clean,
)
