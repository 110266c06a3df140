"""Exports detectors to files that run without kerasdet: SavedModels of stock operators, TFLite files of builtins."""
