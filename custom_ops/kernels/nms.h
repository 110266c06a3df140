// Greedy and soft non-maximum suppression on the CPU. Free of any framework.
//
// Both take the boxes [n, 4], scores [n] and classes [n] of one image and fill indices [limit], picked scores [limit] and
// valid [limit], by falling score, equal scores by rising index. Boxes of different classes do not touch. A box with a
// coordinate that is not finite is never kept. Overlaps are computed as `kerasdet.boxes.iou` does, operation by
// operation, so that decisions at a threshold fall alike.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <unordered_map>
#include <vector>

namespace kerasdet {

// Boxes of one class side by side, so that one box is compared with many in vector registers.
template <class T>
struct Boxes {
  std::vector<T> x1, y1, x2, y2, area;

  void Add(const T* box) {
    x1.push_back(box[0]);
    y1.push_back(box[1]);
    x2.push_back(box[2]);
    y2.push_back(box[3]);
    area.push_back(Area(box));
  }
  static T Area(const T* box) {
    const T width = box[2] - box[0], height = box[3] - box[1];
    return (width > T(0) ? width : T(0)) * (height > T(0) ? height : T(0));
  }
  // IoU of a box with the boxes [begin, end), into out.
  void Overlaps(const T* box, int64_t begin, int64_t end, T* __restrict__ out) const {
    const T left = box[0], top = box[1], right = box[2], bottom = box[3], own = Area(box);
    const T *__restrict__ a = x1.data() + begin, *__restrict__ b = y1.data() + begin;
    const T *__restrict__ c = x2.data() + begin, *__restrict__ d = y2.data() + begin;
    const T* __restrict__ e = area.data() + begin;
    for (int64_t i = 0; i < end - begin; ++i) {
      T width = (right < c[i] ? right : c[i]) - (left > a[i] ? left : a[i]);
      T height = (bottom < d[i] ? bottom : d[i]) - (top > b[i] ? top : b[i]);
      width = width > T(0) ? width : T(0);
      height = height > T(0) ? height : T(0);
      const T shared = width * height, both = own + e[i] - shared;
      out[i] = shared / (both == T(0) ? T(1) : both);  // shared is 0 then
    }
  }
};

template <class T>
bool IsFinite(const T* box) {
  return std::isfinite(box[0]) && std::isfinite(box[1]) && std::isfinite(box[2]) && std::isfinite(box[3]);
}

// Numbers the classes that occur from 0 on; class_of [n] gets each box's number.
inline int64_t NumberClasses(const int32_t* classes, int64_t n, std::vector<int64_t>* class_of) {
  std::unordered_map<int32_t, int64_t> numbers;
  class_of->resize(n);
  for (int64_t i = 0; i < n; ++i) (*class_of)[i] = numbers.emplace(classes[i], numbers.size()).first->second;
  return numbers.size();
}

// What one image gets; the rest is padded with 0, 0, false.
template <class T>
struct Picks {
  int32_t* indices;
  T* scores;
  bool* valid;
  int64_t limit, count = 0;

  void Add(int64_t index, T score) {
    indices[count] = static_cast<int32_t>(index);
    scores[count] = score;
    valid[count++] = true;
  }
  void Pad() {
    std::fill(indices + count, indices + limit, 0);
    std::fill(scores + count, scores + limit, T(0));
    std::fill(valid + count, valid + limit, false);
  }
};

// A box goes if one of its class that was kept before overlaps it by more than `iou`; scores must be above `above`.
template <class T>
void Nms(const T* boxes, const T* scores, const int32_t* classes, int64_t n, T iou, T above, Picks<T> picks) {
  constexpr int64_t kBlock = 64;
  std::vector<int64_t> order;
  for (int64_t i = 0; i < n; ++i) {
    if (scores[i] > above && IsFinite(boxes + 4 * i)) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [scores](int64_t a, int64_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  std::vector<int64_t> class_of;
  std::vector<Boxes<T>> kept(NumberClasses(classes, n, &class_of));
  T overlaps[kBlock];
  for (int64_t i : order) {
    if (picks.count == picks.limit) break;
    Boxes<T>& rivals = kept[class_of[i]];
    const int64_t size = rivals.area.size();
    bool stays = true;
    for (int64_t begin = 0; begin < size && stays; begin += kBlock) {
      const int64_t block = std::min(kBlock, size - begin);
      rivals.Overlaps(boxes + 4 * i, begin, begin + block, overlaps);
      int hits = 0;
      for (int64_t k = 0; k < block; ++k) hits |= overlaps[k] > iou;
      stays = !hits;
    }
    if (!stays) continue;
    rivals.Add(boxes + 4 * i);
    picks.Add(i, scores[i]);
  }
  picks.Pad();
}

// Soft-NMS (Bodla et al., ICCV 2017, section 3): the best box is taken, and all others of its class are rescored: by
// exp(-iou^2 / sigma) if sigma > 0, else by 1 - iou where that exceeds `iou`. What falls below `above` is dropped.
template <class T>
void SoftNms(
    const T* boxes, const T* scores, const int32_t* classes, int64_t n, T sigma, T iou, T above, Picks<T> picks) {
  std::vector<int64_t> class_of;
  const int64_t groups = NumberClasses(classes, n, &class_of);
  std::vector<std::vector<int64_t>> members(groups);
  for (int64_t i = 0; i < n; ++i) {
    if (scores[i] >= above && IsFinite(boxes + 4 * i)) members[class_of[i]].push_back(i);
  }
  std::vector<std::pair<T, int64_t>> taken;
  std::vector<T> overlaps;
  for (std::vector<int64_t>& open : members) {
    Boxes<T> rivals;
    std::vector<T> left;
    for (int64_t i : open) {
      rivals.Add(boxes + 4 * i);
      left.push_back(scores[i]);
    }
    overlaps.resize(open.size());
    int64_t size = open.size();
    for (int64_t picked = 0; size > 0 && picked < picks.limit; ++picked) {
      // The members keep the order of their indices, so the first of equals has the lowest.
      const int64_t best = std::max_element(left.begin(), left.begin() + size) - left.begin();
      const int64_t index = open[best];
      taken.emplace_back(left[best], index);
      rivals.Overlaps(boxes + 4 * index, 0, size, overlaps.data());
      int64_t kept = 0;
      for (int64_t k = 0; k < size; ++k) {
        const T overlap = overlaps[k];
        T score = left[k];
        if (overlap > T(0)) {
          if (sigma > T(0)) {
            score *= std::exp(-(overlap * overlap) / sigma);
          } else if (overlap > iou) {
            score *= T(1) - overlap;
          }
        }
        if (k == best || !(score >= above)) continue;
        if (kept != k) {
          open[kept] = open[k];
          rivals.x1[kept] = rivals.x1[k];
          rivals.y1[kept] = rivals.y1[k];
          rivals.x2[kept] = rivals.x2[k];
          rivals.y2[kept] = rivals.y2[k];
          rivals.area[kept] = rivals.area[k];
        }
        left[kept++] = score;
      }
      size = kept;
    }
  }
  std::sort(taken.begin(), taken.end(), [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  });
  for (const auto& [score, index] : taken) {
    if (picks.count == picks.limit) break;
    picks.Add(index, score);
  }
  picks.Pad();
}

}  // namespace kerasdet
