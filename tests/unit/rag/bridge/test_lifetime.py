from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from rag.bridge.lifetime import hung_up, run_unless
from tests.support.bridge import RAG


def test_a_pipe_is_hung_up_once_its_reader_is_closed() -> None:
    reader, writer = os.pipe()
    assert not hung_up(writer)
    os.close(reader)
    assert hung_up(writer)
    assert hung_up(writer, wait=True)
    os.close(writer)


def test_a_socket_is_hung_up_once_the_peer_is_closed_and_not_while_that_still_reads() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.shutdown(socket.SHUT_WR)
        assert ours.recv(1) == b""
        assert not hung_up(ours.fileno())
        theirs.close()
        assert hung_up(ours.fileno())


async def test_work_is_done_or_cancelled() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work(seconds: float) -> None:
        begun.set()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    assert await run_unless(work(0), asyncio.sleep(60))
    assert not cancelled.is_set()
    assert not await run_unless(work(60), asyncio.sleep(0))
    assert cancelled.is_set()
    begun.clear()
    cancelled.clear()
    task = asyncio.create_task(run_unless(work(60), asyncio.sleep(60)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_unless(work(), asyncio.sleep(60))


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_taken_for_empty_ones(closed: str) -> None:
    """The shell hands it no descriptor at all; what is read from there has ended, what is written is lost."""
    command = f"printf 'x\\n' | {RAG} bridge --framing lines --url http://127.0.0.1:1 {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("bad_frame" in done.stdout) == (closed == "2>&-")


def test_children_inherit_neither_end() -> None:
    script = (
        "import os, subprocess, sys; from rag.bridge.streams import take_over; taken = take_over(); "
        "subprocess.run([sys.executable, '-c', 'import os, sys; print(sys.stdin.read(), "
        '[os.path.exists(f"/proc/self/fd/{fd}") for fd in map(int, sys.argv[1:])])\', '
        "str(taken.input), str(taken.output)], close_fds=False); os.write(taken.output, b'frame')"
    )
    done = subprocess.run([sys.executable, "-c", script], input="secret", capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("frame", " [False, False]\n")
