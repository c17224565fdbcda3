// Multi-scale deformable attention on the CPU: forward and backward, float and double.
//
// Work is cut so that no two tasks write the same number: the result does not depend on the number
// of threads, and no atomics are needed. README.md has the reasoning.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

namespace {

constexpr int64_t kBlock = 64;  // queries whose sampling geometry is prepared at once

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

struct Sizes {
  int64_t batch, tokens, queries, heads, dim, levels, points;
};

template <typename T, int V>
struct Pack {
  // Rows start anywhere, hence the element's alignment.
  typedef T type __attribute__((vector_size(V * sizeof(T)), aligned(sizeof(T)), may_alias));
};

// C neighbouring channels of one row, held in vector registers.
template <typename T, int C>
struct Channels {
  static constexpr int kLanes =
      C * int(sizeof(T)) < kVectorBytes ? C : kVectorBytes / int(sizeof(T));
  static constexpr int kCount = C / kLanes;
  using Vector = typename Pack<T, kLanes>::type;
  Vector part[kCount];

  void load(const T* row) { std::memcpy(part, row, sizeof(part)); }
  void store(T* row) const { std::memcpy(row, part, sizeof(part)); }

  void add_scaled(T scale, const T* row) {
    for (int i = 0; i < kCount; ++i)
      part[i] += scale * *reinterpret_cast<const Vector*>(row + i * kLanes);
  }

  void scatter(T scale, T* row) const {
    for (int i = 0; i < kCount; ++i)
      *reinterpret_cast<Vector*>(row + i * kLanes) += scale * part[i];
  }

  Vector product(const T* row) const {
    Vector sum = part[0] * *reinterpret_cast<const Vector*>(row);
    for (int i = 1; i < kCount; ++i)
      sum += part[i] * *reinterpret_cast<const Vector*>(row + i * kLanes);
    return sum;
  }
};

template <typename T, int V>
inline T sum_lanes(const typename Pack<T, V>::type& vector) {
  if constexpr (V == 1) {
    return vector[0];
  } else {
    typename Pack<T, V / 2>::type half[2];
    std::memcpy(half, &vector, sizeof(vector));
    return sum_lanes<T, V / 2>(half[0] + half[1]);
  }
}

// Where queries sample: (x, y) of each sample, in [0, 1] of its level or, where there are anchors, in
// pixels from the anchor of its query and level. Anchors are (pixel, fraction) of x, then of y: whole
// pixels apart from their fractions, because together they would cost the fraction its last digits.
template <typename T>
struct Samples {
  const T *place, *weight, *anchor;
  int64_t anchor_stride;  // between queries
};

// Where a block of queries samples one level: corner, fractions and folded weights of each point.
template <typename T>
struct Geometry {
  std::vector<int32_t> column, row;
  std::vector<T> x, y, base_x, base_y, attention, dots;
  std::vector<T> corner[4];

  explicit Geometry(int64_t points) : column(kBlock * points), row(kBlock * points) {
    for (auto* v : {&x, &y, &base_x, &base_y, &attention}) v->resize(kBlock * points);
    for (auto& v : corner) v.resize(kBlock * points);
    dots.resize(4 * kBlock * points);
  }

  // A sample at NaN gets the corner (undefined, undefined): on the level its weights, which are NaN,
  // reach the sum, and outside it nothing is scattered.
  void prepare(const Samples<T>& s, int64_t stride, int64_t queries, int64_t points, int64_t height,
               int64_t width, T undefined) {
    const T origin[] = {0, T(-0.5), 0, T(-0.5)};
    const T scale_x = s.anchor ? 1 : T(width), scale_y = s.anchor ? 1 : T(height);
    int64_t n = 0;
    for (int64_t q = 0; q < queries; ++q) {
      const T* from = s.anchor ? s.anchor + q * s.anchor_stride : origin;
      for (int64_t p = 0; p < points; ++p, ++n) {
        x[n] = s.place[2 * (q * stride + p)] * scale_x + from[1];
        y[n] = s.place[2 * (q * stride + p) + 1] * scale_y + from[3];
        base_x[n] = from[0];
        base_y[n] = from[2];
        attention[n] = s.weight[q * stride + p];
      }
    }
    if (height == 0 || width == 0) {  // nothing to sample, not even at NaN
      for (auto* v : {&x, &y, &base_x, &base_y}) std::fill_n(v->data(), n, T(0));
    }
    resolve(n, T(height), T(width), undefined);
  }

 private:
  static T clamp(T number, T low, T high) {  // the order of the comparisons keeps NaN
    number = number < low ? low : number;
    return number > high ? high : number;
  }

  void resolve(int64_t n, T height, T width, T undefined) {
    constexpr T kFar = 1 << 22;  // pixels; there float has no fractions left
    T *px = x.data(), *py = y.data();
    const T *bx = base_x.data(), *by = base_y.data(), *pa = attention.data();
    int32_t *pc = column.data(), *pr = row.data();
    T *c0 = corner[0].data(), *c1 = corner[1].data(), *c2 = corner[2].data(), *c3 = corner[3].data();
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const T sx = clamp(px[i], -kFar, kFar), sy = clamp(py[i], -kFar, kFar);
      const T lx = sx - std::floor(sx), ly = sy - std::floor(sy);
      // Two pixels outside is as far as it matters.
      const T left = clamp(bx[i] + std::floor(sx), T(-2), width + 1);
      const T top = clamp(by[i] + std::floor(sy), T(-2), height + 1);
      const bool defined = left + top == left + top;
      pc[i] = int32_t(defined ? left : undefined);
      pr[i] = int32_t(defined ? top : undefined);
      px[i] = lx;
      py[i] = ly;
      c0[i] = pa[i] * (1 - ly) * (1 - lx);
      c1[i] = pa[i] * (1 - ly) * lx;
      c2[i] = pa[i] * ly * (1 - lx);
      c3[i] = pa[i] * ly * lx;
    }
  }
};

// The level of one batch element and head; rows of neighbouring pixels lie `pitch` apart.
template <typename T>
struct Level {
  T* base;
  int64_t height, width, pitch;

  bool inside(int64_t r, int64_t c) const {
    return uint64_t(r) < uint64_t(height) && uint64_t(c) < uint64_t(width);
  }
  bool interior(int64_t r, int64_t c) const { return inside(r, c) && inside(r + 1, c + 1); }
  T* at(int64_t r, int64_t c) const { return base + (r * width + c) * pitch; }
};

template <typename T, int C>
void gather(const Geometry<T>& g, const Level<const T>& level, T* out, int64_t queries,
            int64_t points, int64_t out_stride) {
  int64_t i = 0;
  for (int64_t q = 0; q < queries; ++q) {
    Channels<T, C> sum;
    sum.load(out + q * out_stride);
    for (int64_t p = 0; p < points; ++p, ++i) {
      const int64_t r = g.row[i], c = g.column[i];
      if (level.interior(r, c)) {
        const T* top = level.at(r, c);
        const T* bottom = top + level.width * level.pitch;
        sum.add_scaled(g.corner[0][i], top);
        sum.add_scaled(g.corner[1][i], top + level.pitch);
        sum.add_scaled(g.corner[2][i], bottom);
        sum.add_scaled(g.corner[3][i], bottom + level.pitch);
        continue;
      }
      for (int k = 0; k < 4; ++k) {
        const int64_t rk = r + k / 2, ck = c + k % 2;
        if (level.inside(rk, ck)) sum.add_scaled(g.corner[k][i], level.at(rk, ck));
      }
    }
    sum.store(out + q * out_stride);
  }
}

template <typename T, int C>
inline void touch(const Channels<T, C>& grad, const T* row, T* grad_row, T weight, T* dot) {
  if (dot) *dot += sum_lanes<T, Channels<T, C>::kLanes>(grad.product(row));
  if (grad_row) grad.scatter(weight, grad_row);
}

// Dots of the incoming gradient with the four corners, and its scatter into the value's gradient.
template <typename T, int C, bool kDots, bool kScatter>
void spread(Geometry<T>& g, const Level<const T>& level, T* grad_base, const T* grad_out,
            int64_t queries, int64_t points, int64_t out_stride) {
  int64_t i = 0;
  const ptrdiff_t down = level.width * level.pitch;
  for (int64_t q = 0; q < queries; ++q) {
    Channels<T, C> grad;
    grad.load(grad_out + q * out_stride);
    for (int64_t p = 0; p < points; ++p, ++i) {
      const int64_t r = g.row[i], c = g.column[i];
      T* dots = kDots ? g.dots.data() + 4 * i : nullptr;
      const bool interior = level.interior(r, c);
      for (int k = 0; k < 4; ++k) {
        if (!interior && !level.inside(r + k / 2, c + k % 2)) continue;
        const ptrdiff_t offset = level.at(r, c) - level.base + (k / 2) * down + (k % 2) * level.pitch;
        touch<T, C>(grad, level.base + offset, kScatter ? grad_base + offset : nullptr,
                    g.corner[k][i], kDots ? dots + k : nullptr);
      }
    }
  }
}

// Calls f with the largest compiled channel count that fits, until all channels are done.
template <typename F>
void for_channels(int64_t dim, F f) {
  int64_t start = 0;
  for (; dim - start >= 32; start += 32) f(std::integral_constant<int, 32>{}, start);
  for (; dim - start >= 16; start += 16) f(std::integral_constant<int, 16>{}, start);
  for (; dim - start >= 8; start += 8) f(std::integral_constant<int, 8>{}, start);
  for (; dim - start >= 4; start += 4) f(std::integral_constant<int, 4>{}, start);
  for (; dim - start >= 1; start += 1) f(std::integral_constant<int, 1>{}, start);
}

// Runs make()(task) for every task, handing tasks to whichever thread is free.
template <typename Make>
void parallel(int64_t tasks, int64_t threads, Make make) {
  std::atomic<int64_t> next{0};
  auto work = [&] {
    auto run = make();
    for (int64_t task = next++; task < tasks; task = next++) run(task);
  };
  std::vector<std::thread> helpers;
  try {
    while (int64_t(helpers.size()) + 1 < std::min(threads, tasks)) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // The threads that did start share the work.
  }
  work();
  for (auto& helper : helpers) helper.join();
}

// The samples of level l from number `sample` on, which is the first of query `item`.
template <typename T>
Samples<T> at(const T* place, const T* weight, const T* anchor, int64_t sample, int64_t item, int64_t l,
              const Sizes& s) {
  const T* own = anchor ? anchor + 4 * (item * s.levels + l) : nullptr;
  return {place + 2 * sample, weight + sample, own, 4 * s.levels};
}

template <typename T>
void forward(const T* value, const int64_t* shapes, const T* place, const T* weight, const T* anchor,
             T* out, const Sizes& s, int64_t threads) {
  const int64_t blocks = (s.queries + kBlock - 1) / kBlock;
  const int64_t pitch = s.heads * s.dim, stride = s.heads * s.levels * s.points;
  parallel(s.batch * s.heads * blocks, threads, [&] {
    return [&, g = Geometry<T>(s.points)](int64_t task) mutable {
      const int64_t first = task % blocks * kBlock, queries = std::min(kBlock, s.queries - first);
      const int64_t m = task / blocks % s.heads, b = task / blocks / s.heads;
      const int64_t item = b * s.queries + first;
      T* rows = out + item * pitch + m * s.dim;
      for (int64_t q = 0; q < queries; ++q) std::fill_n(rows + q * pitch, s.dim, T(0));
      const T* base = value + b * s.tokens * pitch + m * s.dim;
      for (int64_t l = 0; l < s.levels; ++l) {
        const int64_t height = shapes[2 * l], width = shapes[2 * l + 1];
        const int64_t sample = item * stride + (m * s.levels + l) * s.points;
        g.prepare(at(place, weight, anchor, sample, item, l, s), stride, queries, s.points, height, width,
                  T(0));
        for_channels(s.dim, [&](auto count, int64_t d) {
          const Level<const T> level{base + d, height, width, pitch};
          gather<T, decltype(count)::value>(g, level, rows + d, queries, s.points, pitch);
        });
        base += height * width * pitch;
      }
    };
  });
}

// Places and weights from the dots; each number is written once. A place counts in units of
// `scale_x` and `scale_y` pixels.
template <typename T>
void finish(const Geometry<T>& g, T* grad_place, T* grad_weight, int64_t stride, int64_t queries,
            int64_t points, T scale_y, T scale_x) {
  int64_t i = 0;
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t p = 0; p < points; ++p, ++i) {
      const T* d = g.dots.data() + 4 * i;
      const T x = g.x[i], y = g.y[i];
      const T top = d[0] + x * (d[1] - d[0]), bottom = d[2] + x * (d[3] - d[2]);
      const T slope = (1 - y) * (d[1] - d[0]) + y * (d[3] - d[2]);
      const int64_t at = q * stride + p;
      grad_weight[at] = top + y * (bottom - top);
      grad_place[2 * at] = g.attention[i] * scale_x * slope;
      grad_place[2 * at + 1] = g.attention[i] * scale_y * (bottom - top);
    }
  }
}

// A task is one level of one head: nobody else writes its rows of grad_value.
template <typename T>
void backward(const T* grad_out, const T* value, const int64_t* shapes, const T* place,
              const T* weight, const T* anchor, T* grad_value, T* grad_place, T* grad_weight,
              const Sizes& s, int64_t threads) {
  const int64_t pitch = s.heads * s.dim, stride = s.heads * s.levels * s.points;
  parallel(s.batch * s.heads * s.levels, threads, [&] {
    return [&, g = Geometry<T>(s.points)](int64_t task) mutable {
      const int64_t l = task % s.levels, m = task / s.levels % s.heads, b = task / s.levels / s.heads;
      const int64_t height = shapes[2 * l], width = shapes[2 * l + 1];
      int64_t start = b * s.tokens;
      for (int64_t i = 0; i < l; ++i) start += shapes[2 * i] * shapes[2 * i + 1];
      start = start * pitch + m * s.dim;
      for (int64_t first = 0; first < s.queries; first += kBlock) {
        const int64_t queries = std::min(kBlock, s.queries - first), item = b * s.queries + first;
        const int64_t sample = item * stride + (m * s.levels + l) * s.points;
        g.prepare(at(place, weight, anchor, sample, item, l, s), stride, queries, s.points, height, width,
                  T(-2));
        std::fill(g.dots.begin(), g.dots.end(), T(0));
        for_channels(s.dim, [&](auto count, int64_t d) {
          constexpr int C = decltype(count)::value;
          const Level<const T> level{value + start + d, height, width, pitch};
          const T* rows = grad_out + item * pitch + m * s.dim + d;
          T* grads = grad_value ? grad_value + start + d : nullptr;
          auto* run = !grad_value  ? spread<T, C, true, false>
                      : grad_weight ? spread<T, C, true, true>
                                    : spread<T, C, false, true>;
          run(g, level, grads, rows, queries, s.points, pitch);
        });
        if (grad_weight)
          finish(g, grad_place + 2 * sample, grad_weight + sample, stride, queries, s.points,
                 anchor ? T(1) : T(height), anchor ? T(1) : T(width));
      }
    };
  });
}

}  // namespace

#define SEGBLOCKS_EXPORT(T, SUFFIX)                                                               \
  extern "C" void ms_deform_attn_forward_##SUFFIX(                                                \
      const T* value, const int64_t* shapes, const T* place, const T* weight, const T* anchor,    \
      T* out, const int64_t* sizes, int64_t threads) {                                            \
    Sizes s;                                                                                      \
    std::memcpy(&s, sizes, sizeof(s));                                                            \
    forward<T>(value, shapes, place, weight, anchor, out, s, threads);                            \
  }                                                                                               \
  extern "C" void ms_deform_attn_backward_##SUFFIX(                                               \
      const T* grad_out, const T* value, const int64_t* shapes, const T* place, const T* weight,  \
      const T* anchor, T* grad_value, T* grad_place, T* grad_weight, const int64_t* sizes,        \
      int64_t threads) {                                                                          \
    Sizes s;                                                                                      \
    std::memcpy(&s, sizes, sizeof(s));                                                            \
    backward<T>(grad_out, value, shapes, place, weight, anchor, grad_value, grad_place,           \
                grad_weight, s, threads);                                                         \
  }

SEGBLOCKS_EXPORT(float, f32)
SEGBLOCKS_EXPORT(double, f64)
