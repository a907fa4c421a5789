"""PyTorch: training speed, the roof of its products of matrices, and the race to the targets.

python torch_mnist.py speed --batch=100 --seconds=10 --mode=eager
python torch_mnist.py race --recipe=same --seed=0
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator

import common
import torch
from torch import nn
from torch.nn import functional

MODES = ("eager", "channels_last", "compiled", "bfloat16", "compiled_bfloat16")


def main() -> None:
    """Reads the flags and does what they say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("speed", "race", "roof"))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--mode", choices=MODES, default="channels_last")
    parser.add_argument("--types", default="float32", help="Of the roof: float32,bfloat16.")
    parser.add_argument("--recipe", default="same")
    parser.add_argument("--limit", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    torch.set_num_threads(common.THREADS)
    torch.manual_seed(flags.seed)
    if flags.what == "roof":
        types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
        chosen = flags.types.split(",")
        common.report(**{name: roof(types[name], flags.seconds) for name in chosen})
    elif flags.what == "speed":
        common.report(images_per_second=speed(flags.mode, flags.batch, flags.seconds))
    elif flags.recipe == "same":
        race_same(common.Race(flags.limit), flags.mode, flags.seed)
    else:
        race_own(common.Race(flags.limit))


def roof(dtype: torch.dtype, seconds: float) -> float:
    """GFLOP/s of a product of two square matrices, the best of two sizes."""

    def of(size: int) -> float:
        a, b = (torch.rand(size, size).to(dtype) for _ in range(2))

        def work() -> int:
            a @ b
            return 2 * size**3

        return common.per_second(work, seconds / 2) / 1e9

    return max(of(1024), of(2048))


def speed(mode: str, batch: int, seconds: float) -> float:
    """Images a second; the batches are gathered from tensors in memory."""
    images, labels = tensors("train")
    model, step = trainer(network(), mode, common.RATE)
    model.train()
    numbers = batches(len(labels), batch, 0)

    def train() -> None:
        chosen = next(numbers)
        step(images[chosen], labels[chosen])

    return common.speed(train, batch, seconds)


def network() -> nn.Module:
    """The network of the comparison."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Dropout(0.4), nn.Linear(1024, 10)),
    )


def trainer(
    model: nn.Module, mode: str, rate: float
) -> tuple[nn.Module, Callable[[torch.Tensor, torch.Tensor], torch.optim.Optimizer]]:
    """The model in its mode, and a function that does a step and returns the optimizer."""
    if mode != "eager":
        model = model.to(memory_format=torch.channels_last)
    # The fused one makes a single pass over the weights.
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=mode != "eager")
    call = torch.compile(model) if mode.startswith("compiled") else model

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.optim.Optimizer:
        if mode != "eager":
            images = images.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        with arithmetic(mode):
            loss = functional.cross_entropy(call(images), labels)
        loss.backward()
        optimizer.step()
        return optimizer

    return model, step


def arithmetic(mode: str) -> contextlib.AbstractContextManager[object]:
    """Where the layers compute in bfloat16, in such a mode."""
    return torch.autocast("cpu", torch.bfloat16, enabled=mode.endswith("bfloat16"))


def tensors(split: str, mean: float = 0.0, deviation: float = 1.0) -> tuple[torch.Tensor, ...]:
    """Images float32 [N,1,28,28] and labels of a split."""
    images, labels = common.mnist(split)
    scaled = torch.tensor(images, dtype=torch.float32).div_(255).sub_(mean).div_(deviation)
    return scaled[:, None], torch.tensor(labels)


def batches(examples: int, batch: int, seed: int) -> Iterator[torch.Tensor]:
    """Numbers of the examples of each batch."""
    return map(torch.from_numpy, common.order(examples, batch, seed))


def accuracy(model: nn.Module, data: tuple[torch.Tensor, ...], mode: str = "eager") -> float:
    """The share of the images that the model gets right."""
    model.eval()
    right = 0
    with torch.no_grad(), arithmetic(mode):
        for images, labels in zip(*(tensor.split(1000) for tensor in data), strict=True):
            right += int((model(images).argmax(1) == labels).sum())
    model.train()
    return right / len(data[1])


def race_same(run: common.Race, mode: str, seed: int) -> None:
    """The schedule of `common`: saves, evaluates the validation images, goes on."""
    images, labels = common.of_race(tensors("train"))
    validation = images[: common.VALIDATION], labels[: common.VALIDATION]
    images, labels = images[common.VALIDATION :], labels[common.VALIDATION :]
    test = common.of_race(tensors("test"))
    model, step = trainer(network(), mode, common.RATE)
    rates = {"lr": common.RATE}
    numbers = batches(len(labels), common.BATCH, seed)
    optimizer = None
    for number in range(1, common.STEPS + 1):
        chosen = next(numbers)
        rates["lr"] = common.learning_rate(number)
        optimizer = step(images[chosen], labels[chosen])
        optimizer.param_groups[0].update(rates)
        if number % common.EVERY == 0:
            save(model, optimizer, number)
            if run.saved(number, lambda: accuracy(model, test, mode)):
                break
            accuracy(model, validation, mode)
    run.report()


def race_own(run: common.Race) -> None:
    """As PyTorch's own example `mnist` trains: Adadelta, batches of 64, 14 epochs.

    The images come from memory, already scaled, and not one by one through transforms.
    """
    statistics = (0.1307, 0.3081)
    train, test = (common.of_race(tensors(split, *statistics)) for split in ("train", "test"))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*train), batch_size=64, shuffle=True
    )
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(128, 10), nn.LogSoftmax(1)),
    )
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for epoch in range(1, 15):
        for images, labels in loader:
            optimizer.zero_grad()
            functional.nll_loss(model(images), labels).backward()
            optimizer.step()
        save(model, optimizer, epoch)
        if run.saved(epoch * len(loader), lambda: accuracy(model, test)):
            break
        accuracy(model, test)  # The example's own evaluation, on the clock.
        schedule.step()
    run.report()


def save(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    """Saves what it takes to go on."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, f"checkpoint-{number}.pt")


if __name__ == "__main__":
    main()
