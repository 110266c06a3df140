// Corner pooling as a TensorFlow operator.

#include "custom_ops/kernels/corner_pool.h"

#include "custom_ops/tensorflow/common.h"

namespace kerasdet {
namespace {

using tf::OpKernel;
using tf::OpKernelConstruction;
using tf::OpKernelContext;
using tf::Tensor;

template <class T>
class CornerPoolOp : public OpKernel {
 public:
  explicit CornerPoolOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("vertical", &vertical_));
    OP_REQUIRES_OK(context, context->GetAttr("backward", &backward_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& features = context->input(0);
    OP_REQUIRES_OK(context, CheckShape("features", features, {-1, -1, -1, -1}));
    // The gradient operator also has the maxima and the upstream gradient.
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
    Share(context, lines, scan.Steps() * scan.channels * 2, [&](int64_t begin, int64_t end) {
      if (context->num_inputs() == 1) {
        CornerPool(scan, in, begin, end, target);
      } else {
        const T *maxima = context->input(1).flat<T>().data(), *upstream = context->input(2).flat<T>().data();
        CornerPoolGradient(scan, in, maxima, upstream, begin, end, target);
      }
    });
  }

 private:
  bool vertical_, backward_;
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
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<float>("T"), CornerPoolOp<float>);                  \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<double>("T"), CornerPoolOp<double>);

REGISTER_KERNELS("CornerPool")
REGISTER_KERNELS("CornerPoolGradient")

}  // namespace kerasdet
