// Deformable convolution's readings in CUDA: a thread a channel of a tap, and for offsets and mask a warp a tap.

#include "custom_ops/kernels/deform.h"

#include "custom_ops/cuda/grid.h"
#include "custom_ops/cuda/launch.h"

namespace kerasdet {
namespace {

__global__ void Forward(Deform<float> deform, float* out) {
  const int64_t taps = deform.Taps(), depth = deform.Depth();
  for (int64_t n = First(); n < deform.Places() * taps * deform.channels; n += Stride()) {
    const int64_t channel = n % deform.channels, tap = n / deform.channels % taps, place = n / deform.channels / taps;
    const Reading<float> reading = deform.Read(place, channel / depth, tap);
    float sum = 0;
    for (int corner = 0; reading.inside && corner < 4; ++corner) {
      const int64_t cell = deform.Cell(place / deform.PlacesOfImage(), reading, corner);
      if (cell >= 0) sum += reading.Share(corner) * deform.map[cell + channel];
    }
    out[n] = reading.inside ? sum * deform.mask[deform.Number(place, channel / depth, tap)] : 0;
  }
}

__global__ void MapGradient(Deform<float> deform, const float* upstream, float* gradient) {
  const int64_t taps = deform.Taps(), depth = deform.Depth();
  for (int64_t n = First(); n < deform.Places() * taps * deform.channels; n += Stride()) {
    const int64_t channel = n % deform.channels, tap = n / deform.channels % taps, place = n / deform.channels / taps;
    const Reading<float> reading = deform.Read(place, channel / depth, tap);
    if (!reading.inside) continue;
    const float given = upstream[n] * deform.mask[deform.Number(place, channel / depth, tap)];
    for (int corner = 0; corner < 4; ++corner) {
      const int64_t cell = deform.Cell(place / deform.PlacesOfImage(), reading, corner);
      if (cell >= 0) atomicAdd(gradient + cell + channel, reading.Share(corner) * given);
    }
  }
}

__global__ void TapsGradient(
    Deform<float> deform, const float* upstream, float* offsets_gradient, float* mask_gradient) {
  const int64_t taps = deform.Taps(), depth = deform.Depth();
  const int lane = threadIdx.x % kWarp;
  for (int64_t number = First() / kWarp; number < deform.Places() * deform.groups * taps; number += Stride() / kWarp) {
    const int64_t tap = number % taps, group = number / taps % deform.groups, place = number / taps / deform.groups;
    const Reading<float> reading = deform.Read(place, group, tap);
    const float* given = upstream + (place * taps + tap) * deform.channels + group * depth;
    float dots[4] = {0, 0, 0, 0};
    for (int corner = 0; reading.inside && corner < 4; ++corner) {
      const int64_t cell = deform.Cell(place / deform.PlacesOfImage(), reading, corner);
      if (cell >= 0) {
        for (int64_t c = lane; c < depth; c += kWarp) dots[corner] += given[c] * deform.map[cell + group * depth + c];
      }
    }
    for (float& dot : dots) {
      for (int step = kWarp / 2; step > 0; step /= 2) dot += __shfl_down_sync(kAllLanes, dot, step);
    }
    if (lane == 0) {
      DeformTapGradient(reading, deform.mask[number], dots, offsets_gradient + 2 * number, mask_gradient + number);
    }
  }
}

int64_t Numbers(const Deform<float>& deform) { return deform.Places() * deform.Taps() * deform.channels; }

}  // namespace

const char* kerasdet_cuda_deform_columns(void* stream, Deform<float> deform, float* out) {
  return Launch(stream, Blocks(Numbers(deform)), kThreads, Forward, deform, out);
}

const char* kerasdet_cuda_deform_columns_gradient(
    void* stream, Deform<float> deform, const float* upstream, float* gradient, float* offsets_gradient,
    float* mask_gradient) {
  const int64_t cells = deform.images * deform.height * deform.width * deform.channels;
  if (const char* error = Clear(stream, gradient, cells * sizeof(float))) return error;
  if (const char* error = Launch(stream, Blocks(Numbers(deform)), kThreads, MapGradient, deform, upstream, gradient)) {
    return error;
  }
  const int64_t warps = deform.Places() * deform.groups * deform.Taps();
  return Launch(
      stream, Blocks(warps * kWarp), kThreads, TapsGradient, deform, upstream, offsets_gradient, mask_gradient);
}

}  // namespace kerasdet
