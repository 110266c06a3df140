"""Configs: files whose `get_config()` returns the flat tree that a run is made from."""
