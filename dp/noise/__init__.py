"""Integer noise drawn exactly: discrete Gaussian and Skellam.

Promise: every sampler states how far in total variation a sample is from its law, and that is all there is to add to
delta: no floating-point number decides a sample.
"""

from dp.law import IntegerNoise
from dp.noise.discrete_gaussian import DiscreteGaussian
from dp.noise.skellam import Skellam

__all__ = ["DiscreteGaussian", "IntegerNoise", "Skellam"]
