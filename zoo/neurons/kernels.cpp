// Multi-step neurons in one pass over memory, for fused.py, which says what they compute and calls them.
//
// A sequence [T, ...] is T rows of M numbers. Each thread takes a block of columns through all steps while the state of
// the block stays in its cache: x is read once, the output written once, whatever T is. Going back, the potentials of
// the block are computed again from x, so the forward pass saves nothing.
//
// Everything is computed in fp32, in the order of operations of functional.py and without contraction
// (-ffp-contract=off), so that the spikes are the same to the bit.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

enum Reset { NONE, HARD, SOFT };  // NONE: no threshold, the output is the potential
enum Slope { ATAN, SIGMOID, TRIANGLE, RECTANGLE, GAUSSIAN };

struct Leaky {
  float decay, gain, shift, threshold, v_reset, v_start;
};

struct bf16 {
  uint16_t bits;
};

// Rows in and out of fp32 ---------------------------------------------------------------------------------------------

inline float widen(_Float16 x) { return static_cast<float>(x); }
inline float widen(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}

inline void narrow(float x, _Float16& y) { y = static_cast<_Float16>(x); }
inline void narrow(float x, bf16& y) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  y.bits = static_cast<uint16_t>(x == x ? rounded : 0x7fc0);
}

#if defined(__AVX512F__)
constexpr int64_t LANES = 16;
inline void stream_lanes(float* to, const float* from) { _mm512_stream_ps(to, _mm512_loadu_ps(from)); }
#elif defined(__AVX__)
constexpr int64_t LANES = 8;
inline void stream_lanes(float* to, const float* from) { _mm256_stream_ps(to, _mm256_loadu_ps(from)); }
#endif

// A row of the sequence as fp32: in place if it is, else in the buffer. The type is looked up once a row, not compiled
// into every loop: that would triple the time to compile.
struct Rows {
  char* data;
  int64_t type;  // 0 fp32, 1 bf16, 2 fp16
  bool stream;   // write around the caches: for tensors too large to be found there by whoever reads them next

  template <class X>
  const float* widened(int64_t start, float* buffer, int64_t n) const {
    const X* row = reinterpret_cast<const X*>(data) + start;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) buffer[i] = widen(row[i]);
    return buffer;
  }

  void prefetch(int64_t start, int64_t n) const {
    const int64_t bytes = type ? 2 : 4;
    for (int64_t i = 0; i < n * bytes; i += 64) __builtin_prefetch(data + start * bytes + i);
  }

  const float* load(int64_t start, float* buffer, int64_t n) const {
    if (type == 0) return reinterpret_cast<const float*>(data) + start;
    return type == 1 ? widened<bf16>(start, buffer, n) : widened<_Float16>(start, buffer, n);
  }

  template <class X>
  void narrowed(int64_t start, const float* buffer, int64_t n) const {
    X* row = reinterpret_cast<X*>(data) + start;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) narrow(buffer[i], row[i]);
  }

  void store(int64_t start, const float* buffer, int64_t n) const {
    if (type == 1) return narrowed<bf16>(start, buffer, n);
    if (type == 2) return narrowed<_Float16>(start, buffer, n);
    float* row = reinterpret_cast<float*>(data) + start;
    int64_t i = 0;
#if defined(__AVX__)
    if (stream) {
      while (i < n && reinterpret_cast<uintptr_t>(row + i) % (4 * LANES)) row[i] = buffer[i], ++i;
      for (; i + LANES <= n; i += LANES) stream_lanes(row + i, buffer + i);
    }
#endif
    std::copy(buffer + i, buffer + n, row + i);
  }
};

constexpr int64_t STREAM_BYTES = 32 << 20;

Rows rows(const void* data, int64_t type, int64_t numbers) {
  return {static_cast<char*>(const_cast<void*>(data)), type, numbers * (type ? 2 : 4) > STREAM_BYTES};
}

// Surrogate gradients (surrogate.py) ----------------------------------------------------------------------------------

// exp to 1 ulp, without a call, so that loops over it vectorise (Cephes' polynomial).
inline float exp_(float x) {
  x = std::min(std::max(x, -87.f), 88.f);
  const float k = (x * 1.44269504088896341f + 12582912.f) - 12582912.f;  // to nearest
  const float r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  const int32_t bits = (static_cast<int32_t>(k) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return p * scale;
}

template <Slope SLOPE>
inline float slope(float x, float a) {
  if constexpr (SLOPE == ATAN) {
    const float y = 1.5707963267948966f * a * x;
    return a / 2 / (1 + y * y);
  } else if constexpr (SLOPE == SIGMOID) {
    const float e = exp_(-a * std::fabs(x));
    return a * e / ((1 + e) * (1 + e));
  } else if constexpr (SLOPE == TRIANGLE) {
    return std::max(a - std::fabs(x), 0.f) / (a * a);
  } else if constexpr (SLOPE == RECTANGLE) {
    return std::fabs(x) < a / 2 ? 1 / a : 0.f;
  } else {
    const float y = x / a;
    return exp_(-0.5f * y * y) * (0.3989422804014327f / a);
  }
}

// Columns of a block going back, measured: narrow while the potentials of all its steps fit the L1 cache beside the rows,
// wider where they live in the L2 cache anyway.
int64_t columns(int64_t steps) { return steps <= 32 ? 128 : steps <= 400 ? 256 : 64; }

// Steps lie far apart, where the processor does not look ahead by itself. A row takes some ten nanoseconds and memory a
// hundred, so rows are asked for a few steps early, those of the next block too (it is this thread's, but for the last).
constexpr int64_t AHEAD = 4;

// Leaky neurons: one potential, one set of numbers for all of them ----------------------------------------------------

template <Reset RESET>
void leaky_forward(Rows x, int64_t x_step, const float* v0, Rows out, float* v_end, int64_t steps, int64_t size,
                   Leaky p) {
  constexpr int64_t WIDTH = 512;
#pragma omp parallel for schedule(static)
  for (int64_t start = 0; start < size; start += WIDTH) {
    const int64_t n = std::min(WIDTH, size - start);
    alignas(64) float v[WIDTH], row[WIDTH], y[WIDTH];
    for (int64_t i = 0; i < n; ++i) v[i] = v0 ? v0[start + i] : p.v_start;
    for (int64_t t = 0; t < steps; ++t) {
      const int64_t soon = t + AHEAD;
      if (soon < steps)
        x.prefetch(soon * x_step + start, n);
      else if (soon < 2 * steps && start + 2 * WIDTH <= size)
        x.prefetch((soon - steps) * x_step + start + WIDTH, n);
      const float* current = x.load(t * x_step + start, row, n);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const float h = p.decay * v[i] + p.gain * current[i] + p.shift;
        const bool fires = RESET != NONE && h >= p.threshold;
        y[i] = RESET == NONE ? h : (fires ? 1.f : 0.f);
        v[i] = fires ? (RESET == HARD ? p.v_reset : h - p.threshold) : h;
      }
      out.store(t * size + start, y, n);
    }
    if (v_end) std::copy(v, v + n, v_end + start);
  }
}

// `g_sums` [blocks, 4] gets the gradients of decay, gain, shift and threshold, summed over a block each, so that their
// sum does not depend on the number of threads; null if nobody asks.
template <Reset RESET, Slope SLOPE, bool SUMS>
void leaky_backward(Rows x, int64_t x_step, const float* v0, Rows g, const float* g_end, Rows gx, float* g_start,
                    double* g_sums, int64_t steps, int64_t size, Leaky p, float number, float through_reset) {
  const int64_t width = columns(steps);
#pragma omp parallel
  {
    const std::unique_ptr<float[]> scratch(new float[(steps + 9) * width]);
    float *hs = scratch.get(), *v = hs + steps * width, *gv = v + width, *row = gv + width, *row2 = row + width;
    float *y = row2 + width, *sums = y + width;  // sums: 4 rows
#pragma omp for schedule(static)
    for (int64_t start = 0; start < size; start += width) {
      const int64_t n = std::min(width, size - start);
      for (int64_t i = 0; i < n; ++i) v[i] = v0 ? v0[start + i] : p.v_start;
      for (int64_t i = 0; i < n; ++i) gv[i] = g_end ? g_end[start + i] : 0.f;
      if (SUMS) std::fill(sums, sums + 4 * width, 0.f);
      for (int64_t t = 0; t < steps; ++t) {
        const int64_t soon = t + AHEAD;
        if (soon < steps)
          x.prefetch(soon * x_step + start, n);
        else if (soon < 2 * steps)
          g.prefetch((2 * steps - 1 - soon) * size + start, n);
        const float* current = x.load(t * x_step + start, row, n);
        float* h_t = hs + t * width;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          const float h = p.decay * v[i] + p.gain * current[i] + p.shift;
          const bool fires = RESET != NONE && h >= p.threshold;
          h_t[i] = h;
          v[i] = fires ? (RESET == HARD ? p.v_reset : h - p.threshold) : h;
        }
      }
      for (int64_t t = steps - 1; t >= 0; --t) {
        if (t >= AHEAD)
          g.prefetch((t - AHEAD) * size + start, n);
        else if (AHEAD - t <= steps && start + 2 * width <= size)
          x.prefetch((AHEAD - t - 1) * x_step + start + width, n);
        const float* g_t = g.load(t * size + start, row, n);
        const float* h_t = hs + t * width;
        const float* current = SUMS ? x.load(t * x_step + start, row2, n) : nullptr;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          const float h = h_t[i];
          float gh = g_t[i] + gv[i];  // RESET == NONE
          if (RESET != NONE) {
            const bool fires = h >= p.threshold;
            const float gs = g_t[i] + through_reset * gv[i] * (RESET == HARD ? p.v_reset - h : -p.threshold);
            const float gd = gs * slope<SLOPE>(h - p.threshold, number);  // of the distance h - threshold
            gh = gd + (RESET == HARD && fires ? 0.f : gv[i]);
            if (SUMS) sums[3 * width + i] -= gd + (RESET == SOFT && fires ? gv[i] : 0.f);
          }
          if (SUMS) {
            const float* before = t ? h_t - width : nullptr;
            float last = t ? before[i] : (v0 ? v0[start + i] : p.v_start);
            if (RESET != NONE && t && last >= p.threshold) last = RESET == HARD ? p.v_reset : last - p.threshold;
            sums[i] += gh * last;
            sums[width + i] += gh * current[i];
            sums[2 * width + i] += gh;
          }
          y[i] = gh * p.gain;
          gv[i] = gh * p.decay;
        }
        gx.store(t * size + start, y, n);
      }
      if (g_start) std::copy(gv, gv + n, g_start + start);
      if (SUMS)
        for (int64_t k = 0; k < 4; ++k) {
          double sum = 0;
          for (int64_t i = 0; i < n; ++i) sum += sums[k * width + i];
          g_sums[start / width * 4 + k] = sum;
        }
    }
  }
}

// Adaptive neurons: a potential and an adaptation current, and four numbers per unit ----------------------------------

struct Adaptive {
  const float* numbers;  // [4, units]: alpha, beta, a, b
  int64_t units, repeat;  // column i belongs to unit (i / repeat) % units

  // The numbers of n columns, as four rows of `width`. It counts along, as a division takes longer than a step.
  void spread(int64_t start, int64_t n, float* out, int64_t width) const {
    int64_t unit = start / repeat % units, at = start % repeat;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < 4; ++k) out[k * width + i] = numbers[k * units + unit];
      if (++at == repeat) {
        at = 0;
        if (++unit == units) unit = 0;
      }
    }
  }
};

void adaptive_forward(Rows x, const float* state, Rows out, float* state_end, int64_t steps, int64_t size, Adaptive p,
                      float threshold) {
  constexpr int64_t WIDTH = 512;
#pragma omp parallel for schedule(static)
  for (int64_t start = 0; start < size; start += WIDTH) {
    const int64_t n = std::min(WIDTH, size - start);
    alignas(64) float v[WIDTH] = {}, w[WIDTH] = {}, s[WIDTH] = {}, row[WIDTH], numbers[4 * WIDTH];
    const float *alpha = numbers, *beta = alpha + WIDTH, *a = beta + WIDTH, *b = a + WIDTH;
    p.spread(start, n, numbers, WIDTH);
    float* const kept[] = {v, w, s};
    for (int64_t k = 0; state && k < 3; ++k) std::copy_n(state + k * size + start, n, kept[k]);
    for (int64_t t = 0; t < steps; ++t) {
      const float* current = x.load(t * size + start, row, n);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        w[i] = beta[i] * w[i] + a[i] * v[i] + b[i] * s[i];
        v[i] = alpha[i] * (v[i] - threshold * s[i]) + (1 - alpha[i]) * (current[i] - w[i]);
        s[i] = v[i] >= threshold ? 1.f : 0.f;
      }
      out.store(t * size + start, s, n);
    }
    for (int64_t k = 0; state_end && k < 3; ++k) std::copy_n(kept[k], n, state_end + k * size + start);
  }
}

// `g_numbers` [4, M] gets the gradients of the numbers of every column, for the caller to sum over those of a unit.
template <Slope SLOPE>
void adaptive_backward(Rows x, const float* state, Rows g, const float* g_end, Rows gx, float* g_state,
                       float* g_numbers, int64_t steps, int64_t size, Adaptive p, float threshold, float number,
                       float through_reset) {
  const int64_t width = columns(steps);
#pragma omp parallel
  {
    const std::unique_ptr<float[]> scratch(new float[(2 * steps + 17) * width]);
    float *vs = scratch.get(), *ws = vs + (steps + 1) * width;  // row t + 1 belongs to step t, row 0 to the start
    float *s0 = ws + (steps + 1) * width, *gv = s0 + width, *gw = gv + width, *gs = gw + width, *row = gs + width;
    float *row2 = row + width, *y = row2 + width, *sums = y + width, *numbers = sums + 4 * width;  // 4 rows each
    const float *alpha = numbers, *beta = alpha + width, *a = beta + width, *b = a + width;
#pragma omp for schedule(static)
    for (int64_t start = 0; start < size; start += width) {
      const int64_t n = std::min(width, size - start);
      p.spread(start, n, numbers, width);
      float* const first[] = {vs, ws, s0};
      float* const last[] = {gv, gw, gs};
      for (int64_t k = 0; k < 3; ++k) {
        for (int64_t i = 0; i < n; ++i) first[k][i] = state ? state[k * size + start + i] : 0.f;
        for (int64_t i = 0; i < n; ++i) last[k][i] = g_end ? g_end[k * size + start + i] : 0.f;
      }
      std::fill(sums, sums + 4 * width, 0.f);
      for (int64_t t = 0; t < steps; ++t) {
        const float* current = x.load(t * size + start, row, n);
        const float *v = vs + t * width, *w = ws + t * width;
        float *v_next = vs + (t + 1) * width, *w_next = ws + (t + 1) * width;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          const float first = s0[i], fired = v[i] >= threshold ? 1.f : 0.f;  // both read: a branch would not vectorise
          const float s = t ? fired : first;
          w_next[i] = beta[i] * w[i] + a[i] * v[i] + b[i] * s;
          v_next[i] = alpha[i] * (v[i] - threshold * s) + (1 - alpha[i]) * (current[i] - w_next[i]);
        }
      }
      for (int64_t t = steps - 1; t >= 0; --t) {
        const float* g_t = g.load(t * size + start, row, n);
        const float* current = x.load(t * size + start, row2, n);
        const float *v = vs + t * width, *w = ws + t * width, *h = v + width, *w_now = w + width;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          const float first = s0[i], fired = v[i] >= threshold ? 1.f : 0.f;
          const float s = t ? fired : first;
          const float gh = (g_t[i] + gs[i]) * slope<SLOPE>(h[i] - threshold, number) + gv[i];
          const float gw_now = gw[i] - gh * (1 - alpha[i]);
          sums[i] += gh * ((v[i] - threshold * s) - (current[i] - w_now[i]));
          sums[width + i] += gw_now * w[i];
          sums[2 * width + i] += gw_now * v[i];
          sums[3 * width + i] += gw_now * s;
          y[i] = gh * (1 - alpha[i]);
          gv[i] = gh * alpha[i] + gw_now * a[i];
          gs[i] = gw_now * b[i] - through_reset * gh * alpha[i] * threshold;
          gw[i] = gw_now * beta[i];
        }
        gx.store(t * size + start, y, n);
      }
      for (int64_t k = 0; k < 3 && g_state; ++k) std::copy_n(last[k], n, g_state + k * size + start);
      for (int64_t k = 0; k < 4; ++k) std::copy_n(sums + k * width, n, g_numbers + k * size + start);
    }
  }
}

// Choice by number ----------------------------------------------------------------------------------------------------

template <Slope S>
struct SlopeTag {
  static constexpr Slope value = S;
};

template <class F>
void with_slope(int64_t which, F f) {
  switch (which) {
    case ATAN: return f(SlopeTag<ATAN>{});
    case SIGMOID: return f(SlopeTag<SIGMOID>{});
    case TRIANGLE: return f(SlopeTag<TRIANGLE>{});
    case RECTANGLE: return f(SlopeTag<RECTANGLE>{});
    default: return f(SlopeTag<GAUSSIAN>{});
  }
}

}  // namespace

extern "C" {

void leaky_forward(const void* x, int64_t x_step, const float* v0, void* out, float* v_end, int64_t steps, int64_t size,
                   const float* numbers, int64_t reset, int64_t type) {
  Leaky p;
  std::memcpy(&p, numbers, sizeof p);
  const auto run = reset == NONE ? leaky_forward<NONE> : reset == HARD ? leaky_forward<HARD> : leaky_forward<SOFT>;
  run(rows(x, type, 0), x_step, v0, rows(out, type, steps * size), v_end, steps, size, p);
}

int64_t leaky_blocks(int64_t steps, int64_t size) { return (size + columns(steps) - 1) / columns(steps); }

void leaky_backward(const void* x, int64_t x_step, const float* v0, const void* g, const float* g_end, void* gx,
                    float* g_start, double* g_sums, int64_t steps, int64_t size, const float* numbers, int64_t reset,
                    int64_t type, int64_t which, float number, float through_reset) {
  Leaky p;
  std::memcpy(&p, numbers, sizeof p);
  with_slope(which, [&](auto s) {
    constexpr Slope S = decltype(s)::value;
    const auto run = reset == NONE   ? (g_sums ? leaky_backward<NONE, ATAN, true> : leaky_backward<NONE, ATAN, false>)
                     : reset == HARD ? (g_sums ? leaky_backward<HARD, S, true> : leaky_backward<HARD, S, false>)
                                     : (g_sums ? leaky_backward<SOFT, S, true> : leaky_backward<SOFT, S, false>);
    run(rows(x, type, 0), x_step, v0, rows(g, type, 0), g_end, rows(gx, type, steps * size), g_start, g_sums, steps,
        size, p, number, through_reset);
  });
}

void adaptive_forward(const void* x, const float* state, void* out, float* state_end, int64_t steps, int64_t size,
                      const float* numbers, int64_t units, int64_t repeat, float threshold, int64_t type) {
  const Adaptive p{numbers, units, repeat};
  adaptive_forward(rows(x, type, 0), state, rows(out, type, 0), state_end, steps, size, p, threshold);
}

void adaptive_backward(const void* x, const float* state, const void* g, const float* g_end, void* gx, float* g_state,
                       float* g_numbers, int64_t steps, int64_t size, const float* numbers, int64_t units,
                       int64_t repeat, float threshold, int64_t type, int64_t which, float number,
                       float through_reset) {
  const Adaptive p{numbers, units, repeat};
  with_slope(which, [&](auto s) {
    adaptive_backward<decltype(s)::value>(rows(x, type, 0), state, rows(g, type, 0), g_end, rows(gx, type, 0), g_state,
                                          g_numbers, steps, size, p, threshold, number, through_reset);
  });
}

}  // extern "C"
