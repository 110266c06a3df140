"""Measuring detectors and operators beside the machine's own speed and beside other projects."""
