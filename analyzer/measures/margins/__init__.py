"""The margin-based estimate (Jiang et al. 2019), the paper's comparison."""
