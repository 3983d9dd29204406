"""Clients that hang up: how long the engine goes on for them, and whether it ever does for good. Sixteen at once, each
at a moment of its question's life, behind each proxy; whatever the moment, thousands of tokens are still to come."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.service import ray_folder, report

AT_ONCE = 16
TOKENS = 6_000
CONTEXT_TOKENS = 8_192
MOMENTS = {"0 ms": 0.0, "20 ms": 0.02, "100 ms": 0.1, "400 ms": 0.4, "mid-stream": None}
"""Seconds after the question was sent."""
MIDSTREAM = "mid-stream"
POLL_S = 0.004
QUIET_S = 0.6
"""When nothing was left in the engine for so long after a hang-up, nothing is still on its way there."""
GIVEN_UP_S = 10.0
"""A question that is still in the engine after so many seconds is an orphan."""


@dataclass(frozen=True, slots=True)
class Round:
    """`abort_ms`: from the hang-up until the engine was seen without it, of each of the questions."""

    moment: str
    abort_ms: Sequence[float]
    orphans: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disconnects", type=int, default=1_000, help="in each proxy mode")
    parser.add_argument("--proxy", choices=("haproxy", "stock"), help="only this one")
    arguments = parser.parse_args()
    if arguments.proxy:
        report(one_mode(arguments.disconnects, haproxy=arguments.proxy == "haproxy"))
        return
    modes = {proxy: _in_a_process(proxy, arguments.disconnects) for proxy in ("haproxy", "stock")}
    goals = ("orphans", "abort_ms_p99_midstream", "abort_ms_p99_early")
    worst = {of: max(figures[of] for figures in modes.values()) for of in goals}
    report({**worst, **modes})


def _in_a_process(proxy: str, disconnects: int) -> dict[str, float]:
    """Ray reads its flags once in a process."""
    command = [sys.executable, "-m", "benchmarks.cancellation", "--proxy", proxy, "--disconnects", str(disconnects)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def one_mode(disconnects: int, *, haproxy: bool) -> dict[str, float]:
    with ray_folder(haproxy=haproxy) as folder:
        from tests.support.service import service
        from tests.support.tiny_model import make_tiny_model

        generation = {
            "engine": "vllm",
            "model": str(make_tiny_model(folder / "tiny", context_tokens=CONTEXT_TOKENS)),
            "context_tokens": CONTEXT_TOKENS,
            "max_num_seqs": AT_ONCE,
            "engine_kwargs": {"enforce_eager": True},
        }
        limits = {"max_max_tokens": TOKENS}
        # The loop outlives the service, whose end also ends the handle that was used in it.
        with asyncio.Runner() as runner, service(folder, {"generation": generation, "api": limits}) as running:
            running.ingest([{"id": "zakon", "text": "Žalba se podnosi u roku od 15 dana od dana dostave rješenja."}])
            rounds = runner.run(hang_up(running.url, running.key, -(-disconnects // AT_ONCE)))

    def p99(of: Sequence[Round]) -> float:
        times = [abort_ms for one_round in of for abort_ms in one_round.abort_ms]
        return round(statistics.quantiles(times, n=100, method="inclusive")[-1], 1)

    return {
        "disconnects": AT_ONCE * len(rounds),
        "orphans": sum(one_round.orphans for one_round in rounds),
        "abort_ms_p99_midstream": p99([one_round for one_round in rounds if one_round.moment == MIDSTREAM]),
        "abort_ms_p99_early": p99([one_round for one_round in rounds if one_round.moment != MIDSTREAM]),
        **{
            f"p99 at {moment}": p99([one_round for one_round in rounds if one_round.moment == moment])
            for moment in MOMENTS
        },
    }


async def hang_up(url: str, key: str, rounds: int) -> list[Round]:
    moments = list(MOMENTS)
    return [await one_round(url, key, moments[number % len(moments)]) for number in range(rounds)]


async def one_round(url: str, key: str, moment: str) -> Round:
    everyone = asyncio.Barrier(AT_ONCE)

    async def ask() -> None:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            await everyone.wait()
            writer.write(_question(key))
            if (after := MOMENTS[moment]) is not None:
                await writer.drain()
                await asyncio.sleep(after)
            else:
                try:
                    await reader.readuntil(b"event: chunk")
                except asyncio.IncompleteReadError as error:
                    raise RuntimeError(f"an answer ended before its text: {error.partial.decode()}") from None
                await everyone.wait()
        finally:
            writer.close()

    asking = asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    await asking
    return await let_go(moment, time.perf_counter())


async def let_go(moment: str, gone: float) -> Round:
    from tests.support.service import engine_load

    ended: list[float] = []
    looks: list[float] = []
    held, last = 0, gone
    while last - gone < GIVEN_UP_S and (not looks or looks[-1] - last < QUIET_S):
        load = await engine_load()
        looks.append(time.perf_counter())
        here = load.running + load.waiting
        ended += [1_000 * (looks[-1] - gone)] * max(0, held - here)
        last = looks[-1] if here or held else last
        held = here
        await asyncio.sleep(POLL_S)
    unseen = AT_ONCE - len(ended) - held  # gone before the first look, or never there
    return Round(moment, [*ended, *[1_000 * (looks[0] - gone)] * unseen], held)


def _question(key: str) -> bytes:
    body = json.dumps({"query": "U kojem roku se podnosi žalba?", "max_tokens": TOKENS}).encode()
    head = f"POST /v1/query HTTP/1.1\r\nHost: rag\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    main()
