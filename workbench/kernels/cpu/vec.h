// Vectors as wide as the processor's registers: GCC vector extensions, so the same code compiles for each instruction set.
// T is float or bf16 everywhere; sums are float.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#ifdef __ARM_NEON
#include <arm_neon.h>
#endif
#ifdef __AVX2__
#ifdef __clang__
#include <immintrin.h>
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#endif

namespace {

#if defined(__AVX512F__)
constexpr int W = 16;     // floats in a vector
constexpr int STRIP = 4;  // vectors side by side in a product: six rows of sums fit into the registers
#elif defined(__AVX__)
constexpr int W = 8, STRIP = 2;
#else
constexpr int W = 4, STRIP = 4;
#endif
typedef float Vec __attribute__((vector_size(4 * W)));
typedef uint32_t Bits __attribute__((vector_size(4 * W)));
typedef int32_t Ints __attribute__((vector_size(4 * W)));
typedef uint16_t Halves __attribute__((vector_size(2 * W)));

struct bf16 {
    uint16_t bits;
};

inline Vec load(const float* p) {
    Vec x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

inline Vec load(const bf16* p) {
#ifdef __AVX512F__  // GCC 12 takes twice as many instructions for the general form
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
#else
    Halves h;
    std::memcpy(&h, p, sizeof h);
    return (Vec)(__builtin_convertvector(h, Bits) << 16);
#endif
}

inline void store(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }

inline void store(bf16* p, Vec x) {  // to nearest even; NaN stays NaN
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    Bits b = (Bits)x;
    Bits rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    Bits is_nan = (Bits)(x != x);
    Halves h = __builtin_convertvector((rounded & ~is_nan) | (is_nan & 0x7fc0), Halves);
    std::memcpy(p, &h, sizeof h);
#endif
}

inline float get(float x) { return x; }

inline float get(bf16 x) {
    uint32_t b = uint32_t(x.bits) << 16;
    float f;
    std::memcpy(&f, &b, 4);
    return f;
}

template <class T>
inline void put(T* p, float x) {
    Vec v = Vec{} + x;
    T out[W];
    store(out, v);
    *p = out[0];
}

using Lanes = std::make_integer_sequence<int, W>;

template <int... L>
inline Ints count_up(std::integer_sequence<int, L...>) {
    return Ints{L...};
}

inline Ints lanes() { return count_up(Lanes{}); }  // 0, 1, 2, ...

inline Vec max(Vec a, Vec b) { return a > b ? a : b; }

inline float sum(Vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
    float total = 0;
    for (int i = 0; i < W; i++) total += x[i];
    return total;
#endif
}

inline float max(Vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)x);
#else
    float most = x[0];
    for (int i = 1; i < W; i++) most = std::max(most, x[i]);
    return most;
#endif
}

// e^x for x <= 0, relative error below 1e-6: 2^n times a polynomial of the rest of the exponent.
inline Vec exp_negative(Vec x) {
    x = x < -87.0f ? Vec{} - 87.0f : x;  // in this order NaN passes through
    Vec n = x * 1.44269504f;
    Ints whole = __builtin_convertvector(n - 0.5f, Ints);  // x <= 0, so truncation rounds to nearest
    n = __builtin_convertvector(whole, Vec);
    Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Vec)((whole + 127) << 23);
}

}  // namespace
