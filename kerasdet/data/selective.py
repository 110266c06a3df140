"""Selective search (Uijlings et al., IJCV 2013) by OpenCV: the proposals of R-CNN, SPP-net and Fast R-CNN."""

import concurrent.futures
import ctypes
import ctypes.util
import multiprocessing
import os
import time

import numpy as np
from tqdm import tqdm

from kerasdet.data import proposals

MODES = {"fast": "switchToSelectiveSearchFast", "quality": "switchToSelectiveSearchQuality"}
# Seconds between writes, and the greatest share of the time that they take.
_EVERY, _SHARE = 30, 0.05


def search(pixels, mode="fast", side=500, least=20, count=2000):
    """Proposes boxes for a picture; the same ones for the same picture.

    Args:
        pixels: [H, W, 3] uint8, RGB.
        mode: "fast", as R-CNN takes it, or "quality".
        side: the longer side at which segments are merged, pixels; in R-CNN the width has 500.
        least: width and height of the smallest box at that size, pixels; 20 in R-CNN.
        count: at most so many boxes.

    Returns:
        [R, 4] float32, x1 y1 x2 y2 in the picture's pixels; roughly the larger segments first.

    Raises:
        ValueError: OpenCV's contributed modules are not installed, or the mode is unknown.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {sorted(MODES)}, got {mode!r}.")
    cv2 = _opencv()
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = np.maximum(np.round(np.float64([width, height]) * scale), 1).astype(int)
    small = cv2.resize(np.ascontiguousarray(pixels[..., ::-1]), size.tolist())
    # OpenCV orders the segments by random numbers of the C library.
    ctypes.CDLL(ctypes.util.find_library("c") or "msvcrt").srand(0)
    segmentation = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    segmentation.setBaseImage(small)
    getattr(segmentation, MODES[mode])()
    rows = np.float32(segmentation.process()).reshape(-1, 4)
    rows = rows[(rows[:, 2:] >= least).all(1)][:count]
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], 1) / np.float32(np.tile(size / (width, height), 2))


def make(dataset, path, workers=None, **settings):
    """Writes the proposals of a data set.

    What the file holds already is not made again, so that a call that was cut goes on, and a data set may grow.

    Args:
        dataset: a `Dataset`.
        path: of the file, see `data.proposals`.
        workers: processes; by default one for each processor.
        settings: of `search`.

    Raises:
        ValueError: see `search`; or the file was made with other settings, or holds another picture of the same name.
    """
    note = "selective search " + ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    found, checks = proposals.read(path, note) if os.path.exists(path) else ({}, {})
    pictures = proposals.by_name(dataset)
    for key, record in pictures.items():
        number = proposals.check(record)
        proposals.agree(path, record.name, checks.get(key), number)
        checks[key] = number
    missing = {key: record for key, record in pictures.items() if key not in found}
    if missing:
        _opencv()
    written, pause = time.monotonic(), _EVERY
    # Fresh processes: TensorFlow's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        jobs = {pool.submit(_one, record, settings): key for key, record in missing.items()}
        try:
            for job in tqdm(concurrent.futures.as_completed(jobs), total=len(jobs), unit="image", mininterval=1):
                found[jobs[job]] = job.result()
                begin = time.monotonic()
                if begin > written + pause:
                    proposals.write(path, found, note, checks)
                    written = time.monotonic()
                    pause = max(_EVERY, (written - begin) / _SHARE)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    proposals.write(path, found, note, checks)


def _one(record, settings):
    _opencv().setNumThreads(1)
    return search(record.pixels(), **settings)


def _opencv():
    try:
        import cv2

        cv2.ximgproc.segmentation  # noqa: B018
    except (ImportError, AttributeError):
        raise ValueError(
            "selective search needs OpenCV's contributed modules: pip install kerasdet[proposals]"
        ) from None
    return cv2
