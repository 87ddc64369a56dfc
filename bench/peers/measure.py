"""What is measured of an engine, and its speed at a given recall."""
import dataclasses
import math
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting, run once."""

    setting: int
    recall: float
    qps: float
    cores: float = 0  # kept busy by the engine meanwhile
    waited: float | None = None  # for a core that another program held, as a share of the time, if that can be told


@dataclasses.dataclass(frozen=True)
class Measurement:
    """An engine and its rounds: for each, the points of one query per call (False) and of batches (True)."""

    name: str
    ready: dict[str, Any]
    rounds: list[dict[bool, list[Point]]]


def front(points: Iterable[Point], slack: float = 1.0) -> list[Point]:
    """The points no other beats in both recall and speed, by rising recall. With slack < 1 also those nearly so."""
    kept: list[Point] = []
    best = 0.0
    for p in sorted(points, key=lambda p: (-p.recall, -p.qps)):
        if p.qps > best * slack:
            kept.append(p)
            best = max(best, p.qps)
    return kept[::-1]


def qps_at(points: Iterable[Point], recall: float) -> float | None:
    """Queries per second at a recall: log QPS interpolated between the neighbours on the front.

    An engine whose slowest point is below the recall has no answer; one whose fastest is above it is charged that one.
    """
    line = front(points)
    if not line or line[-1].recall < recall:
        return None
    if line[0].recall >= recall:
        return line[0].qps
    right = next(i for i, p in enumerate(line) if p.recall >= recall)
    a, b = line[right - 1], line[right]
    t = (recall - a.recall) / (b.recall - a.recall)
    return math.exp(math.log(a.qps) * (1 - t) + math.log(b.qps) * t)
