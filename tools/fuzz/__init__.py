"""Hostile input for everything that reads what strangers wrote: ``python -m tools.fuzz``."""
