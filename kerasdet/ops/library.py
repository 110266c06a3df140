"""Finds the library of native operators and decides once whether to use it; `python -m kerasdet.ops.library` reports.

Every native operator has a twin of stock TensorFlow operators. The twin runs if the library is missing, damaged or
built for another environment, inside `portable()`, and with KERASDET_NATIVE=0 in the environment.
"""

import contextlib
import contextvars
import functools
import hashlib
import json
import os
import pathlib
import platform
import re
import warnings

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

FILE = pathlib.Path(__file__).parent / "native.so"
BUILD = "python -m custom_ops.build" if (FILE.parents[2] / "custom_ops").is_dir() else (
    "python -m kerasdet.custom_ops.build"
)  # fmt: skip

# What to do where a native operator cannot serve.
INSTEAD = "trace the function inside `with kerasdet.ops.portable():`, which takes TensorFlow's own operators."

_portable = contextvars.ContextVar("portable", default=False)
_lite = contextvars.ContextVar("lite", default=False)


def environment():
    """The environment that a library is built for: a dict of TensorFlow's version and ABI, processor, vector sets."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    known = r"s?sse\w*|avx\w*|fma|f16c|bmi\d|abm|popcnt|movbe|asimd\w*|sve\w*"
    sets = [flag for flag in flags.group(1).split() if re.fullmatch(known, flag)] if flags else []
    return {
        "tensorflow": tf.version.VERSION,
        "abi": tf.sysconfig.CXX11_ABI_FLAG,
        "processor": platform.machine(),
        "vector_sets": sorted(set(sets)),
    }


def read_stamp(file):
    """The environment that the library was built for, as in `environment`, and the hashes of its sources and itself."""
    return json.loads(file.with_suffix(".json").read_text())


def problem(file):
    """Says why a library cannot be loaded here, without loading it; None if it can."""
    if not file.is_file() or not file.with_suffix(".json").is_file():
        return "it has not been built"
    try:
        built = read_stamp(file)
        if built["sha256"] != hashlib.sha256(file.read_bytes()).hexdigest():
            return "the file is damaged"
        here = environment()
        for what in ("tensorflow", "abi", "processor"):
            if built[what] != here[what]:
                return f"it was built for {what} {built[what]}, here it is {here[what]}"
        lacking = sorted(set(built["vector_sets"]) - set(here["vector_sets"]))
    except (ValueError, KeyError):
        return "its stamp is damaged"
    return f"it was built for a processor with {', '.join(lacking)}" if lacking else None


@functools.cache
def load():
    """Loads the library.

    Returns:
        The module of its operators, or None after a warning that says why and what to do.
    """
    if os.environ.get("KERASDET_NATIVE") == "0":
        return None
    reason = problem(FILE)
    if reason is None:
        try:
            return tf.load_op_library(str(FILE))
        except (tf.errors.OpError, OSError) as error:
            reason = str(error).splitlines()[0]
    warnings.warn(
        f"the native operators are not used because {reason}; slower TensorFlow operators are used instead. "
        f"To build them: {BUILD}",
        RuntimeWarning, stacklevel=2,
    )  # fmt: skip
    return None


def native():
    """Returns the module of the native operators, or None if the twins are to run.

    Raises:
        NotImplementedError: XLA compiles the function that is being traced; it knows no native operators.
    """
    module = None if _portable.get() else load()
    if module is not None and GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        raise NotImplementedError(f"XLA cannot compile the native operators: {INSTEAD}")
    return module


def no_gradient(name, what):
    """Registers that an operator of the library has no gradient, which one line then says.

    Args:
        name: the operator's name.
        what: what has no gradient.
    """

    @tf.RegisterGradient(name)
    def _refused(op, *upstream):
        raise NotImplementedError(f"{what} have no gradient natively: {INSTEAD}")


def lite():
    """Whether only operators that TFLite has as builtins may be used."""
    return _lite.get()


@contextlib.contextmanager
def portable(lite=False):
    """Makes functions traced inside use the twins: their graphs of stock TensorFlow operators run anywhere.

    The choice is made when a function is traced, so trace a new function inside.

    Args:
        lite: use only operators that TFLite has as builtins, for batches of a known size.
    """
    tokens = _portable.set(True), _lite.set(lite)
    try:
        yield
    finally:
        _portable.reset(tokens[0])
        _lite.reset(tokens[1])


def main():
    """Prints what was found, built and loaded, or why not."""
    for key, value in environment().items():
        print(f"{key:12s} {' '.join(value) if isinstance(value, list) else value}")
    print(f"{'library':12s} {FILE}")
    if FILE.with_suffix(".json").is_file():
        print(f"{'cuda':12s} {'in the library' if read_stamp(FILE).get('cuda') else 'not in the library'}")
    if os.environ.get("KERASDET_NATIVE") == "0":
        print("not loaded: KERASDET_NATIVE=0")
    elif reason := problem(FILE):
        print(f"not loaded: {reason}. To build it: {BUILD}")
    elif module := load():
        print("loaded:", ", ".join(sorted(n[9:] for n in dir(module) if re.fullmatch(r"kerasdet_\w+(?<!fallback)", n))))


if __name__ == "__main__":
    main()
