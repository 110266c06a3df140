// The bins of a RoI on a feature map, for both CPU and CUDA kernels. Depends on no framework.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "custom_ops/kernels/host_device.h"

namespace kerasdet {

constexpr int kMaxLevels = 8;

// A feature map [images, height, width, channels] of a pyramid; scale: cells per pixel of the image.
template <class T>
struct Level {
  T* map;
  int64_t height, width;
  std::remove_const_t<T> scale;
};

template <class T>
struct Levels {
  Level<T> level[kMaxLevels];
  int count;
  int64_t images, channels;
};

// The inputs of an operator: rois [count, 5], levels_of [count]; its result is [count, rows, columns, outputs].
// In position-sensitive operators bin (i, j) reads the channels from (i * columns + j) * outputs on; in the others,
// outputs = channels.
template <class T>
struct Rois {
  const T* rois;
  const int32_t* levels_of;
  int64_t count, outputs;
  int rows, columns;
  bool position_sensitive;

  KERASDET_HD int64_t Bins() const { return int64_t{rows} * columns; }
};

// Row r of rois [R, 5] is image, x1, y1, x2, y2 in pixels. A RoI is real if its image and level exist and its
// coordinates are not NaN and so small that no side overflows; others give zeros and get no gradient.
template <class T, class M>
KERASDET_HD bool IsReal(const T* roi, int level, const Levels<M>& levels) {
  for (int i = 0; i < 5; ++i) {
    if (!(roi[i] > T(-1e37) && roi[i] < T(1e37))) return false;
  }
  return roi[0] >= T(0) && roi[0] < T(levels.images) && level >= 0 && level < levels.count;
}

// One side of a RoI in cells: bin i covers [start + i * bin, start + (i + 1) * bin).
template <class T>
struct Side {
  T start, bin;
};

// RoIAlign (Mask R-CNN, section 3); `aligned` subtracts half a cell, without it a side is at least one cell.
template <class T>
KERASDET_HD Side<T> AlignSide(T low, T high, T scale, int bins, bool aligned) {
  const T shift = aligned ? T(0.5) : T(0);
  const T start = low * scale - shift;
  T size = high * scale - shift - start;
  if (!aligned && !(size > T(1))) size = T(1);
  return {start, size / T(bins)};
}

// Samples per side of a bin: `ratio`, or with ratio 0 as many as the bin has cells, rounded up; below 1: none.
template <class T>
KERASDET_HD T SampleCount(T bin, int ratio) {
  return ratio > 0 ? T(ratio) : std::ceil(bin);
}

// The two cells that a sample lies between, and the weight of the second. Up to one cell outside the map, the border
// cell is used; farther away, the result is false.
template <class T>
KERASDET_HD bool Neighbors(T at, int64_t size, int64_t* low, int64_t* high, T* weight) {
  if (!(at >= T(-1) && at <= T(size))) return false;
  if (at < T(0)) at = T(0);
  *low = static_cast<int64_t>(at);
  if (*low >= size - 1) {
    *low = *high = size - 1;
    *weight = T(0);
  } else {
    *high = *low + 1;
    *weight = at - T(*low);
  }
  return size > 0;
}

// The first of the samples start + (i + 0.5) * step, i < count, that may lie on the map, and their number. This bounds
// the work for RoIs much larger than the map, whose adaptive samples lie more than half a cell apart.
template <class T>
KERASDET_HD T FirstSample(T start, T step, T count, int64_t size, int64_t* n) {
  T first = T(0), last = count;
  T limit = count;
  if (step > T(0.5) && count > T(64)) {
    first = std::floor((T(-1) - start) / step) - T(2);
    last = std::ceil((T(size) - start) / step) + T(2);
    first = first > T(0) ? first : T(0);
    last = last < count ? last : count;
    limit = T(2 * size + 16);
  }
  const T found = last - first < limit ? last - first : limit;
  *n = found > T(0) ? static_cast<int64_t>(found) : 0;
  return first;
}

// Rounds like C, halves away from zero.
template <class T>
KERASDET_HD T Round(T x) {
  return x < T(0) ? -std::floor(T(0.5) - x) : std::floor(x + T(0.5));
}

// RoIPool (Fast R-CNN, section 2.1): rounded inclusive corners, at least one cell. `inclusive` is 0 for R-FCN.
template <class T>
KERASDET_HD Side<T> PoolSide(T low, T high, T scale, int bins, int inclusive) {
  const T start = Round(low * scale);
  T size = Round(high * scale) - start + T(inclusive);
  if (!(size > T(1))) size = T(1);
  return {start, size / T(bins)};
}

// The cells [begin, end) of pooling bin i, clipped to the map.
template <class T>
KERASDET_HD void PoolCells(Side<T> side, int i, int64_t size, int64_t* begin, int64_t* end) {
  const T low = std::floor(T(i) * side.bin) + side.start, high = std::ceil(T(i + 1) * side.bin) + side.start;
  const T limit = T(size);
  *begin = static_cast<int64_t>(low > T(0) ? (low < limit ? low : limit) : T(0));
  *end = static_cast<int64_t>(high > T(0) ? (high < limit ? high : limit) : T(0));
}

// Precise RoI pooling (IoU-Net, section 3.2): cell i has the hat function max(0, 1 - |t - i|). These are its integral
// from -infinity to t and its value at t, as functions of the distance t - i.
template <class T>
KERASDET_HD T HatIntegral(T distance) {
  const T u = distance < T(-1) ? T(-1) : (distance > T(1) ? T(1) : distance);
  return T(0.5) + u - T(0.5) * u * (u < T(0) ? -u : u);
}

template <class T>
KERASDET_HD T Hat(T distance) {
  const T gap = T(1) - (distance < T(0) ? -distance : distance);
  return gap > T(0) ? gap : T(0);
}

// The cells [begin, end) whose hat functions overlap [low, high].
template <class T>
KERASDET_HD void HatCells(T low, T high, int64_t size, int64_t* begin, int64_t* end) {
  const T first = std::floor(low), last = std::ceil(high) + T(1), limit = T(size);
  *begin = static_cast<int64_t>(first > T(0) ? (first < limit ? first : limit) : T(0));
  *end = static_cast<int64_t>(last > T(0) ? (last < limit ? last : limit) : T(0));
}

}  // namespace kerasdet
