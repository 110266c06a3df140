// Deformable convolution's readings as a TensorFlow operator, and its kernels for the CPU.

#include "custom_ops/tensorflow/deform.h"

namespace kerasdet {
namespace {

struct Cpu {
  template <class T>
  static tf::Status Forward(OpKernelContext* context, const Deform<T>& deform, T* out) {
    Share(context, deform.Places(), deform.Taps() * deform.channels * 4, [&](int64_t begin, int64_t end) {
      DeformColumns(deform, begin, end, out);
    });
    return absl::OkStatus();
  }

  template <class T>
  static tf::Status Backward(OpKernelContext* context, const Deform<T>& deform, const T* upstream, T* const* gradients) {
    const int64_t cost = deform.Taps() * deform.channels * 8;
    // A band a thread, because each looks through all taps of its images.
    const int64_t lines = deform.images * deform.height, bands = std::min<int64_t>(lines, Threads(context));
    Share(context, bands, deform.Places() * cost / std::max<int64_t>(bands, 1), [&](int64_t begin, int64_t end) {
      DeformMapGradient(deform, upstream, lines * begin / bands, lines * end / bands, gradients[0]);
    });
    Share(context, deform.Places(), cost, [&](int64_t begin, int64_t end) {
      DeformTapsGradient(deform, upstream, begin, end, gradients[1], gradients[2]);
    });
    return absl::OkStatus();
  }
};

tf::Status Shape(tf::shape_inference::InferenceContext* c) {
  tf::shape_inference::ShapeHandle features, offsets;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &features));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &offsets));
  std::vector<int32_t> size;
  TF_RETURN_IF_ERROR(c->GetAttr("size", &size));
  if (size.size() != 2) return tf::errors::InvalidArgument("size must be two numbers, rows and columns.");
  c->set_output(
      0, c->MakeShape({c->Dim(features, 0), c->Dim(offsets, 1), c->Dim(offsets, 2),
                       c->MakeDim(int64_t{size[0]} * size[1]), c->Dim(features, 3)}));
  return absl::OkStatus();
}

tf::Status ShapesOfGradients(tf::shape_inference::InferenceContext* c) {
  for (int i = 0; i < 3; ++i) c->set_output(i, c->input(i));
  return absl::OkStatus();
}

}  // namespace

#define ATTRIBUTES                                                                                                     \
  Attr("T: {float, double}")                                                                                           \
      .Attr("size: list(int)")                                                                                         \
      .Attr("stride: list(int)")                                                                                       \
      .Attr("padding: list(int)")                                                                                      \
      .Attr("dilation: list(int)")                                                                                     \
      .Attr("groups: int >= 1")

REGISTER_OP("Kerasdet>DeformColumns")
    .Input("features: T")
    .Input("offsets: T")
    .Input("mask: T")
    .Output("out: T")
    .ATTRIBUTES.SetShapeFn(Shape);
REGISTER_OP("Kerasdet>DeformColumnsGradient")
    .Input("features: T")
    .Input("offsets: T")
    .Input("mask: T")
    .Input("upstream: T")
    .Output("features_gradient: T")
    .Output("offsets_gradient: T")
    .Output("mask_gradient: T")
    .ATTRIBUTES.SetShapeFn(ShapesOfGradients);

#define REGISTER_KERNELS(NAME)                                                                                         \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<float>("T"), DeformOp<Cpu, float>);                 \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<double>("T"), DeformOp<Cpu, double>);

REGISTER_KERNELS("DeformColumns")
REGISTER_KERNELS("DeformColumnsGradient")

}  // namespace kerasdet
