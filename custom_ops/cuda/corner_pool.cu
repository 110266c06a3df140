// Corner pooling in CUDA: each thread scans one channel of one line. Channels are innermost, so neighboring threads
// read neighboring numbers.

#include "custom_ops/kernels/corner_pool.h"

#include "custom_ops/cuda/grid.h"
#include "custom_ops/cuda/launch.h"

namespace kerasdet {
namespace {

__global__ void Forward(Scan scan, int64_t lines, const float* in, float* out) {
  for (int64_t n = First(); n < lines * scan.channels; n += Stride()) {
    const int64_t line = n / scan.channels, channel = n % scan.channels;
    float best = in[scan.Place(line, 0) + channel];
    for (int64_t step = 0; step < scan.Steps(); ++step) {
      const int64_t here = scan.Place(line, step) + channel;
      best = in[here] > best ? in[here] : best;
      out[here] = best;
    }
  }
}

__global__ void Backward(
    Scan scan, int64_t lines, const float* in, const float* maxima, const float* upstream, float* gradient) {
  for (int64_t n = First(); n < lines * scan.channels; n += Stride()) {
    const int64_t line = n / scan.channels, channel = n % scan.channels;
    float gathered = 0;
    for (int64_t step = scan.Steps() - 1; step >= 0; --step) {
      const int64_t here = scan.Place(line, step) + channel;
      const bool sets = step == 0 || in[here] > maxima[scan.Place(line, step - 1) + channel];
      gathered += upstream[here];
      gradient[here] = sets ? gathered : 0;
      if (sets) gathered = 0;
    }
  }
}

int64_t Size(const Scan& scan, int64_t lines) { return scan.Steps() == 0 ? 0 : lines * scan.channels; }

}  // namespace

const char* kerasdet_cuda_corner_pool(void* stream, Scan scan, int64_t lines, const float* in, float* out) {
  return Launch(stream, Blocks(Size(scan, lines)), kThreads, Forward, scan, lines, in, out);
}

const char* kerasdet_cuda_corner_pool_gradient(
    void* stream, Scan scan, int64_t lines, const float* in, const float* maxima, const float* upstream,
    float* gradient) {
  return Launch(
      stream, Blocks(Size(scan, lines)), kThreads, Backward, scan, lines, in, maxima, upstream, gradient);
}

}  // namespace kerasdet
