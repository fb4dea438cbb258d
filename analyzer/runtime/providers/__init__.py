"""Execution providers, one module each: all that depends on the device is asked of them.

A new one is a module with a subclass of :class:`Provider`, and a line in ``PROVIDERS``.
"""

from analyzer.runtime.providers.cpu import Cpu
from analyzer.runtime.providers.cuda import Cuda
from analyzer.runtime.providers.provider import Provider

__all__ = ["PROVIDERS", "Provider"]

PROVIDERS: tuple[Provider, ...] = (Cuda(), Cpu())
"""In the order in which "auto" tries them; the last one is always there."""
