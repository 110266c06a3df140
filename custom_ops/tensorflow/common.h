// Shared by the operators: checks that name the argument, and work on TensorFlow's own threads.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace kerasdet {

namespace tf = tensorflow;
using tf::OpKernel;
using tf::OpKernelConstruction;
using tf::OpKernelContext;
using tf::Tensor;
using tf::TensorShape;

// Kernels repeat the checks of shape functions, because those do not run eagerly.
inline tf::Status CheckShape(const char* name, const Tensor& tensor, const std::vector<int64_t>& shape) {
  bool fits = tensor.dims() == static_cast<int>(shape.size());
  std::string wanted;
  for (size_t i = 0; i < shape.size(); ++i) {
    fits = fits && (shape[i] < 0 || tensor.dim_size(i) == shape[i]);
    wanted += (i ? ", " : "") + (shape[i] < 0 ? "?" : std::to_string(shape[i]));
  }
  if (fits) return absl::OkStatus();
  return tf::errors::InvalidArgument(
      name, " must have shape [", wanted, "], got ", tensor.shape().DebugString(), ".");
}

// Allocates an output whose sizes a caller chose: those of more elements than int64 counts are refused.
inline tf::Status Allocate(OpKernelContext* context, int index, const std::vector<int64_t>& sizes, Tensor** out) {
  TensorShape shape;
  TF_RETURN_IF_ERROR(TensorShape::BuildTensorShape(sizes, &shape));
  return context->allocate_output(index, shape, out);
}

inline int Threads(OpKernelContext* context) {
  return context->device()->tensorflow_cpu_worker_threads()->num_threads;
}

// Calls work(begin, end) for parts of [0, count); cost: processor cycles per item.
inline void Share(
    OpKernelContext* context, int64_t count, int64_t cost, const std::function<void(int64_t, int64_t)>& work) {
  auto* threads = context->device()->tensorflow_cpu_worker_threads();
  tf::Shard(threads->num_threads, threads->workers, count, std::max<int64_t>(cost, 1), work);
}

}  // namespace kerasdet
