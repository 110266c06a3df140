// Corner pooling as a TensorFlow operator, and its kernels for the CPU.

#include "custom_ops/tensorflow/corner_pool.h"

namespace kerasdet {
namespace {

struct Cpu {
  template <class T>
  static tf::Status Forward(OpKernelContext* context, const Scan& scan, int64_t lines, const T* in, T* out) {
    Share(context, lines, scan.Steps() * scan.channels * 2, [&](int64_t begin, int64_t end) {
      CornerPool(scan, in, begin, end, out);
    });
    return absl::OkStatus();
  }

  template <class T>
  static tf::Status Backward(
      OpKernelContext* context, const Scan& scan, int64_t lines, const T* in, const T* maxima, const T* upstream,
      T* gradient) {
    Share(context, lines, scan.Steps() * scan.channels * 2, [&](int64_t begin, int64_t end) {
      CornerPoolGradient(scan, in, maxima, upstream, begin, end, gradient);
    });
    return absl::OkStatus();
  }
};

tf::Status Shape(tf::shape_inference::InferenceContext* c) {
  tf::shape_inference::ShapeHandle shape;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &shape));
  for (int i = 1; i < c->num_inputs(); ++i) TF_RETURN_IF_ERROR(c->Merge(shape, c->input(i), &shape));
  c->set_output(0, shape);
  return absl::OkStatus();
}

}  // namespace

#define ATTRIBUTES Attr("T: {float, double}").Attr("vertical: bool").Attr("backward: bool")

REGISTER_OP("Kerasdet>CornerPool").Input("features: T").Output("out: T").ATTRIBUTES.SetShapeFn(Shape);
REGISTER_OP("Kerasdet>CornerPoolGradient")
    .Input("features: T")
    .Input("maxima: T")
    .Input("upstream: T")
    .Output("out: T")
    .ATTRIBUTES.SetShapeFn(Shape);

#define REGISTER_KERNELS(NAME)                                                                                         \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<float>("T"), CornerPoolOp<Cpu, float>);             \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<double>("T"), CornerPoolOp<Cpu, double>);

REGISTER_KERNELS("CornerPool")
REGISTER_KERNELS("CornerPoolGradient")

}  // namespace kerasdet
