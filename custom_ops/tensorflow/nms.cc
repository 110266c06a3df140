// Greedy and soft suppression as TensorFlow operators, over a batch of images.

#include "custom_ops/kernels/nms.h"

#include "custom_ops/tensorflow/common.h"

namespace kerasdet {
namespace {

using tf::OpKernel;
using tf::OpKernelConstruction;
using tf::OpKernelContext;
using tf::Tensor;
using tf::TensorShape;
using tf::shape_inference::InferenceContext;
using tf::shape_inference::ShapeHandle;

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
  void operator()(const T* boxes, const T* scores, const int32_t* classes, int64_t n, Picks<T> picks) const {
    Nms(boxes, scores, classes, n, iou, above, picks);
  }
};

template <class T>
struct Soft {
  T sigma, iou, above;

  tf::Status Read(OpKernelContext* context) {
    TF_RETURN_IF_ERROR(Scalar(context, "sigma", &sigma));
    TF_RETURN_IF_ERROR(Scalar(context, "iou", &iou));
    return Scalar(context, "above", &above);
  }
  void operator()(const T* boxes, const T* scores, const int32_t* classes, int64_t n, Picks<T> picks) const {
    SoftNms(boxes, scores, classes, n, Decay<T>{sigma, iou}, above, picks);
  }
};

template <class T, template <class> class Method>
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
    const TensorShape shape({batch, limit_});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &indices));
    OP_REQUIRES_OK(context, context->allocate_output(1, shape, &picked));
    OP_REQUIRES_OK(context, context->allocate_output(2, shape, &valid));
    Share(context, batch, n * 1000, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const Picks<T> picks{
            indices->flat<int32_t>().data() + b * limit_, picked->flat<T>().data() + b * limit_,
            valid->flat<bool>().data() + b * limit_, limit_};
        method(
            boxes.flat<T>().data() + b * n * 4, scores.flat<T>().data() + b * n, classes.flat<int32_t>().data() + b * n,
            n, picks);
      }
    });
  }

 private:
  int64_t limit_;
};

tf::Status Shape(InferenceContext* c) {
  ShapeHandle boxes, scores, classes;
  const auto any = c->UnknownDim();
  TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->MakeShape({any, any, c->MakeDim(4)}), &boxes));
  TF_RETURN_IF_ERROR(c->Merge(c->input(1), c->MakeShape({c->Dim(boxes, 0), c->Dim(boxes, 1)}), &scores));
  TF_RETURN_IF_ERROR(c->Merge(c->input(2), scores, &classes));
  int64_t limit;
  TF_RETURN_IF_ERROR(c->GetAttr("limit", &limit));
  for (int i = 0; i < 3; ++i) c->set_output(i, c->MakeShape({c->Dim(classes, 0), c->MakeDim(limit)}));
  return absl::OkStatus();
}

}  // namespace

#define REGISTER_SUPPRESSION(NAME, METHOD, THRESHOLDS)                                                                 \
  REGISTER_OP("Kerasdet>" NAME)                                                                                        \
      .Input("boxes: T")                                                                                               \
      .Input("scores: T")                                                                                              \
      .Input("classes: int32") THRESHOLDS                                                                              \
      .Output("indices: int32")                                                                                        \
      .Output("picked: T")                                                                                             \
      .Output("valid: bool")                                                                                           \
      .Attr("T: {float, double}")                                                                                      \
      .Attr("limit: int >= 0")                                                                                         \
      .SetShapeFn(Shape);                                                                                              \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<float>("T"), SuppressOp<float, METHOD>);            \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<double>("T"), SuppressOp<double, METHOD>);

REGISTER_SUPPRESSION("Nms", Greedy, .Input("iou: T").Input("above: T"))
REGISTER_SUPPRESSION("SoftNms", Soft, .Input("sigma: T").Input("iou: T").Input("above: T"))

}  // namespace kerasdet
