"""From a network's outputs to detections."""
