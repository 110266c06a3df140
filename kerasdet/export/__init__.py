"""A detector as files that run without kerasdet: SavedModels of stock operators, TFLite files of builtin ones."""
