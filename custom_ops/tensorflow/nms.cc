// Greedy and soft suppression as TensorFlow operators, over a batch of images, and their kernels for the CPU.

#include "custom_ops/tensorflow/nms.h"

#include "custom_ops/kernels/nms.h"

namespace kerasdet {
namespace {

using tf::shape_inference::InferenceContext;
using tf::shape_inference::ShapeHandle;

template <class T>
void SuppressImage(
    const Greedy<T>& method, const T* boxes, const T* scores, const int32_t* classes, int64_t n, Picks<T> picks) {
  Nms(boxes, scores, classes, n, method.iou, method.above, picks);
}
template <class T>
void SuppressImage(
    const Soft<T>& method, const T* boxes, const T* scores, const int32_t* classes, int64_t n, Picks<T> picks) {
  SoftNms(boxes, scores, classes, n, method.decay, method.above, picks);
}

struct Cpu {
  template <class T, template <class> class Method>
  static tf::Status Suppress(OpKernelContext* context, const Method<T>& method, const Suppression<T>& in) {
    Share(context, in.batch, in.n * 1000, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t from = b * in.n, to = b * in.limit;
        const Picks<T> picks{in.indices + to, in.picked + to, in.valid + to, in.limit};
        SuppressImage(method, in.boxes + from * 4, in.scores + from, in.classes + from, in.n, picks);
      }
    });
    return absl::OkStatus();
  }
};

tf::Status Shape(InferenceContext* c) {
  ShapeHandle boxes, scores, classes;
  // Two handles, because one for both would tell graph optimizers that the batch size equals the number of boxes.
  TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->MakeShape({c->UnknownDim(), c->UnknownDim(), c->MakeDim(4)}), &boxes));
  TF_RETURN_IF_ERROR(c->Merge(c->input(1), c->MakeShape({c->Dim(boxes, 0), c->Dim(boxes, 1)}), &scores));
  TF_RETURN_IF_ERROR(c->Merge(c->input(2), scores, &classes));
  int64_t limit;
  TF_RETURN_IF_ERROR(c->GetAttr("limit", &limit));
  tf::shape_inference::DimensionHandle count;
  TF_RETURN_IF_ERROR(c->Min(c->Dim(classes, 1), limit, &count));
  for (int i = 0; i < 3; ++i) c->set_output(i, c->MakeShape({c->Dim(classes, 0), count}));
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
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<float>("T"), SuppressOp<Cpu, float, METHOD>);       \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<double>("T"), SuppressOp<Cpu, double, METHOD>);

REGISTER_SUPPRESSION("Nms", Greedy, .Input("iou: T").Input("above: T"))
REGISTER_SUPPRESSION("SoftNms", Soft, .Input("sigma: T").Input("iou: T").Input("above: T"))

}  // namespace kerasdet
