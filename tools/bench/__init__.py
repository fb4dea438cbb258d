"""The benchmark of the sweep: its networks, its ways of counting, its tables."""
