"""Exports detectors to files that run without kerasdet: SavedModels of stock operators, TFLite files of builtins."""

# Precisions of a TFLite file, see `tflite.write`.
KINDS = ("float32", "float16", "dynamic", "int8")
