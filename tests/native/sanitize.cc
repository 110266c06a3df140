// Runs the CPU kernels over random and hostile boxes; built with sanitizers, which end the program at the first fault.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "custom_ops/kernels/corner_pool.h"
#include "custom_ops/kernels/deform.h"
#include "custom_ops/kernels/matching.h"
#include "custom_ops/kernels/nms.h"
#include "custom_ops/kernels/roi.h"

namespace {

using kerasdet::Level;
using kerasdet::Levels;
using kerasdet::Rois;

std::mt19937 random_bits(7);

template <class T>
T Uniform(T low, T high) {
  return std::uniform_real_distribution<T>(low, high)(random_bits);
}

// A coordinate: ordinary, or one that no one should send.
template <class T>
T Coordinate() {
  const T odd[] = {
      std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(), -std::numeric_limits<T>::infinity(),
      T(1e30), T(-1e30), T(3e38), T(-3e38), T(1e7), T(-1e7), T(0), T(-0.5), T(1e-30), T(16), T(2147483648.0)};
  return random_bits() % 4 ? Uniform<T>(-20, 60) : odd[random_bits() % (sizeof(odd) / sizeof(odd[0]))];
}

template <class T>
std::vector<T> Numbers(int64_t count) {
  std::vector<T> numbers(count);
  for (T& number : numbers) number = random_bits() % 3 ? Uniform<T>(-1, 1) : T(0);
  return numbers;
}

void Check(bool fine, const char* what) {
  if (fine) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

template <class T>
void CheckFinite(const std::vector<T>& numbers, const char* what) {
  for (T number : numbers) Check(std::isfinite(number), what);
}

// One round of every region operator on a pyramid of two random maps.
template <class T>
void Regions() {
  // Now and then as many bins as the operators take, and then few regions: the outputs grow with the bins squared.
  const bool wide = random_bits() % 50 == 0;
  const int64_t images = random_bits() % 3, channels = random_bits() % 5, count = random_bits() % (wide ? 2 : 20);
  const int rows = wide ? 1 : 1 + random_bits() % 4, columns = wide ? 1024 : 1 + random_bits() % 4;
  const int64_t bins = rows * columns;
  std::vector<T> maps[2], zeros[2];
  Levels<const T> levels;
  Levels<T> gradients;
  levels.count = gradients.count = 2;
  levels.images = gradients.images = images;
  levels.channels = gradients.channels = channels * bins;
  for (int i = 0; i < 2; ++i) {
    const int64_t height = random_bits() % 9, width = random_bits() % 9;
    maps[i] = Numbers<T>(images * height * width * channels * bins);
    zeros[i].assign(maps[i].size(), T(0));
    const T extremes[] = {T(16), T(1e-6), std::numeric_limits<T>::denorm_min()};
    const T scale = random_bits() % 4 ? T(1) / T(1 << (random_bits() % 5)) : extremes[random_bits() % 3];
    levels.level[i] = {maps[i].data(), height, width, scale};
    gradients.level[i] = {zeros[i].data(), height, width, scale};
  }
  std::vector<T> rois(count * 5);
  std::vector<int32_t> levels_of(count);
  for (int64_t r = 0; r < count; ++r) {
    for (int i = 0; i < 5; ++i) rois[r * 5 + i] = Coordinate<T>();
    if (random_bits() % 4) rois[r * 5] = T(random_bits() % 3);
    levels_of[r] = static_cast<int32_t>(random_bits() % 4) - 1;
  }
  for (bool position_sensitive : {false, true}) {
    const int64_t outputs = position_sensitive ? channels : channels * bins;
    const Rois<T> in{rois.data(), levels_of.data(), count, outputs, rows, columns, position_sensitive};
    std::vector<T> out(count * bins * outputs), boxes(count * 5);
    const std::vector<T> upstream = Numbers<T>(out.size());
    const auto both = [&](const auto& rule) {
      kerasdet::RoiForward(rule, levels, in, 0, count, out.data());
      CheckFinite(out, "a weighted sum is not finite");
      for (int64_t image = 0; image < images; ++image) {
        for (int64_t band : {0, 1, 2}) {
          kerasdet::RoiBackward(rule, gradients, in, upstream.data(), image, kerasdet::Band{band, 3});
        }
      }
    };
    for (int ratio : {0, 1, 2, 3, wide ? 0 : 256}) {
      both(kerasdet::AlignRule{ratio, true});
      both(kerasdet::AlignRule{ratio, false});
    }
    both(kerasdet::PoolRule());
    both(kerasdet::PreciseRule());
    if (position_sensitive) continue;
    kerasdet::PreciseBoxGradient(levels, in, upstream.data(), 0, count, boxes.data());
    kerasdet::RoiPoolForward(levels, in, 0, count, out.data());
    CheckFinite(out, "a maximum is not finite");
    for (int64_t image = 0; image < images; ++image) {
      for (int64_t band : {0, 1, 2}) {
        kerasdet::RoiPoolBackward(levels, gradients, in, upstream.data(), image, kerasdet::Band{band, 3});
      }
    }
  }
  for (const auto& gradient : zeros) CheckFinite(gradient, "a gradient is not finite");
}

template <class T>
void Suppression() {
  const int64_t n = random_bits() % 200, limit = random_bits() % 220;
  std::vector<T> boxes(n * 4), scores(n), picked(limit);
  std::vector<int32_t> classes(n), indices(limit);
  std::vector<char> valid(limit);
  for (T& coordinate : boxes) coordinate = Coordinate<T>();
  for (T& score : scores) score = random_bits() % 8 ? Uniform<T>(0, 1) : Coordinate<T>();
  for (int32_t& name : classes) name = static_cast<int32_t>(random_bits() % 5) - 2;
  const kerasdet::Picks<T> picks{indices.data(), picked.data(), reinterpret_cast<bool*>(valid.data()), limit};
  const auto check = [&] {
    for (int64_t i = 0; i < limit; ++i) Check(indices[i] >= 0 && indices[i] < std::max<int64_t>(n, 1), "a wild index");
  };
  kerasdet::Nms<T>(boxes.data(), scores.data(), classes.data(), n, T(0.5), T(0.05), picks);
  check();
  for (T sigma : {T(0.5), T(0), T(1e-6), std::numeric_limits<T>::infinity()}) {
    kerasdet::SoftNms<T>(
        boxes.data(), scores.data(), classes.data(), n, kerasdet::Decay<T>{sigma, T(0.3)}, T(0.001), picks);
    check();
  }
}

template <class T>
void Corners() {
  const int64_t images = random_bits() % 3;
  for (bool vertical : {false, true}) {
    for (bool backward : {false, true}) {
      const auto some = [](int most) { return 1 + random_bits() % most; };
      const kerasdet::Scan scan{some(6), some(6), some(4), vertical, backward};
      const int64_t size = images * scan.height * scan.width * scan.channels;
      const int64_t lines = images * (vertical ? scan.width : scan.height);
      const std::vector<T> in = Numbers<T>(size), upstream = Numbers<T>(size);
      std::vector<T> out(size), gradient(size);
      kerasdet::CornerPool(scan, in.data(), 0, lines, out.data());
      kerasdet::CornerPoolGradient(scan, in.data(), out.data(), upstream.data(), 0, lines, gradient.data());
      T given = 0, taken = 0;
      for (int64_t i = 0; i < size; ++i) {
        Check(out[i] >= in[i], "a maximum is too small");
        given += upstream[i];
        taken += gradient[i];
      }
      Check(std::abs(given - taken) < T(1e-3), "a gradient is lost");
    }
  }
}

template <class T>
void Taps() {
  kerasdet::Deform<T> deform;
  deform.images = random_bits() % 3;
  deform.height = random_bits() % 6;
  deform.width = random_bits() % 6;
  deform.groups = 1 + random_bits() % 2;
  deform.channels = deform.groups * (random_bits() % 12);
  deform.out_height = random_bits() % 5;
  deform.out_width = random_bits() % 5;
  deform.rows = 1 + random_bits() % 3;
  deform.columns = 1 + random_bits() % 3;
  for (int axis : {0, 1}) {
    deform.stride[axis] = 1 + random_bits() % 1024;
    deform.padding[axis] = random_bits() % 3;
    deform.dilation[axis] = 1 + random_bits() % 3;
  }
  const std::vector<T> map = Numbers<T>(deform.images * deform.height * deform.width * deform.channels);
  const std::vector<T> mask = Numbers<T>(deform.Places() * deform.groups * deform.Taps());
  std::vector<T> offsets(mask.size() * 2), out(deform.Places() * deform.Taps() * deform.channels);
  for (T& offset : offsets) offset = Coordinate<T>() / T(8);
  deform.map = map.data();
  deform.offsets = offsets.data();
  deform.mask = mask.data();
  kerasdet::DeformColumns(deform, 0, deform.Places(), out.data());
  CheckFinite(out, "what a tap reads is not finite");
  const std::vector<T> upstream = Numbers<T>(out.size());
  std::vector<T> of_map(map.size()), of_offsets(offsets.size()), of_mask(mask.size());
  const int64_t lines = deform.images * deform.height, middle = lines / 3;
  kerasdet::DeformMapGradient(deform, upstream.data(), 0, middle, of_map.data());
  kerasdet::DeformMapGradient(deform, upstream.data(), middle, lines, of_map.data());
  kerasdet::DeformTapsGradient(deform, upstream.data(), 0, deform.Places(), of_offsets.data(), of_mask.data());
  CheckFinite(of_map, "a map's gradient is not finite");
  CheckFinite(of_offsets, "an offset's gradient is not finite");
  // What is read is linear in the map and in the mask: both give the output again.
  T by_map = 0, by_mask = 0, whole = 0;
  for (size_t i = 0; i < map.size(); ++i) by_map += map[i] * of_map[i];
  for (size_t i = 0; i < mask.size(); ++i) by_mask += mask[i] * of_mask[i];
  for (size_t i = 0; i < out.size(); ++i) whole += out[i] * upstream[i];
  Check(std::abs(by_map - whole) < T(1e-3) && std::abs(by_mask - whole) < T(1e-3), "a tap's gradient is wrong");
}

// The greatest overlap that is left, again and again, of equal ones the first object, then the first box.
std::vector<int32_t> Greedy(std::vector<std::vector<float>> overlaps, int64_t n) {
  std::vector<int32_t> taken(n, -1);
  while (true) {
    float best = 0;
    int64_t object = 0, box = 0;
    for (size_t j = 0; j < overlaps.size(); ++j) {
      for (int64_t i = 0; i < n; ++i) {
        if (!(overlaps[j][i] > best)) continue;
        best = overlaps[j][i];
        object = j;
        box = i;
      }
    }
    if (best == 0) return taken;
    taken[box] = static_cast<int32_t>(object);
    overlaps[object].assign(n, 0);
    for (auto& row : overlaps) row[box] = 0;
  }
}

void Matching() {
  const int64_t n = random_bits() % 300, count = random_bits() % 60;
  const bool whole = random_bits() % 2, hostile = random_bits() % 2;
  const auto draw = [&](int64_t boxes) {
    std::vector<float> corners(boxes * 4);
    for (int64_t i = 0; i < boxes * 4; ++i) {
      const float low = i % 4 > 1 ? corners[i - 2] : Uniform<float>(-20, 60);
      corners[i] = i % 4 > 1 ? low + Uniform<float>(0, 40) : low;
      if (whole) corners[i] = std::floor(corners[i] / 16) * 16;
    }
    for (float& coordinate : corners) {
      if (hostile && random_bits() % 8 == 0) coordinate = Coordinate<float>();
    }
    return corners;
  };
  const std::vector<float> boxes = draw(n), objects = draw(count);
  std::vector<char> mask(count);
  for (char& flag : mask) flag = random_bits() % 5 != 0;
  std::vector<float> least(n);
  for (float& area : least) area = Uniform<float>(-1, 200);
  const kerasdet::Chosen chosen{objects.data(), reinterpret_cast<bool*>(mask.data()), count};
  std::vector<std::vector<float>> overlaps(count, std::vector<float>(n));
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t i = 0; mask[j] && i < n; ++i) {
      const float *a = &objects[4 * j], *b = &boxes[4 * i];
      if (kerasdet::HasNan(a) || kerasdet::HasNan(b)) continue;
      const float overlap = kerasdet::Overlap(kerasdet::MakeBox(a), kerasdet::MakeBox(b));
      overlaps[j][i] = overlap > 0 ? overlap : 0;
    }
  }
  const std::vector<int32_t> pairs = Greedy(overlaps, n);
  for (bool sort : {false, true}) {
    const kerasdet::Blocks blocks(boxes.data(), n, sort);
    std::vector<int32_t> out(n), single(n);
    std::vector<char> under(n);
    kerasdet::ByIou{0.5f, 0.4f, true}.Match(blocks, chosen, out.data());
    kerasdet::OneToOne{2.0f}.Match(blocks, chosen, single.data());
    Check(single == pairs, "not the greedy pairs");
    kerasdet::Cover(blocks, least.data(), chosen, reinterpret_cast<bool*>(under.data()));
    for (int64_t i = 0; i < n; ++i) {
      float best = 0;
      int32_t first = 0;
      bool forced = false;
      for (int64_t j = 0; j < count; ++j) {
        const float overlap = overlaps[j][i];
        if (overlap > best) first = static_cast<int32_t>(j);
        best = std::max(best, overlap);
        forced |= overlap > 0 && overlap == *std::max_element(overlaps[j].begin(), overlaps[j].end());
      }
      Check(out[i] == (forced || best >= 0.5f ? first : best < 0.4f ? -1 : -2), "not the best object");
    }
  }
}

}  // namespace

int main(int, char** arguments) {
  const int rounds = std::atoi(arguments[1]);
  for (int round = 0; round < rounds; ++round) {
    Regions<float>();
    Regions<double>();
    Suppression<float>();
    Suppression<double>();
    Corners<float>();
    Corners<double>();
    Taps<float>();
    Taps<double>();
    Matching();
  }
  std::printf("%d rounds without a fault\n", rounds);
}
