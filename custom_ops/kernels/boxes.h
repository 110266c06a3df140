// Boxes of images and their overlaps, for both CPU and CUDA kernels. Depends on no framework.
#pragma once

#include <cmath>
#include <cstdint>

#include "custom_ops/kernels/host_device.h"

namespace kerasdet {

// The boxes [batch, n, 4], scores and classes [batch, n] of a batch of images, and the output: indices of picked boxes,
// their scores, and whether they are valid, [batch, limit] each.
template <class T>
struct Suppression {
  const T *boxes, *scores;
  const int32_t* classes;
  int64_t batch, n, limit;
  int32_t* indices;
  T* picked;
  bool* valid;
};

template <class T>
struct Box {
  T x1, y1, x2, y2, area;
};

template <class T>
KERASDET_HD Box<T> MakeBox(const T* corners) {
  const T width = corners[2] - corners[0], height = corners[3] - corners[1];
  const T area = (width > T(0) ? width : T(0)) * (height > T(0) ? height : T(0));
  return {corners[0], corners[1], corners[2], corners[3], area};
}

template <class T>
KERASDET_HD bool IsFinite(const T* corners) {
  return std::isfinite(corners[0]) && std::isfinite(corners[1]) && std::isfinite(corners[2]) &&
         std::isfinite(corners[3]);
}

// IoU, operation by operation as in `kerasdet.boxes.iou`, so that decisions at a threshold agree.
template <class T>
KERASDET_HD T Overlap(const Box<T>& a, const Box<T>& b) {
  T width = (a.x2 < b.x2 ? a.x2 : b.x2) - (a.x1 > b.x1 ? a.x1 : b.x1);
  T height = (a.y2 < b.y2 ? a.y2 : b.y2) - (a.y1 > b.y1 ? a.y1 : b.y1);
  width = width > T(0) ? width : T(0);
  height = height > T(0) ? height : T(0);
  const T shared = width * height, both = a.area + b.area - shared;
  return shared / (both == T(0) ? T(1) : both);  // shared is 0 then
}

// Soft-NMS's rescoring of a box by its overlap with the picked one.
template <class T>
struct Decay {
  T sigma, iou;  // sigma > 0: exp(-iou^2 / sigma); else 1 - iou if the overlap exceeds `iou`

  KERASDET_HD T operator()(T score, T overlap) const {
    if (!(overlap > T(0))) return score;
    if (sigma > T(0)) return score * std::exp(-(overlap * overlap) / sigma);
    return overlap > iou ? score * (T(1) - overlap) : score;
  }
};

}  // namespace kerasdet
