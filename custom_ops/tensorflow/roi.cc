// RoIAlign, RoIPool, PS-RoIAlign, PS-RoIPool and PrRoIPool as TensorFlow operators.
//
// All take a pyramid: features, N maps [B, H, W, C]; rois [R, 5], image and corners in pixels; levels [R], the map of
// each; scales [N], cells a pixel of each map.

#include "custom_ops/kernels/roi.h"

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

// The rules, made from an operator's attributes.
struct MakeAlign {
  static constexpr bool kPositionSensitive = false;
  using Rule = AlignRule;
  static Rule Make(OpKernelConstruction* context) {
    Rule rule{0, false};
    context->SetStatus(context->GetAttr("sampling_ratio", &rule.ratio));
    context->SetStatus(context->GetAttr("aligned", &rule.aligned));
    return rule;
  }
};

struct MakePositionAlign {
  static constexpr bool kPositionSensitive = true;
  using Rule = AlignRule;
  static Rule Make(OpKernelConstruction* context) {
    Rule rule{0, true};
    context->SetStatus(context->GetAttr("sampling_ratio", &rule.ratio));
    return rule;
  }
};

struct MakePositionPool {
  static constexpr bool kPositionSensitive = true;
  using Rule = PoolRule;
  static Rule Make(OpKernelConstruction*) { return {}; }
};

struct MakePrecise {
  static constexpr bool kPositionSensitive = false;
  using Rule = PreciseRule;
  static Rule Make(OpKernelConstruction*) { return {}; }
};

// RoIPool has no weights; its kernels are called by name.
struct MakeMaximum {
  static constexpr bool kPositionSensitive = false;
  struct Rule {};
  static Rule Make(OpKernelConstruction*) { return {}; }
};

template <class T, class Rule>
void Forward(const Rule& rule, const Levels<const T>& levels, const Rois<T>& in, int64_t begin, int64_t end, T* out) {
  RoiForward(rule, levels, in, begin, end, out);
}
template <class T>
void Forward(
    const MakeMaximum::Rule&, const Levels<const T>& levels, const Rois<T>& in, int64_t begin, int64_t end, T* out) {
  RoiPoolForward(levels, in, begin, end, out);
}

template <class T, class Rule>
void Backward(
    const Rule& rule, const Levels<const T>&, const Levels<T>& gradients, const Rois<T>& in, const T* upstream,
    int64_t image, int64_t low, int64_t high) {
  RoiBackward(rule, gradients, in, upstream, image, low, high);
}
template <class T>
void Backward(
    const MakeMaximum::Rule&, const Levels<const T>& levels, const Levels<T>& gradients, const Rois<T>& in,
    const T* upstream, int64_t image, int64_t low, int64_t high) {
  RoiPoolBackward(levels, gradients, in, upstream, image, low, high);
}

// Reads and checks what all operators share.
template <class T, class Make>
class RoiOp : public OpKernel {
 public:
  explicit RoiOp(OpKernelConstruction* context) : OpKernel(context), rule_(Make::Make(context)) {
    OP_REQUIRES_OK(context, context->GetAttr("rows", &rows_));
    OP_REQUIRES_OK(context, context->GetAttr("columns", &columns_));
    OP_REQUIRES(
        context, rows_ > 0 && columns_ > 0,
        tf::errors::InvalidArgument("output_size must be at least 1, got ", rows_, " x ", columns_, "."));
  }

 protected:
  tf::Status Read(OpKernelContext* context, Levels<const T>* levels, Rois<T>* in) const {
    tf::OpInputList features;
    const Tensor *rois, *levels_of, *scales;
    TF_RETURN_IF_ERROR(context->input_list("features", &features));
    TF_RETURN_IF_ERROR(context->input("rois", &rois));
    TF_RETURN_IF_ERROR(context->input("levels", &levels_of));
    TF_RETURN_IF_ERROR(context->input("scales", &scales));
    TF_RETURN_IF_ERROR(CheckShape("rois", *rois, {-1, 5}));
    TF_RETURN_IF_ERROR(CheckShape("levels", *levels_of, {rois->dim_size(0)}));
    TF_RETURN_IF_ERROR(CheckShape("scales", *scales, {features.size()}));
    if (features.size() > kMaxLevels) {
      return tf::errors::InvalidArgument("features must be at most ", kMaxLevels, " maps, got ", features.size(), ".");
    }
    for (int i = 0; i < features.size(); ++i) {
      TF_RETURN_IF_ERROR(CheckShape("features", features[i], {-1, -1, -1, -1}));
      const int64_t images = features[0].dim_size(0), channels = features[0].dim_size(3);
      TF_RETURN_IF_ERROR(CheckShape("features", features[i], {images, -1, -1, channels}));
      levels->level[i] = {
          features[i].template flat<T>().data(), features[i].dim_size(1), features[i].dim_size(2),
          scales->template flat<T>()(i)};
      levels->images = images;
      levels->channels = channels;
    }
    levels->count = features.size();
    in->rois = rois->template flat<T>().data();
    in->levels_of = levels_of->template flat<int32_t>().data();
    in->count = rois->dim_size(0);
    in->rows = rows_;
    in->columns = columns_;
    in->position_sensitive = Make::kPositionSensitive;
    in->outputs = in->position_sensitive ? levels->channels / in->Bins() : levels->channels;
    if (in->position_sensitive && in->outputs * in->Bins() != levels->channels) {
      return tf::errors::InvalidArgument(
          "features must have a multiple of ", rows_, " x ", columns_, " channels, got ", levels->channels, ".");
    }
    return absl::OkStatus();
  }

  tf::Status ReadUpstream(OpKernelContext* context, const Rois<T>& in, const T** upstream) const {
    const Tensor* tensor;
    TF_RETURN_IF_ERROR(context->input("upstream", &tensor));
    TF_RETURN_IF_ERROR(CheckShape("upstream", *tensor, {in.count, rows_, columns_, in.outputs}));
    *upstream = tensor->template flat<T>().data();
    return absl::OkStatus();
  }

  typename Make::Rule rule_;
  int rows_, columns_;
};

template <class T, class Make>
class RoiForwardOp : public RoiOp<T, Make> {
 public:
  using RoiOp<T, Make>::RoiOp;

  void Compute(OpKernelContext* context) override {
    Levels<const T> levels;
    Rois<T> in;
    OP_REQUIRES_OK(context, this->Read(context, &levels, &in));
    Tensor* out;
    const TensorShape shape({in.count, in.rows, in.columns, in.outputs});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    T* data = out->template flat<T>().data();
    Share(context, in.count, in.Bins() * in.outputs * 8, [&](int64_t begin, int64_t end) {
      Forward(this->rule_, levels, in, begin, end, data);
    });
  }
};

template <class T, class Make>
class RoiGradientOp : public RoiOp<T, Make> {
 public:
  using RoiOp<T, Make>::RoiOp;

  void Compute(OpKernelContext* context) override {
    Levels<const T> levels;
    Rois<T> in;
    const T* upstream;
    OP_REQUIRES_OK(context, this->Read(context, &levels, &in));
    OP_REQUIRES_OK(context, this->ReadUpstream(context, in, &upstream));
    Levels<T> gradients;
    gradients.count = levels.count;
    gradients.images = levels.images;
    gradients.channels = levels.channels;
    for (int i = 0; i < levels.count; ++i) {
      const Level<const T>& level = levels.level[i];
      Tensor* gradient;
      const TensorShape shape({levels.images, level.height, level.width, levels.channels});
      OP_REQUIRES_OK(context, context->allocate_output(i, shape, &gradient));
      gradients.level[i] = {gradient->template flat<T>().data(), level.height, level.width, level.scale};
    }
    if (levels.images == 0 || levels.channels == 0) return;
    // An image's channels are cut into one slice a thread, but no slice is narrower than a cache line or two.
    const int64_t wanted = (Threads(context) + levels.images - 1) / levels.images;
    const int64_t slices = std::max<int64_t>(1, std::min(wanted, levels.channels / 32));
    const int64_t cost = in.count * in.Bins() * in.outputs * 8 / slices + 100000;
    Share(context, levels.images * slices, cost, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / slices, slice = task % slices;
        const int64_t low = levels.channels * slice / slices, high = levels.channels * (slice + 1) / slices;
        for (int i = 0; i < gradients.count; ++i) {
          const int64_t cells = gradients.level[i].height * gradients.level[i].width;
          T* map = gradients.level[i].map + image * cells * levels.channels;
          for (int64_t cell = 0; cell < cells; ++cell) {
            std::fill(map + cell * levels.channels + low, map + cell * levels.channels + high, T(0));
          }
        }
        Backward(this->rule_, levels, gradients, in, upstream, image, low, high);
      }
    });
  }
};

template <class T>
class PreciseBoxGradientOp : public RoiOp<T, MakePrecise> {
 public:
  using RoiOp<T, MakePrecise>::RoiOp;

  void Compute(OpKernelContext* context) override {
    Levels<const T> levels;
    Rois<T> in;
    const T* upstream;
    OP_REQUIRES_OK(context, this->Read(context, &levels, &in));
    OP_REQUIRES_OK(context, this->ReadUpstream(context, in, &upstream));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({in.count, 5}), &out));
    T* data = out->template flat<T>().data();
    Share(context, in.count, in.Bins() * in.outputs * 8, [&](int64_t begin, int64_t end) {
      PreciseBoxGradient(levels, in, upstream, begin, end, data);
    });
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
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<float>("T"), OP<float, MAKE>);                      \
  REGISTER_KERNEL_BUILDER(                                                                                             \
      Name("Kerasdet>" NAME).Device(tf::DEVICE_CPU).TypeConstraint<double>("T"), OP<double, MAKE>);

REGISTER_ROI("RoiAlign", MakeAlign, .Attr("sampling_ratio: int").Attr("aligned: bool"))
REGISTER_ROI("PsRoiAlign", MakePositionAlign, .Attr("sampling_ratio: int"))
REGISTER_ROI("PsRoiPool", MakePositionPool, )
REGISTER_ROI("PrRoiPool", MakePrecise, )
REGISTER_ROI("RoiPool", MakeMaximum, )

REGISTER_OP("Kerasdet>PrRoiPoolBoxGradient")
    .INPUTS.Input("upstream: T")
    .Output("out: T")
    .ATTRIBUTES.SetShapeFn(BoxGradientShape);
REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>PrRoiPoolBoxGradient").Device(tf::DEVICE_CPU).TypeConstraint<float>("T"),
    PreciseBoxGradientOp<float>);
REGISTER_KERNEL_BUILDER(
    Name("Kerasdet>PrRoiPoolBoxGradient").Device(tf::DEVICE_CPU).TypeConstraint<double>("T"),
    PreciseBoxGradientOp<double>);

}  // namespace kerasdet
