"""Images/s of this package's input and of others, and what they cost the processor."""

from __future__ import annotations

from benchmarks.comparison import package_data
from benchmarks.comparison.parts import Options, Part, Task, Value

_TEXT = """\
MNIST's training images, in a new order each epoch, are taken batch by batch, and nothing trains on
them. The first epoch fills the caches; whole epochs after it are measured. *Memory* and *streaming*
are the input of `train` with `--cache_mb` of 1024 and 0. They give uint8, which the network scales;
the row *as floats* gives what the peers give, float32 from 0 to 1 or normalized. TensorFlow
Datasets reads as its Keras example does (map, cache, shuffle, batch, prefetch), the tf.data
pipeline as Keras' TFRecord example, PyTorch as its MNIST example with the images in memory, Grain
as its tutorial, from an ArrayRecord file. Processes that have ended count in the processor's
time."""

_OURS = "mnist_estimator, memory"
# contender, environment, program, arguments, whether it is measured with large batches too.
_CONTENDERS = (
    (_OURS, "tensorflow", "input_package.py", (), True),
    ("mnist_estimator, memory, as floats", "tensorflow", "input_package.py", ("--floats",), False),
    ("mnist_estimator, streaming", "tensorflow", "input_package.py", ("--cache_mb=0",), True),
    ("TensorFlow Datasets", "datasets", "input_datasets.py", (), False),
    ("tf.data, one example at a time", "tensorflow", "input_tf_data.py", (), False),
    ("PyTorch DataLoader", "torch", "input_torch.py", (), False),
    ("PyTorch DataLoader, 2 workers", "torch", "input_torch.py", ("--workers=2",), False),
    ("Grain, ArrayRecord", "grain", "input_grain.py", (), False),
)


def _tasks(options: Options, round_number: int) -> list[Task]:
    look = ("--seconds=1", "--images=10000") if options.quick else ("--seconds=5",)
    return [
        Task(
            contender,
            f"batch {batch:,}",
            environment,
            program,
            (f"--batch={batch}", *look, *arguments),
            # The first time, its files are made from the images.
            deadline=900,
        )
        for batch in (100, 1000)
        for contender, environment, program, arguments, with_large in _CONTENDERS
        if batch == 100 or with_large
    ]


PART = Part(
    name="input",
    title="Input",
    text=_TEXT,
    values=(
        Value("images_per_second", "Input", "images/s"),
        Value(
            "cpu_seconds_per_million",
            "Processor's time of the input",
            "s per million images",
            larger_is_better=False,
        ),
    ),
    ours=_OURS,
    tasks=_tasks,
    prepare=package_data.prepared,
)
