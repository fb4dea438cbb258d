"""Test data, where there are some: the measured gap, and what is confused with what."""
