// Greedy and soft non-maximum suppression on the CPU. Free of any framework.
//
// Both take the boxes [n, 4], scores [n] and classes [n] of one image and fill indices [limit], picked scores [limit]
// and valid [limit], by descending score and, if scores are equal, by ascending index. Boxes of different classes do
// not affect each other. A box with a coordinate that is not finite is never kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "custom_ops/kernels/boxes.h"

namespace kerasdet {

// Boxes of one class as a structure of arrays, so that one box is compared with many in vector registers.
template <class T>
struct Boxes {
  std::vector<T> x1, y1, x2, y2, area;

  void Add(const T* corners) {
    const Box<T> box = MakeBox(corners);
    x1.push_back(box.x1);
    y1.push_back(box.y1);
    x2.push_back(box.x2);
    y2.push_back(box.y2);
    area.push_back(box.area);
  }
  // Writes the IoU of a box with each of the boxes [begin, end) to out.
  void Overlaps(const T* corners, int64_t begin, int64_t end, T* __restrict__ out) const {
    const Box<T> box = MakeBox(corners);
    const T *__restrict__ a = x1.data() + begin, *__restrict__ b = y1.data() + begin;
    const T *__restrict__ c = x2.data() + begin, *__restrict__ d = y2.data() + begin;
    const T* __restrict__ e = area.data() + begin;
    for (int64_t i = 0; i < end - begin; ++i) out[i] = Overlap(box, Box<T>{a[i], b[i], c[i], d[i], e[i]});
  }
};

// Numbers the classes that occur, from 0; class_of [n] gets each box's number.
inline int64_t NumberClasses(const int32_t* classes, int64_t n, std::vector<int64_t>* class_of) {
  std::unordered_map<int32_t, int64_t> numbers;
  class_of->resize(n);
  for (int64_t i = 0; i < n; ++i) (*class_of)[i] = numbers.emplace(classes[i], numbers.size()).first->second;
  return numbers.size();
}

// The output of one image; the rest is padded with 0, 0, false.
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

// Drops a box if a kept box of its class overlaps it by more than `iou`; scores must be above `above`.
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

// The boxes of one class, rescored after each pick. They are packed into blocks of neighbors, each with its hull and
// its best box, so that a pick visits only the blocks that it overlaps.
template <class T>
class SoftGroup {
 public:
  void Add(int64_t index, T score) { members_.push_back({index, score}); }

  // Picks until no score is at least `above` or `limit` boxes are picked; appends (score, index).
  void Pick(const T* boxes, Decay<T> decay, T above, int64_t limit, std::vector<std::pair<T, int64_t>>* taken) {
    Pack(boxes);
    int64_t alive = members_.size();
    for (; alive > 0 && limit > 0; --limit) {
      const int64_t first = FindBest();
      Member& best = members_[blocks_[first].best];
      taken->emplace_back(best.score, best.index);
      best.score = kDead;
      --alive;
      const T* box = boxes + 4 * best.index;
      for (int64_t b = 0; b < static_cast<int64_t>(blocks_.size()); ++b) {
        if (Score(b) == kDead && b != first) continue;
        if (b != first && !blocks_[b].Touches(box)) continue;
        const int64_t begin = b * kBlock, end = std::min<int64_t>(begin + kBlock, members_.size());
        T overlaps[kBlock];
        boxes_.Overlaps(box, begin, end, overlaps);
        for (int64_t i = begin; i < end; ++i) {
          Member& member = members_[i];
          if (member.score == kDead) continue;
          member.score = decay(member.score, overlaps[i - begin]);
          if (member.score >= above) continue;
          member.score = kDead;
          --alive;
        }
        FindBest(b);
      }
    }
  }

 private:
  static constexpr int64_t kBlock = 32;
  static constexpr T kDead = -std::numeric_limits<T>::infinity();

  struct Member {
    int64_t index;
    T score;

    bool Beats(const Member& other) const {
      return score > other.score || (score == other.score && index < other.index);
    }
  };

  struct Block {
    T x1, y1, x2, y2;
    int64_t best;

    bool Touches(const T* box) const { return box[0] < x2 && box[2] > x1 && box[1] < y2 && box[3] > y1; }
  };

  T Score(int64_t block) const { return members_[blocks_[block].best].score; }

  void FindBest(int64_t block) {
    const int64_t end = std::min<int64_t>((block + 1) * kBlock, members_.size());
    int64_t best = block * kBlock;
    for (int64_t i = best + 1; i < end; ++i) {
      if (members_[i].Beats(members_[best])) best = i;
    }
    blocks_[block].best = best;
  }

  int64_t FindBest() const {
    int64_t best = 0;
    for (size_t b = 1; b < blocks_.size(); ++b) {
      if (members_[blocks_[b].best].Beats(members_[blocks_[best].best])) best = b;
    }
    return best;
  }

  // Strips by y, each cut into blocks by x.
  void Pack(const T* boxes) {
    const int64_t count = members_.size(), blocks = (count + kBlock - 1) / kBlock;
    const auto by = [boxes](int axis) {
      return [boxes, axis](const Member& a, const Member& b) {
        return boxes[4 * a.index + axis] + boxes[4 * a.index + axis + 2] <
               boxes[4 * b.index + axis] + boxes[4 * b.index + axis + 2];
      };
    };
    const int64_t strip = kBlock * static_cast<int64_t>(std::ceil(std::sqrt(double(std::max<int64_t>(blocks, 1)))));
    std::sort(members_.begin(), members_.end(), by(1));
    for (int64_t begin = 0; begin < count; begin += strip) {
      std::sort(members_.begin() + begin, members_.begin() + std::min(begin + strip, count), by(0));
    }
    for (int64_t i = 0; i < count; ++i) {
      const T* box = boxes + 4 * members_[i].index;
      boxes_.Add(box);
      if (i % kBlock == 0) blocks_.push_back({box[0], box[1], box[2], box[3], i});
      Block& block = blocks_.back();
      block.x1 = std::min(block.x1, box[0]);
      block.y1 = std::min(block.y1, box[1]);
      block.x2 = std::max(block.x2, box[2]);
      block.y2 = std::max(block.y2, box[3]);
    }
    for (int64_t b = 0; b < blocks; ++b) FindBest(b);
  }

  Boxes<T> boxes_;
  std::vector<Member> members_;
  std::vector<Block> blocks_;
};

// Soft-NMS (Bodla et al., ICCV 2017, section 3): the best box is picked, all others of its class are rescored, and
// those below `above` are dropped.
template <class T>
void SoftNms(
    const T* boxes, const T* scores, const int32_t* classes, int64_t n, Decay<T> decay, T above, Picks<T> picks) {
  std::vector<int64_t> class_of;
  std::vector<SoftGroup<T>> groups(NumberClasses(classes, n, &class_of));
  for (int64_t i = 0; i < n; ++i) {
    // A box with a score of -infinity is never picked.
    if (scores[i] >= above && scores[i] > -std::numeric_limits<T>::infinity() && IsFinite(boxes + 4 * i)) {
      groups[class_of[i]].Add(i, scores[i]);
    }
  }
  std::vector<std::pair<T, int64_t>> taken;
  for (SoftGroup<T>& group : groups) group.Pick(boxes, decay, above, picks.limit, &taken);
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
