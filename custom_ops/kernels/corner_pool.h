// Corner pooling (CornerNet, section 3.3) on the CPU: running maxima along one axis. The CUDA kernels use `Scan`
// too. Depends on no framework.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "custom_ops/kernels/host_device.h"

namespace kerasdet {

// Lines of a channels-last map [B, H, W, C]; each step is a cell of C numbers. `vertical` lines are the B * W columns,
// others the B * H rows. `backward` scans from the last cell to the first, because the names are those of the corner's
// edges: the top edge looks down, the left edge looks right.
struct Scan {
  int64_t height, width, channels;
  bool vertical, backward;

  KERASDET_HD int64_t Steps() const { return vertical ? height : width; }
  KERASDET_HD int64_t Place(int64_t line, int64_t step) const {
    if (backward) step = Steps() - 1 - step;
    const int64_t cell =
        vertical ? (line / width * height + step) * width + line % width : line * width + step;
    return cell * channels;
  }
};

// Running maxima of the lines [begin, end).
template <class T>
void CornerPool(const Scan& scan, const T* in, int64_t begin, int64_t end, T* out) {
  for (int64_t line = begin; line < end; ++line) {
    std::copy_n(in + scan.Place(line, 0), scan.channels, out + scan.Place(line, 0));
    for (int64_t step = 1; step < scan.Steps(); ++step) {
      const T* __restrict__ best = out + scan.Place(line, step - 1);
      const T* __restrict__ next = in + scan.Place(line, step);
      T* __restrict__ target = out + scan.Place(line, step);
      for (int64_t i = 0; i < scan.channels; ++i) target[i] = next[i] > best[i] ? next[i] : best[i];
    }
  }
}

// The gradient goes to the first maximum of the scan, as in CornerNet's own code. It is accumulated from the end of the
// scan: a step that sets a new maximum receives all that was accumulated.
template <class T>
void CornerPoolGradient(
    const Scan& scan, const T* in, const T* out, const T* upstream, int64_t begin, int64_t end, T* gradient) {
  std::vector<T> gathered(scan.channels);
  for (int64_t line = begin; line < end; ++line) {
    std::fill(gathered.begin(), gathered.end(), T(0));
    for (int64_t step = scan.Steps() - 1; step >= 0; --step) {
      const int64_t here = scan.Place(line, step), before = scan.Place(line, std::max<int64_t>(step - 1, 0));
      const T* __restrict__ value = in + here;
      const T* __restrict__ best = out + before;
      const T* __restrict__ given = upstream + here;
      T* __restrict__ open = gathered.data();
      T* __restrict__ target = gradient + here;
      for (int64_t i = 0; i < scan.channels; ++i) {
        const bool sets = step == 0 || value[i] > best[i];
        const T sum = open[i] + given[i];
        target[i] = sets ? sum : T(0);
        open[i] = sets ? T(0) : sum;
      }
    }
  }
}

}  // namespace kerasdet
