"""Selection sampling: which examples a random choice takes, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FEW = 64  # Examples of a call that may be taken, if only these are to be looked at.
_SLACK = 1 + 1e-9  # More than floats are off.


class Sampling:
    """Takes `count` of the `total` examples of each group, given as (count, total), in one pass.

    This is Knuth's algorithm S (The Art of Computer Programming, volume 2, 3.4.2): an example is
    taken if a random word / 2**64 is less than the share of the examples left that is still needed.
    A group that needs no more takes no more words. Without a seed the first examples are taken.
    """

    def __init__(self, groups: Sequence[tuple[int, int]], seed: int | None) -> None:
        needed, left = zip(*groups, (0, 0), strict=True)  # The last is for what is in no group.
        self._needed, self._left = np.array(needed, np.int64), np.array(left, np.int64)
        self._all_needed = sum(needed)
        self._bits = None if seed is None else bits(seed)
        self._words = np.zeros(0, np.uint64)  # Those that come next.

    def pick(self, groups: np.ndarray) -> np.ndarray:
        """The groups [N] of the next examples, which may be no groups -> bool [N], who is taken."""
        picked = np.zeros(len(groups), bool)
        if not self._all_needed:
            return picked
        none = len(self._needed) - 1
        groups = np.where((groups >= 0) & (groups < none), groups, none)
        places = np.flatnonzero(self._needed[groups])
        groups, words = groups[places], self._next_words(len(places))
        taken, used = self._taken(groups, words)
        picked[places[taken]] = True
        np.subtract.at(self._left, groups, 1)
        np.subtract.at(self._needed, groups[taken], 1)
        self._all_needed -= len(taken)
        self._words = self._words[used:]
        return picked

    def _taken(self, groups: np.ndarray, words: np.ndarray) -> tuple[list[int], int]:
        """Which of these examples are taken, and how many words that takes."""
        # In floats, as if nothing had been taken and others had left: no example is missed.
        left = np.maximum(self._left[groups] - len(groups), 1)
        likely = np.flatnonzero(words < self._needed[groups] / left * (2.0**64 * _SLACK))
        if len(likely) >= _FEW or (self._needed[groups[likely]] <= len(likely)).any():
            kinds, kind = np.unique(groups, return_inverse=True)
            state = self._needed[kinds].tolist(), self._left[kinds].tolist()
            return _one_by_one(*state, kind.tolist(), words.tolist())
        taken: list[int] = []  # No group gets all that it needs, so each example takes a word.
        for at in likely.tolist():
            group = groups[at]
            needed = int(self._needed[group] - np.count_nonzero(groups[taken] == group))
            of_left = int(self._left[group] - np.count_nonzero(groups[:at] == group))
            if _is_taken(int(words[at]), needed, of_left):
                taken.append(at)
        return taken, len(groups)

    def _next_words(self, count: int) -> np.ndarray:
        if self._bits is None:
            return np.zeros(count, np.uint64)
        more = self._bits.random_raw(max(0, count - len(self._words)))
        self._words = np.concatenate([self._words, more])
        return self._words[:count]


def bits(seed: int) -> np.random.Philox:
    """64-bit words, by `random_raw`.

    numpy keeps the raw stream of a bit generator the same in every version (NEP 19); it does not
    promise that of `Generator.permutation` or `choice`, on which the split must not depend.
    """
    return np.random.Philox(key=seed)


def _one_by_one(
    needed: list[int], left: list[int], kind: list[int], words: list[int]
) -> tuple[list[int], int]:
    taken, used = [], 0
    for at, group in enumerate(kind):
        if not needed[group]:
            continue
        if _is_taken(words[used], needed[group], left[group]):
            needed[group] -= 1
            taken.append(at)
        left[group] -= 1
        used += 1
    return taken, used


def _is_taken(word: int, needed: int, left: int) -> bool:
    """In whole numbers, so the same on every machine: word / 2**64 < needed / left."""
    return word * left < needed << 64
