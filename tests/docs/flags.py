"""Reads command lines as kerasdet's tools do, without running them: a companion."""

import importlib
import io
import json
import os
import sys

import kerasdet.detectors  # noqa: F401  here once, since some configs import it
from kerasdet import command
from tests import companion


def answer(tool, commands, folder):
    """Parses command lines of a tool, each a list of arguments, in a folder.

    Returns:
        For each what was wrong, one line; "" if all its flags are known and their configs exist.
    """

    def parsed():
        os.chdir(folder)
        module = importlib.import_module(f"kerasdet.tools.{tool}")
        module.needs_tensorflow = False
        nothing = eval("lambda arguments: None", vars(module))  # a `main` among the module's flags
        return [_forked(_said, nothing, [tool, *arguments]) for arguments in commands]

    return _forked(parsed)


def _said(main, arguments):
    """The line with which a tool ends."""
    sys.argv, sys.stderr = arguments, io.StringIO()
    try:
        command.script(main)
    except SystemExit as end:
        return str(end)
    return ""


def _forked(function, *values):
    """What a function returns in a fork: two tools may have flags of one name, and flags are parsed once."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(write, "w") as stream:
            try:
                json.dump(function(*values), stream)
            except BaseException as error:
                json.dump(repr(error), stream)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        said = json.load(stream)
    os.waitpid(child, 0)
    return said


if __name__ == "__main__":
    companion.serve(answer)
