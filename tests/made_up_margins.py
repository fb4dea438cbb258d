"""Logit margins of made-up classes as functions of n, for what estimates them from few of them."""

import numpy as np

KINDS = ("monotone", "wandering", "noisy", "dips", "adversarial", "never at chance", "weak")


class MadeUp:
    """A class of C samples whose every logit margin is known."""

    def __init__(self, kind: str, *, samples: int, units: int, seed: int, active: float = 0.7):
        random = np.random.default_rng(seed)
        self.active = random.random((samples, units)) < active
        gone = np.stack([self.active, self.active[:, ::-1]]).cumsum(axis=2)
        gone = np.concatenate([np.zeros((2, samples, 1), int), gone], axis=2)
        total = np.maximum(gone[:, :, -1:], 1)
        share = gone / total  # (2, C, M + 1)
        fails = np.stack([random.beta(2, 8, samples), 1 - random.beta(2, 10, samples)])
        margin = 4 * (fails[:, :, None] - share)
        if kind in ("wandering", "noisy"):
            steps = random.normal(size=share.shape) * {"wandering": 0.15, "noisy": 0}[kind]
            margin += steps.cumsum(axis=2) + random.normal(size=share.shape) * 0.2
        if kind == "dips":  # a sample fails for a few n where it is far from failing
            at = random.integers(1, units + 1, (2, samples, 1))
            n = np.arange(units + 1)
            margin[(n >= at) & (n < at + 3)] = -3.0
        if kind == "adversarial":  # confident, and wrong at random
            margin[random.random(share.shape) < 0.003] *= -1
        if kind == "never at chance":
            margin = np.abs(margin) + np.where(random.random((samples, 1)) < 0.4, -5.0, 0.1)
        if kind == "weak":
            margin -= np.where(random.random((samples, 1)) < 0.3, 5.0, 0.0)
        # Cells of one evaluation share its margin; both orders start and end alike.
        first = np.maximum.accumulate(
            np.where(np.diff(gone, axis=2, prepend=-1) > 0, np.arange(units + 1), 0), axis=2
        )
        margin = np.take_along_axis(margin, first, axis=2)
        margin = np.where(gone == 0, margin[:1, :, :1], margin)
        changing = self.active.any(axis=1)[:, None]
        margin = np.where((gone == total) & changing, margin[0, 0, -1], margin)
        self.margin = margin.astype(np.float32)
        self.units, self.evaluations = units, []

    def run(self, sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        self.evaluations += list(zip(sample.tolist(), low.tolist(), high.tolist(), strict=True))
        order = np.where(high == self.units, 0, 1)
        return self.margin[order, sample, np.where(order == 0, low, self.units - high)]

    @property
    def right(self) -> np.ndarray:
        return self.margin >= 0
