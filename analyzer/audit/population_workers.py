"""Networks of a population audited by several processes, or by a Dask cluster, that may be lost."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from typing import Any, TypeVar

from analyzer.errors import AnalyzerError, parameter

__all__ = ["SchedulerLost", "outcomes_of"]

_WATCH_SECONDS = 0.5

Outcome = TypeVar("Outcome")


class SchedulerLost(AnalyzerError):
    """Nothing is wrong with the network: what was to run it is gone."""


def outcomes_of(
    tasks: Mapping[str, tuple[Any, ...]],
    measured: Callable[..., tuple[str, Outcome | AnalyzerError]],
    jobs: int,
    say: Callable[[str], None],
    *,
    again: bool = False,
) -> Generator[tuple[str, Outcome | AnalyzerError], None, None]:
    """What comes of each network, by name, as it is finished.

    With a lost worker process joblib gives up all that are not finished. They are audited again in
    two halves, and so on, until a network that always takes its worker with it is alone.

    Args:
        tasks: arguments of ``measured`` for each network, by name.
        measured: called in a worker; the name, and what comes of it.
        jobs: networks audited at once.
        say: told that a worker was lost.
        again: the network in ``tasks`` is alone, and was lost once already.
    """
    import joblib  # a quarter of a second that a single audit does not pay

    # No more workers than networks, but two: alone it would run in this process, and take it along.
    workers = min(jobs, max(len(tasks), 2))
    ours = workers > 1 and _are_ours()
    options = {"initializer": _prepare_worker, "initargs": (os.getpid(),)} if ours else {}
    run = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", **options)
    left = dict(tasks)
    try:
        with contextlib.ExitStack() as ending:
            ending.enter_context(_quiet_when_ended())
            with _away_from_signals() if ours else contextlib.nullcontext():
                outcomes = run(joblib.delayed(measured)(*task) for task in tasks.values())
                ending.enter_context(contextlib.closing(outcomes))
            for name, found in outcomes:
                del left[name]
                yield name, found
    except _lost_worker() as error:
        if not left:
            return
        if again:
            (name,) = left
            yield name, _lost_twice()
            return
        say(
            f"A worker process was lost ({type(error).__name__}); the {len(left)} networks that "
            "are not finished are audited again, from where they were."
        )
    except _lost_scheduler():
        for name in left:
            yield name, SchedulerLost("The Dask scheduler was lost before it was audited.")
        return
    if not left:
        return
    names = list(left)
    half = (len(names) + 1) // 2
    for part in (names[:half], names[half:]):
        if part:
            halved = {name: left[name] for name in part}
            yield from outcomes_of(halved, measured, jobs, say, again=len(names) == 1)


def _lost_twice() -> AnalyzerError:
    return AnalyzerError(
        "The process that audited it was killed, and once more when it was audited alone. It "
        f"probably takes more memory than there is: give it less {parameter('memory')}, or audit "
        f"fewer {parameter('jobs')} at once."
    )


def _lost_worker() -> tuple[type[Exception], ...]:
    """What joblib raises when a worker process is gone: of its own processes, or of Dask's."""
    dask = sys.modules.get("distributed")
    return (BrokenExecutor, *((dask.KilledWorker,) if dask else ()))


def _lost_scheduler() -> tuple[type[BaseException], ...]:
    """What is raised when Dask's scheduler is gone."""
    dask = sys.modules.get("distributed")
    return (dask.CancelledError, dask.comm.CommClosedError) if dask else ()


def _are_ours() -> bool:
    """Whether networks are audited by joblib's own processes; those of Dask are somebody else's."""
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return type(backend).__name__ == "LokyBackend"


@contextlib.contextmanager
def _away_from_signals() -> Iterator[None]:
    """Start worker processes that Ctrl-C does not reach, and none by halves.

    A terminal sends it to all processes of a command. The one that leads ends the others, which
    would print where they were. A blocked signal stays blocked in the threads that are started
    here, and in the processes that these start later in the place of others.
    """
    came: list[int] = []
    before = {}
    # Only the main thread handles signals, those that were sent to other threads among them.
    if threading.current_thread() is threading.main_thread():
        before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    handled = [which for which, handler in before.items() if handler is not None]
    try:
        for which in handled:
            signal.signal(which, lambda number, _: came.append(number))
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            _start_trackers()
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        else:
            yield
    finally:
        for which in handled:
            signal.signal(which, before[which])
        for number in came[:1]:
            signal.raise_signal(number)


@contextlib.contextmanager
def _quiet_when_ended() -> Iterator[None]:
    """Let joblib's thread say nothing where it is ended before it has passed every task on.

    Its workers are killed by then, and it looks for a task that it has dropped.
    """
    before = threading.excepthook

    def hook(raised: threading.ExceptHookArgs) -> None:
        whose = type(raised.thread).__module__
        if raised.exc_type is not KeyError or not whose.startswith("joblib."):
            before(raised)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _start_trackers() -> None:
    """Start the processes that clean up after workers; as they start, they unblock signals here."""
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    resource_tracker.ensure_running()
    loky_tracker.ensure_running()


def _prepare_worker(parent: int) -> None:
    """Leave Ctrl-C to the process ``parent``, and end this one soon after that has.

    It may be killed and tell nobody, before a task or in one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
