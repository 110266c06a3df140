// Matching by IoU as TensorFlow operators, over a batch of images. They run on the CPU, also where there is a GPU: what
// they read is small beside a picture.

#include "custom_ops/kernels/matching.h"

#include "custom_ops/tensorflow/common.h"

namespace kerasdet {
namespace {

using tf::shape_inference::InferenceContext;
using tf::shape_inference::ShapeHandle;

// Boxes that match objects, those of each image or the same for all.
class Images {
 public:
  // Checks boxes [1 or B, A, 4], and the inputs `objects` [B, M, 4] and `chosen` [B, M] that follow it.
  tf::Status Read(OpKernelContext* context, const char* name, const char* objects_name) {
    const Tensor &boxes = context->input(0), &objects = context->input(1), &chosen = context->input(2);
    TF_RETURN_IF_ERROR(CheckShape(objects_name, objects, {-1, -1, 4}));
    batch_ = objects.dim_size(0);
    count_ = objects.dim_size(1);
    TF_RETURN_IF_ERROR(CheckShape("chosen", chosen, {batch_, count_}));
    const bool shared = boxes.dims() == 3 && boxes.dim_size(0) == 1;
    TF_RETURN_IF_ERROR(CheckShape(name, boxes, {shared ? 1 : batch_, -1, 4}));
    size_ = boxes.dim_size(1);
    boxes_ = boxes.flat<float>().data();
    objects_ = objects.flat<float>().data();
    chosen_ = chosen.flat<bool>().data();
    shared_ = shared;
    return absl::OkStatus();
  }
  int64_t batch() const { return batch_; }
  int64_t size() const { return size_; }
  // The most objects of an image.
  int64_t most() const {
    int64_t most = 0;
    for (int64_t b = 0; b < batch_; ++b) {
      most = std::max<int64_t>(most, std::count(chosen_ + b * count_, chosen_ + (b + 1) * count_, true));
    }
    return most;
  }

  // Calls function(image, blocks of its boxes, its objects), images side by side.
  template <class Function>
  void ForEach(OpKernelContext* context, const Function& function) const {
    const int64_t count = most();
    const bool many = count >= Blocks::kManyObjects;
    std::unique_ptr<Blocks> common;
    if (shared_ && batch_ > 0) common = std::make_unique<Blocks>(boxes_, size_, many);
    Share(context, batch_, size_ * (count + 16), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const Chosen objects{objects_ + b * count_ * 4, chosen_ + b * count_, count_};
        if (common != nullptr) {
          function(b, *common, objects);
        } else {
          function(b, Blocks(boxes_ + b * size_ * 4, size_, many), objects);
        }
      }
    });
  }

 private:
  const float *boxes_, *objects_;
  const bool* chosen_;
  int64_t batch_, size_, count_;
  bool shared_;
};

tf::Status Threshold(OpKernelContext* context, const char* name, float* value) {
  const Tensor* tensor;
  TF_RETURN_IF_ERROR(context->input(name, &tensor));
  TF_RETURN_IF_ERROR(CheckShape(name, *tensor, {}));
  *value = tensor->scalar<float>()();
  return absl::OkStatus();
}

tf::Status Read(OpKernelContext* context, ByIou* rule) {
  TF_RETURN_IF_ERROR(Threshold(context, "positive", &rule->positive));
  return Threshold(context, "negative", &rule->negative);
}
tf::Status Read(OpKernelContext* context, OneToOne* rule) { return Threshold(context, "positive", &rule->positive); }

tf::Status Construct(OpKernelConstruction* context, ByIou* rule) {
  return context->GetAttr("low_quality", &rule->low_quality);
}
tf::Status Construct(OpKernelConstruction*, OneToOne*) { return absl::OkStatus(); }

template <class Rule>
class MatchOp : public OpKernel {
 public:
  explicit MatchOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, Construct(context, &rule_));
  }

  void Compute(OpKernelContext* context) override {
    Images images;
    OP_REQUIRES_OK(context, images.Read(context, "anchors", "objects"));
    Rule rule = rule_;
    OP_REQUIRES_OK(context, Read(context, &rule));
    Tensor* indices;
    OP_REQUIRES_OK(context, Allocate(context, 0, {images.batch(), images.size()}, &indices));
    int32_t* out = indices->flat<int32_t>().data();
    images.ForEach(context, [&](int64_t b, const Blocks& blocks, const Chosen& objects) {
      rule.Match(blocks, objects, out + b * images.size());
    });
  }

 private:
  Rule rule_;
};

class CoveredOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    Images images;
    OP_REQUIRES_OK(context, images.Read(context, "boxes", "covers"));
    const Tensor& least = context->input(3);
    const bool shared = least.dims() == 2 && least.dim_size(0) == 1;
    OP_REQUIRES_OK(context, CheckShape("least", least, {shared ? 1 : images.batch(), images.size()}));
    Tensor* covered;
    OP_REQUIRES_OK(context, Allocate(context, 0, {images.batch(), images.size()}, &covered));
    const float* limits = least.flat<float>().data();
    bool* out = covered->flat<bool>().data();
    std::fill_n(out, covered->NumElements(), false);
    if (images.most() == 0) return;  // as of crowds in most pictures
    images.ForEach(context, [&](int64_t b, const Blocks& blocks, const Chosen& covers) {
      Cover(blocks, shared ? limits : limits + b * images.size(), covers, out + b * images.size());
    });
  }
};

tf::Status Shape(InferenceContext* c) {
  ShapeHandle boxes, objects, chosen;
  TF_RETURN_IF_ERROR(c->Merge(c->input(0), c->MakeShape({c->UnknownDim(), c->UnknownDim(), c->MakeDim(4)}), &boxes));
  TF_RETURN_IF_ERROR(c->Merge(c->input(1), c->MakeShape({c->UnknownDim(), c->UnknownDim(), c->MakeDim(4)}), &objects));
  TF_RETURN_IF_ERROR(c->Merge(c->input(2), c->MakeShape({c->Dim(objects, 0), c->Dim(objects, 1)}), &chosen));
  c->set_output(0, c->MakeShape({c->Dim(chosen, 0), c->Dim(boxes, 1)}));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("Kerasdet>MatchByIou")
    .Input("anchors: float")
    .Input("objects: float")
    .Input("chosen: bool")
    .Input("positive: float")
    .Input("negative: float")
    .Output("indices: int32")
    .Attr("low_quality: bool")
    .SetShapeFn(Shape);
REGISTER_OP("Kerasdet>MatchOneToOne")
    .Input("anchors: float")
    .Input("objects: float")
    .Input("chosen: bool")
    .Input("positive: float")
    .Output("indices: int32")
    .SetShapeFn(Shape);
REGISTER_OP("Kerasdet>Covered")
    .Input("boxes: float")
    .Input("covers: float")
    .Input("chosen: bool")
    .Input("least: float")
    .Output("covered: bool")
    .SetShapeFn(Shape);

REGISTER_KERNEL_BUILDER(Name("Kerasdet>MatchByIou").Device(tf::DEVICE_CPU), MatchOp<ByIou>);
REGISTER_KERNEL_BUILDER(Name("Kerasdet>MatchOneToOne").Device(tf::DEVICE_CPU), MatchOp<OneToOne>);
REGISTER_KERNEL_BUILDER(Name("Kerasdet>Covered").Device(tf::DEVICE_CPU), CoveredOp);

}  // namespace kerasdet
