"""What a system is, to serve.py."""
import abc
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

K = 10  # neighbours asked for

Floats = npt.NDArray[np.float32]
Tags = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """What a system is told at its start."""

    dim: int
    most: int  # rows at once
    threads: int
    dir: Path  # for files


class System(abc.ABC):
    """One index of one library, empty at first. Vectors have unit length; the inner product compares."""

    name: str
    version: str
    deletes: str  # how they are done

    @abc.abstractmethod
    def insert(self, first: int, x: Floats) -> None:
        """Gives the vectors the tags that begin with first."""

    @abc.abstractmethod
    def delete(self, start: int, end: int) -> None:
        """Deletes the tags [start, end)."""

    def replace(self, first: int, x: Floats) -> None:
        """Gives tags that are there other vectors."""
        self.delete(first, first + len(x))
        self.insert(first, x)

    def settle(self) -> None:
        """Does what has to be done before searches see all updates, or what is to be done after them."""

    @abc.abstractmethod
    def settings(self) -> list[str]:
        """Names the points of the trade between recall and speed, the fastest first."""

    @abc.abstractmethod
    def use(self, setting: int) -> None:
        """Makes the following searches run at a setting."""

    @abc.abstractmethod
    def search(self, queries: Floats) -> Tags:
        """The tags of the K nearest rows of each query, on all threads; -1 for none."""


class Gathered(System):
    """A system that is trained or built from many rows: what comes before the first search is kept for it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Tags, Floats]] | None = []

    @abc.abstractmethod
    def build(self, tags: Tags, x: Floats) -> None:
        """Makes the index of the first rows."""

    @abc.abstractmethod
    def add(self, tags: Tags, x: Floats) -> None:
        """Adds more."""

    @abc.abstractmethod
    def remove(self, tags: Tags) -> None:
        """Removes some that are there."""

    def tidy(self) -> None:
        """Does what is to be done after updates."""

    def insert(self, first: int, x: Floats) -> None:
        tags = np.arange(first, first + len(x))
        if self.waiting is None:
            self.add(tags, x)
        else:
            self.waiting.append((tags, x))

    def delete(self, start: int, end: int) -> None:
        if self.waiting is None:
            self.remove(np.arange(start, end))
            return
        kept = [(tags, x, (tags < start) | (tags >= end)) for tags, x in self.waiting]
        self.waiting = [(tags[keep], x[keep]) for tags, x, keep in kept]

    def settle(self) -> None:
        if self.waiting is None:
            self.tidy()
        elif self.waiting:
            self.build(np.concatenate([tags for tags, _ in self.waiting]), np.concatenate([x for _, x in self.waiting]))
            self.waiting = None
