// Deformable convolution's readings as a TensorFlow operator: its inputs and checks, for all devices.
#pragma once

#include "custom_ops/kernels/deform.h"

#include "custom_ops/tensorflow/common.h"

namespace kerasdet {

// Device::Forward and Device::Backward receive the readings and pointers.
template <class Device, class T>
class DeformOp : public OpKernel {
 public:
  explicit DeformOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("size", &size_));
    OP_REQUIRES_OK(context, context->GetAttr("stride", &stride_));
    OP_REQUIRES_OK(context, context->GetAttr("padding", &padding_));
    OP_REQUIRES_OK(context, context->GetAttr("dilation", &dilation_));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &groups_));
    for (const auto* pair : {&size_, &stride_, &padding_, &dilation_}) {
      OP_REQUIRES(
          context, pair->size() == 2,
          tf::errors::InvalidArgument("size, stride, padding and dilation must be two numbers each, y and x."));
    }
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &features = context->input(0), &offsets = context->input(1), &mask = context->input(2);
    OP_REQUIRES_OK(context, CheckShape("features", features, {-1, -1, -1, -1}));
    OP_REQUIRES(
        context, features.dim_size(3) % groups_ == 0,
        tf::errors::InvalidArgument(
            "features must have a multiple of ", groups_, " channels, got ", features.shape().DebugString(), "."));
    const int64_t images = features.dim_size(0), numbers = int64_t{size_[0]} * size_[1] * groups_;
    OP_REQUIRES_OK(context, CheckShape("offsets", offsets, {images, -1, -1, 2 * numbers}));
    OP_REQUIRES_OK(context, CheckShape("mask", mask, {images, offsets.dim_size(1), offsets.dim_size(2), numbers}));
    Deform<T> deform{
        features.flat<T>().data(), offsets.flat<T>().data(), mask.flat<T>().data(), images, features.dim_size(1),
        features.dim_size(2), features.dim_size(3), offsets.dim_size(1), offsets.dim_size(2), groups_, size_[0],
        size_[1]};
    for (int axis = 0; axis < 2; ++axis) {
      deform.stride[axis] = stride_[axis];
      deform.padding[axis] = padding_[axis];
      deform.dilation[axis] = dilation_[axis];
    }
    const std::vector<int64_t> columns{images, deform.out_height, deform.out_width, deform.Taps(), deform.channels};
    if (context->num_inputs() == 3) {
      Tensor* out;
      OP_REQUIRES_OK(context, Allocate(context, 0, columns, &out));
      if (out->NumElements() == 0) return;
      OP_REQUIRES_OK(context, Device::Forward(context, deform, out->flat<T>().data()));
    } else {
      OP_REQUIRES_OK(context, CheckShape("gradients", context->input(3), columns));
      T* gradients[3];
      for (int i = 0; i < 3; ++i) {
        Tensor* out;
        OP_REQUIRES_OK(context, context->allocate_output(i, context->input(i).shape(), &out));
        gradients[i] = out->flat<T>().data();
      }
      const T* upstream = context->input(3).flat<T>().data();
      OP_REQUIRES_OK(context, Device::Backward(context, deform, upstream, gradients));
    }
  }

 private:
  std::vector<int32_t> size_, stride_, padding_, dilation_;
  int64_t groups_;
};

}  // namespace kerasdet
