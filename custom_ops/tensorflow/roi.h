// Region operators as TensorFlow operators: their inputs and checks, for all devices.
//
// All take a pyramid: features, N maps [B, H, W, C]; rois [R, 5], image and corners in pixels; levels [R], the map of
// each RoI; scales [N], cells per pixel of each map.
#pragma once

#include "custom_ops/kernels/roi.h"

#include "custom_ops/tensorflow/common.h"

namespace kerasdet {

// Bins along a side of a region, and samples along a side of a bin: wishes for more would fill the memory, or the day.
constexpr int kMaxBins = 1024, kMaxSamples = 256;

// Reads the samples of a bin's side.
inline int Samples(OpKernelConstruction* context) {
  int ratio = 0;
  context->SetStatus(context->GetAttr("sampling_ratio", &ratio));
  if (ratio > kMaxSamples) {
    context->SetStatus(
        tf::errors::InvalidArgument("sampling_ratio must be at most ", kMaxSamples, ", got ", ratio, "."));
  }
  return ratio;
}

// The rules, made from an operator's attributes.
struct MakeAlign {
  static constexpr bool kPositionSensitive = false;
  using Rule = AlignRule;
  static Rule Make(OpKernelConstruction* context) {
    Rule rule{Samples(context), false};
    context->SetStatus(context->GetAttr("aligned", &rule.aligned));
    return rule;
  }
};

struct MakePositionAlign {
  static constexpr bool kPositionSensitive = true;
  using Rule = AlignRule;
  static Rule Make(OpKernelConstruction* context) {
    return Rule{Samples(context), true};
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

// Reads and checks the inputs that all operators share.
template <class T, class Make>
class RoiOp : public OpKernel {
 public:
  explicit RoiOp(OpKernelConstruction* context) : OpKernel(context), rule_(Make::Make(context)) {
    OP_REQUIRES_OK(context, context->GetAttr("rows", &rows_));
    OP_REQUIRES_OK(context, context->GetAttr("columns", &columns_));
    OP_REQUIRES(
        context, rows_ > 0 && columns_ > 0 && rows_ <= kMaxBins && columns_ <= kMaxBins,
        tf::errors::InvalidArgument("output_size must be 1 to ", kMaxBins, ", got ", rows_, " x ", columns_, "."));
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
      const T scale = scales->template flat<T>()(i);
      // The coordinates of a real RoI are below 1e37; at greater scales they would overflow.
      if (!(scale > T(0) && scale <= T(16))) {
        return tf::errors::InvalidArgument("spatial_scale must be above 0 and at most 16, got ", scale, ".");
      }
      levels->level[i] = {
          features[i].template flat<T>().data(), features[i].dim_size(1), features[i].dim_size(2), scale};
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

// Device::Forward, Device::Backward and Device::BoxGradient run a rule over all RoIs.
template <class Device, class T, class Make>
class RoiForwardOp : public RoiOp<T, Make> {
 public:
  using RoiOp<T, Make>::RoiOp;

  void Compute(OpKernelContext* context) override {
    Levels<const T> levels;
    Rois<T> in;
    OP_REQUIRES_OK(context, this->Read(context, &levels, &in));
    Tensor* out;
    OP_REQUIRES_OK(context, Allocate(context, 0, {in.count, in.rows, in.columns, in.outputs}, &out));
    OP_REQUIRES_OK(context, Device::Forward(context, this->rule_, levels, in, out->template flat<T>().data()));
  }
};

template <class Device, class T, class Make>
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
    OP_REQUIRES_OK(context, Device::Backward(context, this->rule_, levels, gradients, in, upstream));
  }
};

template <class Device, class T>
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
    OP_REQUIRES_OK(context, Device::BoxGradient(context, levels, in, upstream, out->template flat<T>().data()));
  }
};

}  // namespace kerasdet
