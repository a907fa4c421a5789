"""Part `accuracy`: seconds from the start of a process to a test accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparison import package_data
from benchmarks.comparison.parts import BFLOAT16, ONEDNN, Options, Part, Task, Value

_OURS = "this package"
_SAME, _OWN = "same network and schedule", "as its own documentation trains"
# How long a child may take beyond the 600 s of a race: its checkpoints are scored, too.
_DEADLINE = 1200.0

# Its fastest way at this batch size, see part `training`.
_KERAS = ("--jit=0", "--steps_per_execution=50")

# Setting: contender: environment, program, arguments, what it needs.
_CONTENDERS: dict[str, dict[str, tuple[str, str, tuple[str, ...], str]]] = {
    _SAME: {
        _OURS: ("tensorflow", "package_mnist.py", (), ""),
        "Keras 3": ("tensorflow", "keras_mnist.py", _KERAS, ""),
        "Keras 3, bfloat16": (
            *("tensorflow", "keras_mnist.py", (*_KERAS, "--dtype=mixed_bfloat16"), BFLOAT16),
        ),
        "PyTorch": ("torch", "torch_mnist.py", (), ""),
        "PyTorch, bfloat16": ("torch", "torch_mnist.py", ("--mode=bfloat16",), BFLOAT16),
        "Flax": ("jax", "flax_mnist.py", (), ""),
        "plain Estimator, TensorFlow 2.15.1": ("estimator", "estimator_mnist.py", (), ""),
    },
    _OWN: {
        _OURS: ("tensorflow", "package_mnist.py", (), ""),
        "Keras 3": ("tensorflow", "keras_mnist.py", (), ""),
        "PyTorch": ("torch", "torch_mnist.py", (), ""),
        "Flax": ("jax", "flax_mnist.py", (), ""),
        "plain Estimator, TensorFlow 2.15.1": ("estimator", "estimator_mnist.py", (), ""),
    },
}

_TEXT = f"""\
How long from the start of the process until a checkpoint is on disk that gets 99.0% and 99.4% of
the 10,000 test images right. Reading the data, compiling, checkpoints and evaluations are in the
time. All save a checkpoint first and evaluate then, also Keras, which saves after an evaluation by
default; Flax saves the weights alone, the others also what the optimizer holds. {ONEDNN}
The test accuracy itself is found outside of the time, in the same way for all: the clock stands
still while a checkpoint is scored, and those of this package are scored after the run. Each round
has another seed. A run ends with the second target, at its usual end, or after 10 minutes. A mean
is of the rounds that reached the target. Where others did not, the table says so, and the mean is
better than the contender is.

This package reads TFRecords that `prepare` has written before. That takes 2 to 3 s for MNIST and is
not in its time; the others read the IDX files in theirs. Where the processor multiplies bfloat16 in
hardware, this package computes in it by default: compare it with the rows in bfloat16. Flax and the
plain Estimator have none.

*Same network and schedule*: the network above, batches of 100, Adam with a rate that falls from
0.001 to 0 as a cosine over 5,000 steps, 55,000 images to train on; each 200 steps a checkpoint, and
an evaluation of the other 5,000 images. Keras runs without jit, with 50 steps a call, PyTorch with
channels last and the fused Adam: at this batch size their fastest ways, or close to them.

*As its own documentation trains*: this package with the default flags of `train`; Keras as in
"Simple MNIST convnet" (3x3 convolutions, batch 128, 15 epochs, a tenth for validation); PyTorch as
in its example `mnist` (3x3 convolutions, batch 64, Adadelta, 14 epochs), Flax as in its own (3x3
convolutions, batch 128, SGD with momentum, 10 epochs), the Estimator as in tensorflow/models'
`official/r1/mnist` (batch 100, Adam with 0.0001, 40 epochs). These save a checkpoint and evaluate
after each epoch; PyTorch's and Flax's images come from memory, which is faster than in the
examples."""


def _tasks(options: Options, number: int) -> Sequence[Task]:
    return [
        Task(
            contender,
            setting,
            environment,
            program,
            ("race", f"--recipe={recipe}", f"--seed={number}", f"--limit={limit}", *arguments),
            deadline=_DEADLINE,
            needs=needs,
        )
        for limit in (20 if options.quick else 600,)
        for setting, recipe in ((_SAME, "same"), (_OWN, "own"))
        for contender, (environment, program, arguments, needs) in _CONTENDERS[setting].items()
    ]


PART = Part(
    name="accuracy",
    title="Time to accuracy",
    text=_TEXT,
    values=tuple(
        Value(
            key,
            title,
            "seconds",
            larger_is_better=False,
            absent="not reached",
            average="mean",
        )
        for key, title in (
            ("seconds_to_99_0", "Time to 99.0% test accuracy"),
            ("seconds_to_99_4", "Time to 99.4% test accuracy"),
        )
    ),
    ours=_OURS,
    tasks=_tasks,
    rounds=lambda options: options.seeds,
    prepare=package_data.prepared,
)
