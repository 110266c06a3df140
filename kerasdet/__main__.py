"""The console command: `kerasdet train --config=…` runs `tools/train.py`, and so on for every tool."""

import ast
import importlib
import pathlib
import pkgutil
import sys

import kerasdet.tools
from kerasdet import command


def main():
    """Runs the tool that the first argument names."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "--help"
    tools = sorted(module.name for module in pkgutil.iter_modules(kerasdet.tools.__path__))
    if name in command.HELP:
        print("usage: kerasdet TOOL --flags; `kerasdet TOOL --help` lists a tool's flags.\n")
        for tool in tools:
            print(f"  {tool:16s} {_purpose(tool)}")
    elif name not in tools:
        sys.exit(f"error: there is no tool {name!r}; did you mean '{command.nearest(name, tools)}'?")
    else:
        command.script(importlib.import_module(f"kerasdet.tools.{name}").main)


def _purpose(tool):
    """The first line of a tool's docstring. The tools are not imported: many define flags of the same names."""
    files = (pathlib.Path(home) / f"{tool}.py" for home in kerasdet.tools.__path__)
    text = next(file.read_text(encoding="utf-8") for file in files if file.is_file())
    return ast.get_docstring(ast.parse(text)).splitlines()[0]


if __name__ == "__main__":
    main()
