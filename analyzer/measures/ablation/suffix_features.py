"""What the suffix reads of samples."""

from dataclasses import dataclass

import numpy as np

from analyzer.runtime.sessions import Held

__all__ = ["Features"]


@dataclass(frozen=True, slots=True)
class Features:
    """What the prefix makes of B samples."""

    values: dict[str, np.ndarray | Held]  # what the suffix reads of each sample, (B, …)
    shared: dict[str, np.ndarray]  # what it reads besides, the same for every sample
    attribute: np.ndarray  # float32 (B, M): Σ_xy |U_i(x, y)| at the site
    active: np.ndarray  # bool (B, M): the unit's map at the cut is not all zero

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.values.values()) + self.active.nbytes

    @property
    def held(self) -> bool:
        """Whether the values lie on a device; then samples stay together as they were run."""
        return any(isinstance(value, Held) for value in self.values.values())

    def piece(self, samples: slice) -> "Features":
        """Those of some of the samples."""
        return Features(
            values={name: value[samples] for name, value in self.values.items()},
            shared=self.shared,
            attribute=self.attribute[samples],
            active=self.active[samples],
        )

    @classmethod
    def joined(cls, parts: "list[Features]") -> "Features":
        """Those of several batches, one after the other; what was held comes here for it."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            values={
                name: np.concatenate([_array(part.values[name]) for part in parts])
                for name in parts[0].values
            },
            shared=parts[0].shared,
            attribute=np.concatenate([part.attribute for part in parts]),
            active=np.concatenate([part.active for part in parts]),
        )


def _array(value: np.ndarray | Held) -> np.ndarray:
    return value.value.numpy() if isinstance(value, Held) else value
