"""Loads weights that were trained elsewhere."""
