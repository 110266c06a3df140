// How kernels are launched: blocks that stride over work of any length, and errors as text.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace kerasdet {

constexpr int kThreads = 256, kWarp = 32;
constexpr unsigned kAllLanes = ~0u;

// The number of blocks that gives each of `count` items a thread.
__host__ __device__ inline int64_t Blocks(int64_t count, int threads = kThreads) {
  return (count + threads - 1) / threads;
}

// The first item of a thread, and the step to its next one.
__device__ inline int64_t First() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ inline int64_t Stride() { return int64_t{gridDim.x} * blockDim.x; }

inline const char* Text(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }

// Launches `blocks` blocks, or fewer if there are very many; those stride over the work of the others.
template <class... Parameters, class... Arguments>
const char* Launch(
    void* stream, int64_t blocks, int threads, void (*kernel)(Parameters...), const Arguments&... arguments) {
  constexpr int64_t kMost = 1 << 16;
  if (blocks == 0) return nullptr;
  kernel<<<std::min(blocks, kMost), threads, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
  return Text(cudaGetLastError());
}

inline const char* Clear(void* stream, void* data, int64_t bytes) {
  return bytes == 0 ? nullptr : Text(cudaMemsetAsync(data, 0, bytes, static_cast<cudaStream_t>(stream)));
}

}  // namespace kerasdet
