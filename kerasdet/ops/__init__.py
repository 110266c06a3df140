"""Operators that TensorFlow lacks: a native one where the library is built, its twin of stock operators elsewhere."""

from kerasdet.ops.corner_pool import corner_pool
from kerasdet.ops.library import native, portable
from kerasdet.ops.nms import nms, soft_nms
from kerasdet.ops.roi import (
    pr_roi_pool,
    ps_roi_align,
    ps_roi_pool,
    pyramid_levels,
    roi_align,
    roi_pool,
)
