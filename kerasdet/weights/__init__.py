"""Weights that others trained."""
