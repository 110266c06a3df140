// RoIAlign, RoIPool, PS-RoIAlign, PS-RoIPool and PrRoIPool as TensorFlow operators, and their kernels for the CPU.

#include "custom_ops/tensorflow/roi.h"

namespace kerasdet {
namespace {

using tf::shape_inference::InferenceContext;
using tf::shape_inference::ShapeHandle;

template <class T, class Rule>
void ForwardRois(
    const Rule& rule, const Levels<const T>& levels, const Rois<T>& in, int64_t begin, int64_t end, T* out) {
  RoiForward(rule, levels, in, begin, end, out);
}
template <class T>
void ForwardRois(
    const MakeMaximum::Rule&, const Levels<const T>& levels, const Rois<T>& in, int64_t begin, int64_t end, T* out) {
  RoiPoolForward(levels, in, begin, end, out);
}

template <class T, class Rule>
void BackwardBand(
    const Rule& rule, const Levels<const T>&, const Levels<T>& gradients, const Rois<T>& in, const T* upstream,
    int64_t image, Band band) {
  RoiBackward(rule, gradients, in, upstream, image, band);
}
template <class T>
void BackwardBand(
    const MakeMaximum::Rule&, const Levels<const T>& levels, const Levels<T>& gradients, const Rois<T>& in,
    const T* upstream, int64_t image, Band band) {
  RoiPoolBackward(levels, gradients, in, upstream, image, band);
}

struct Cpu {
  template <class T, class Rule>
  static tf::Status Forward(
      OpKernelContext* context, const Rule& rule, const Levels<const T>& levels, const Rois<T>& in, T* out) {
    Share(context, in.count, in.Bins() * in.outputs * 8, [&](int64_t begin, int64_t end) {
      ForwardRois(rule, levels, in, begin, end, out);
    });
    return absl::OkStatus();
  }

  template <class T, class Rule>
  static tf::Status Backward(
      OpKernelContext* context, const Rule& rule, const Levels<const T>& levels, const Levels<T>& gradients,
      const Rois<T>& in, const T* upstream) {
    // Two bands per thread balance the load, because bands hold different numbers of RoIs.
    const int64_t bands = (2 * Threads(context) + levels.images - 1) / levels.images;
    const int64_t cost = in.count * in.Bins() * in.outputs * 8 / bands + 100000;
    Share(context, levels.images * bands, cost, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / bands;
        const Band band{task % bands, bands};
        for (int i = 0; i < gradients.count; ++i) {
          const int64_t height = gradients.level[i].height, row = gradients.level[i].width * levels.channels;
          T* map = gradients.level[i].map + image * height * row;
          std::fill(map + band.Begin(height) * row, map + band.End(height) * row, T(0));
        }
        BackwardBand(rule, levels, gradients, in, upstream, image, band);
      }
    });
    return absl::OkStatus();
  }

  template <class T>
  static tf::Status BoxGradient(
      OpKernelContext* context, const Levels<const T>& levels, const Rois<T>& in, const T* upstream, T* out) {
    Share(context, in.count, in.Bins() * in.outputs * 8, [&](int64_t begin, int64_t end) {
      PreciseBoxGradient(levels, in, upstream, begin, end, out);
    });
    return absl::OkStatus();
  }
};

tf::Status Inputs(InferenceContext* c, ShapeHandle* map, ShapeHandle* rois) {
  std::vector<ShapeHandle> features;
  TF_RETURN_IF_ERROR(c->input("features", &features));
  *map = c->UnknownShapeOfRank(4);
  for (ShapeHandle& feature : features) {
    TF_RETURN_IF_ERROR(c->WithRank(feature, 4, &feature));
    ShapeHandle alike;
    TF_RETURN_IF_ERROR(c->ReplaceDim(feature, 1, c->UnknownDim(), &alike));
    TF_RETURN_IF_ERROR(c->ReplaceDim(alike, 2, c->UnknownDim(), &alike));
    TF_RETURN_IF_ERROR(c->Merge(*map, alike, map));
  }
  std::vector<ShapeHandle> found;
  TF_RETURN_IF_ERROR(c->input("rois", &found));
  return c->Merge(found[0], c->MakeShape({c->UnknownDim(), c->MakeDim(5)}), rois);
}

template <bool position_sensitive>
tf::Status ForwardShape(InferenceContext* c) {
  ShapeHandle map, rois;
  TF_RETURN_IF_ERROR(Inputs(c, &map, &rois));
  int rows, columns;
  TF_RETURN_IF_ERROR(c->GetAttr("rows", &rows));
  TF_RETURN_IF_ERROR(c->GetAttr("columns", &columns));
  tf::shape_inference::DimensionHandle outputs = c->Dim(map, 3);
  if (position_sensitive) TF_RETURN_IF_ERROR(c->Divide(outputs, int64_t{rows} * columns, true, &outputs));
  c->set_output(0, c->MakeShape({c->Dim(rois, 0), c->MakeDim(rows), c->MakeDim(columns), outputs}));
  return absl::OkStatus();
}

tf::Status GradientShape(InferenceContext* c) {
  std::vector<ShapeHandle> features;
  TF_RETURN_IF_ERROR(c->input("features", &features));
  return c->set_output("gradients", features);
}

tf::Status BoxGradientShape(InferenceContext* c) {
  ShapeHandle map, rois;
  TF_RETURN_IF_ERROR(Inputs(c, &map, &rois));
  c->set_output(0, rois);
  return absl::OkStatus();
}

}  // namespace

#define INPUTS Input("features: N * T").Input("rois: T").Input("levels: int32").Input("scales: T")
#define ATTRIBUTES Attr("N: int >= 1").Attr("T: {float, double}").Attr("rows: int").Attr("columns: int")

#define REGISTER_ROI(NAME, MAKE, MORE)                                                                                 \
  REGISTER_OP("Kerasdet>" NAME).INPUTS.Output("out: T").ATTRIBUTES MORE.SetShapeFn(                                    \
      ForwardShape<MAKE::kPositionSensitive>);                                                                         \
  REGISTER_OP("Kerasdet>" NAME "Gradient")                                                                             \
      .INPUTS.Input("upstream: T")                                                                                     \
      .Output("gradients: N * T")                                                                                      \
      .ATTRIBUTES MORE.SetShapeFn(GradientShape);                                                                      \
  REGISTER_KERNELS(NAME, RoiForwardOp, MAKE)                                                                           \
  REGISTER_KERNELS(NAME "Gradient", RoiGradientOp, MAKE)

#define REGISTER_KERNELS(NAME, OP, MAKE)                                                                               \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<float>("T"), OP<Cpu, float, MAKE>);                 \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<double>("T"), OP<Cpu, double, MAKE>);

REGISTER_ROI("RoiAlign", MakeAlign, .Attr("sampling_ratio: int").Attr("aligned: bool"))
REGISTER_ROI("PsRoiAlign", MakePositionAlign, .Attr("sampling_ratio: int"))
REGISTER_ROI("PsRoiPool", MakePositionPool, )
REGISTER_ROI("PrroiPool", MakePrecise, )
REGISTER_ROI("RoiPool", MakeMaximum, )

REGISTER_OP("Kerasdet>PrroiPoolBoxGradient")
    .INPUTS.Input("upstream: T")
    .Output("out: T")
    .ATTRIBUTES.SetShapeFn(BoxGradientShape);
REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>PrroiPoolBoxGradient").Device(tf::DEVICE_CPU).TypeConstraint<float>("T"),
    PreciseBoxGradientOp<Cpu, float>);
REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>PrroiPoolBoxGradient").Device(tf::DEVICE_CPU).TypeConstraint<double>("T"),
    PreciseBoxGradientOp<Cpu, double>);

}  // namespace kerasdet
