// Corner pooling as a TensorFlow operator: its inputs and checks, for all devices.
#pragma once

#include "custom_ops/kernels/corner_pool.h"

#include "custom_ops/tensorflow/common.h"

namespace kerasdet {

// Device::Forward and Device::Backward receive the lines and pointers.
template <class Device, class T>
class CornerPoolOp : public OpKernel {
 public:
  explicit CornerPoolOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("vertical", &vertical_));
    OP_REQUIRES_OK(context, context->GetAttr("backward", &backward_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& features = context->input(0);
    OP_REQUIRES_OK(context, CheckShape("features", features, {-1, -1, -1, -1}));
    // The gradient operator also reads the maxima and the upstream gradient.
    for (int i = 1; i < context->num_inputs(); ++i) {
      OP_REQUIRES(
          context, context->input(i).shape() == features.shape(),
          tf::errors::InvalidArgument(
              "gradients must have the features' shape ", features.shape().DebugString(), ", got ",
              context->input(i).shape().DebugString(), "."));
    }
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, features.shape(), &out));
    if (features.NumElements() == 0) return;
    const Scan scan{features.dim_size(1), features.dim_size(2), features.dim_size(3), vertical_, backward_};
    const int64_t lines = features.dim_size(0) * (vertical_ ? scan.width : scan.height);
    const T* in = features.flat<T>().data();
    T* target = out->flat<T>().data();
    if (context->num_inputs() == 1) {
      OP_REQUIRES_OK(context, Device::Forward(context, scan, lines, in, target));
    } else {
      const T *maxima = context->input(1).flat<T>().data(), *upstream = context->input(2).flat<T>().data();
      OP_REQUIRES_OK(context, Device::Backward(context, scan, lines, in, maxima, upstream, target));
    }
  }

 private:
  bool vertical_, backward_;
};

}  // namespace kerasdet
