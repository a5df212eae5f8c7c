"""Search in a space of hyperparameters: random, grid and Bayesian. It knows nothing of jobs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from local_aws.tuning.space import CategoricalParameter, Space, TriedPoint, Values

Vector: TypeAlias = NDArray[np.floating]

_STARTERS = 3
_CANDIDATES = 256
_JITTER = 1e-6
_LENGTHS = (0.1, 0.2, 0.4, 0.8, 1.6)
_NOISES = (1e-4, 1e-2, 1e-1)


def suggest(strategy: str, space: Space, trials: Sequence[TriedPoint], seed: int) -> Values | None:
    """The next point to try; None when a grid is exhausted.

    The same arguments give the same point: the generator is derived from the seed and the number of trials so far.

    Args:
        strategy: `Random`, `Bayesian` or `Grid`.
        space: the hyperparameters.
        trials: every point so far, in the order of suggestion.
        seed: any whole number >= 0.
    """
    if strategy == "Grid":
        return _grid(space, len(trials))
    generator = np.random.default_rng([seed, len(trials)])
    if strategy == "Bayesian":
        return _bayesian(space, trials, generator)
    return _unseen(space, trials, generator)


def _sample(space: Space, generator: np.random.Generator) -> Values:
    return {parameter.name: parameter.sample(generator) for parameter in space}


def _unseen(space: Space, trials: Sequence[TriedPoint], generator: np.random.Generator) -> Values:
    """A random point; an untried one, if a few draws find one."""
    tried = [trial.values for trial in trials]
    for _ in range(20):
        values = _sample(space, generator)
        if values not in tried:
            break
    return values


def _grid(space: Space, index: int) -> Values | None:
    axes = [[(p.name, choice) for choice in p.choices] for p in space if isinstance(p, CategoricalParameter)]
    point = next(itertools.islice(itertools.product(*axes), index, None), None)
    return dict(point) if point is not None else None


def _encode(space: Space, points: Sequence[Values]) -> Vector:
    return np.array([[x for p in space for x in p.encode(values[p.name])] for values in points], dtype=np.float64)


def _bayesian(space: Space, trials: Sequence[TriedPoint], generator: np.random.Generator) -> Values:
    """The candidate with the greatest expected improvement under a Gaussian process.

    A running trial counts as the mean of the finished ones (the constant liar), which keeps parallel trials apart.
    """
    finished = [trial.loss for trial in trials if trial.loss is not None]
    if len(finished) < _STARTERS:
        return _unseen(space, trials, generator)
    mean = float(np.mean(finished))
    losses = np.array([mean if trial.loss is None else trial.loss for trial in trials], dtype=np.float64)
    spread = float(np.std(losses)) or 1.0
    candidates = [_sample(space, generator) for _ in range(_CANDIDATES)]
    process = _fit(_encode(space, [trial.values for trial in trials]), (losses - mean) / spread)
    expected, deviation = process.predict(_encode(space, candidates))
    gain = _expected_improvement(expected, deviation, (min(finished) - mean) / spread)
    tried = [trial.values for trial in trials]
    order = np.argsort(-gain, kind="stable")
    return next((candidates[i] for i in order if candidates[i] not in tried), candidates[int(order[0])])


def _expected_improvement(expected: Vector, deviation: Vector, best: float) -> Vector:
    z = (best - expected) / deviation
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.array([math.erf(float(x) / math.sqrt(2)) for x in z]))
    gain: Vector = (best - expected) * below + deviation * density
    return gain


def _matern(a: Vector, b: Vector, length: float) -> Vector:
    """Matern 5/2 covariance between two sets of points."""
    distance = np.sqrt(np.maximum(((a[:, None, :] - b[None, :, :]) ** 2).sum(-1), 0.0))
    scaled = math.sqrt(5) * distance / length
    covariance: Vector = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return covariance


@dataclass(frozen=True)
class _GaussianProcess:
    """A Gaussian process conditioned on points."""

    points: Vector
    weights: Vector
    factor: Vector
    length: float

    def predict(self, where: Vector) -> tuple[Vector, Vector]:
        """Mean and standard deviation at each row of `where`."""
        cross = _matern(where, self.points, self.length)
        solved = np.linalg.solve(self.factor, cross.T)
        variance = np.maximum(1.0 - (solved**2).sum(0), 1e-12)
        return cross @ self.weights, np.sqrt(variance)


def _fit(points: Vector, targets: Vector) -> _GaussianProcess:
    """The process whose length scale and noise explain the targets best (greatest marginal likelihood)."""
    best: tuple[float, _GaussianProcess] | None = None
    for length, noise in itertools.product(_LENGTHS, _NOISES):
        covariance = _matern(points, points, length) + (noise + _JITTER) * np.eye(len(points))
        factor = np.linalg.cholesky(covariance)
        half = np.linalg.solve(factor, targets)
        likelihood = -0.5 * float(half @ half) - float(np.log(np.diag(factor)).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, _GaussianProcess(points, np.asarray(np.linalg.solve(factor.T, half)), factor, length)
    assert best is not None
    return best[1]
