"""Formats of labeled data, a module each; the list of them is :mod:`.registry`."""
