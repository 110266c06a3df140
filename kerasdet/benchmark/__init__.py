"""Benchmarks of detectors and operators, compared with the machine's own speed and with other projects."""
