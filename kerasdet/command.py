"""What every tool shares: its flags and their help, TensorFlow kept quiet, and one line for what is wrong."""

import contextlib
import difflib
import glob
import importlib
import os
import shutil
import sys
import tempfile
import textwrap

from absl import flags, logging
from ml_collections import ConfigDict

HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


def script(main):
    """Runs a tool: parses its flags and calls its `main` with the arguments that are left.

    What is wrong with its input is one line on stderr, without a stack. TensorFlow is imported after the flags are
    parsed, so that help and mistakes are answered at once.

    Args:
        main: function of the list of arguments, the program's name first, in the module whose flags are the tool's; one
            that needs no TensorFlow says `needs_tensorflow = False`.
    """
    if set(HELP) & set(sys.argv[1:]):
        return print(_help(main))
    with _quiet():
        arguments = _parsed(main)
        if main.__globals__.get("needs_tensorflow", True):
            importlib.import_module("tensorflow")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # else TensorFlow's exporters log pages of names
    try:
        main(arguments)
    except (ValueError, FileNotFoundError, FloatingPointError, ConnectionError) as error:
        sys.exit(f"error: {error}")


def argument(arguments, flag, what):
    """Takes a flag's value, or the first argument without a flag.

    Args:
        arguments: of `main`, the program's name first; an argument that is taken is removed.
        flag: an absl flag.
        what: what it names, as the message calls it.

    Raises:
        ValueError: neither is given.
    """
    if flag.value:
        return flag.value
    if len(arguments) < 2:
        raise ValueError(f"give a {what}, as the first argument or by --{flag.name}.")
    return arguments.pop(1)


def given(**named):
    """The values of those of some flags that were given, by their names."""
    return {name: flag.value for name, flag in named.items() if flag.value is not None}


def nearest(name, names):
    """The one of some names that is spelled most like another."""
    return difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]


def _own(main):
    """The flags that the module of `main` defines, in order."""
    return [flags.FLAGS[one.name] for one in main.__globals__.values() if isinstance(one, flags.FlagHolder)]


def _help(main):
    """The module's docstring and its flags."""
    lines = [main.__globals__["__doc__"], "flags:"]
    for flag in _own(main):
        default = flag.default
        if flag.boolean:
            lines.append(f"  --{'no' if default else ''}{flag.name}")
        else:
            shown = "…" if default is None else ",".join(map(str, default)) if isinstance(default, list) else default
            lines.append(f"  --{flag.name}={shown}")
        choices = getattr(flag.parser, "enum_values", None)
        text = f"{flag.help.partition('>: ')[2]} One of {', '.join(choices)}." if choices else flag.help
        lines.append(textwrap.fill(text, 100, initial_indent=" " * 8, subsequent_indent=" " * 8))
    return "\n".join(lines)


def _parsed(main):
    """The arguments that are left."""
    try:
        sys.argv = _with_config(main, sys.argv)
        arguments = flags.FLAGS(sys.argv)
    except flags.UnrecognizedFlagError as error:
        own = nearest(error.flagname, [flag.name for flag in _own(main)])
        sys.exit(f"error: there is no flag --{error.flagname}; did you mean --{own}?")
    except (flags.Error, ValueError) as error:
        sys.exit(f"error: {error}")
    except (AttributeError, KeyError):  # by ml_collections
        _check_overrides()
        raise
    for flag in _own(main):
        file = flag.config_filename.partition(":")[0] if flag.present and hasattr(flag, "config_filename") else None
        if file is not None and not os.path.isfile(file):
            sys.exit(f"error: --{flag.name}={file}: there is no such file.")
    return arguments


def _with_config(main, arguments):
    """The arguments, with the tool's `default_config` if they change values of a config that they do not name."""
    default = main.__globals__.get("default_config")
    named = any(one.partition("=")[0] == "--config" for one in arguments)
    others = [one for one in arguments if not one.startswith("--config.")]
    if default is None or named or len(others) == len(arguments):
        return arguments
    flags.FLAGS(others)  # the default may depend on them
    return [arguments[0], f"--config={default()}", *arguments[1:]]


def _check_overrides():
    """Refuses a flag such as --config.train.stepz that the config does not have."""
    given = [part for argument in sys.argv for part in argument.split("=", 1)]
    config = flags.FLAGS["config"].parser.parse(given[given.index("--config") + 1])
    for name in given:
        node = config
        for key in name.split(".")[1:] if name.startswith("--config.") else ():
            known = list(node) if isinstance(node, ConfigDict) else []
            if key not in known:
                hint = f"; did you mean {nearest(key, known)} for {key}?" if known else "."
                sys.exit(f"error: there is no flag {name}{hint}")
            node = node[key]


@contextlib.contextmanager
def _quiet():
    """Keeps what TensorFlow's libraries say when they are loaded, unless the user asks for it; an error shows it.

    Some of these lines are written before TensorFlow reads its level. Level 3 also hides that no driver answers, which
    is only worth a line on a machine that has a GPU.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if glob.glob("/dev/nvidia[0-9]*") else "3")
    if level < "2":
        yield
        return
    stderr = os.dup(2)
    with tempfile.TemporaryFile("w+") as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            kept.seek(0)
            with os.fdopen(os.dup(stderr), "w") as shown:
                shutil.copyfileobj(kept, shown)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
