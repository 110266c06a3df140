// What the taps of a modulated deformable convolution read (Zhu et al., CVPR 2019, equation 1), on the CPU. The CUDA
// kernels use `Deform` and `Reading` too. Depends on no framework.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "custom_ops/kernels/host_device.h"

namespace kerasdet {

// The four cells that a tap lies between, from (row, column) on, and the shares of the next row and column. Taps that
// lie a whole cell outside the map, or at NaN, read nothing; nearer ones fade into the zeros around it.
template <class T>
struct Reading {
  int64_t row, column;
  T down, right;
  bool inside;

  KERASDET_HD T Share(int corner) const {
    return (corner / 2 ? down : T(1) - down) * (corner % 2 ? right : T(1) - right);
  }
};

// A map [images, height, width, channels], read by `rows * columns` taps at each of the places [images, out_height,
// out_width]; `groups` groups of channels have taps of their own. The result is [places, taps, channels].
template <class T>
struct Deform {
  const T *map;
  const T *offsets;  // [places, groups, taps, 2]: y and x, cells
  const T *mask;     // [places, groups, taps]
  int64_t images, height, width, channels, out_height, out_width, groups;
  int rows, columns, stride[2], padding[2], dilation[2];

  KERASDET_HD int64_t Taps() const { return int64_t{rows} * columns; }
  KERASDET_HD int64_t PlacesOfImage() const { return out_height * out_width; }
  KERASDET_HD int64_t Places() const { return images * PlacesOfImage(); }
  KERASDET_HD int64_t Depth() const { return channels / groups; }
  KERASDET_HD int64_t Number(int64_t place, int64_t group, int64_t tap) const {
    return (place * groups + group) * Taps() + tap;
  }

  KERASDET_HD Reading<T> Read(int64_t place, int64_t group, int64_t tap) const {
    const int64_t i = place / out_width % out_height, j = place % out_width;
    const T* offset = offsets + 2 * Number(place, group, tap);
    const T y = T(i * stride[0] - padding[0] + tap / columns * dilation[0]) + offset[0];
    const T x = T(j * stride[1] - padding[1] + tap % columns * dilation[1]) + offset[1];
    if (!(y > T(-1) && y < T(height) && x > T(-1) && x < T(width))) return {0, 0, T(0), T(0), false};
    const T row = std::floor(y), column = std::floor(x);
    return {static_cast<int64_t>(row), static_cast<int64_t>(column), y - row, x - column, true};
  }

  // Where a corner of a reading begins in the map; -1 if it lies outside.
  KERASDET_HD int64_t Cell(int64_t image, const Reading<T>& reading, int corner) const {
    const int64_t row = reading.row + corner / 2, column = reading.column + corner % 2;
    if (row < 0 || row >= height || column < 0 || column >= width) return -1;
    return ((image * height + row) * width + column) * channels;
  }
};

// What is read at the places [begin, end).
template <class T>
void DeformColumns(const Deform<T>& deform, int64_t begin, int64_t end, T* out) {
  const int64_t depth = deform.Depth(), taps = deform.Taps();
  for (int64_t place = begin; place < end; ++place) {
    const int64_t image = place / deform.PlacesOfImage();
    for (int64_t group = 0; group < deform.groups; ++group) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        T* __restrict__ target = out + (place * taps + tap) * deform.channels + group * depth;
        std::fill_n(target, depth, T(0));
        const Reading<T> reading = deform.Read(place, group, tap);
        if (!reading.inside) continue;
        const T mask = deform.mask[deform.Number(place, group, tap)];
        for (int corner = 0; corner < 4; ++corner) {
          const int64_t cell = deform.Cell(image, reading, corner);
          if (cell < 0) continue;
          const T share = reading.Share(corner) * mask;
          const T* __restrict__ source = deform.map + cell + group * depth;
          for (int64_t c = 0; c < depth; ++c) target[c] += share * source[c];
        }
      }
    }
  }
}

// The gradient of the map's rows [begin, end), counted over all images: every band of rows looks through the taps of its
// images for those that read it, so that threads never write to one cell.
template <class T>
void DeformMapGradient(const Deform<T>& deform, const T* upstream, int64_t begin, int64_t end, T* gradient) {
  if (begin == end) return;
  const int64_t depth = deform.Depth(), taps = deform.Taps(), line = deform.width * deform.channels;
  std::fill(gradient + begin * line, gradient + end * line, T(0));
  for (int64_t image = begin / deform.height; image * deform.height < end; ++image) {
    const int64_t low = begin - image * deform.height, high = end - image * deform.height;
    const int64_t first = image * deform.PlacesOfImage(), last = first + deform.PlacesOfImage();
    for (int64_t place = first; place < last; ++place) {
      for (int64_t group = 0; group < deform.groups; ++group) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          const Reading<T> reading = deform.Read(place, group, tap);
          if (!reading.inside || reading.row + 1 < low || reading.row >= high) continue;
          const T mask = deform.mask[deform.Number(place, group, tap)];
          const T* __restrict__ given = upstream + (place * taps + tap) * deform.channels + group * depth;
          for (int corner = 0; corner < 4; ++corner) {
            const int64_t row = reading.row + corner / 2, cell = deform.Cell(image, reading, corner);
            if (cell < 0 || row < low || row >= high) continue;
            const T share = reading.Share(corner) * mask;
            T* __restrict__ target = gradient + cell + group * depth;
            for (int64_t c = 0; c < depth; ++c) target[c] += share * given[c];
          }
        }
      }
    }
  }
}

// The gradients of a tap's offset and mask, of the products `dots` of what came down with the map at its four corners.
template <class T>
KERASDET_HD void DeformTapGradient(const Reading<T>& reading, T mask, const T* dots, T* offset, T* of_mask) {
  const T up = T(1) - reading.down, left = T(1) - reading.right;
  offset[0] = mask * (left * (dots[2] - dots[0]) + reading.right * (dots[3] - dots[1]));
  offset[1] = mask * (up * (dots[1] - dots[0]) + reading.down * (dots[3] - dots[2]));
  *of_mask = up * (left * dots[0] + reading.right * dots[1]) + reading.down * (left * dots[2] + reading.right * dots[3]);
}

// The gradients of offsets and mask at the places [begin, end).
template <class T>
void DeformTapsGradient(
    const Deform<T>& deform, const T* upstream, int64_t begin, int64_t end, T* offsets_gradient, T* mask_gradient) {
  const int64_t depth = deform.Depth(), taps = deform.Taps();
  for (int64_t place = begin; place < end; ++place) {
    const int64_t image = place / deform.PlacesOfImage();
    for (int64_t group = 0; group < deform.groups; ++group) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t number = deform.Number(place, group, tap);
        const Reading<T> reading = deform.Read(place, group, tap);
        T dots[4] = {T(0), T(0), T(0), T(0)};
        const T* __restrict__ given = upstream + (place * taps + tap) * deform.channels + group * depth;
        for (int corner = 0; reading.inside && corner < 4; ++corner) {
          const int64_t cell = deform.Cell(image, reading, corner);
          if (cell < 0) continue;
          const T* __restrict__ source = deform.map + cell + group * depth;
          // Eight sums side by side, because the compiler may not reorder one.
          T sums[8] = {};
          int64_t c = 0;
          for (; c + 8 <= depth; c += 8) {
            for (int lane = 0; lane < 8; ++lane) sums[lane] += given[c + lane] * source[c + lane];
          }
          for (; c < depth; ++c) sums[0] += given[c] * source[c];
          for (T sum : sums) dots[corner] += sum;
        }
        DeformTapGradient(reading, deform.mask[number], dots, offsets_gradient + 2 * number, mask_gradient + number);
      }
    }
  }
}

}  // namespace kerasdet
