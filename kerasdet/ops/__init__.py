"""Operators that TensorFlow lacks: native if the library is built, else their twins of stock TensorFlow operators."""

from kerasdet.ops.corner_pool import corner_pool as corner_pool
from kerasdet.ops.deform import deform_columns as deform_columns
from kerasdet.ops.library import native as native
from kerasdet.ops.library import portable as portable
from kerasdet.ops.matching import covered as covered
from kerasdet.ops.matching import match_by_iou as match_by_iou
from kerasdet.ops.matching import match_one_to_one as match_one_to_one
from kerasdet.ops.nms import combined_nms as combined_nms
from kerasdet.ops.nms import nms as nms
from kerasdet.ops.nms import soft_nms as soft_nms
from kerasdet.ops.regions import REGION_LAYERS as REGION_LAYERS
from kerasdet.ops.regions import region_features as region_features
from kerasdet.ops.regions import rois as rois
from kerasdet.ops.relu import relu as relu
from kerasdet.ops.roi import prroi_pool as prroi_pool
from kerasdet.ops.roi import ps_roi_align as ps_roi_align
from kerasdet.ops.roi import ps_roi_pool as ps_roi_pool
from kerasdet.ops.roi import pyramid_levels as pyramid_levels
from kerasdet.ops.roi import roi_align as roi_align
from kerasdet.ops.roi import roi_pool as roi_pool
