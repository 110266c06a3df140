// The CUDA kernels of greedy and soft suppression.

#include "custom_ops/tensorflow/nms.h"

#include "custom_ops/cuda/launch.h"
#include "custom_ops/tensorflow/gpu.h"

namespace kerasdet {
namespace {

int64_t WorkspaceSize(const Greedy<float>&, const Suppression<float>& in) {
  return kerasdet_cuda_nms_workspace(in.batch, in.n);
}
int64_t WorkspaceSize(const Soft<float>&, const Suppression<float>& in) {
  return kerasdet_cuda_soft_nms_workspace(in.batch, in.n);
}

const char* Run(void* stream, const Greedy<float>& method, const Suppression<float>& in, void* workspace) {
  return kerasdet_cuda_nms(stream, in, method.iou, method.above, workspace);
}
const char* Run(void* stream, const Soft<float>& method, const Suppression<float>& in, void* workspace) {
  return kerasdet_cuda_soft_nms(stream, in, method.decay.sigma, method.decay.iou, method.above, workspace);
}

struct Gpu {
  template <class Method>
  static tf::Status Suppress(OpKernelContext* context, const Method& method, const Suppression<float>& in) {
    Tensor workspace;
    const TensorShape shape({WorkspaceSize(method, in)});
    TF_RETURN_IF_ERROR(context->allocate_temp(tf::DT_INT8, shape, &workspace));
    return Launched(Run(Stream(context), method, in, workspace.data()));
  }
};

}  // namespace

REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>Nms").Device(tf::DEVICE_GPU).TypeConstraint<float>("T").HostMemory("iou").HostMemory("above"),
    SuppressOp<Gpu, float, Greedy>);
REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>SoftNms")
        .Device(tf::DEVICE_GPU)
        .TypeConstraint<float>("T")
        .HostMemory("sigma")
        .HostMemory("iou")
        .HostMemory("above"),
    SuppressOp<Gpu, float, Soft>);

}  // namespace kerasdet
