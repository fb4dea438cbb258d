"""Leads of made-up classes as functions of n, for what estimates them from few rows."""

import numpy as np

KINDS = ("monotone", "wandering", "noisy", "dips", "adversarial", "never at chance", "weak")


class MadeUp:
    """A class of C samples whose every lead is known."""

    def __init__(self, kind: str, *, samples: int, units: int, seed: int, active: float = 0.7):
        random = np.random.default_rng(seed)
        self.active = random.random((samples, units)) < active
        gone = np.stack([self.active, self.active[:, ::-1]]).cumsum(axis=2)
        gone = np.concatenate([np.zeros((2, samples, 1), int), gone], axis=2)
        total = np.maximum(gone[:, :, -1:], 1)
        share = gone / total  # (2, C, M + 1)
        fails = np.stack([random.beta(2, 8, samples), 1 - random.beta(2, 10, samples)])
        lead = 4 * (fails[:, :, None] - share)
        if kind in ("wandering", "noisy"):
            steps = random.normal(size=share.shape) * {"wandering": 0.15, "noisy": 0}[kind]
            lead += steps.cumsum(axis=2) + random.normal(size=share.shape) * 0.2
        if kind == "dips":  # a sample fails for a few n where it is far from failing
            at = random.integers(1, units + 1, (2, samples, 1))
            n = np.arange(units + 1)
            lead[(n >= at) & (n < at + 3)] = -3.0
        if kind == "adversarial":  # confident, and wrong at random
            lead[random.random(share.shape) < 0.003] *= -1
        if kind == "never at chance":
            lead = np.abs(lead) + np.where(random.random((samples, 1)) < 0.4, -5.0, 0.1)
        if kind == "weak":
            lead -= np.where(random.random((samples, 1)) < 0.3, 5.0, 0.0)
        # Cells of one row share its lead; both orders start and end alike.
        first = np.maximum.accumulate(
            np.where(np.diff(gone, axis=2, prepend=-1) > 0, np.arange(units + 1), 0), axis=2
        )
        lead = np.take_along_axis(lead, first, axis=2)
        lead = np.where(gone == 0, lead[:1, :, :1], lead)
        bare = self.active.any(axis=1)[:, None]
        self.lead = np.where((gone == total) & bare, lead[0, 0, -1], lead).astype(np.float32)
        self.units, self.rows = units, []

    def run(self, sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        self.rows += list(zip(sample.tolist(), low.tolist(), high.tolist(), strict=True))
        order = np.where(high == self.units, 0, 1)
        return self.lead[order, sample, np.where(order == 0, low, self.units - high)]

    @property
    def right(self) -> np.ndarray:
        return self.lead >= 0
