"""Work in a process of its own that may take so much memory, and no more.

Where memory is gone, a library can end its process, so what may take all of it is not done in this
one. That needs a system with ``fork`` and limits of memory.
"""

import os
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["MemoryLimitReached", "can_limit", "run_within"]

_STATUS = Path("/proc/self/statm")
_FAILED, _NO_MEMORY = 3, 4  # exit codes of the process


class MemoryLimitReached(Exception):
    """The work wants more memory than it may take."""


def can_limit() -> bool:
    """Whether this system can."""
    return hasattr(os, "fork") and _STATUS.exists()


def run_within(memory: int, work: Callable[[], bytes]) -> bytes:
    """What some work gives, in a process that may take so many bytes more than this one has.

    Args:
        memory: bytes of addresses.
        work: needs no other thread.

    Raises:
        MemoryError: this process may not take as much itself.
        MemoryLimitReached: the work wants more.
        RuntimeError: it failed otherwise.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = int(_STATUS.read_text().split()[0]) * resource.getpagesize() + memory
    is_ours = soft == resource.RLIM_INFINITY or soft >= limit
    reading, writing = os.pipe()
    with warnings.catch_warnings():  # of other threads, of which the new process has none
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if not process:
        code = _FAILED
        try:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where libraries say why they end it
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (limit if is_ours else soft, hard))
            content = work()
            with open(writing, "wb") as pipe:
                pipe.write(content)
            code = 0
        except MemoryError:
            code = _NO_MEMORY
        finally:
            os._exit(code)
    content, code = _outcome(process, reading, writing)
    if code == _FAILED:
        raise RuntimeError("the work failed")
    if code != 0:
        raise MemoryLimitReached if is_ours else MemoryError
    return content


def _outcome(process: int, reading: int, writing: int) -> tuple[bytes, int]:
    """What a process wrote, and its exit code; it is ended where this one is interrupted."""
    try:
        os.close(writing)
        with open(reading, "rb") as pipe:
            content = pipe.read()
        status = os.waitpid(process, 0)[1]
    except BaseException:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        raise
    return content, os.waitstatus_to_exitcode(status)
