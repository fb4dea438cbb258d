"""Same-label interpolation: how far a network's answer carries from a sample towards others."""
