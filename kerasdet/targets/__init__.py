"""Targets: which anchor, cell or region learns which object."""
