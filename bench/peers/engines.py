"""Starts engines as processes, talks to them, and keeps only as many as fit in memory."""
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from protocol import Data, K

# Libraries read these when they load. Settings meant for another program must not slow a peer down.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GOMAXPROCS")
FOREIGN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NVPL_BLAS_DEBUG_CPU_TYPE", "ADASTREAM_SIMD")


def commands(names: list[str], binaries: dict[str, str]) -> dict[str, list[str]]:
    """The command of each engine: a binary given for it, or else a peer that serve.py serves."""
    serve = str(Path(__file__).with_name("serve.py"))
    return {name: [binaries[name]] if name in binaries else [sys.executable, serve, name] for name in names}


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a search took."""

    seconds: float  # in the calls
    cores: float  # kept busy meanwhile, by all processes of the engine
    waited: float | None  # for a core that another program held, as a share of the seconds; None if that cannot be told


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a process and its children have used so far."""

    processes: int
    busy: float  # seconds of processor time
    waited: float  # seconds between being ready to run and running

    @classmethod
    def of(cls, pid: int) -> "Usage":
        processes, busy, waited = 1, 0.0, 0.0
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                ran, queued, _ = (int(field) / 1e9 for field in (task / "schedstat").read_text().split())
                children = (task / "children").read_text() if (task / "children").exists() else ""
            except (FileNotFoundError, ProcessLookupError):  # the thread has ended
                continue
            below = [cls.of(int(child)) for child in children.split()]
            processes += sum(u.processes for u in below)
            busy += ran + sum(u.busy for u in below)
            waited += queued + sum(u.waited for u in below)
        return cls(processes, busy, waited)

    def cost(self, after: "Usage", seconds: float) -> Cost:
        """The cost of what took the seconds between this usage and that after it.

        Who holds the core that a thread waits for is not in the kernel's count. A client and a server hand over to each
        other several times a query, and each time the one woken waits, for a core to wake or for the other to leave it:
        on an idle machine half to nine tenths of the time. So what several processes waited for others cannot be told.
        """
        alone = self.processes == after.processes == 1
        waited = (after.waited - self.waited) / seconds if alone else None
        return Cost(seconds, (after.busy - self.busy) / seconds, waited)


class Process:
    """A running engine."""

    def __init__(self, command: list[str], threads: int, log: Path) -> None:
        env = {k: v for k, v in os.environ.items() if k not in FOREIGN} | {k: str(threads) for k in THREADS}
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
        self.log = log
        self.found = tempfile.NamedTemporaryFile(suffix=".i32")
        self.ready = self.read()

    def read(self) -> dict[str, Any]:
        """The next line that is an object: libraries write to standard output as they please."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"the engine ended with status {self.process.wait()}: see {self.log}")

    def search(self, setting: int, batched: bool, queries: int) -> tuple[Cost, npt.NDArray[np.int32]]:
        """What a search took, and the ids found."""
        assert self.process.stdin
        before = Usage.of(self.process.pid)
        request = {"setting": setting, "batched": batched, "queries": queries, "out": self.found.name}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        seconds = self.read()["seconds"]
        cost = before.cost(Usage.of(self.process.pid), seconds)
        return cost, np.fromfile(self.found.name, "<i4").reshape(queries, K)

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.found.close()


class Pool:
    """The engines by name. Those running hold no more than `memory` bytes of indexes together."""

    def __init__(self, commands: dict[str, list[str]], data: Data, threads: int, memory: float) -> None:
        self.commands, self.data, self.threads, self.memory = commands, data, threads, memory
        self.running: dict[str, Process] = {}
        self.ready: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.stop()

    def start(self, name: str, threads: int) -> Process:
        cache = self.data.dir / "cache" / name
        cache.mkdir(parents=True, exist_ok=True)
        arguments = ["--dir", str(self.data.dir), "--cache", str(cache), "--threads", str(self.threads)]
        return Process(self.commands[name] + arguments, threads, cache.parent / f"{name}.log")

    def build(self) -> list[str]:
        """Has every engine build its index, one at a time, and end. Returns those that could."""
        for name in self.commands:
            print(f"building {name}", file=sys.stderr, flush=True)
            try:
                process = self.start(name, self.threads)
            except (RuntimeError, OSError) as e:
                self.failed[name] = str(e)
                print(f"  left out: {e}", file=sys.stderr, flush=True)
                continue
            self.ready[name] = process.ready
            process.stop()
        return list(self.ready)

    def get(self, name: str) -> Process:
        """The engine, started on one thread unless it runs. The largest make room for it."""
        if name not in self.running:
            for other in sorted(self.running, key=self.size, reverse=True):
                if self.size(name) + sum(map(self.size, self.running)) > self.memory:
                    self.running.pop(other).stop()
            self.running[name] = self.start(name, 1)
        return self.running[name]

    def size(self, name: str) -> float:
        """Bytes of an engine's index."""
        return self.ready[name]["bytes_per_vector"] * self.data.meta["n"]
