"""The tables behind docs/EVIDENCE.md: collected from trained populations, then made into pages."""
