"""When Ctrl-C is heeded: at once, but not while a native module sets itself up, nor at the end."""

import _thread
import signal
import threading
from importlib.machinery import ExtensionFileLoader
from types import FrameType

__all__ = ["heed_interrupts", "hold_interrupts_back"]

_AGAIN = 0.02  # seconds


def heed_interrupts() -> None:
    """Raise KeyboardInterrupt at Ctrl-C; while a native module is imported, right after that.

    Such a module may run Python, and make something else of an exception that is raised there:
    onnxruntime an ImportError, as if it were broken, or nothing at all.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def hold_interrupts_back() -> None:
    """Let Ctrl-C change nothing from now on: all is done and said, and the exit code stands.

    Python itself, too, ends by a signal where an interrupt met code made of a text, as that of
    dataclasses is, although it was handled; blocked, that signal leaves the exit code.
    """
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _send_again() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # which ends a wait, too
    else:
        _thread.interrupt_main()


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            again = threading.Timer(_AGAIN, _send_again)
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
