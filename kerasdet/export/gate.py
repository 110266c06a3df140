"""The gate of exported files: one that loses too much AP is refused."""

from kerasdet.evaluation.evaluator import Evaluator
from kerasdet.export import load, quantize, tflite


def check(model, file, dataset, allowed, size=None, examples=(), **rules):
    """Refuses a file that loses too much AP.

    Args:
        model: the `Detector`.
        file: a file written by `tflite.write`, or its draft.
        dataset: a `kerasdet.data.dataset.Dataset` to score both on.
        allowed: largest allowed loss of AP, in points (hundredths).
        size, examples: as in `tflite.write`; to find the layers to blame.
        rules: arguments of the `Evaluator`.

    Returns:
        (AP, AP50) of the detector and (AP, AP50) of the file.

    Raises:
        ValueError: the file loses more; the message names the layers that suffer most from quantization.
    """
    numbers = [Evaluator(one, dataset, **rules)() for one in (model, load.load(file))]
    scores = [(one["AP"], one["AP50"]) for one in numbers]
    lost = 100 * (scores[0][0] - scores[1][0])
    if lost > allowed:
        message = f"the file is refused: AP {scores[0][0]:.3f} became {scores[1][0]:.3f}, {lost:.1f} points less"
        raise ValueError(f"{message}, {allowed:g} are allowed. {_blame(model, size, list(examples))}")
    return scores


def _blame(model, size, examples):
    if not examples:
        return "The layers to blame are known only for int8, from its examples."
    graph, _ = tflite.traced(model, size)
    layers = quantize.blame(tflite.converter(graph), model, tflite.fitted(model, examples[:20], size))
    return "Errors in steps of 8 bits: " + ", ".join(f"{name} {error:.1f}" for name, error in layers)
