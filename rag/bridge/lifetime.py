"""When the bridge ends: its parent died, its reader is gone, its input ended, or a signal came."""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any

PARENT_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1
_PARENT_DIED = signal.SIGUSR1


def hung_up(descriptor: int, *, wait: bool = False) -> bool:
    """Whether the other end of a pipe, socket or terminal is closed in both directions. `wait`: block until it is."""
    poll = select.poll()
    poll.register(descriptor, 0)  # no events requested: errors and hang-ups are always reported
    return bool(poll.poll(None if wait else 0))


def watch_reader(output: int, gone: Callable[[], None]) -> None:
    """Call `gone`, from a thread, as soon as nobody can read `output` any more."""

    def watch() -> None:
        hung_up(output, wait=True)
        gone()

    Thread(target=watch, daemon=True, name="reader watch").start()


def watch_parent(parent: int, gone: Callable[[], None]) -> None:
    """Call `gone` once `parent`, which os.getppid() named at the start, is not this process's parent any more.

    Linux sends a signal at once. It comes when the thread that started this process ends, so it only causes a check.
    Otherwise the check runs every PARENT_POLL_S. Call this in the main thread.
    """

    def look(*_: object) -> None:
        if os.getppid() != parent:
            gone()

    def watch() -> None:
        while True:
            look()
            time.sleep(PARENT_POLL_S)

    if sys.platform == "linux":
        signal.signal(_PARENT_DIED, look)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(_PARENT_DIED), 0, 0, 0)
    look()  # it may have died before the kernel was asked to tell
    Thread(target=watch, daemon=True, name="parent watch").start()


def watch_input(input: int, ended: asyncio.Event) -> None:
    """Set `ended` at the end of `input` if that is a pipe or a socket: its holder wants the bridge to run."""
    mode = os.fstat(input).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return
    loop = asyncio.get_running_loop()

    def watch() -> None:
        with suppress(OSError):
            while os.read(input, 4096):
                pass
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(ended.set)

    Thread(target=watch, daemon=True, name="input watch").start()


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM and SIGINT from now on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run_unless(work: Coroutine[Any, Any, None], ending: Coroutine[Any, Any, object]) -> bool:
    """Run `work` to its end: True. If `ending` ends first, cancel `work`: False. Raises what `work` raises."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(ending)
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.wait({working, waiting})
    if working.cancelled():
        return False
    working.result()
    return True
