"""Part `training`: images a second of a training step, at several batch sizes."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparison import package_data, roof
from benchmarks.comparison.parts import BFLOAT16, ONEDNN, Options, Part, Task, Value

_OURS = "this package"
_BATCHES = (32, 100, 256, 1024)

# Contender: environment, program, arguments, what it needs.
_KERAS = "keras_mnist.py"
_CONTENDERS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    _OURS: ("tensorflow", "package_mnist.py", ("--precision=auto",), ""),
    "this package, float32": ("tensorflow", "package_mnist.py", ("--precision=float32",), ""),
    "this package, bfloat16": (
        *("tensorflow", "package_mnist.py", ("--precision=bfloat16",), BFLOAT16),
    ),
    **{
        f"Keras 3, {'jit' if jit else 'no jit'}, {steps} step{'s' * (steps > 1)} a call{suffix}": (
            "tensorflow",
            _KERAS,
            (f"--jit={jit}", f"--steps_per_execution={steps}", f"--dtype={dtype}"),
            needs,
        )
        for dtype, needs, suffix in (
            ("float32", "", ""),
            ("mixed_bfloat16", BFLOAT16, ", bfloat16"),
        )
        for jit in (0, 1)
        for steps in (1, 50)
    },
    "PyTorch, eager": ("torch", "torch_mnist.py", ("--mode=eager",), ""),
    "PyTorch, channels last": ("torch", "torch_mnist.py", ("--mode=channels_last",), ""),
    "PyTorch, compiled": ("torch", "torch_mnist.py", ("--mode=compiled",), ""),
    "PyTorch, channels last, bfloat16": (
        *("torch", "torch_mnist.py", ("--mode=bfloat16",), BFLOAT16),
    ),
    "PyTorch, compiled, bfloat16": (
        *("torch", "torch_mnist.py", ("--mode=compiled_bfloat16",), BFLOAT16),
    ),
    "Flax, jit": ("jax", "flax_mnist.py", (), ""),
    "Flax, jit, bfloat16": ("jax", "flax_mnist.py", ("--dtype=bfloat16",), BFLOAT16),
    "plain Estimator, TensorFlow 2.15.1": ("estimator", "estimator_mnist.py", (), ""),
}

_TEXT = f"""\
The network is conv 5x5x32, ReLU, pooling, conv 5x5x64, ReLU, pooling, dense 1024, ReLU, dropout 0.4
and 10 logits, trained by Adam with rate 0.001 on all of MNIST in memory. This package is measured
by its `train` command, from report to report: hooks, summaries and input are in the time. It is in
the table with `--precision=auto` and with each precision by name. Each peer has its usual input:
Keras' `fit` gets arrays, PyTorch and Flax gather shuffled batches from memory, the Estimator has a
tf.data pipeline that caches and shuffles. Compilation and the first steps are not in the time.
PyTorch's modes other than eager use the fused Adam. {ONEDNN}"""


def _tasks(options: Options, number: int) -> Sequence[Task]:
    seconds = 2 if options.quick else 12
    found = []
    for batch in (100,) if options.quick else _BATCHES:
        found += roof.tasks(f"batch {batch}", seconds=2 if options.quick else 4)
        for contender, (environment, program, arguments, needs) in _CONTENDERS.items():
            found.append(
                Task(
                    contender,
                    f"batch {batch}",
                    environment,
                    program,
                    ("speed", f"--batch={batch}", f"--seconds={seconds}", *arguments),
                    deadline=300,
                    needs=needs,
                )
            )
    return found


PART = Part(
    name="training",
    title="Training speed",
    text=_TEXT,
    values=(Value("images_per_second", "Training speed", "images/s"),),
    ours=_OURS,
    tasks=_tasks,
    prepare=package_data.prepared,
    shown=roof.is_contender,
    more=roof.markdown,
)
