// The CUDA kernels of the region operators.

#include "custom_ops/tensorflow/roi.h"

#include "custom_ops/cuda/launch.h"
#include "custom_ops/tensorflow/gpu.h"

namespace kerasdet {
namespace {

using Maps = Levels<const float>;

const char* Sum(void* stream, const AlignRule& rule, const Maps& levels, const Rois<float>& in, float* out) {
  return kerasdet_cuda_roi_align(stream, levels, in, rule.ratio, rule.aligned, out);
}
const char* Sum(void* stream, const PoolRule&, const Maps& levels, const Rois<float>& in, float* out) {
  return kerasdet_cuda_ps_roi_pool(stream, levels, in, out);
}
const char* Sum(void* stream, const PreciseRule&, const Maps& levels, const Rois<float>& in, float* out) {
  return kerasdet_cuda_prroi_pool(stream, levels, in, out);
}
const char* Sum(void* stream, const MakeMaximum::Rule&, const Maps& levels, const Rois<float>& in, float* out) {
  return kerasdet_cuda_roi_pool(stream, levels, in, out);
}

const char* Scatter(
    void* stream, const AlignRule& rule, const Maps&, const Levels<float>& gradients, const Rois<float>& in,
    const float* upstream) {
  return kerasdet_cuda_roi_align_gradient(stream, gradients, in, rule.ratio, rule.aligned, upstream);
}
const char* Scatter(
    void* stream, const PoolRule&, const Maps&, const Levels<float>& gradients, const Rois<float>& in,
    const float* upstream) {
  return kerasdet_cuda_ps_roi_pool_gradient(stream, gradients, in, upstream);
}
const char* Scatter(
    void* stream, const PreciseRule&, const Maps&, const Levels<float>& gradients, const Rois<float>& in,
    const float* upstream) {
  return kerasdet_cuda_prroi_pool_gradient(stream, gradients, in, upstream);
}
const char* Scatter(
    void* stream, const MakeMaximum::Rule&, const Maps& levels, const Levels<float>& gradients, const Rois<float>& in,
    const float* upstream) {
  return kerasdet_cuda_roi_pool_gradient(stream, levels, gradients, in, upstream);
}

struct Gpu {
  template <class Rule>
  static tf::Status Forward(
      OpKernelContext* context, const Rule& rule, const Maps& levels, const Rois<float>& in, float* out) {
    return Launched(Sum(Stream(context), rule, levels, in, out));
  }

  template <class Rule>
  static tf::Status Backward(
      OpKernelContext* context, const Rule& rule, const Maps& levels, const Levels<float>& gradients,
      const Rois<float>& in, const float* upstream) {
    if (tf::OpDeterminismRequired()) {
      return tf::errors::Unimplemented(
          context->op_kernel().type_string(), " adds up in no certain order on a GPU, but op determinism is enabled.");
    }
    return Launched(Scatter(Stream(context), rule, levels, gradients, in, upstream));
  }

  static tf::Status BoxGradient(
      OpKernelContext* context, const Maps& levels, const Rois<float>& in, const float* upstream, float* out) {
    return Launched(kerasdet_cuda_prroi_pool_box_gradient(Stream(context), levels, in, upstream, out));
  }
};

}  // namespace

#define REGISTER_KERNEL(NAME, ...)                                                                                     \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_GPU).TypeConstraint<float>("T").HostMemory("scales"), __VA_ARGS__);

#define REGISTER_KERNELS(NAME, MAKE)                                                                                   \
  REGISTER_KERNEL(NAME, RoiForwardOp<Gpu, float, MAKE>)                                                                \
  REGISTER_KERNEL(NAME "Gradient", RoiGradientOp<Gpu, float, MAKE>)

REGISTER_KERNELS("RoiAlign", MakeAlign)
REGISTER_KERNELS("PsRoiAlign", MakePositionAlign)
REGISTER_KERNELS("PsRoiPool", MakePositionPool)
REGISTER_KERNELS("PrroiPool", MakePrecise)
REGISTER_KERNELS("RoiPool", MakeMaximum)
REGISTER_KERNEL("PrroiPoolBoxGradient", PreciseBoxGradientOp<Gpu, float>)

}  // namespace kerasdet
