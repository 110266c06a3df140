"""The console command: `kerasdet train --config=…` runs `tools/train.py`, and so on for every tool."""

import importlib
import pkgutil
import sys

import kerasdet.tools
from kerasdet import runs


def main():
    """Runs the tool that the first argument names."""
    tools = sorted(module.name for module in pkgutil.iter_modules(kerasdet.tools.__path__))
    if len(sys.argv) < 2 or sys.argv[1] not in tools:
        sys.exit(f"usage: kerasdet {{{','.join(tools)}}} --flags; `kerasdet train --help` lists a tool's flags.")
    name = sys.argv.pop(1)
    runs.script(importlib.import_module(f"kerasdet.tools.{name}").main)


if __name__ == "__main__":
    main()
