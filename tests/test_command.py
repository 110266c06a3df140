"""The command line: help without TensorFlow, one line for a mistake, and no line of TensorFlow's own."""

import os
import pathlib
import pkgutil
import resource
import subprocess
import sys

import kerasdet.tools
import numpy as np
import pytest

from kerasdet import command
from kerasdet.data import selective
from kerasdet.training import strategy

ROOT = pathlib.Path(__file__).parents[1]
TOOLS = sorted(module.name for module in pkgutil.iter_modules(kerasdet.tools.__path__))
HEAVY = ("tensorflow", "keras")


def run(*arguments, **variables):
    """Runs Python without settings of the one who tests; returns (code, stdout, stderr)."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env={**kept, **variables}, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "form", [("-m", "kerasdet"), *(("-m", "kerasdet", tool) for tool in TOOLS), ("-m", "tools.train")]
)
def test_help_needs_no_tensorflow(form):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, text, errors = run("-X", "importtime", *form, "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {line.rpartition("|")[2].strip() for line in errors.splitlines()}
    assert code == 0 and "absl.flags" in imported and not imported & set(HEAVY)
    assert sum(after[:2]) - sum(before[:2]) < 0.5


def test_help_is_the_docstring_and_the_tools_own_flags():
    _, text, _ = run("-m", "kerasdet", "export", "--help")
    assert text.startswith("Exports a detector to a file that runs without kerasdet")
    assert "python -m tools.export runs/mine --to=tflite --size=320,320" in text
    assert "  --kind=float32\n        Precision of a TFLite file. One of float32, float16, dynamic, int8." in text
    assert "--max_ap_drop=…" in text and "--examples=200" in text and "--raw\n" in text
    assert "--verbosity" not in text and text.count("\n  --") == 11
    assert run("-m", "tools.export", "-h") == (0, text, "")


def test_help_lists_all_tools():
    code, text, _ = run("-m", "kerasdet")
    assert code == 0 and all(f"\n  {tool} " in text for tool in TOOLS)
    assert "  train            Trains the detector of a config.\n" in text


@pytest.mark.parametrize(
    "arguments, line",
    [
        (("trian",), "there is no tool 'trian'; did you mean 'train'?"),
        (("train", "--batchsize=3"), "there is no flag --batchsize; did you mean --batch_size?"),
        (("train", "--steps=few"), "flag --steps=few: invalid literal for int() with base 10: 'few'"),
        (("train", "--config=nothing.py"), "--config=nothing.py: there is no such file."),
        (
            ("train", "--config=configs/retinanet/r18_shapes.py", "--config.train.stepz=5"),
            "there is no flag --config.train.stepz; did you mean steps for stepz?",
        ),
        (
            ("train", "--config", "configs/retinanet/r18_shapes.py", "--config.trai.steps=5"),
            "there is no flag --config.trai.steps; did you mean train for trai?",
        ),
        (
            ("train", "--config=configs/retinanet/r18_shapes.py", "--config.train.steps.few=5"),
            "there is no flag --config.train.steps.few.",
        ),
        (
            ("train", "photos", "--config.train.batchsize=5"),
            "there is no flag --config.train.batchsize; did you mean batch_size for batchsize?",
        ),
        (("train", "photos", "--stepz=3", "--config.train.steps=5"), "there is no flag --stepz; did you mean --steps?"),
        (
            ("evaluate", "runs/mine", "--config.train.steps=5"),
            "there is no flag --config.train.steps; did you mean --config?",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, line):
    assert run("-m", "kerasdet", *arguments) == (1, "", f"error: {line}\n")


def test_tensorflow_says_nothing_of_its_own(tmp_path):
    """Its first operation is where it looks for a GPU; what the tool itself says stays."""
    np.savez(tmp_path / "batch.npz", **{"images/pixels": np.zeros([1, 8, 8, 3], np.uint8)})
    code, text, errors = run("-m", "kerasdet", "check", tmp_path)
    assert code == 1 and errors.startswith("error: ") and errors.count("\n") == 1, errors
    program = (
        "import sys; from kerasdet import command\n"
        "def main(arguments):\n"
        "    import tensorflow as tf\n"
        "    print(float(tf.reduce_sum(tf.ones([3]))))\n"
        "    print('own', file=sys.stderr)\n"
        "command.script(main)"
    )
    assert run("-c", program) == (0, "3.0\n", "own\n")
    assert run("-c", program, TF_CPP_MIN_LOG_LEVEL="3") == (0, "3.0\n", "own\n")
    code, text, errors = run("-c", program, TF_CPP_MIN_LOG_LEVEL="0")
    assert (code, text) == (0, "3.0\n") and "oneDNN" in errors


def test_what_fails_while_tensorflow_is_quiet_is_shown():
    program = (
        "import os, sys; from kerasdet import command\n"
        "class Broken:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'tensorflow':\n"
        "            os.write(2, b'a library is missing\\n')\n"
        "            raise ImportError('no such thing')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "command.script(lambda arguments: None)"
    )
    code, _, errors = run("-c", program)
    assert code == 1 and errors.startswith("a library is missing\n") and "ImportError: no such thing" in errors


def test_choices_that_flags_repeat():
    """Their modules are too heavy for a tool's help."""
    for tool, flag, choices in (("train", "strategy", strategy.KINDS), ("make_proposals", "mode", selective.MODES)):
        _, text, _ = run("-m", "kerasdet", tool, "--help")
        described = text.split(f"  --{flag}=")[1].split("\n  --")[0]
        assert " ".join(described.split()).endswith(f"One of {', '.join(choices)}.")


def test_nearest():
    assert command.nearest("xyz", ["train", "predict"]) in ("train", "predict")
