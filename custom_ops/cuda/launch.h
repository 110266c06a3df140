// The C interface of the CUDA kernels, for float32; the TensorFlow glue calls it. Includes no CUDA header and depends
// on no framework.
//
// All pointers except the stream's point to device memory. Outputs are written completely; nothing waits for the
// device. A launcher returns null, or the text of CUDA's error.
#pragma once

#include <cstdint>

#include "custom_ops/kernels/boxes.h"
#include "custom_ops/kernels/corner_pool.h"
#include "custom_ops/kernels/deform.h"
#include "custom_ops/kernels/geometry.h"

namespace kerasdet {
extern "C" {

// Region operators; out and upstream are [count, rows, columns, outputs]. Gradients are added up in no fixed order. The
// position-sensitive RoIAlign shares roi_align with RoIAlign.
const char* kerasdet_cuda_roi_align(
    void* stream, Levels<const float> levels, Rois<float> in, int ratio, bool aligned, float* out);
const char* kerasdet_cuda_roi_align_gradient(
    void* stream, Levels<float> gradients, Rois<float> in, int ratio, bool aligned, const float* upstream);

const char* kerasdet_cuda_ps_roi_pool(void* stream, Levels<const float> levels, Rois<float> in, float* out);
const char* kerasdet_cuda_ps_roi_pool_gradient(
    void* stream, Levels<float> gradients, Rois<float> in, const float* upstream);

const char* kerasdet_cuda_prroi_pool(void* stream, Levels<const float> levels, Rois<float> in, float* out);
const char* kerasdet_cuda_prroi_pool_gradient(
    void* stream, Levels<float> gradients, Rois<float> in, const float* upstream);
const char* kerasdet_cuda_prroi_pool_box_gradient(
    void* stream, Levels<const float> levels, Rois<float> in, const float* upstream, float* out);

const char* kerasdet_cuda_roi_pool(void* stream, Levels<const float> levels, Rois<float> in, float* out);
const char* kerasdet_cuda_roi_pool_gradient(
    void* stream, Levels<const float> levels, Levels<float> gradients, Rois<float> in, const float* upstream);

const char* kerasdet_cuda_corner_pool(void* stream, Scan scan, int64_t lines, const float* in, float* out);
const char* kerasdet_cuda_corner_pool_gradient(
    void* stream, Scan scan, int64_t lines, const float* in, const float* maxima, const float* upstream,
    float* gradient);

// What taps read, [places, taps, channels], and its gradients; that of the map is added up in no fixed order.
const char* kerasdet_cuda_deform_columns(void* stream, Deform<float> deform, float* out);
const char* kerasdet_cuda_deform_columns_gradient(
    void* stream, Deform<float> deform, const float* upstream, float* gradient, float* offsets_gradient,
    float* mask_gradient);

// Size in bytes of the workspace that suppression needs; the workspace must be aligned to 8 bytes.
int64_t kerasdet_cuda_nms_workspace(int64_t batch, int64_t n);
const char* kerasdet_cuda_nms(void* stream, Suppression<float> in, float iou, float above, void* workspace);

int64_t kerasdet_cuda_soft_nms_workspace(int64_t batch, int64_t n);
const char* kerasdet_cuda_soft_nms(
    void* stream, Suppression<float> in, float sigma, float iou, float above, void* workspace);

}  // extern "C"
}  // namespace kerasdet
