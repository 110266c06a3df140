"""The CUDA kernels without TensorFlow: their launchers through ctypes, on memory that torch holds."""

import ctypes
from ctypes import c_bool, c_float, c_int, c_int64, c_void_p

import numpy as np

MAX_LEVELS = 8


class Level(ctypes.Structure):
    _fields_ = [("map", c_void_p), ("height", c_int64), ("width", c_int64), ("scale", c_float)]


class Levels(ctypes.Structure):
    _fields_ = [("level", Level * MAX_LEVELS), ("count", c_int), ("images", c_int64), ("channels", c_int64)]


class Rois(ctypes.Structure):
    _fields_ = [
        ("rois", c_void_p), ("levels_of", c_void_p), ("count", c_int64), ("outputs", c_int64), ("rows", c_int),
        ("columns", c_int), ("position_sensitive", c_bool),
    ]  # fmt: skip


class Scan(ctypes.Structure):
    _fields_ = [
        ("height", c_int64), ("width", c_int64), ("channels", c_int64), ("vertical", c_bool), ("backward", c_bool),
    ]  # fmt: skip


class Deform(ctypes.Structure):
    _fields_ = [
        ("map", c_void_p), ("offsets", c_void_p), ("mask", c_void_p), ("images", c_int64), ("height", c_int64),
        ("width", c_int64), ("channels", c_int64), ("out_height", c_int64), ("out_width", c_int64),
        ("groups", c_int64), ("rows", c_int), ("columns", c_int), ("stride", c_int * 2), ("padding", c_int * 2),
        ("dilation", c_int * 2),
    ]  # fmt: skip


class Suppression(ctypes.Structure):
    _fields_ = [
        ("boxes", c_void_p), ("scores", c_void_p), ("classes", c_void_p), ("batch", c_int64), ("n", c_int64),
        ("limit", c_int64), ("indices", c_void_p), ("picked", c_void_p), ("valid", c_void_p),
    ]  # fmt: skip


# What the launchers of `launch.h` take after the stream.
LAUNCHERS = {
    "roi_align": (Levels, Rois, c_int, c_bool, c_void_p),
    "roi_align_gradient": (Levels, Rois, c_int, c_bool, c_void_p),
    "ps_roi_pool": (Levels, Rois, c_void_p),
    "ps_roi_pool_gradient": (Levels, Rois, c_void_p),
    "prroi_pool": (Levels, Rois, c_void_p),
    "prroi_pool_gradient": (Levels, Rois, c_void_p),
    "prroi_pool_box_gradient": (Levels, Rois, c_void_p, c_void_p),
    "roi_pool": (Levels, Rois, c_void_p),
    "roi_pool_gradient": (Levels, Levels, Rois, c_void_p),
    "corner_pool": (Scan, c_int64, c_void_p, c_void_p),
    "corner_pool_gradient": (Scan, c_int64, c_void_p, c_void_p, c_void_p, c_void_p),
    "deform_columns": (Deform, c_void_p),
    "deform_columns_gradient": (Deform, c_void_p, c_void_p, c_void_p, c_void_p),
    "nms": (Suppression, c_float, c_float, c_void_p),
    "soft_nms": (Suppression, c_float, c_float, c_float, c_void_p),
}


def load(path):
    """Loads the launchers from a shared library."""
    library = ctypes.CDLL(str(path))
    for name, types in LAUNCHERS.items():
        launcher = getattr(library, f"kerasdet_cuda_{name}")
        launcher.argtypes, launcher.restype = (c_void_p, *types), ctypes.c_char_p
    for name in ("nms_workspace", "soft_nms_workspace"):
        size = getattr(library, f"kerasdet_cuda_{name}")
        size.argtypes, size.restype = (c_int64, c_int64), c_int64
    return library


class Gpu:
    """Runs launchers on tensors of torch."""

    def __init__(self, library, torch):
        self.library, self.torch = library, torch

    def put(self, array):
        """Copies a NumPy array to the GPU."""
        return self.torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def new(self, *shape, dtype="float32"):
        """A tensor filled with what no launcher may leave there."""
        return self.torch.full(shape, 99, dtype=getattr(self.torch, dtype), device="cuda")

    def launch(self, name, *arguments):
        """Calls a launcher; tensors stand for their pointers."""
        stream = self.torch.cuda.current_stream().cuda_stream
        pointers = [a.data_ptr() if hasattr(a, "data_ptr") else a for a in arguments]
        error = getattr(self.library, f"kerasdet_cuda_{name}")(stream, *pointers)
        assert error is None, error.decode()

    def workspace(self, name, batch, n):
        """What a suppression asks for."""
        return self.new(getattr(self.library, f"kerasdet_cuda_{name}_workspace")(batch, n), dtype="uint8")

    def milliseconds(self, run, times=20):
        """Mean time of a run, after a few to warm up."""
        for _ in range(3):
            run()
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(times):
            run()
        end.record()
        self.torch.cuda.synchronize()
        return start.elapsed_time(end) / times


def pyramid(maps, scales):
    """Levels of maps [B, H, W, C] on the GPU."""
    images, _, _, channels = maps[0].shape
    level = [Level(m.data_ptr(), *m.shape[1:3], scale) for m, scale in zip(maps, scales, strict=True)]
    return Levels((Level * MAX_LEVELS)(*level), len(maps), images, channels)
