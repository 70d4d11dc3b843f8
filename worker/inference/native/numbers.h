/* Numbers: T, the type of weights, of the cache and of the products' inputs, and arithmetic in
   float32 over them. Loops are written for the compiler's vectorizer. */

#include <stdint.h>
#include <string.h>

#if defined(__AVX512BF16__) || defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

static inline float from_bits(uint32_t bits) {
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

static inline uint32_t to_bits(float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    return bits;
}

static inline float from_bfloat16(uint16_t value) { return from_bits((uint32_t)value << 16); }

#ifdef LUTHIER_BF16
typedef uint16_t T;
static inline float get(T value) { return from_bfloat16(value); }
static inline T put(float number) { /* to nearest even; NaN stays NaN */
    uint32_t bits = to_bits(number);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return number != number ? 0x7fc0 : rounded;
}
#else
typedef float T;
static inline float get(T value) { return value; }
static inline T put(float number) { return number; }
#endif

/* Rows of inputs and outputs of products are padded to whole panels, whose rest is zeros. */
enum { PANEL = 32 };
static inline int padded(int size) { return (size + PANEL - 1) / PANEL * PANEL; }

static inline void widen(float *restrict to, const T *restrict from, int n) {
    for (int i = 0; i < n; i++) to[i] = get(from[i]);
}

static inline float dot(const float *restrict a, const float *restrict b, int n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* e^x within 2 units of the last place, as libm's is not vectorized. */
static inline float exponential(float x) {
    x = x < -87 ? -87 : x > 88 ? 88 : x;
    float n = (x * 1.44269504f + 12582912.f) - 12582912.f; /* rounds to an integer */
    float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1 + r * (1 + r * (.5f + r * (1.66666667e-1f + r * (4.16666667e-2f
              + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
    return p * from_bits((uint32_t)((int32_t)n + 127) << 23);
}

static inline float square_root(float x) { return __builtin_sqrtf(x); }

static inline void rms_norm(const float *x, const T *weight, int n, float eps, float *out) {
    float scale = 1 / square_root(dot(x, x, n) / n + eps);
    for (int i = 0; i < n; i++) out[i] = x[i] * scale * get(weight[i]);
}
