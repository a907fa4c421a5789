"""Writes a prepared dataset: all of it, verified, or nothing.

Shards are written to a temporary folder inside the data_dir, synced, read back, and renamed into
place, the manifest last. So a process that is killed at any moment leaves a whole dataset or none,
and the next one removes what is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mnist_estimator.data import completion, splits, workspace
from mnist_estimator.data.conversion import Conversion, Ticks
from mnist_estimator.data.manifest import DatasetError, Manifest
from mnist_estimator.data.plan import Plan, Source, existing
from mnist_estimator.data.shard_writer import ShardWriter


def write_dataset(
    data_dir: str,
    *,
    dataset: str,
    train: Source,
    test: Source | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    pictures: str = splits.AUTO,
    validation_split: str = splits.AUTO,
    shards: int = 8,
    seed: int = 0,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Converts sources to a dataset in `data_dir`. The memory does not grow with their size.

    Example j of a split goes to shard j mod `shards`, so that a source sorted by label still gives
    shards with every label. A split smaller than `shards` gets as many shards as it has examples.
    The same sources and arguments give the same bytes.

    Args:
      data_dir: where to; any path that TensorFlow's filesystems know.
      dataset: the name that the manifest gives it.
      train, test: the examples; without `test` the test split is empty.
      num_classes: labels must be less; None: the largest label plus 1.
      class_names: a name for each class; by default its number.
      pictures: how pictures become such images, of `methods.PICTURES`; auto: as for MNIST if the
        images have its form, else as they are.
      validation_split, seed: see `splits.validation_split`.
      force: replace a dataset that is there. Without it the same dataset is left as it is.
      report: is called often, with a line that says how far the work is.

    Raises:
      DatasetExistsError: if another dataset is there.
      BusyError: if another process is writing there.
      InputError: for a source, an argument or a filesystem that does not allow it.
    """
    split = (validation_split, seed)
    plan = Plan(dataset, train, test, num_classes, tuple(class_names), split, shards, pictures)
    found = None if force else existing(data_dir, plan)
    if found:
        workspace.tidy(data_dir)
        return found
    with workspace.open_workspace(data_dir, force) as (folder, beat):
        # Again, because another process may have been faster until the folder was ours alone.
        found = None if force else existing(data_dir, plan)
        if found:
            return found
        manifest = _Writing(folder, plan, report, beat).run()
        workspace.publish(data_dir, folder, manifest)
    return manifest


class _Writing:
    """One pass over the sources into a folder."""

    def __init__(
        self, folder: str, plan: Plan, report: Callable[[str], None], beat: Callable[[], None]
    ) -> None:
        self._folder, self._plan = folder, plan
        self._tick = Ticks(sum(plan.counts.values()), report, beat)
        self._conversion = Conversion(plan.num_classes, self._tick)

    def run(self) -> Manifest:
        """Returns the manifest of what is then in the folder, synced and read back."""
        plan, statistics = self._plan, self._conversion.statistics
        train, validation, test = (
            ShardWriter(self._folder, split, min(plan.shards, count))
            for split, count in plan.counts.items()
        )
        with train, validation:
            self._convert(plan.train, plan.rule.picks(), (train, validation))
        if plan.test:
            with test:
                self._convert(plan.test, np.zeros_like, (test,))
            completion.check_scale(statistics, plan.train.name, plan.test.name)
        written = {
            writer.split: writer.read_back(self._tick) for writer in (train, validation, test)
        }
        manifest = completion.manifest_of(plan.outline(), statistics, written, plan.train.name)
        completion.write_manifest(self._folder, manifest)
        return manifest

    def _convert(
        self,
        source: Source,
        pick: Callable[[np.ndarray], np.ndarray],
        writers: Sequence[ShardWriter],
    ) -> None:
        self._conversion.convert(source, pick, writers)
        for writer in writers:
            # The labels are read before, where the split is by class.
            if writer.added != self._plan.counts[writer.split]:
                raise DatasetError(f"{source.name}: changed while it was read; prepare it again")
