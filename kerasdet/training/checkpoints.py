"""Checkpoints with everything that resuming needs: weights, optimizer, averaged weights, seeds, step and facts."""

import contextlib
import json
import os
import pathlib
import zipfile

import numpy as np

# The exceptions that NumPy raises for a file that was cut short or damaged.
_BROKEN = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


class Checkpoints:
    """The newest checkpoints of a run, one file each, written under another name and renamed when complete.

    Args:
        folder: folder of the checkpoints.
        keep: how many to keep.
    """

    def __init__(self, folder, keep=2):
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def save(self, model, facts, folder=None):
        """Writes the state of a model.

        Args:
            model: a compiled detector whose optimizer is built.
            facts: dict of plain values that includes the "step".
            folder: folder to write to; by default the checkpoints' own.
        """
        folder = pathlib.Path(folder or self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        writing = folder / "writing"
        values = state(model)
        with open(writing, "wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **values)
            file.flush()
            os.fsync(file.fileno())
        os.replace(writing, folder / f"{facts['step']:09d}.npz")
        for old in sorted(folder.glob("*.npz"))[: -self.keep]:
            old.unlink()

    def newest(self):
        """Reads the newest intact checkpoint; broken ones are skipped with a warning.

        Returns:
            Its facts and its values, for `restore`; None if there is none.
        """
        for path in sorted(self.folder.glob("*.npz"), reverse=True):
            try:
                with np.load(path, allow_pickle=False) as file:
                    values = {name: file[name] for name in file.files}
                return json.loads(str(values.pop("facts"))), values
            except _BROKEN as error:
                print(f"{path}: this checkpoint is broken ({error}); the previous one is used.", flush=True)
        return None

    def clear(self):
        """Removes all checkpoints."""
        for path in self.folder.glob("*.npz"):
            path.unlink()


def state(model):
    """The values of all variables of a compiled model, for `restore`: a dict of arrays."""
    return {name: variable.numpy() for name, variable in _variables(model).items()}


def restore(model, values):
    """Sets all variables of a compiled model to the values of a checkpoint.

    Raises:
        ValueError: the checkpoint belongs to another model or optimizer.
    """
    variables = _variables(model)
    if {n: tuple(v.shape) for n, v in variables.items()} != {n: value.shape for n, value in values.items()}:
        raise ValueError(
            f"the checkpoint holds {len(values)} tensors of another model or optimizer than this one with "
            f"{len(variables)}: resume with the run's own settings, or take its weights with init_from."
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def _variables(model):
    """Variables by number, because Keras' names count all layers of a process; `model.variables` has seed states."""
    parts = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{part}_{i}": variable for part, variables in parts.items() for i, variable in enumerate(variables)}


@contextlib.contextmanager
def kept(model):
    """Restores all variables afterwards."""
    values = state(model)
    try:
        yield
    finally:
        restore(model, values)


@contextlib.contextmanager
def averaged(model):
    """Gives the model its averaged weights inside, if its optimizer keeps an average."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not getattr(optimizer, "use_ema", False):
        yield
        return
    variables = [*model.trainable_variables, *getattr(optimizer, "norms", ())]
    own = [variable.numpy() for variable in variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def save_model(model, path):
    """Writes a `.keras` file, under another name until it is complete."""
    writing = path.with_name(f"writing-{path.name}")
    model.save(writing)
    os.replace(writing, path)
