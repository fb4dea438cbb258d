"""Work in another process, whose end by a library does not end this one."""

import os
import resource
import signal
import subprocess
import sys

import pytest

from analyzer.surgery.memory_limit import MemoryLimitReached, can_limit, run_within

pytestmark = pytest.mark.skipif(not can_limit(), reason="no limits of memory")
MEGABYTE = 1 << 20


def test_what_the_work_gives_comes_back():
    large = os.urandom(5 * MEGABYTE)  # more than a pipe holds
    assert run_within(100 * MEGABYTE, lambda: large) == large
    assert run_within(100 * MEGABYTE, lambda: b"") == b""


def test_it_is_another_process():
    told = run_within(100 * MEGABYTE, lambda: str(os.getpid()).encode())
    assert int(told) != os.getpid()


def test_more_memory_than_it_may_take():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryLimitReached):
        run_within(100 * MEGABYTE, lambda: bytes(300 * MEGABYTE))
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize(
    "end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(127)]
)
def test_a_library_that_ends_its_process(end):
    with pytest.raises(MemoryLimitReached):
        run_within(100 * MEGABYTE, end)


def test_work_that_fails_otherwise():
    with pytest.raises(RuntimeError, match="the work failed"):
        run_within(100 * MEGABYTE, lambda: [][0])


def test_a_limit_of_this_process_that_is_lower():
    code = (
        "import resource; from analyzer.surgery.memory_limit import run_within; "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31)); "
        "print(run_within(1 << 20, lambda: b'fits'));\n"
        "try: run_within(1 << 40, lambda: bytes(1 << 32))\n"
        "except MemoryError as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["b'fits'", "MemoryError"]
