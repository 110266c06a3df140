// RoI operators on the CPU. Depends on no framework.
//
// All of them except RoIPool's maximum are separable weighted sums: a bin is the sum over its cells of a row's weight
// times a column's weight times the cell. A rule defines the cells and weights of a bin along one axis; one loop sums,
// one scatters. Channels are innermost, so both loops run over contiguous channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "custom_ops/kernels/geometry.h"

namespace kerasdet {

// Cells and weights of all bins along one axis: those of bin i are at [first[i], first[i + 1]).
template <class T>
struct Axis {
  std::vector<int64_t> first, cell;
  std::vector<T> weight;

  void Clear() {
    first.assign(1, 0);
    cell.clear();
    weight.clear();
  }
  // Merges equal cells, because neighboring samples share them.
  void Add(int64_t where, T value) {
    if (value == T(0)) return;
    for (int64_t i = cell.size(), stop = std::max<int64_t>(first.back(), i - 2); i-- > stop;) {
      if (cell[i] == where) {
        weight[i] += value;
        return;
      }
    }
    cell.push_back(where);
    weight.push_back(value);
  }
  void EndBin() { first.push_back(cell.size()); }
};

// RoIAlign and position-sensitive RoIAlign: bilinear samples.
struct AlignRule {
  int ratio;
  bool aligned;

  // Fills the axis; returns the divisor of the sums.
  template <class T>
  T operator()(T low, T high, T scale, int bins, int64_t size, Axis<T>* axis) const {
    const Side<T> side = AlignSide(low, high, scale, bins, aligned);
    const T count = SampleCount(side.bin, ratio), step = side.bin / count;
    axis->Clear();
    for (int i = 0; i < bins; ++i) {
      const T start = side.start + T(i) * side.bin;
      int64_t n = 0;
      const T first = count > T(0) ? FirstSample(start, step, count, size, &n) : T(0);
      for (int64_t k = 0; k < n; ++k) {
        int64_t before, after;
        T weight;
        if (Neighbors(start + (first + T(k) + T(0.5)) * side.bin / count, size, &before, &after, &weight)) {
          axis->Add(before, T(1) - weight);
          axis->Add(after, weight);
        }
      }
      axis->EndBin();
    }
    return count > T(0) ? count : T(1);
  }
};

// R-FCN's average pooling over whole cells. The weights include the count of cells because it differs between bins.
struct PoolRule {
  template <class T>
  T operator()(T low, T high, T scale, int bins, int64_t size, Axis<T>* axis) const {
    const Side<T> side = PoolSide(low, high, scale, bins, 0);
    axis->Clear();
    for (int i = 0; i < bins; ++i) {
      int64_t begin, end;
      PoolCells(side, i, size, &begin, &end);
      for (int64_t cell = begin; cell < end; ++cell) axis->Add(cell, T(1) / T(end - begin));
      axis->EndBin();
    }
    return T(1);
  }
};

// Precise RoI pooling: the integral of the interpolated map over the bin, divided by the bin's size.
struct PreciseRule {
  template <class T>
  T operator()(T low, T high, T scale, int bins, int64_t size, Axis<T>* axis) const {
    const T start = low * scale, bin = (high * scale - start) / T(bins);
    axis->Clear();
    for (int i = 0; i < bins; ++i) {
      const T a = start + T(i) * bin, b = start + T(i + 1) * bin;
      if (bin > T(0)) {
        int64_t begin, end;
        HatCells(a, b, size, &begin, &end);
        for (int64_t cell = begin; cell < end; ++cell) {
          axis->Add(cell, (HatIntegral(b - T(cell)) - HatIntegral(a - T(cell))) / bin);
        }
      }
      axis->EndBin();
    }
    return T(1);
  }
};

// The rows and columns of one RoI under a rule.
template <class T>
struct Grid {
  Axis<T> ys, xs;
  T factor;

  template <class Rule, class M>
  void Fill(const Rule& rule, const T* roi, const Level<M>& level, int rows, int columns) {
    const T height = rule(roi[2], roi[4], level.scale, rows, level.height, &ys);
    const T width = rule(roi[1], roi[3], level.scale, columns, level.width, &xs);
    factor = (T(1) / height) * (T(1) / width);
  }
};

// What a loop keeps in one register: 32 bytes of numbers, or a single one. They are structs because GCC drops the
// attributes of a type that is a template argument.
template <class T>
struct Wide;
template <>
struct Wide<float> {
  typedef float Type __attribute__((vector_size(32), aligned(4), may_alias));
};
template <>
struct Wide<double> {
  typedef double Type __attribute__((vector_size(32), aligned(8), may_alias));
};
template <class T>
struct Single {
  typedef T Type;
};

// Channels that a loop keeps in kPacks registers.
template <class Register, int N>
struct Block {
  using Vector = typename Register::Type;
  static constexpr int kPacks = N;
};

// Calls work(Block(), first channel) for blocks that cover the channels: wide blocks, then narrow ones, then singles.
template <class T, int kPacks = 8, class Work>
void ForBlocks(int64_t channels, const Work& work) {
  constexpr int kLanes = sizeof(typename Wide<T>::Type) / sizeof(T);
  int64_t c = 0;
  for (; c + kPacks * kLanes <= channels; c += kPacks * kLanes) work(Block<Wide<T>, kPacks>(), c);
  for (; c + kLanes <= channels; c += kLanes) work(Block<Wide<T>, 1>(), c);
  for (; c < channels; ++c) work(Block<Single<T>, 1>(), c);
}

// out[c] = factor * sum over the cells of bin (i, j) of weight * map[cell][c]. `map` points to the first channel of the
// image's first cell; `stride` is the number of channels of the map.
template <class T>
void SumBin(const Grid<T>& grid, int i, int j, const T* map, int64_t width, int64_t stride, int64_t channels, T* out) {
  const int64_t y0 = grid.ys.first[i], y1 = grid.ys.first[i + 1], x0 = grid.xs.first[j], x1 = grid.xs.first[j + 1];
  ForBlocks<T>(channels, [&](auto block, int64_t c) {
    using Vector = typename decltype(block)::Vector;
    constexpr int kPacks = decltype(block)::kPacks;
    Vector sum[kPacks] = {};
    for (int64_t y = y0; y < y1; ++y) {
      const T* row = map + grid.ys.cell[y] * width * stride + c;
      for (int64_t x = x0; x < x1; ++x) {
        const Vector* cell = reinterpret_cast<const Vector*>(row + grid.xs.cell[x] * stride);
        const T weight = grid.ys.weight[y] * grid.xs.weight[x];
#pragma GCC unroll 8
        for (int k = 0; k < kPacks; ++k) sum[k] += weight * cell[k];
      }
    }
    Vector* target = reinterpret_cast<Vector*>(out + c);
#pragma GCC unroll 8
    for (int k = 0; k < kPacks; ++k) target[k] = sum[k] * grid.factor;
  });
}

// A band of rows of a map. Gradients are added up band by band, with all RoIs in order. Threads that work on different
// bands never share a cache line, and the order of summation does not depend on the number of threads.
struct Band {
  int64_t number, count;

  int64_t Begin(int64_t height) const { return height * number / count; }
  int64_t End(int64_t height) const { return height * (number + 1) / count; }
};

// The transpose of SumBin for the rows [begin, end): map[cell][c] += factor * weight * gradient[c].
template <class T>
void ScatterBin(
    const Grid<T>& grid, int i, int j, const T* gradient, int64_t begin, int64_t end, int64_t width, int64_t stride,
    int64_t channels, T* map) {
  for (int64_t y = grid.ys.first[i]; y < grid.ys.first[i + 1]; ++y) {
    if (grid.ys.cell[y] < begin || grid.ys.cell[y] >= end) continue;
    T* row = map + grid.ys.cell[y] * width * stride;
    for (int64_t x = grid.xs.first[j]; x < grid.xs.first[j + 1]; ++x) {
      T* __restrict__ cell = row + grid.xs.cell[x] * stride;
      const T* __restrict__ source = gradient;
      const T weight = grid.factor * grid.ys.weight[y] * grid.xs.weight[x];
      for (int64_t c = 0; c < channels; ++c) cell[c] += weight * source[c];
    }
  }
}

// Output values of the RoIs [begin, end).
template <class T, class Rule>
void RoiForward(
    const Rule& rule, const Levels<const T>& levels, const Rois<T>& in, int64_t begin, int64_t end, T* out) {
  Grid<T> grid;
  for (int64_t r = begin; r < end; ++r) {
    const T* roi = in.rois + r * 5;
    T* target = out + r * in.Bins() * in.outputs;
    if (!IsReal(roi, in.levels_of[r], levels)) {
      std::fill_n(target, in.Bins() * in.outputs, T(0));
      continue;
    }
    const Level<const T>& level = levels.level[in.levels_of[r]];
    const T* map = level.map + static_cast<int64_t>(roi[0]) * level.height * level.width * levels.channels;
    grid.Fill(rule, roi, level, in.rows, in.columns);
    for (int i = 0; i < in.rows; ++i) {
      for (int j = 0; j < in.columns; ++j, target += in.outputs) {
        const int64_t shift = in.position_sensitive ? (int64_t{i} * in.columns + j) * in.outputs : 0;
        SumBin(grid, i, j, map + shift, level.width, levels.channels, in.outputs, target);
      }
    }
  }
}

// Gradient of a band of the maps of one image; the caller fills it with zeros.
template <class T, class Rule>
void RoiBackward(
    const Rule& rule, const Levels<T>& levels, const Rois<T>& in, const T* upstream, int64_t image, Band band) {
  Grid<T> grid;
  for (int64_t r = 0; r < in.count; ++r) {
    const T* roi = in.rois + r * 5;
    if (!IsReal(roi, in.levels_of[r], levels) || static_cast<int64_t>(roi[0]) != image) continue;
    const Level<T>& level = levels.level[in.levels_of[r]];
    T* map = level.map + image * level.height * level.width * levels.channels;
    const int64_t begin = band.Begin(level.height), end = band.End(level.height);
    grid.Fill(rule, roi, level, in.rows, in.columns);
    for (int64_t bin = 0; bin < in.Bins(); ++bin) {
      const int64_t shift = in.position_sensitive ? bin * in.outputs : 0;
      const T* source = upstream + (r * in.Bins() + bin) * in.outputs;
      ScatterBin(
          grid, bin / in.columns, bin % in.columns, source, begin, end, level.width, levels.channels, in.outputs,
          map + shift);
    }
  }
}

// The cells [y0, y1) x [x0, x1) of a bin of RoIPool.
struct Cells {
  int64_t y0, y1, x0, x1;

  template <class T, class M>
  Cells(const T* roi, const Level<M>& level, int rows, int columns, int64_t bin) {
    const Side<T> tall = PoolSide(roi[2], roi[4], level.scale, rows, 1);
    const Side<T> wide = PoolSide(roi[1], roi[3], level.scale, columns, 1);
    PoolCells(tall, bin / columns, level.height, &y0, &y1);
    PoolCells(wide, bin % columns, level.width, &x0, &x1);
  }
  bool Empty() const { return y0 >= y1 || x0 >= x1; }

  // Calls work(cell) row by row.
  template <class Work>
  void ForEach(int64_t width, const Work& work) const {
    for (int64_t y = y0; y < y1; ++y) {
      for (int64_t x = x0; x < x1; ++x) work(y * width + x);
    }
  }
};

// The maximum of a bin's cells, as block.kPacks vectors; `map` points to their first channel.
template <class Block, class T>
void Greatest(Block, const Cells& cells, const T* map, int64_t width, int64_t stride, typename Block::Vector* best) {
  using Vector = typename Block::Vector;
  constexpr int kPacks = Block::kPacks;
  const Vector* first = reinterpret_cast<const Vector*>(map + (cells.y0 * width + cells.x0) * stride);
#pragma GCC unroll 8
  for (int k = 0; k < kPacks; ++k) best[k] = first[k];
  cells.ForEach(width, [&](int64_t where) {
    const Vector* cell = reinterpret_cast<const Vector*>(map + where * stride);
#pragma GCC unroll 8
    for (int k = 0; k < kPacks; ++k) best[k] = cell[k] > best[k] ? cell[k] : best[k];
  });
}

// RoIPool: the maximum of every bin; an empty bin is 0.
template <class T>
void RoiPoolForward(const Levels<const T>& levels, const Rois<T>& in, int64_t begin, int64_t end, T* out) {
  for (int64_t r = begin; r < end; ++r) {
    const T* roi = in.rois + r * 5;
    T* target = out + r * in.Bins() * in.outputs;
    if (!IsReal(roi, in.levels_of[r], levels)) {
      std::fill_n(target, in.Bins() * in.outputs, T(0));
      continue;
    }
    const Level<const T>& level = levels.level[in.levels_of[r]];
    const T* map = level.map + static_cast<int64_t>(roi[0]) * level.height * level.width * levels.channels;
    for (int64_t bin = 0; bin < in.Bins(); ++bin, target += in.outputs) {
      const Cells cells(roi, level, in.rows, in.columns, bin);
      if (cells.Empty()) {
        std::fill_n(target, in.outputs, T(0));
        continue;
      }
      ForBlocks<T>(in.outputs, [&](auto block, int64_t c) {
        using Vector = typename decltype(block)::Vector;
        constexpr int kPacks = decltype(block)::kPacks;
        Vector best[kPacks];
        Greatest(block, cells, map + c, level.width, levels.channels, best);
#pragma GCC unroll 8
        for (int k = 0; k < kPacks; ++k) reinterpret_cast<Vector*>(target + c)[k] = best[k];
      });
    }
  }
}

// Gradient of RoIPool for a band of one image: it goes to the first maximum, row by row. The maximum is searched again,
// which is cheaper than writing and reading its position for every output.
template <class T>
void RoiPoolBackward(
    const Levels<const T>& levels, const Levels<T>& gradients, const Rois<T>& in, const T* upstream, int64_t image,
    Band band) {
  for (int64_t r = 0; r < in.count; ++r) {
    const T* roi = in.rois + r * 5;
    if (!IsReal(roi, in.levels_of[r], levels) || static_cast<int64_t>(roi[0]) != image) continue;
    const Level<const T>& level = levels.level[in.levels_of[r]];
    const int64_t shift = image * level.height * level.width * levels.channels;
    const int64_t begin = band.Begin(level.height), end = band.End(level.height);
    const T* map = level.map + shift;
    T* gradient = gradients.level[in.levels_of[r]].map + shift;
    for (int64_t bin = 0; bin < in.Bins(); ++bin) {
      const Cells cells(roi, level, in.rows, in.columns, bin);
      if (cells.Empty() || cells.y0 >= end || cells.y1 <= begin) continue;
      const T* source = upstream + (r * in.Bins() + bin) * in.outputs;
      // Narrower blocks, so that both the maximum and the remaining gradient stay in registers.
      ForBlocks<T, 4>(in.outputs, [&](auto block, int64_t c) {
        using Vector = typename decltype(block)::Vector;
        constexpr int kPacks = decltype(block)::kPacks;
        Vector best[kPacks], open[kPacks];
        Greatest(block, cells, map + c, level.width, levels.channels, best);
#pragma GCC unroll 8
        for (int k = 0; k < kPacks; ++k) open[k] = reinterpret_cast<const Vector*>(source + c)[k];
        cells.ForEach(level.width, [&](int64_t where) {
          const bool inside = where >= begin * level.width && where < end * level.width;
          const Vector* cell = reinterpret_cast<const Vector*>(map + where * levels.channels + c);
          Vector* target = reinterpret_cast<Vector*>(gradient + where * levels.channels + c);
#pragma GCC unroll 8
          for (int k = 0; k < kPacks; ++k) {
            const auto here = cell[k] == best[k];
            if (inside) target[k] += here ? open[k] : Vector{};
            open[k] = here ? Vector{} : open[k];
          }
        });
      });
    }
  }
}

// Gradient of precise RoI pooling to the corners of the RoIs [begin, end), out [count, 5] (0 for the image).
//
// A bin is the mean over [a, b] x [c, d]. Its derivative by b is (mean along the right edge - bin) / (b - a), and so on
// (IoU-Net, equation 5). All are weighted sums of the cells' dot products with the upstream gradient.
template <class T>
void PreciseBoxGradient(
    const Levels<const T>& levels, const Rois<T>& in, const T* upstream, int64_t begin, int64_t end, T* out) {
  constexpr int kLanes = 16;
  Grid<T> grid;
  for (int64_t r = begin; r < end; ++r) {
    const T* roi = in.rois + r * 5;
    T* target = out + r * 5;
    std::fill_n(target, 5, T(0));
    if (!IsReal(roi, in.levels_of[r], levels)) continue;
    const Level<const T>& level = levels.level[in.levels_of[r]];
    const T* map = level.map + static_cast<int64_t>(roi[0]) * level.height * level.width * levels.channels;
    const T x_start = roi[1] * level.scale, y_start = roi[2] * level.scale;
    const T width = (roi[3] * level.scale - x_start) / T(in.columns);
    const T height = (roi[4] * level.scale - y_start) / T(in.rows);
    if (!(width > T(0) && height > T(0))) continue;
    grid.Fill(PreciseRule(), roi, level, in.rows, in.columns);
    for (int i = 0; i < in.rows; ++i) {
      for (int j = 0; j < in.columns; ++j) {
        const T* source = upstream + ((r * in.rows + i) * in.columns + j) * in.outputs;
        const T left = x_start + T(j) * width, right = x_start + T(j + 1) * width;
        const T top = y_start + T(i) * height, bottom = y_start + T(i + 1) * height;
        T mean = 0, at_left = 0, at_right = 0, at_top = 0, at_bottom = 0;
        for (int64_t y = grid.ys.first[i]; y < grid.ys.first[i + 1]; ++y) {
          for (int64_t x = grid.xs.first[j]; x < grid.xs.first[j + 1]; ++x) {
            const T* cell = map + (grid.ys.cell[y] * level.width + grid.xs.cell[x]) * levels.channels;
            T lanes[kLanes] = {}, dot = 0;
            int64_t c = 0;
            for (; c + kLanes <= in.outputs; c += kLanes) {
              for (int k = 0; k < kLanes; ++k) lanes[k] += source[c + k] * cell[c + k];
            }
            for (; c < in.outputs; ++c) dot += source[c] * cell[c];
            for (int k = 0; k < kLanes; ++k) dot += lanes[k];
            const T row = T(grid.ys.cell[y]), column = T(grid.xs.cell[x]);
            mean += grid.ys.weight[y] * grid.xs.weight[x] * dot;
            at_left += grid.ys.weight[y] * Hat(left - column) * dot;
            at_right += grid.ys.weight[y] * Hat(right - column) * dot;
            at_top += Hat(top - row) * grid.xs.weight[x] * dot;
            at_bottom += Hat(bottom - row) * grid.xs.weight[x] * dot;
          }
        }
        const T d_left = (mean - at_left) / width, d_right = (at_right - mean) / width;
        const T d_top = (mean - at_top) / height, d_bottom = (at_bottom - mean) / height;
        const T x_share = T(j) / T(in.columns), x_next = T(j + 1) / T(in.columns);
        const T y_share = T(i) / T(in.rows), y_next = T(i + 1) / T(in.rows);
        target[1] += level.scale * (d_left * (T(1) - x_share) + d_right * (T(1) - x_next));
        target[2] += level.scale * (d_top * (T(1) - y_share) + d_bottom * (T(1) - y_next));
        target[3] += level.scale * (d_left * x_share + d_right * x_next);
        target[4] += level.scale * (d_top * y_share + d_bottom * y_next);
      }
    }
  }
}

}  // namespace kerasdet
