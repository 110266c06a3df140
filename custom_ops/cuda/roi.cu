// Region operators in CUDA: each thread computes, or back-propagates, one channel of one bin. Channels are innermost,
// so neighboring threads access neighboring numbers.
//
// As on the CPU, a rule defines the cells and weights of a bin along one axis; one kernel sums, one scatters.

#include "custom_ops/cuda/grid.h"
#include "custom_ops/cuda/launch.h"

namespace kerasdet {
namespace {

// RoIAlign and position-sensitive RoIAlign: bilinear samples.
struct Align {
  int ratio;
  bool aligned;

  // A bin along one axis: Each visits its cells with their weights; sums are divided by Divisor.
  struct Bin {
    float start, side, count, first;
    int64_t samples, size;

    __device__ float Divisor() const { return count > 0 ? count : 1; }

    template <class Visit>
    __device__ void Each(Visit visit) const {
      for (int64_t k = 0; k < samples; ++k) {
        int64_t before, after;
        float weight;
        if (!Neighbors(start + (first + float(k) + 0.5f) * side / count, size, &before, &after, &weight)) continue;
        visit(before, 1 - weight);
        if (weight != 0) visit(after, weight);
      }
    }
  };

  __device__ Bin operator()(float low, float high, float scale, int bins, int i, int64_t size) const {
    const Side<float> side = AlignSide(low, high, scale, bins, aligned);
    Bin bin{side.start + float(i) * side.bin, side.bin, SampleCount(side.bin, ratio), 0, 0, size};
    if (bin.count > 0) bin.first = FirstSample(bin.start, bin.side / bin.count, bin.count, size, &bin.samples);
    return bin;
  }
};

// R-FCN's average pooling over whole cells.
struct Average {
  struct Bin {
    int64_t begin, end;

    __device__ float Divisor() const { return 1; }

    template <class Visit>
    __device__ void Each(Visit visit) const {
      for (int64_t cell = begin; cell < end; ++cell) visit(cell, 1 / float(end - begin));
    }
  };

  __device__ Bin operator()(float low, float high, float scale, int bins, int i, int64_t size) const {
    Bin bin;
    PoolCells(PoolSide(low, high, scale, bins, 0), i, size, &bin.begin, &bin.end);
    return bin;
  }
};

// Precise RoI pooling: the integral of the interpolated map over the bin, divided by the bin's size.
struct Precise {
  struct Bin {
    float low, high, side;
    int64_t begin, end;

    __device__ float Divisor() const { return 1; }

    template <class Visit>
    __device__ void Each(Visit visit) const {
      for (int64_t cell = begin; cell < end; ++cell) {
        const float weight = (HatIntegral(high - float(cell)) - HatIntegral(low - float(cell))) / side;
        if (weight != 0) visit(cell, weight);
      }
    }
  };

  __device__ Bin operator()(float low, float high, float scale, int bins, int i, int64_t size) const {
    const float start = low * scale, side = (high * scale - start) / float(bins);
    Bin bin{start + float(i) * side, start + float(i + 1) * side, side, 0, 0};
    if (side > 0) HatCells(bin.low, bin.high, size, &bin.begin, &bin.end);
    return bin;
  }
};

// The source of item n of [count, rows, columns, outputs]: bin (i, j) of a RoI, and a channel of the image, which
// starts at `offset` in the RoI's map.
struct Place {
  const float* roi;
  int level, i, j;
  int64_t offset;
  bool real;

  template <class M>
  __device__ Place(const Levels<M>& levels, const Rois<float>& in, int64_t n) {
    const int64_t r = n / in.outputs / in.Bins();
    const int bin = static_cast<int>(n / in.outputs % in.Bins());
    roi = in.rois + r * 5;
    level = in.levels_of[r];
    i = bin / in.columns;
    j = bin % in.columns;
    real = IsReal(roi, level, levels);
    if (!real) return;
    const int64_t channel = n % in.outputs + (in.position_sensitive ? bin * in.outputs : 0);
    const int64_t image = static_cast<int64_t>(roi[0]);
    offset = image * levels.level[level].height * levels.level[level].width * levels.channels + channel;
  }
};

__host__ __device__ int64_t Size(const Rois<float>& in) { return in.count * in.Bins() * in.outputs; }

template <class Rule>
__global__ void Sum(Rule rule, const __grid_constant__ Levels<const float> levels, Rois<float> in, float* out) {
  for (int64_t n = First(); n < Size(in); n += Stride()) {
    const Place place(levels, in, n);
    out[n] = 0;
    if (!place.real) continue;
    const Level<const float>& level = levels.level[place.level];
    const auto ys = rule(place.roi[2], place.roi[4], level.scale, in.rows, place.i, level.height);
    const auto xs = rule(place.roi[1], place.roi[3], level.scale, in.columns, place.j, level.width);
    float sum = 0;
    ys.Each([&](int64_t y, float row) {
      const float* line = level.map + place.offset + y * level.width * levels.channels;
      xs.Each([&](int64_t x, float column) { sum += row * column * line[x * levels.channels]; });
    });
    out[n] = sum * ((1 / ys.Divisor()) * (1 / xs.Divisor()));
  }
}

// The transpose of Sum.
template <class Rule>
__global__ void Scatter(
    Rule rule, const __grid_constant__ Levels<float> gradients, Rois<float> in, const float* upstream) {
  for (int64_t n = First(); n < Size(in); n += Stride()) {
    const Place place(gradients, in, n);
    if (!place.real) continue;
    const Level<float>& level = gradients.level[place.level];
    const auto ys = rule(place.roi[2], place.roi[4], level.scale, in.rows, place.i, level.height);
    const auto xs = rule(place.roi[1], place.roi[3], level.scale, in.columns, place.j, level.width);
    const float factor = (1 / ys.Divisor()) * (1 / xs.Divisor());
    ys.Each([&](int64_t y, float row) {
      float* line = level.map + place.offset + y * level.width * gradients.channels;
      xs.Each([&](int64_t x, float column) {
        atomicAdd(line + x * gradients.channels, factor * row * column * upstream[n]);
      });
    });
  }
}

// RoIPool: position of the first maximum relative to the bin's first channel; -1 if the bin is empty.
__device__ int64_t Greatest(
    const Level<const float>& level, int64_t channels, const Rois<float>& in, const Place& place) {
  int64_t y0, y1, x0, x1;
  PoolCells(PoolSide(place.roi[2], place.roi[4], level.scale, in.rows, 1), place.i, level.height, &y0, &y1);
  PoolCells(PoolSide(place.roi[1], place.roi[3], level.scale, in.columns, 1), place.j, level.width, &x0, &x1);
  int64_t found = -1;
  float best = 0;
  for (int64_t y = y0; y < y1; ++y) {
    for (int64_t x = x0; x < x1; ++x) {
      const int64_t cell = (y * level.width + x) * channels;
      const float value = level.map[place.offset + cell];
      if (found < 0 || value > best) {
        found = cell;
        best = value;
      }
    }
  }
  return found;
}

__global__ void Maximum(const __grid_constant__ Levels<const float> levels, Rois<float> in, float* out) {
  for (int64_t n = First(); n < Size(in); n += Stride()) {
    const Place place(levels, in, n);
    out[n] = 0;
    if (!place.real) continue;
    const Level<const float>& level = levels.level[place.level];
    const int64_t found = Greatest(level, levels.channels, in, place);
    if (found >= 0) out[n] = level.map[place.offset + found];
  }
}

__global__ void MaximumGradient(
    const __grid_constant__ Levels<const float> levels, const __grid_constant__ Levels<float> gradients,
    Rois<float> in, const float* upstream) {
  for (int64_t n = First(); n < Size(in); n += Stride()) {
    const Place place(levels, in, n);
    if (!place.real) continue;
    const Level<const float>& level = levels.level[place.level];
    const int64_t found = Greatest(level, levels.channels, in, place);
    // A NaN is never the maximum.
    if (found < 0 || std::isnan(level.map[place.offset + found])) continue;
    atomicAdd(gradients.level[place.level].map + place.offset + found, upstream[n]);
  }
}

// Sums four numbers over the threads of a block, in a fixed order; the first thread gets the result.
__device__ void SumBlock(float (&sums)[4]) {
  __shared__ float parts[kThreads / kWarp][4];
  for (int k = 0; k < 4; ++k) {
    for (int step = kWarp / 2; step > 0; step /= 2) sums[k] += __shfl_down_sync(kAllLanes, sums[k], step);
  }
  __syncthreads();  // all threads have read the previous call's sums
  if (threadIdx.x % kWarp == 0) {
    for (int k = 0; k < 4; ++k) parts[threadIdx.x / kWarp][k] = sums[k];
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int k = 0; k < 4; ++k) {
    for (int warp = 1; warp < kThreads / kWarp; ++warp) sums[k] += parts[warp][k];
  }
}

// Each block processes a RoI, its threads the channels of the bins. The formulas are those of PreciseBoxGradient on the
// CPU.
__global__ void PreciseBoxes(
    const __grid_constant__ Levels<const float> levels, Rois<float> in, const float* upstream, float* out) {
  const int64_t size = in.Bins() * in.outputs;
  for (int64_t r = blockIdx.x; r < in.count; r += gridDim.x) {
    float sums[4] = {};
    for (int64_t n = r * size + threadIdx.x; n < (r + 1) * size; n += kThreads) {
      const Place place(levels, in, n);
      if (!place.real) break;
      const Level<const float>& level = levels.level[place.level];
      const auto ys = Precise()(place.roi[2], place.roi[4], level.scale, in.rows, place.i, level.height);
      const auto xs = Precise()(place.roi[1], place.roi[3], level.scale, in.columns, place.j, level.width);
      if (!(xs.side > 0 && ys.side > 0)) break;
      float mean = 0, at_left = 0, at_right = 0, at_top = 0, at_bottom = 0;
      ys.Each([&](int64_t y, float row) {
        const float* line = level.map + place.offset + y * level.width * levels.channels;
        xs.Each([&](int64_t x, float column) {
          const float product = upstream[n] * line[x * levels.channels];
          mean += row * column * product;
          at_left += row * Hat(xs.low - float(x)) * product;
          at_right += row * Hat(xs.high - float(x)) * product;
          at_top += Hat(ys.low - float(y)) * column * product;
          at_bottom += Hat(ys.high - float(y)) * column * product;
        });
      });
      const float d_left = (mean - at_left) / xs.side, d_right = (at_right - mean) / xs.side;
      const float d_top = (mean - at_top) / ys.side, d_bottom = (at_bottom - mean) / ys.side;
      const float x_share = float(place.j) / float(in.columns), x_next = float(place.j + 1) / float(in.columns);
      const float y_share = float(place.i) / float(in.rows), y_next = float(place.i + 1) / float(in.rows);
      sums[0] += level.scale * (d_left * (1 - x_share) + d_right * (1 - x_next));
      sums[1] += level.scale * (d_top * (1 - y_share) + d_bottom * (1 - y_next));
      sums[2] += level.scale * (d_left * x_share + d_right * x_next);
      sums[3] += level.scale * (d_top * y_share + d_bottom * y_next);
    }
    SumBlock(sums);
    if (threadIdx.x > 0) continue;
    out[r * 5] = 0;
    for (int k = 0; k < 4; ++k) out[r * 5 + 1 + k] = sums[k];
  }
}

template <class Rule>
const char* RunSum(
    void* stream, const Rule& rule, const Levels<const float>& levels, const Rois<float>& in, float* out) {
  return Launch(stream, Blocks(Size(in)), kThreads, Sum<Rule>, rule, levels, in, out);
}

const char* ClearMaps(void* stream, const Levels<float>& levels) {
  for (int i = 0; i < levels.count; ++i) {
    const Level<float>& level = levels.level[i];
    const int64_t size = levels.images * level.height * level.width * levels.channels;
    if (const char* error = Clear(stream, level.map, size * sizeof(float))) return error;
  }
  return nullptr;
}

template <class Rule>
const char* RunScatter(
    void* stream, const Rule& rule, const Levels<float>& gradients, const Rois<float>& in, const float* upstream) {
  if (const char* error = ClearMaps(stream, gradients)) return error;
  return Launch(stream, Blocks(Size(in)), kThreads, Scatter<Rule>, rule, gradients, in, upstream);
}

}  // namespace

const char* kerasdet_cuda_roi_align(
    void* stream, Levels<const float> levels, Rois<float> in, int ratio, bool aligned, float* out) {
  return RunSum(stream, Align{ratio, aligned}, levels, in, out);
}

const char* kerasdet_cuda_roi_align_gradient(
    void* stream, Levels<float> gradients, Rois<float> in, int ratio, bool aligned, const float* upstream) {
  return RunScatter(stream, Align{ratio, aligned}, gradients, in, upstream);
}

const char* kerasdet_cuda_ps_roi_pool(void* stream, Levels<const float> levels, Rois<float> in, float* out) {
  return RunSum(stream, Average(), levels, in, out);
}

const char* kerasdet_cuda_ps_roi_pool_gradient(
    void* stream, Levels<float> gradients, Rois<float> in, const float* upstream) {
  return RunScatter(stream, Average(), gradients, in, upstream);
}

const char* kerasdet_cuda_prroi_pool(void* stream, Levels<const float> levels, Rois<float> in, float* out) {
  return RunSum(stream, Precise(), levels, in, out);
}

const char* kerasdet_cuda_prroi_pool_gradient(
    void* stream, Levels<float> gradients, Rois<float> in, const float* upstream) {
  return RunScatter(stream, Precise(), gradients, in, upstream);
}

const char* kerasdet_cuda_prroi_pool_box_gradient(
    void* stream, Levels<const float> levels, Rois<float> in, const float* upstream, float* out) {
  return Launch(stream, in.count, kThreads, PreciseBoxes, levels, in, upstream, out);
}

const char* kerasdet_cuda_roi_pool(void* stream, Levels<const float> levels, Rois<float> in, float* out) {
  return Launch(stream, Blocks(Size(in)), kThreads, Maximum, levels, in, out);
}

const char* kerasdet_cuda_roi_pool_gradient(
    void* stream, Levels<const float> levels, Levels<float> gradients, Rois<float> in, const float* upstream) {
  if (const char* error = ClearMaps(stream, gradients)) return error;
  return Launch(stream, Blocks(Size(in)), kThreads, MaximumGradient, levels, gradients, in, upstream);
}

}  // namespace kerasdet
