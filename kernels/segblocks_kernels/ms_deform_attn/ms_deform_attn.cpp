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

// Where a block of queries samples one level: corner, fractions and folded weights of each point.
template <typename T>
struct Geometry {
  std::vector<int32_t> column, row;
  std::vector<T> x, y, attention, dots;
  std::vector<T> corner[4];

  explicit Geometry(int64_t points) : column(kBlock * points), row(kBlock * points) {
    for (auto* v : {&x, &y, &attention, &corner[0], &corner[1], &corner[2], &corner[3]})
      v->resize(kBlock * points);
    dots.resize(4 * kBlock * points);
  }

  // A sample at NaN gets the corner (undefined, undefined): on the level its weights, which are NaN,
  // reach the sum, and outside it nothing is scattered.
  void prepare(const T* location, const T* weight, int64_t stride, int64_t queries, int64_t points,
               int64_t height, int64_t width, T undefined) {
    int64_t n = 0;
    for (int64_t q = 0; q < queries; ++q) {
      for (int64_t p = 0; p < points; ++p, ++n) {
        x[n] = location[2 * (q * stride + p)];
        y[n] = location[2 * (q * stride + p) + 1];
        attention[n] = weight[q * stride + p];
      }
    }
    if (height == 0 || width == 0) {  // nothing to sample, not even at NaN
      std::fill_n(x.data(), n, T(0));
      std::fill_n(y.data(), n, T(0));
    }
    resolve(n, T(height), T(width), undefined);
  }

 private:
  void resolve(int64_t n, T height, T width, T undefined) {
    T *px = x.data(), *py = y.data();
    const T* pa = attention.data();
    int32_t *pc = column.data(), *pr = row.data();
    T *c0 = corner[0].data(), *c1 = corner[1].data(), *c2 = corner[2].data(), *c3 = corner[3].data();
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      // Two pixels outside is as far as it matters; the order of the comparisons keeps NaN.
      T sx = px[i] * width - T(0.5), sy = py[i] * height - T(0.5);
      sx = sx < T(-2) ? T(-2) : sx;
      sy = sy < T(-2) ? T(-2) : sy;
      sx = sx > width + 1 ? width + 1 : sx;
      sy = sy > height + 1 ? height + 1 : sy;
      const bool defined = sx + sy == sx + sy;
      const T fx = defined ? std::floor(sx) : undefined, fy = defined ? std::floor(sy) : undefined;
      const T lx = sx - fx, ly = sy - fy;
      pc[i] = int32_t(fx);
      pr[i] = int32_t(fy);
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

template <typename T>
void forward(const T* value, const int64_t* shapes, const T* location, const T* weight, T* out,
             const Sizes& s, int64_t threads) {
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
        g.prepare(location + 2 * sample, weight + sample, stride, queries, s.points, height, width, T(0));
        for_channels(s.dim, [&](auto count, int64_t d) {
          const Level<const T> level{base + d, height, width, pitch};
          gather<T, decltype(count)::value>(g, level, rows + d, queries, s.points, pitch);
        });
        base += height * width * pitch;
      }
    };
  });
}

// Locations and weights from the dots; each number is written once.
template <typename T>
void finish(const Geometry<T>& g, T* grad_location, T* grad_weight, int64_t stride, int64_t queries,
            int64_t points, T height, T width) {
  int64_t i = 0;
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t p = 0; p < points; ++p, ++i) {
      const T* d = g.dots.data() + 4 * i;
      const T x = g.x[i], y = g.y[i];
      const T top = d[0] + x * (d[1] - d[0]), bottom = d[2] + x * (d[3] - d[2]);
      const T slope = (1 - y) * (d[1] - d[0]) + y * (d[3] - d[2]);
      const int64_t at = q * stride + p;
      grad_weight[at] = top + y * (bottom - top);
      grad_location[2 * at] = g.attention[i] * width * slope;
      grad_location[2 * at + 1] = g.attention[i] * height * (bottom - top);
    }
  }
}

// A task is one level of one head: nobody else writes its rows of grad_value.
template <typename T>
void backward(const T* grad_out, const T* value, const int64_t* shapes, const T* location,
              const T* weight, T* grad_value, T* grad_location, T* grad_weight, const Sizes& s,
              int64_t threads) {
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
        g.prepare(location + 2 * sample, weight + sample, stride, queries, s.points, height, width, T(-2));
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
          finish(g, grad_location + 2 * sample, grad_weight + sample, stride, queries, s.points,
                 T(height), T(width));
      }
    };
  });
}

}  // namespace

#define SEGBLOCKS_EXPORT(T, SUFFIX)                                                               \
  extern "C" void ms_deform_attn_forward_##SUFFIX(                                                \
      const T* value, const int64_t* shapes, const T* location, const T* weight, T* out,          \
      const int64_t* sizes, int64_t threads) {                                                    \
    Sizes s;                                                                                      \
    std::memcpy(&s, sizes, sizeof(s));                                                            \
    forward<T>(value, shapes, location, weight, out, s, threads);                                 \
  }                                                                                               \
  extern "C" void ms_deform_attn_backward_##SUFFIX(                                               \
      const T* grad_out, const T* value, const int64_t* shapes, const T* location,                \
      const T* weight, T* grad_value, T* grad_location, T* grad_weight, const int64_t* sizes,     \
      int64_t threads) {                                                                          \
    Sizes s;                                                                                      \
    std::memcpy(&s, sizes, sizeof(s));                                                            \
    backward<T>(grad_out, value, shapes, location, weight, grad_value, grad_location,             \
                grad_weight, s, threads);                                                         \
  }

SEGBLOCKS_EXPORT(float, f32)
SEGBLOCKS_EXPORT(double, f64)
