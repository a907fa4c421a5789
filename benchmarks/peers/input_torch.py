"""PyTorch's DataLoader over images in memory, transformed one by one as in its MNIST example.

The transform does what torchvision's ToTensor and Normalize do, without the detour over PIL.
"""

from __future__ import annotations

import common
import input_meter
import torch


class Digits(torch.utils.data.Dataset):
    """MNIST's training images, uint8, each normalized when it is asked for."""

    def __init__(self, count: int) -> None:
        images, labels = (array[:count] for array in common.mnist("train"))
        self.images, self.labels = torch.tensor(images), labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index][None].to(torch.float32).div(255)
        return image.sub(0.1307).div(0.3081), self.labels[index]


def main() -> None:
    """Measures and prints a line of JSON."""
    parser = input_meter.arguments()
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(common.THREADS)
    batches = torch.utils.data.DataLoader(
        Digits(given.images), batch_size=given.batch, shuffle=True, num_workers=given.workers
    )
    input_meter.measure(lambda: sum(len(labels) for _, labels in batches), given.seconds)


if __name__ == "__main__":
    main()
