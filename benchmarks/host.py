"""A service in a process of its own, so that one run can have two: one behind HAProxy, one behind Serve's proxy."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.service import ray_folder


@dataclass(frozen=True, slots=True)
class Hosted:
    """`pid`: of the process whose descendants serve."""

    url: str
    key: str
    pid: int


@contextmanager
def hosted(args: Mapping[str, Any], *, haproxy: bool, **scale: Mapping[str, Any]) -> Iterator[Hosted]:
    """The application with these arguments, set up for load behind `haproxy` or as Serve does it by itself; `scale`
    overrides a deployment's options by name."""
    flags = ["--haproxy"] if haproxy else []
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.host", json.dumps(dict(args)), json.dumps(dict(scale)), *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        for line in process.stdout:
            if line.startswith("{"):
                yield Hosted(**json.loads(line), pid=process.pid)
                break
        else:
            raise RuntimeError("the service did not start")
    finally:
        process.stdin.close()
        process.stdout.read()
        process.wait(120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("args", type=json.loads)
    parser.add_argument("scale", type=json.loads)
    parser.add_argument("--haproxy", action="store_true")
    given = parser.parse_args()
    with ray_folder(haproxy=given.haproxy) as folder:
        from tests.support.service import service

        with service(folder, given.args, **given.scale) as running:
            print(json.dumps({"url": running.url, "key": running.key}), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
