"""Runs kerasdet's commands in forks of a process that has imported TensorFlow, which takes seconds: a companion."""

import os
import sys
import tempfile
import traceback

import tensorflow as tf  # noqa: F401

from kerasdet import __main__ as command
from tests import companion


def answer(arguments, folder, environment):
    """Runs `kerasdet` with arguments in a folder: its exit code, and what it printed.

    The parent only imports: TensorFlow makes its threads when the first tensor is made, after the fork.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(_run(arguments, folder, environment))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def _run(arguments, folder, environment):
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["kerasdet", *arguments]
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    code = 0
    try:
        command.main()
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    companion.serve(answer)
