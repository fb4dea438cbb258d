"""Devices by the names that people give them."""

from analyzer.errors import DeviceError, parameter
from analyzer.runtime.providers import PROVIDERS, Provider

__all__ = [
    "AUTO",
    "lacks_tf32",
    "list_devices",
    "named_devices",
    "preferred_devices",
    "provider_of",
]

AUTO = "auto"
"""Asks for the first device that networks really run on."""


def named_devices(requested: str) -> tuple[str, ...]:
    """What a request names: "auto", "cpu", "cuda:N", or several GPUs separated by commas.

    Raises:
        DeviceError: a name is not one of these, or the list names something else than GPUs, or one
            of them twice.
    """
    names = tuple(_named(name.strip()) for name in requested.split(","))
    if len(names) > 1:
        for number, name in enumerate(names):
            if name == AUTO or not provider_of(name)[0].numbered:
                raise DeviceError(
                    f"{parameter('device', requested)}: only GPUs share an audit, and {name!r} is "
                    "none. Name GPUs alone, as cuda:0,cuda:1."
                )
            if name in names[:number]:
                raise DeviceError(
                    f"{parameter('device', requested)} names {name} twice. Name each GPU once."
                )
    return names


def _named(name: str) -> str:
    if name == AUTO:
        return name
    provider, index = provider_of(name)
    return provider.device(index)


def provider_of(device: str) -> tuple[Provider, int]:
    """The execution provider of a device, and the device's number; "cuda" is "cuda:0".

    Raises:
        DeviceError: there is no device of that name.
    """
    kind, colon, number = device.partition(":")
    for provider in PROVIDERS:
        if kind == provider.kind:
            if not colon:
                return provider, 0
            if provider.numbered and number.isascii() and number.isdigit():
                return provider, int(number)
    kinds = [name for one in reversed(PROVIDERS) for name in _names(one)]
    raise DeviceError(
        f"Unknown device {device!r}: use {', '.join([AUTO, *kinds])}, or several GPUs separated by "
        "commas."
    )


def _names(provider: Provider) -> tuple[str, ...]:
    """What names of a provider's devices look like."""
    return (provider.kind, f"{provider.kind}:N") if provider.numbered else (provider.kind,)


def preferred_devices() -> tuple[str, ...]:
    """The devices of this machine that "auto" tries before the processor, in that order."""
    return tuple(provider.device(0) for provider in PROVIDERS[:-1] if provider.count())


def list_devices() -> dict[str, str | None]:
    """Each device of this machine, and why networks cannot run on it; None if they should."""
    found: dict[str, str | None] = {}
    for provider in reversed(PROVIDERS):
        for index in range(provider.count()):
            try:
                provider.check(index)
                found[provider.device(index)] = None
            except DeviceError as error:
                found[provider.device(index)] = str(error)
    return found


def lacks_tf32(devices: str) -> bool:
    """Whether one of the devices, separated by commas, is of a kind that has no TF32."""
    kinds = {device.partition(":")[0] for device in devices.split(",")}
    return any(provider.kind in kinds and not provider.has_tf32 for provider in PROVIDERS)
