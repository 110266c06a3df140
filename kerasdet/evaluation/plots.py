"""Plots of an evaluation: precision-recall curves and the confusion matrix."""

import warnings

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from kerasdet import fonts
from kerasdet.evaluation import curves, pairs

_INK, _FAINT = "#222831", "#d9dde3"
_THIN = "\u200a"


def precision_recall(evaluation, path):
    """Plots the precision-recall curve of each class at IoU 0.5, and their mean.

    Args:
        evaluation: an accumulated evaluation from `coco.evaluate`.
        path: the PNG file to write.
    """
    precision = curves.precision(evaluation)
    with _scripts(precision):
        _draw_curves(precision, evaluation.params.recThrs, path)


def _draw_curves(precision, recall, path):
    ranking = sorted(precision, key=lambda name: -np.mean(precision[name]))
    columns = -(-len(ranking) // 28)
    figure = Figure(figsize=(7.5 + 1.9 * columns, 6), layout="constrained")
    axes = figure.add_subplot()
    colors = matplotlib.colormaps["viridis"](np.linspace(0.1, 0.88, len(ranking)))
    strength = {"linewidth": 1.6, "alpha": 0.9} if len(ranking) <= 20 else {"linewidth": 0.9, "alpha": 0.55}
    lines, labels = [], []
    for name, color in zip(ranking, colors, strict=True):
        lines += axes.plot(recall, precision[name], color=color, **strength)
        labels.append(f"{_literal(name)}  {np.mean(precision[name]):.2f}")
    if ranking:
        mean = np.mean([precision[name] for name in ranking], axis=0)
        figure.legend(
            [*axes.plot(recall, mean, color=_INK, linewidth=3), *lines],
            [f"mean  {np.mean(mean):.2f}", *labels],
            loc="outside right upper",
            ncols=columns,
            fontsize=9 if columns == 1 else 7,
            frameon=False,
            title="AP at IoU 0.5",
            alignment="left",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color=_FAINT, linewidth=0.8)
    _finish(figure, axes, path)


def confusion_matrix(truth, results, path, iou=0.5, above=0.5):
    """Computes and plots the confusion matrix of objects and detections.

    Detections are matched as in `pairs.by_image`. Detections that match no object and lie under a crowd of their class
    are not counted.

    Args:
        truth: a `pycocotools.coco.COCO`, from `coco.ground_truth` or from an annotation file.
        results: list of COCO result dicts with `bbox`.
        path: the PNG file to write.
        iou: minimum overlap of a detection with its object.
        above: minimum score of a detection.

    Returns:
        [K + 1, K + 1] int64; row: class of the object, column: class of the detection, in the order of the category
        ids. The last row counts detections of background, the last column missed objects.
    """
    category_ids = sorted(truth.cats)
    position = {category_id: i for i, category_id in enumerate([*category_ids, None])}
    matrix = np.zeros((len(position), len(position)), np.int64)
    for image_pairs in pairs.by_image(truth, results, iou, above).values():
        for actual, detected in image_pairs:
            matrix[position[actual], position[detected]] += 1
    names = [truth.cats[category_id]["name"] for category_id in category_ids] + ["background"]
    with _scripts(names):
        _draw_matrix(matrix, [_literal(name) for name in names], path)
    return matrix


def _draw_matrix(matrix, names, path):
    side = min(5 + 0.22 * len(names), 22)
    figure = Figure(figsize=(side + 1, side), layout="compressed")
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    bar = figure.colorbar(shades, ax=axes, shrink=0.5, aspect=30, format=PercentFormatter(1), label="share of the row")
    bar.outline.set_visible(False)
    size = 10 if len(names) <= 12 else 8 if len(names) <= 40 else 7
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 6 else 0, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2 if len(names) <= 12 else 0.6)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="detected", ylabel="actual")
    for row, column in zip(*np.nonzero(matrix), strict=True):
        color = "white" if shares[row, column] > 0.3 else _INK
        text = str(matrix[row, column])
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size if len(names) <= 40 else 6)
    _finish(figure, axes, path)


def _finish(figure, axes, path):
    axes.spines[:].set_visible(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # `fonts` has said it, once
        FigureCanvasAgg(figure).print_png(path)


def _scripts(names):
    """Settings under which names of any script are drawn."""
    return matplotlib.rc_context({"font.family": fonts.families(names)})


def _literal(name):
    """A name as it stands; matplotlib would read what stands between two dollars as a formula, and hide `_name`."""
    return (_THIN + name if name.startswith("_") else name).replace("$", r"\$")
