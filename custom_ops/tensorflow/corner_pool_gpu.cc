// The CUDA kernels of corner pooling.

#include "custom_ops/tensorflow/corner_pool.h"

#include "custom_ops/cuda/launch.h"
#include "custom_ops/tensorflow/gpu.h"

namespace kerasdet {
namespace {

struct Gpu {
  static tf::Status Forward(OpKernelContext* context, const Scan& scan, int64_t lines, const float* in, float* out) {
    return Launched(kerasdet_cuda_corner_pool(Stream(context), scan, lines, in, out));
  }

  static tf::Status Backward(
      OpKernelContext* context, const Scan& scan, int64_t lines, const float* in, const float* maxima,
      const float* upstream, float* gradient) {
    return Launched(
        kerasdet_cuda_corner_pool_gradient(Stream(context), scan, lines, in, maxima, upstream, gradient));
  }
};

}  // namespace

REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>CornerPool").Device(tf::DEVICE_GPU).TypeConstraint<float>("T"), CornerPoolOp<Gpu, float>);
REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>CornerPoolGradient").Device(tf::DEVICE_GPU).TypeConstraint<float>("T"), CornerPoolOp<Gpu, float>);

}  // namespace kerasdet
