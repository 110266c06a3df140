// Which boxes learn which objects by IoU, and which lie under crowds, on the CPU. Free of any framework.
//
// Boxes lie in blocks of neighbors, and an object looks only into the blocks that it touches. Memory grows with the
// boxes and with the objects, never with their pairs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "custom_ops/kernels/boxes.h"

namespace kerasdet {

// Numbers side by side in vector registers. A comparison gives lanes of 0 and -1.
constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

inline Floats Greater(Floats a, Floats b) { return a > b ? a : b; }
inline Floats Less(Floats a, Floats b) { return a < b ? a : b; }

inline bool Any(Ints mask) {
  uint64_t words[kLanes / 2], any = 0;
  std::memcpy(words, &mask, sizeof(mask));
  for (uint64_t word : words) any |= word;
  return any != 0;
}

inline bool HasNan(const float* corners) {
  return corners[0] != corners[0] || corners[1] != corners[1] || corners[2] != corners[2] || corners[3] != corners[3];
}

// `kLanes` boxes side by side.
struct Neighbors {
  Floats x1, y1, x2, y2, area;
  Ints index;  // of each box where it came from, or -1

  // The lanes of boxes that a box touches by more than a side or a corner.
  Ints Touches(const Box<float>& box) const {
    return (x1 < box.x2) & (y1 < box.y2) & (x2 > box.x1) & (y2 > box.y1);
  }
  // The areas that they share with it, and the IoUs, as `Overlap` computes them; what is not a number above 0 is 0.
  Floats Shared(const Box<float>& box) const {
    const Floats zero = {};
    const Floats width = Less(box.x2 + zero, x2) - Greater(box.x1 + zero, x1);
    const Floats height = Less(box.y2 + zero, y2) - Greater(box.y1 + zero, y1);
    return Greater(width, zero) * Greater(height, zero);
  }
  Floats Overlaps(const Box<float>& box) const {
    const Floats shared = Shared(box);
    return Greater(shared / (box.area + area - shared), Floats{});
  }
};

// Some of the boxes [n, 4] of one image.
struct Chosen {
  const float* boxes;
  const bool* mask;
  int64_t count;

  // Calls function(number, box) for each, in order; not for NaNs, which overlap nothing.
  template <class Function>
  void ForEach(const Function& function) const {
    for (int64_t j = 0; j < count; ++j) {
      if (mask[j] && !HasNan(boxes + 4 * j)) function(j, (*this)[j]);
    }
  }
  Box<float> operator[](int64_t j) const { return MakeBox(boxes + 4 * j); }
};

// Boxes [n, 4] in blocks of neighbors.
class Blocks {
 public:
  // From so many objects on sorting the boxes is worth its time.
  static constexpr int64_t kManyObjects = 32;

  Blocks(const float* boxes, int64_t n, bool sort)
      : blocks_((n + kLanes - 1) / kLanes), hulls_((blocks_.size() + kLanes - 1) / kLanes) {
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    if (sort) SortByPlace(boxes, &order);
    for (size_t place = 0; place < blocks_.size() * kLanes; ++place) {
      const bool real = place < order.size() && !HasNan(boxes + 4 * int64_t{order[place]});
      Put(real ? boxes + 4 * int64_t{order[place]} : kNowhere, place, &blocks_);
      blocks_[place / kLanes].index[place % kLanes] = place < order.size() ? order[place] : -1;
    }
    for (size_t b = 0; b < hulls_.size() * kLanes; ++b) {
      float hull[4];
      std::copy_n(kNowhere, 4, hull);
      for (int i = 0; i < kLanes && b < blocks_.size(); ++i) {
        hull[0] = std::min(hull[0], blocks_[b].x1[i]);
        hull[1] = std::min(hull[1], blocks_[b].y1[i]);
        hull[2] = std::max(hull[2], blocks_[b].x2[i]);
        hull[3] = std::max(hull[3], blocks_[b].y2[i]);
      }
      Put(hull, b, &hulls_);
    }
  }

  int64_t Count() const { return blocks_.size(); }
  const Neighbors& operator[](int64_t b) const { return blocks_[b]; }

  // Numbers of the blocks that an object may touch.
  const std::vector<int32_t>& Near(const Box<float>& object, std::vector<int32_t>* near) const {
    near->clear();
    for (size_t h = 0; h < hulls_.size(); ++h) {
      const Ints touches = hulls_[h].Touches(object);
      if (!Any(touches)) continue;
      for (int i = 0; i < kLanes; ++i) {
        if (touches[i]) near->push_back(h * kLanes + i);
      }
    }
    return *near;
  }

  // Calls function(block, lane, index) for each box.
  template <class Function>
  void ForEach(const Function& function) const {
    for (int64_t b = 0; b < Count(); ++b) {
      for (int i = 0; i < kLanes; ++i) {
        if (blocks_[b].index[i] >= 0) function(b, i, blocks_[b].index[i]);
      }
    }
  }

 private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  static constexpr float kNowhere[4] = {kInfinity, kInfinity, -kInfinity, -kInfinity};

  static void Put(const float* corners, size_t place, std::vector<Neighbors>* blocks) {
    Neighbors& block = (*blocks)[place / kLanes];
    const Box<float> box = MakeBox(corners);
    const int i = place % kLanes;
    block.x1[i] = box.x1;
    block.y1[i] = box.y1;
    block.x2[i] = box.x2;
    block.y2[i] = box.y2;
    block.area[i] = box.area;
  }

  // By size in octaves, boxes of one size along a Z-curve through their centers: two passes of a radix sort.
  static void SortByPlace(const float* boxes, std::vector<int32_t>* order) {
    constexpr int kBits = 10, kDigit = 12, kDigits = 1 << kDigit;
    constexpr float kCells = (1 << kBits) - 1;
    float low[2] = {kInfinity, kInfinity}, high[2] = {-kInfinity, -kInfinity};
    for (int32_t i : *order) {
      for (int axis : {0, 1}) {
        low[axis] = std::min(low[axis], Center(boxes + 4 * int64_t{i}, axis));
        high[axis] = std::max(high[axis], Center(boxes + 4 * int64_t{i}, axis));
      }
    }
    float scale[2];
    for (int axis : {0, 1}) scale[axis] = kCells / std::max(high[axis] - low[axis], 1e-30f);
    std::vector<uint32_t> keys(order->size());
    for (int32_t i : *order) {
      const float* box = boxes + 4 * int64_t{i};
      keys[i] = Octave((box[2] - box[0]) + (box[3] - box[1])) << (2 * kBits);
      for (int axis : {0, 1}) {
        const float cell = (Center(box, axis) - low[axis]) * scale[axis];
        keys[i] |= Spread(static_cast<uint32_t>(std::min(cell, kCells))) << axis;
      }
    }
    std::vector<int32_t> sorted(order->size());
    for (int shift : {0, kDigit}) {
      std::vector<int32_t> start(kDigits + 1);
      const auto digit = [&](int32_t i) { return keys[i] >> shift & (kDigits - 1); };
      for (int32_t i : *order) ++start[digit(i) + 1];
      std::partial_sum(start.begin(), start.end(), start.begin());
      for (int32_t i : *order) sorted[start[digit(i)]++] = i;
      order->swap(sorted);
    }
  }

  // Twice the center, so bounded that no difference overflows; of a NaN 0.
  static float Center(const float* box, int axis) {
    const float sum = box[axis] + box[axis + 2];
    return sum == sum ? std::min(std::max(sum, -1e30f), 1e30f) : 0;
  }
  // The whole logarithm to base 2, bounded to 0...15.
  static uint32_t Octave(float sides) {
    if (!(sides > 1)) return 0;
    int32_t bits;
    std::memcpy(&bits, &sides, sizeof(bits));
    return std::min((bits >> 23) - 127, 15);
  }
  // Puts a 0 before each of ten bits.
  static uint32_t Spread(uint32_t x) {
    x = (x | x << 8) & 0x00ff00ff;
    x = (x | x << 4) & 0x0f0f0f0f;
    x = (x | x << 2) & 0x33333333;
    return (x | x << 1) & 0x55555555;
  }

  std::vector<Neighbors> blocks_;
  std::vector<Neighbors> hulls_;  // of `kLanes` blocks each
};

// Objects that the boxes of a block have, and by what IoU; 0 where none.
struct Owners {
  Floats iou = {};
  Ints object = {};

  // Whether a box would rather have an object than its own: of equal ones the first.
  bool Prefers(int i, float overlap, int32_t other) const {
    return overlap > iou[i] || (overlap == iou[i] && other < object[i]);
  }
};

// Every box's best object. Where `forced` is given, it marks the boxes that some object overlaps most.
inline std::vector<Owners> BestObjects(const Blocks& blocks, const Chosen& objects, std::vector<Ints>* forced) {
  std::vector<Owners> best(blocks.Count());
  if (forced != nullptr) forced->assign(blocks.Count(), Ints{});
  std::vector<int32_t> near;
  std::vector<Floats> overlaps(blocks.Count());
  objects.ForEach([&](int64_t j, const Box<float>& object) {
    Floats most = {};
    for (int32_t b : blocks.Near(object, &near)) {
      const Floats overlap = overlaps[b] = blocks[b].Overlaps(object);
      // Objects come in order, so of equal ones the first stays.
      best[b].object = overlap > best[b].iou ? static_cast<int32_t>(j) - Ints{} : best[b].object;
      best[b].iou = Greater(overlap, best[b].iou);
      most = Greater(overlap, most);
    }
    if (forced == nullptr || !Any(most > 0)) return;
    float top = 0;
    for (int i = 0; i < kLanes; ++i) top = std::max(top, most[i]);
    for (int32_t b : near) (*forced)[b] |= overlaps[b] == top;
  });
  return best;
}

// Faster R-CNN, section 3.1.2: a box takes its best object if they overlap by `positive`, or if `low_quality` and some
// object overlaps no box more; out [n] gets the object's number, `background` or `ignore`.
struct ByIou {
  static constexpr int32_t kBackground = -1, kIgnore = -2;
  float positive, negative;
  bool low_quality;

  void Match(const Blocks& blocks, const Chosen& objects, int32_t* out) const {
    std::vector<Ints> forced;
    const std::vector<Owners> best = BestObjects(blocks, objects, low_quality ? &forced : nullptr);
    blocks.ForEach([&](int64_t b, int i, int32_t index) {
      const float iou = best[b].iou[i];
      const bool takes = iou >= positive || (low_quality && forced[b][i]);
      out[index] = takes ? best[b].object[i] : iou < negative ? kBackground : kIgnore;
    });
  }
};

// The pairs of objects and boxes that SSD's section 2.2 takes: the pair that overlaps most, then the next of the objects
// and boxes that are left; of equal ones the first object, then the first box.
//
// No object and box of two such pairs would rather have each other, and only one set of pairs is so. Hence any order
// will do: an object bids for the boxes that it overlaps most, best first, until one prefers it to its owner.
class Auction {
 public:
  Auction(const Blocks& blocks, const Chosen& objects)
      : blocks_(blocks), objects_(objects), owners_(blocks.Count()), wishes_(objects.count) {
    objects.ForEach([this](int64_t j, const Box<float>&) {
      for (int64_t bidder = j; bidder >= 0;) bidder = Place(bidder);
    });
  }

  const std::vector<Owners>& owners() const { return owners_; }

 private:
  // How many boxes an object looks for at first, and each time after that.
  static constexpr size_t kFew = 4, kMany = 64;

  struct Wish {
    float iou;
    int32_t index, block, lane;

    bool operator<(const Wish& other) const { return iou > other.iou || (iou == other.iou && index < other.index); }
  };
  struct Wishes {
    std::vector<Wish> left;  // the best last
    size_t limit = kFew;
    bool more = true;  // whether there may be others
  };

  // Finds a box for an object. Returns the object that had it, or -1.
  int64_t Place(int64_t j) {
    Wishes& wishes = wishes_[j];
    while (true) {
      if (wishes.left.empty() && wishes.more) Search(j, &wishes);
      if (wishes.left.empty()) return -1;
      const Wish wish = wishes.left.back();
      wishes.left.pop_back();
      Owners& owners = owners_[wish.block];
      if (!owners.Prefers(wish.lane, wish.iou, j)) continue;
      const int64_t loser = owners.iou[wish.lane] > 0 ? owners.object[wish.lane] : -1;
      owners.iou[wish.lane] = wish.iou;
      owners.object[wish.lane] = static_cast<int32_t>(j);
      return loser;
    }
  }

  // Finds the best boxes of those that prefer an object to their owner. Owners only improve, so no other will later.
  void Search(int64_t j, Wishes* wishes) {
    std::vector<Wish>& found = wishes->left;  // a heap, the worst first
    const Box<float> object = objects_[j];
    float least = 0;
    for (int32_t b : blocks_.Near(object, &near_)) {
      const Floats overlap = blocks_[b].Overlaps(object);
      const Ints wanted = (overlap > 0) & (overlap >= least) & (overlap >= owners_[b].iou);
      if (!Any(wanted)) continue;
      for (int i = 0; i < kLanes; ++i) {
        if (!wanted[i] || !owners_[b].Prefers(i, overlap[i], j)) continue;
        const Wish wish{overlap[i], blocks_[b].index[i], b, i};
        if (found.size() == wishes->limit) {
          if (!(wish < found.front())) continue;
          std::pop_heap(found.begin(), found.end());
          found.pop_back();
        }
        found.push_back(wish);
        std::push_heap(found.begin(), found.end());
        if (found.size() == wishes->limit) least = found.front().iou;
      }
    }
    wishes->more = found.size() == wishes->limit;
    wishes->limit = kMany;
    std::sort(found.rbegin(), found.rend());
  }

  const Blocks& blocks_;
  const Chosen& objects_;
  std::vector<Owners> owners_;
  std::vector<Wishes> wishes_;
  std::vector<int32_t> near_;
};

// SSD, section 2.2: first one to one, then each box that is left takes its best object if they overlap by `positive`.
struct OneToOne {
  float positive;

  void Match(const Blocks& blocks, const Chosen& objects, int32_t* out) const {
    const std::vector<Owners> best = BestObjects(blocks, objects, nullptr);
    const Auction auction(blocks, objects);
    blocks.ForEach([&](int64_t b, int i, int32_t index) {
      const Owners& owners = auction.owners()[b];
      const int32_t other = best[b].iou[i] >= positive ? best[b].object[i] : ByIou::kBackground;
      out[index] = owners.iou[i] > 0 ? owners.object[i] : other;
    });
  }
};

// Marks in out [n] the boxes of which some cover shares more than `least` [n], in square pixels. Where that is below 0
// boxes count that a cover touches by more than a side, points among them.
inline void Cover(const Blocks& blocks, const float* least, const Chosen& covers, bool* out) {
  std::vector<Floats> limits(blocks.Count());
  std::vector<Ints> covered(blocks.Count());
  blocks.ForEach([&](int64_t b, int i, int32_t index) { limits[b][i] = least[index]; });
  std::vector<int32_t> near;
  covers.ForEach([&](int64_t, const Box<float>& cover) {
    for (int32_t b : blocks.Near(cover, &near)) {
      covered[b] |= (blocks[b].Shared(cover) > limits[b]) & blocks[b].Touches(cover);
    }
  });
  blocks.ForEach([&](int64_t b, int i, int32_t index) { out[index] = covered[b][i] != 0; });
}

}  // namespace kerasdet
