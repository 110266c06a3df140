// Greedy and soft suppression as TensorFlow operators: their inputs and checks, for all devices.
#pragma once

#include "custom_ops/kernels/boxes.h"
#include "custom_ops/tensorflow/common.h"

namespace kerasdet {

// Thresholds are inputs, so that double ones stay double.
template <class T>
tf::Status Scalar(OpKernelContext* context, const char* name, T* value) {
  const Tensor* tensor;
  TF_RETURN_IF_ERROR(context->input(name, &tensor));
  TF_RETURN_IF_ERROR(CheckShape(name, *tensor, {}));
  *value = tensor->scalar<T>()();
  return absl::OkStatus();
}

template <class T>
struct Greedy {
  T iou, above;

  tf::Status Read(OpKernelContext* context) {
    TF_RETURN_IF_ERROR(Scalar(context, "iou", &iou));
    return Scalar(context, "above", &above);
  }
};

template <class T>
struct Soft {
  Decay<T> decay;
  T above;

  tf::Status Read(OpKernelContext* context) {
    TF_RETURN_IF_ERROR(Scalar(context, "sigma", &decay.sigma));
    TF_RETURN_IF_ERROR(Scalar(context, "iou", &decay.iou));
    return Scalar(context, "above", &above);
  }
};

// Device::Suppress runs a method over the batch.
template <class Device, class T, template <class> class Method>
class SuppressOp : public OpKernel {
 public:
  explicit SuppressOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("limit", &limit_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &boxes = context->input(0), &scores = context->input(1), &classes = context->input(2);
    OP_REQUIRES_OK(context, CheckShape("boxes", boxes, {-1, -1, 4}));
    const int64_t batch = boxes.dim_size(0), n = boxes.dim_size(1);
    OP_REQUIRES_OK(context, CheckShape("scores", scores, {batch, n}));
    OP_REQUIRES_OK(context, CheckShape("classes", classes, {batch, n}));
    Method<T> method;
    OP_REQUIRES_OK(context, method.Read(context));
    Tensor *indices, *picked, *valid;
    const int64_t limit = std::min(limit_, n);  // a wish does not size the outputs
    const TensorShape shape({batch, limit});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &indices));
    OP_REQUIRES_OK(context, context->allocate_output(1, shape, &picked));
    OP_REQUIRES_OK(context, context->allocate_output(2, shape, &valid));
    const Suppression<T> in{
        boxes.flat<T>().data(), scores.flat<T>().data(), classes.flat<int32_t>().data(), batch, n, limit,
        indices->flat<int32_t>().data(), picked->flat<T>().data(), valid->flat<bool>().data()};
    OP_REQUIRES_OK(context, Device::Suppress(context, method, in));
  }

 private:
  int64_t limit_;
};

}  // namespace kerasdet
