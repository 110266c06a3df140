"""Selective search (Uijlings et al., IJCV 2013) with OpenCV: the proposals of R-CNN, SPP-net and Fast R-CNN."""

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
# Least seconds between two writes, and the largest share of the time that writing may take.
_EVERY, _SHARE = 30, 0.05


def search(pixels, mode="fast", side=500, least=20, count=2000):
    """Proposes boxes for a picture; deterministic.

    Args:
        pixels: [H, W, 3] uint8, RGB.
        mode: "fast", as in R-CNN, or "quality".
        side: longer side at which segments are merged, pixels; R-CNN uses a width of 500.
        least: smallest width and height of a box at that size, pixels; 20 in R-CNN.
        count: maximum number of boxes.

    Returns:
        [R, 4] float32, x1 y1 x2 y2 in the picture's pixels, roughly the larger segments first.

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
    # OpenCV shuffles the order of the segments with the C library's random numbers: seed them to repeat it.
    ctypes.CDLL(ctypes.util.find_library("c") or "msvcrt").srand(0)
    segmentation = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    segmentation.setBaseImage(small)
    getattr(segmentation, MODES[mode])()
    rows = np.float32(segmentation.process()).reshape(-1, 4)
    rows = rows[(rows[:, 2:] >= least).all(1)][:count]
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], 1) / np.float32(np.tile(size / (width, height), 2))


def make(dataset, path, workers=None, **settings):
    """Writes the proposals of a data set.

    Proposals that the file already holds are kept, so an interrupted call continues where it stopped, and the data set
    may grow.

    Args:
        dataset: a `Dataset`.
        path: path of the file, see `data.proposals`.
        workers: number of processes; by default one per processor.
        settings: arguments of `search`.

    Raises:
        ValueError: as in `search`; or the file was made with other settings, or holds another picture of the same name.
    """
    note = "selective search " + ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    found, checks = proposals.read(path, note) if os.path.exists(path) else ({}, {})
    pictures = proposals.by_name(dataset)
    for key, record in pictures.items():
        check = proposals.check(record)
        proposals.agree(path, record.name, checks.get(key), check)
        checks[key] = check
    missing = {key: record for key, record in pictures.items() if key not in found}
    if missing:
        _opencv()
    last_write, pause = time.monotonic(), _EVERY
    # Fresh processes: TensorFlow's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        jobs = {pool.submit(_search, record, settings): key for key, record in missing.items()}
        try:
            for job in tqdm(concurrent.futures.as_completed(jobs), total=len(jobs), unit="image", mininterval=1):
                found[jobs[job]] = job.result()
                begin = time.monotonic()
                if begin > last_write + pause:
                    proposals.write(path, found, note, checks)
                    last_write = time.monotonic()
                    # The file grows and is written as a whole each time, so write less often as it gets slower.
                    pause = max(_EVERY, (last_write - begin) / _SHARE)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    proposals.write(path, found, note, checks)


def _search(record, settings):
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
