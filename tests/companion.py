"""Python processes that serve a whole test run: importing TensorFlow for every request would cost seconds.

This file imports neither TensorFlow nor kerasdet, so that a companion need not either.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
import traceback


class Companion:
    """A process of its own that answers requests, started by the first one.

    Args:
        module: name of a module that calls `serve` when it is run.
    """

    def __init__(self, module):
        self.module, self.process, self.log = module, None, None

    def ask(self, **request):
        """Sends a request and waits.

        Args:
            request: what JSON can hold.

        Returns:
            What the module's function returned.

        Raises:
            AssertionError: it raised, or the process died; with its last words.
        """
        if self.process is None:
            self.log = tempfile.TemporaryFile("w+")
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                text=True,
            )  # fmt: skip
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise AssertionError(f"{self.module} died with {self.process.wait()}: {self.log.read()[-3000:]}")
        reply = json.loads(line)
        assert "error" not in reply, reply["error"]
        return reply["answer"]

    def close(self):
        """Ends the process."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.log.close()


_COMMANDS = Companion("tests.commands")
atexit.register(_COMMANDS.close)


def command(*arguments, folder=None, **environment):
    """Runs `kerasdet` as a shell would, in a fork of a process that stands by.

    Args:
        arguments: of the command, any objects.
        folder: to run in.
        environment: further variables.

    Returns:
        `subprocess.CompletedProcess` with text.
    """
    arguments = [str(one) for one in arguments]
    done = _COMMANDS.ask(arguments=arguments, folder=str(folder or os.getcwd()), environment=environment)
    return subprocess.CompletedProcess(["kerasdet", *arguments], *done)


def serve(answer):
    """Answers requests from the standard input until it is closed.

    Args:
        answer: function of a request's entries that returns what JSON can hold.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no reply
    for line in sys.stdin:
        try:
            reply = {"answer": answer(**json.loads(line))}
        except Exception:
            reply = {"error": traceback.format_exc()[-3000:]}
        print(json.dumps(reply), file=replies, flush=True)
