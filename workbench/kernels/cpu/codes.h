// Numbers of 8 bits: floats with two or three bits of mantissa, and integers. A number is its code's value times a scale.
#pragma once
#include "vec.h"

namespace {

enum Format : int64_t { DENSE, E5M2, E4M3, INT8 };  // Python passes these numbers

// Floats whose largest finite code is MAX; the codes above it are infinity and NaN, or NaN alone. The sign is the highest bit.
template <int MANTISSA, uint32_t MAX>
struct SmallFloat {
    static constexpr int BIAS = (1 << (6 - MANTISSA)) - 1, SHIFT = 23 - MANTISSA;

    static float power_of_two(int exponent) {
        uint32_t bits = uint32_t(127 + exponent) << 23;
        float x;
        std::memcpy(&x, &bits, 4);
        return x;
    }

    static Vec value(Bits code) {
        Bits size = code & 0x7f, bits = size << SHIFT;
        Vec normal = (Vec)(bits + ((127u - BIAS) << 23));
        Vec small = (Vec)(bits + ((128u - BIAS) << 23)) - power_of_two(1 - BIAS);  // its exponent is 0: no bit before the mantissa
        Vec x = size < (1u << MANTISSA) ? small : normal;
        bits = size > MAX ? bits | 0x7f800000 : (Bits)x;
        return (Vec)(bits | (code & 0x80) << 24);
    }

    // The code of the nearest number, the even one of two; beyond the largest, the largest. NaN stays NaN.
    static Bits code(Vec x) {
        Bits sign = ((Bits)x >> 24) & 0x80, size = (Bits)x & 0x7fffffff;
        Vec largest = value(Bits{} + MAX), whole = (Vec)size;
        Bits bits = whole > largest ? (Bits)largest : size;
        Bits normal = bits - ((127u - BIAS) << 23);
        normal = (normal + ((1u << (SHIFT - 1)) - 1) + ((normal >> SHIFT) & 1)) >> SHIFT;
        // The last bit of this sum is worth as much as the last bit of a small code, so the addition rounds.
        Vec least = Vec{} + power_of_two(1 - BIAS), ruler = Vec{} + power_of_two(1 - BIAS + SHIFT);
        Bits small = (Bits)((Vec)bits + ruler) - (Bits)ruler;
        Bits rounded = (Vec)bits < least ? small : normal;
        return (size > 0x7f800000 ? Bits{} + 0x7f : rounded) | sign;
    }
};

using Float5M2 = SmallFloat<2, 0x7b>;
using Float4M3 = SmallFloat<3, 0x7e>;

struct Integer {
    static Vec value(Bits code) { return __builtin_convertvector((Ints)(code << 24) >> 24, Vec); }

    // The code of the nearest integer, the even one of two, within -127 to 127.
    static Bits code(Vec x) {
        x = x > 127.0f ? Vec{} + 127.0f : x < -127.0f ? Vec{} - 127.0f : x;
        const Vec ruler = Vec{} + 12582912.0f;  // 1.5 * 2^23: beside it the last bit is worth 1
        return ((Bits)(x + ruler) - (Bits)ruler) & 0xff;
    }
};

typedef uint8_t Bytes __attribute__((vector_size(W)));

inline Bits load_codes(const uint8_t* p) {
#ifdef __AVX512F__
    return (Bits)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
#elif defined(__AVX2__)
    return (Bits)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
#else
    Bytes x;
    std::memcpy(&x, p, sizeof x);
    return __builtin_convertvector(x, Bits);
#endif
}

inline void store_codes(uint8_t* p, Bits codes) {
    Bytes x = __builtin_convertvector(codes, Bytes);
    std::memcpy(p, &x, sizeof x);
}

template <class CODE, class T>
void read_row(const uint8_t* codes, float scale, T* out, int64_t size) {
    for (int64_t i = 0; i < size; i += W) store(out + i, CODE::value(load_codes(codes + i)) * scale);
}

template <class CODE, class T>
void write_row(const T* x, float scale, uint8_t* codes, int64_t size) {
    for (int64_t i = 0; i < size; i += W) store_codes(codes + i, CODE::code(load(x + i) / scale));
}

// The scale with which the largest number of a row becomes 127; NaN if one of them is infinite or NaN.
template <class T>
float scale_of(const T* x, int64_t size) {
    Ints most = {};
    for (int64_t i = 0; i < size; i += W) {
        Ints bits = (Ints)load(x + i) & 0x7fffffff;  // of numbers without a sign, the larger has the larger bits
        most = bits > most ? bits : most;
    }
    int32_t bits = 0;
    for (int i = 0; i < W; i++) bits = std::max(bits, most[i]);
    float largest;
    std::memcpy(&largest, &bits, 4);
    return bits < 0x7f800000 ? largest / 127 : NAN;
}

// K or V of all slots of a layer, [slots, Hkv, D], as the store keeps them. Row `slot * Hkv + head` holds the numbers of a head.
template <class T>
struct Rows {
    const void* numbers;
    const float* scales;  // one for each row of integers, one for all rows of floats
    int64_t format;

    int64_t row_bytes(int64_t size) const { return format == DENSE ? size * sizeof(T) : size; }

    const char* address(int64_t row, int64_t size) const { return (const char*)numbers + row * row_bytes(size); }

    // The numbers of a row: in place where they are dense, else read into `room`.
    const T* read(int64_t row, int64_t size, T* room) const {
        const char* from = address(row, size);
        if (format == DENSE) return (const T*)from;
        auto read = format == E5M2 ? read_row<Float5M2, T> : format == E4M3 ? read_row<Float4M3, T> : read_row<Integer, T>;
        read((const uint8_t*)from, scales[format == INT8 ? row : 0], room, size);
        return room;
    }
};

}  // namespace
