"""Neighbors: whether the samples that a network sees alike have the same label."""
