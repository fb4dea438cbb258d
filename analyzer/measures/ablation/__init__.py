"""Cumulative unit ablation: unit order, the evaluations that have to be run, the sweep, ζ and κ."""
