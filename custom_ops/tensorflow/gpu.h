// Shared by the operators' CUDA kernels. Includes no CUDA header.
#pragma once

#include "custom_ops/tensorflow/common.h"
#include "tensorflow/core/util/determinism.h"
#include "xla/stream_executor/stream.h"

namespace kerasdet {

// The CUDA stream that an operator's kernels are launched on.
inline void* Stream(OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}

inline tf::Status Launched(const char* error) {
  return error == nullptr ? absl::OkStatus() : tf::errors::Internal("CUDA kernel not launched: ", error, ".");
}

}  // namespace kerasdet
