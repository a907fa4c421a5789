"""Flax (nnx) on JAX: training speed with jit, and the race to the targets.

python flax_mnist.py speed --batch=100 --seconds=10
python flax_mnist.py race --recipe=same --seed=0
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
from flax import nnx


class Network(nnx.Module):
    """The network of the comparison."""

    def __init__(self, rngs: nnx.Rngs, dtype: jnp.dtype = jnp.float32) -> None:
        self.conv1 = nnx.Conv(1, 32, (5, 5), rngs=rngs, dtype=dtype)
        self.conv2 = nnx.Conv(32, 64, (5, 5), rngs=rngs, dtype=dtype)
        self.dense = nnx.Linear(3136, 1024, rngs=rngs, dtype=dtype)
        self.dropout = nnx.Dropout(0.4, rngs=rngs)
        self.logits = nnx.Linear(1024, 10, rngs=rngs, dtype=dtype)

    def __call__(self, images: jax.Array) -> jax.Array:
        hidden = nnx.max_pool(nnx.relu(self.conv1(images)), (2, 2), strides=(2, 2))
        hidden = nnx.max_pool(nnx.relu(self.conv2(hidden)), (2, 2), strides=(2, 2))
        hidden = nnx.relu(self.dense(hidden.reshape(hidden.shape[0], -1)))
        return self.logits(self.dropout(hidden)).astype(jnp.float32)


class OwnNetwork(nnx.Module):
    """The network of Flax's own example `mnist`."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(3136, 256, rngs=rngs)
        self.logits = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        hidden = nnx.avg_pool(nnx.relu(self.conv1(images)), (2, 2), strides=(2, 2))
        hidden = nnx.avg_pool(nnx.relu(self.conv2(hidden)), (2, 2), strides=(2, 2))
        return self.logits(nnx.relu(self.dense(hidden.reshape(hidden.shape[0], -1))))


def main() -> None:
    """Reads the flags and does what they say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("speed", "race"))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--recipe", default="same")
    parser.add_argument("--limit", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    if flags.what == "speed":
        speed(flags.batch, flags.seconds, jnp.dtype(flags.dtype))
    elif flags.recipe == "same":
        race_same(common.Race(flags.limit), flags.seed)
    else:
        race_own(common.Race(flags.limit), flags.seed)


def speed(batch: int, seconds: float, dtype: jnp.dtype) -> None:
    """Measures steps on batches that are gathered from arrays in memory."""
    images, labels = arrays("train")
    step, _ = trainer(Network(nnx.Rngs(0), dtype), optax.adam(common.RATE))
    numbers = common.order(len(labels), batch, 0)

    def train() -> None:
        chosen = next(numbers)
        # Else JAX would run ahead, and the clock would count steps that are only queued.
        jax.block_until_ready(step(images[chosen], labels[chosen]))

    common.report(images_per_second=common.speed(train, batch, seconds))


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [N,28,28,1] and labels int32 of a split."""
    images, labels = common.mnist(split)
    return images[..., None].astype("float32") / 255, labels.astype("int32")


def trainer(
    model: nnx.Module, transformation: optax.GradientTransformation
) -> tuple[Callable[..., jax.Array], Callable[..., jax.Array]]:
    """A function that does a training step, and one that tells which answers are right."""
    optimizer = nnx.Optimizer(model, transformation, wrt=nnx.Param)

    @nnx.jit
    def step(model: nnx.Module, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array):
        def loss(model: nnx.Module) -> jax.Array:
            losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
            return losses.mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    @nnx.jit
    def right(model: nnx.Module, images: jax.Array, labels: jax.Array) -> jax.Array:
        return (model(images).argmax(1) == labels).sum()

    model.train()
    return nnx.cached_partial(step, model, optimizer), lambda *data: right(model, *data)


def race_same(run: common.Race, seed: int) -> None:
    """The schedule of `common`: saves, evaluates the validation images, goes on."""
    images, labels = common.of_race(arrays("train"))
    cut = common.VALIDATION
    schedule = optax.cosine_decay_schedule(common.RATE, common.STEPS)
    _race(
        run,
        Network(nnx.Rngs(seed)),
        optax.adam(schedule),
        (images[cut:], labels[cut:]),
        (images[:cut], labels[:cut]),
        (common.BATCH, common.EVERY, common.STEPS),
        seed,
    )


def race_own(run: common.Race, seed: int) -> None:
    """As Flax's own example `mnist` trains: SGD with momentum, batches of 128, 10 epochs."""
    train, test = (common.of_race(arrays(split)) for split in ("train", "test"))
    steps = len(train[1]) // 128
    optimizer = optax.sgd(0.1, momentum=0.9)
    _race(run, OwnNetwork(nnx.Rngs(seed)), optimizer, train, test, (128, steps, 10 * steps), seed)


def _race(
    run: common.Race,
    model: nnx.Module,
    transformation: optax.GradientTransformation,
    train: tuple[np.ndarray, ...],
    validation: tuple[np.ndarray, ...],
    lengths: tuple[int, int, int],
    seed: int,
) -> None:
    batch, every, steps = lengths
    test = common.of_race(arrays("test"))
    step, right = trainer(model, transformation)
    saver = orbax.checkpoint.StandardCheckpointer()
    numbers = common.order(len(train[1]), batch, seed)

    def accuracy(data: tuple[np.ndarray, ...]) -> float:
        model.eval()
        parts = (np.array_split(array, len(array) // 1000) for array in data)
        found = sum(int(right(*part)) for part in zip(*parts, strict=True))
        model.train()
        return found / len(data[1])

    for number in range(1, steps + 1):
        chosen = next(numbers)
        step(train[0][chosen], train[1][chosen])
        if number % every == 0:
            saver.save(pathlib.Path.cwd() / f"checkpoint-{number}", nnx.state(model, nnx.Param))
            saver.wait_until_finished()
            if run.saved(number, lambda: accuracy(test)):
                break
            accuracy(validation)
    run.report()


if __name__ == "__main__":
    main()
