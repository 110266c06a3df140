"""Decodes the outputs of networks to detections."""
