// The CUDA kernels of deformable convolution's readings.

#include "custom_ops/tensorflow/deform.h"

#include "custom_ops/cuda/launch.h"
#include "custom_ops/tensorflow/gpu.h"

namespace kerasdet {
namespace {

struct Gpu {
  static tf::Status Forward(OpKernelContext* context, const Deform<float>& deform, float* out) {
    return Launched(kerasdet_cuda_deform_columns(Stream(context), deform, out));
  }

  static tf::Status Backward(
      OpKernelContext* context, const Deform<float>& deform, const float* upstream, float* const* gradients) {
    if (tf::OpDeterminismRequired()) {
      return tf::errors::Unimplemented(
          context->op_kernel().type_string(), " adds up in no certain order on a GPU, but op determinism is enabled.");
    }
    return Launched(kerasdet_cuda_deform_columns_gradient(
        Stream(context), deform, upstream, gradients[0], gradients[1], gradients[2]));
  }
};

}  // namespace

REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>DeformColumns").Device(tf::DEVICE_GPU).TypeConstraint<float>("T"), DeformOp<Gpu, float>);
REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>DeformColumnsGradient").Device(tf::DEVICE_GPU).TypeConstraint<float>("T"), DeformOp<Gpu, float>);

}  // namespace kerasdet
