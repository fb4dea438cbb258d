"""Limits on the memory of the process under which the libraries below would end it unasked."""

import os

__all__ = ["memory_refusal"]

_MIB = 1 << 20

# The least that a process gets, and more for each processor, whose thread has a stack and buffers.
# A small audit takes up to 0.8 GiB of addresses on two processors, and 0.21 GiB of data.
_LEAST = {"RLIMIT_AS": (1024, 64), "RLIMIT_DATA": (384, 32)}
_FLAGS = {"RLIMIT_AS": "-v", "RLIMIT_DATA": "-d"}


def memory_refusal() -> str | None:
    """Why this process may have too little memory to begin with, as a sentence; None where not.

    To be asked before numpy is imported, whose OpenBLAS ends the process with 1 where it gets none.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limits
        return None
    processors = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    for name, (base, each) in _LEAST.items():
        limit, _ = resource.getrlimit(getattr(resource, name))
        least = (base + each * processors) * _MIB
        if limit != resource.RLIM_INFINITY and limit < least:
            return (
                f"This process may take {limit // 1024:,} KB of memory (ulimit {_FLAGS[name]}), "
                f"and with {processors} processors onnx-gap needs {least // 1024:,}. Raise the "
                "limit, or limit what is in use, by a container or systemd-run -p MemoryMax=4G."
            )
    return None
