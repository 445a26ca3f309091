"""Placing patches in an ROI: free space, sizes, placement, explanations. Pure: chance is the seed."""

from service.sampling.placement import Sampling, sample, sample_on_grid

__all__ = ["Sampling", "sample", "sample_on_grid"]
