// Greedy and soft non-maximum suppression in CUDA, as described in kernels/nms.h.

#include <climits>

#include "custom_ops/cuda/grid.h"
#include "custom_ops/cuda/launch.h"

namespace kerasdet {
namespace {

// Boxes are suppressed in groups with one bit of a word per box.
using Word = unsigned long long;
constexpr int kGroup = 64;

// Threads of a block that processes an image alone.
constexpr int kManyThreads = 1024;

// The workspace of greedy suppression between its kernels: for every image, the number of candidates and the
// candidates, best first; for each candidate, a row of bits that marks the candidates it suppresses.
struct Workspace {
  int64_t words;
  Word *rows, *gone;
  float* boxes;
  int32_t *order, *classes, *counts, *end;

  Workspace(void* base, int64_t batch, int64_t n) : words(Blocks(n, kGroup)) {
    rows = static_cast<Word*>(base);
    gone = rows + batch * n * words;
    boxes = reinterpret_cast<float*>(gone + batch * words);
    order = reinterpret_cast<int32_t*>(boxes + batch * n * 4);
    classes = order + batch * n;
    counts = classes + batch * n;
    end = counts + batch;
  }
};

// The score of box i, counted over all images, or -infinity if it is not a candidate.
__device__ float Key(const Suppression<float>& in, float above, int64_t i) {
  return in.scores[i] > above && IsFinite(in.boxes + 4 * i) ? in.scores[i] : -INFINITY;
}

// A candidate's rank is the number of better candidates. A block ranks as many boxes as it has threads.
__global__ void Rank(Suppression<float> in, float above, Workspace work) {
  __shared__ float keys[kThreads];
  const int64_t parts = Blocks(in.n);
  for (int64_t part = blockIdx.x; part < in.batch * parts; part += gridDim.x) {
    const int64_t image = part / parts, start = image * in.n, i = part % parts * kThreads + threadIdx.x;
    const float own = i < in.n ? Key(in, above, start + i) : -INFINITY;
    int rank = 0;
    for (int64_t begin = 0; begin < in.n; begin += kThreads) {
      const int64_t other = begin + threadIdx.x;
      __syncthreads();  // all threads have read the previous keys
      keys[threadIdx.x] = other < in.n ? Key(in, above, start + other) : -INFINITY;
      __syncthreads();
      const int lower = static_cast<int>(i - begin);
      for (int k = 0; k < kThreads; ++k) rank += keys[k] > own || (keys[k] == own && k < lower);
    }
    if (own == -INFINITY) continue;
    const int64_t place = start + rank;
    work.order[place] = static_cast<int32_t>(i);
    work.classes[place] = in.classes[start + i];
    for (int k = 0; k < 4; ++k) work.boxes[4 * place + k] = in.boxes[4 * (start + i) + k];
    atomicAdd(work.counts + image, 1);
  }
}

// A block compares one group of candidates with another or with itself; a thread writes one word of a candidate's row.
__global__ void Compare(Suppression<float> in, float iou, Workspace work) {
  __shared__ Box<float> boxes[kGroup];
  __shared__ int32_t classes[kGroup];
  const int64_t pairs = work.words * work.words;
  for (int64_t pair = blockIdx.x; pair < in.batch * pairs; pair += gridDim.x) {
    const int64_t image = pair / pairs, start = image * in.n;
    const int64_t better = pair % pairs / work.words, worse = pair % work.words;
    const int64_t found = work.counts[image], size = found - worse * kGroup;
    if (better > worse || size <= 0) continue;
    const int64_t other = start + worse * kGroup + threadIdx.x;
    __syncthreads();  // all threads have read the previous group
    if (threadIdx.x < size) {
      boxes[threadIdx.x] = MakeBox(work.boxes + 4 * other);
      classes[threadIdx.x] = work.classes[other];
    }
    __syncthreads();
    const int64_t i = better * kGroup + threadIdx.x;
    if (i >= found) continue;
    const Box<float> own = MakeBox(work.boxes + 4 * (start + i));
    const int32_t own_class = work.classes[start + i];
    Word hits = 0;
    for (int k = better == worse ? threadIdx.x + 1 : 0; k < kGroup && k < size; ++k) {
      if (classes[k] == own_class && Overlap(own, boxes[k]) > iou) hits |= Word{1} << k;
    }
    work.rows[(start + i) * work.words + worse] = hits;
  }
}

// Pads the outputs [count, limit) of an image with 0, 0, false.
__device__ void Pad(const Suppression<float>& in, int64_t image, int64_t count) {
  for (int64_t k = image * in.limit + count + threadIdx.x; k < (image + 1) * in.limit; k += blockDim.x) {
    in.indices[k] = 0;
    in.picked[k] = 0;
    in.valid[k] = false;
  }
}

// A block goes through an image's candidates group by group and keeps those that no kept candidate suppresses.
__global__ void Keep(Suppression<float> in, Workspace work) {
  __shared__ Word own_group[kGroup];
  for (int64_t image = blockIdx.x; image < in.batch; image += gridDim.x) {
    const int64_t start = image * in.n, found = work.counts[image], words = Blocks(found, kGroup);
    const Word* rows = work.rows + start * work.words;
    Word* gone = work.gone + image * work.words;
    for (int64_t k = threadIdx.x; k < words; k += blockDim.x) gone[k] = 0;
    int64_t count = 0;
    for (int64_t group = 0; group < words && count < in.limit; ++group) {
      const int64_t first = group * kGroup, size = found - first < kGroup ? found - first : kGroup;
      if (threadIdx.x < size) own_group[threadIdx.x] = rows[(first + threadIdx.x) * work.words + group];
      __syncthreads();
      // Within the group the decisions are sequential; every thread computes the same.
      Word open = ~gone[group] & (~Word{0} >> (kGroup - size)), kept = 0;
      for (int64_t left = in.limit - count; open != 0 && left > 0; --left) {
        const int k = __ffsll(open) - 1;
        kept |= Word{1} << k;
        open &= ~(own_group[k] | Word{1} << k);
      }
      if (threadIdx.x < kGroup && (kept >> threadIdx.x & 1)) {
        const int64_t place = image * in.limit + count + __popcll(kept & ((Word{1} << threadIdx.x) - 1));
        const int32_t i = work.order[start + first + threadIdx.x];
        in.indices[place] = i;
        in.picked[place] = in.scores[start + i];
        in.valid[place] = true;
      }
      count += __popcll(kept);
      // Marks the candidates of later groups that the kept ones suppress.
      const int64_t later = words - group - 1;
      for (int64_t n = threadIdx.x; n < size * later; n += blockDim.x) {
        const int64_t k = n / later, word = group + 1 + n % later;
        if (!(kept >> k & 1)) continue;
        const Word hits = rows[(first + k) * work.words + word];
        if (hits != 0) atomicOr(gone + word, hits);
      }
      __syncthreads();
    }
    Pad(in, image, count);
  }
}

// A box that may be picked. Dropped boxes and boxes that never were candidates have a score of -infinity.
struct Candidate {
  float score;
  int index;
};

__device__ Candidate Better(const Candidate& a, const Candidate& b) {
  return b.score > a.score || (b.score == a.score && b.index < a.index) ? b : a;
}

// The best box of a warp, returned to all its lanes.
__device__ Candidate BestOfWarp(Candidate best) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float score = __shfl_xor_sync(kAllLanes, best.score, step);
    const int index = __shfl_xor_sync(kAllLanes, best.index, step);
    best = Better(best, {score, index});
  }
  return best;
}

// The best box of a block of kManyThreads, returned to all its threads.
__device__ Candidate BestOfBlock(Candidate best) {
  static_assert(kManyThreads == kWarp * kWarp, "one warp compares the warps");
  __shared__ Candidate of_warps[kWarp];
  best = BestOfWarp(best);
  __syncthreads();  // all threads have read the previous call's boxes
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = best;
  __syncthreads();
  return BestOfWarp(of_warps[threadIdx.x % kWarp]);
}

// A block picks the boxes of an image one after another. `left` [batch, n] holds the remaining scores; each thread
// handles its own boxes.
__global__ void PickSoftly(Suppression<float> in, Decay<float> decay, float above, float* left) {
  for (int64_t image = blockIdx.x; image < in.batch; image += gridDim.x) {
    const int64_t start = image * in.n;
    Candidate best{-INFINITY, INT_MAX};
    for (int64_t i = threadIdx.x; i < in.n; i += blockDim.x) {
      const int64_t at = start + i;
      left[at] = in.scores[at] >= above && IsFinite(in.boxes + 4 * at) ? in.scores[at] : -INFINITY;
      best = Better(best, {left[at], static_cast<int>(i)});
    }
    int64_t count = 0;
    for (; count < in.limit; ++count) {
      const Candidate taken = BestOfBlock(best);
      if (taken.score == -INFINITY) break;
      if (threadIdx.x == 0) {
        const int64_t place = image * in.limit + count;
        in.indices[place] = taken.index;
        in.picked[place] = taken.score;
        in.valid[place] = true;
      }
      const Box<float> box = MakeBox(in.boxes + 4 * (start + taken.index));
      const int32_t own_class = in.classes[start + taken.index];
      best = {-INFINITY, INT_MAX};
      for (int64_t i = threadIdx.x; i < in.n; i += blockDim.x) {
        const int64_t at = start + i;
        float score = i == taken.index ? -INFINITY : left[at];
        if (score > -INFINITY && in.classes[at] == own_class) {
          score = decay(score, Overlap(box, MakeBox(in.boxes + 4 * at)));
          if (!(score >= above)) score = -INFINITY;
        }
        left[at] = score;
        best = Better(best, {score, static_cast<int>(i)});
      }
    }
    Pad(in, image, count);
  }
}

}  // namespace

int64_t kerasdet_cuda_nms_workspace(int64_t batch, int64_t n) {
  return reinterpret_cast<int64_t>(Workspace(nullptr, batch, n).end);
}

const char* kerasdet_cuda_nms(void* stream, Suppression<float> in, float iou, float above, void* workspace) {
  if (in.limit == 0) return nullptr;
  const Workspace work(workspace, in.batch, in.n);
  const char* error = Clear(stream, work.counts, in.batch * sizeof(int32_t));
  if (!error) error = Launch(stream, in.batch * Blocks(in.n), kThreads, Rank, in, above, work);
  if (!error) error = Launch(stream, in.batch * work.words * work.words, kGroup, Compare, in, iou, work);
  if (!error) error = Launch(stream, in.batch, kManyThreads, Keep, in, work);
  return error;
}

int64_t kerasdet_cuda_soft_nms_workspace(int64_t batch, int64_t n) { return batch * n * sizeof(float); }

const char* kerasdet_cuda_soft_nms(
    void* stream, Suppression<float> in, float sigma, float iou, float above, void* workspace) {
  if (in.limit == 0) return nullptr;
  const Decay<float> decay{sigma, iou};
  return Launch(stream, in.batch, kManyThreads, PickSoftly, in, decay, above, static_cast<float*>(workspace));
}

}  // namespace kerasdet
