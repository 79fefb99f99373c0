// The blocks of quantised weights, read W rows at a time. Lane r of every vector belongs to row r.
//
// A row is a sequence of blocks. A format of whole numbers gives a block as groups of 32: number = scale * (q - ZERO) + offset,
// with q of BITS bits, and a scale for each of a group's HALVES. A format of real numbers gives the 32 numbers themselves.
// The layouts are those of llama.cpp's files, and our own for the quantised folders of others (checkpoint/packing.py).
#pragma once
#include "lanes.h"

namespace {
namespace blocks {

constexpr int GROUP = 32, QUADS = GROUP / 4;

template <int HALVES>
struct Group {
    Bits quads[QUADS];  // byte b of a lane of quads[j] is q of number 4 j + b
    Vec scale[HALVES];
    Vec offset[HALVES];  // not set for formats without
};

struct Numbers {
    Vec of[GROUP];
};

template <int BITS_, int ZERO_, int HALVES_, bool HAS_OFFSET_>
struct Whole {
    static constexpr bool IS_WHOLE = true, HAS_OFFSET = HAS_OFFSET_;
    static constexpr int BITS = BITS_, ZERO = ZERO_, HALVES = HALVES_;
    using Kind = Whole;
    using Unpacked = Group<HALVES>;
};

struct Real {
    static constexpr bool IS_WHOLE = false;
    using Kind = Real;
    using Unpacked = Numbers;
};

using Rows = const uint8_t* const*;  // W rows

template <class N>
inline N read(const uint8_t* p) {
    N x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

template <int... L>
inline Bits words_of(Rows rows, int64_t at, std::integer_sequence<int, L...>) {
    return Bits{read<uint32_t>(rows[L] + at)...};
}

template <int... L>
inline Bits shorts_of(Rows rows, int64_t at, std::integer_sequence<int, L...>) {
    return Bits{read<uint16_t>(rows[L] + at)...};
}

// The four bytes of each row at byte `at`.
inline Bits words(Rows rows, int64_t at) { return words_of(rows, at, Lanes{}); }

// The float16 in the lower half of each lane.
inline Vec half(Bits x) {
#ifdef __AVX512F__
    return (Vec)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)x));
#endif
    Vec size = (Vec)((x & 0x7fff) << 13) * 0x1p112f;
    return (Vec)((Bits)size | (x & 0x8000) << 16);
}

inline Vec halves(Rows rows, int64_t at) { return half(shorts_of(rows, at, Lanes{})); }

// 16 bytes each of rows `row`, `row` + 4, ... The general forms of these take GCC up to twice as many instructions.
#if defined(__AVX512F__)
inline Bits wide(Rows rows, int64_t at, int row) {
    auto of = [&](int r) { return _mm_loadu_si128((const __m128i*)(rows[r] + at)); };
    __m512i x = _mm512_castsi128_si512(of(row));
    x = _mm512_inserti32x4(x, of(row + 4), 1);
    x = _mm512_inserti32x4(x, of(row + 8), 2);
    return (Bits)_mm512_inserti32x4(x, of(row + 12), 3);
}
#elif defined(__AVX2__)
inline Bits wide(Rows rows, int64_t at, int row) {
    auto of = [&](int r) { return _mm_loadu_si128((const __m128i*)(rows[r] + at)); };
    return (Bits)_mm256_inserti128_si256(_mm256_castsi128_si256(of(row)), of(row + 4), 1);
}
#else
inline Bits wide(Rows rows, int64_t at, int row) { return read<Bits>(rows[row] + at); }
#endif

// In every four lanes: the lower or upper two of a and b in turn, and the same of pairs of lanes.
#if defined(__AVX512F__)
inline Bits lower(Bits a, Bits b) { return (Bits)_mm512_unpacklo_epi32((__m512i)a, (__m512i)b); }
inline Bits upper(Bits a, Bits b) { return (Bits)_mm512_unpackhi_epi32((__m512i)a, (__m512i)b); }
inline Bits lower_pairs(Bits a, Bits b) { return (Bits)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b); }
inline Bits upper_pairs(Bits a, Bits b) { return (Bits)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b); }
#elif defined(__AVX2__)
inline Bits lower(Bits a, Bits b) { return (Bits)_mm256_unpacklo_epi32((__m256i)a, (__m256i)b); }
inline Bits upper(Bits a, Bits b) { return (Bits)_mm256_unpackhi_epi32((__m256i)a, (__m256i)b); }
inline Bits lower_pairs(Bits a, Bits b) { return (Bits)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b); }
inline Bits upper_pairs(Bits a, Bits b) { return (Bits)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b); }
#else
inline Bits lower(Bits a, Bits b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline Bits upper(Bits a, Bits b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
inline Bits lower_pairs(Bits a, Bits b) { return __builtin_shufflevector(a, b, 0, 1, 4, 5); }
inline Bits upper_pairs(Bits a, Bits b) { return __builtin_shufflevector(a, b, 2, 3, 6, 7); }
#endif

// out[j] is the four bytes of each row at byte `at` + 4 j, for j from 0 to 3.
inline void gather(Rows rows, int64_t at, Bits* out) {
    Bits a = wide(rows, at, 0), b = wide(rows, at, 1), c = wide(rows, at, 2), d = wide(rows, at, 3);
    Bits ab = lower(a, b), cd = lower(c, d), ab_up = upper(a, b), cd_up = upper(c, d);
    out[0] = lower_pairs(ab, cd), out[1] = upper_pairs(ab, cd);
    out[2] = lower_pairs(ab_up, cd_up), out[3] = upper_pairs(ab_up, cd_up);
}

inline void gather_32(Rows rows, int64_t at, Bits* out) {
    gather(rows, at, out);
    gather(rows, at + 16, out + 4);
}

constexpr uint32_t every(uint32_t byte) { return byte * 0x01010101u; }

inline Bits low(Bits x) { return x & every(15); }
inline Bits high(Bits x) { return x >> 4 & every(15); }

inline Vec number(Bits x) { return __builtin_convertvector((Ints)x, Vec); }
inline Vec byte_of(Bits x, int i) { return number(x >> (8 * i) & 255); }
inline Vec signed_byte_of(Bits x, int i) { return __builtin_convertvector((Ints)(x << (24 - 8 * i)) >> 24, Vec); }

// Numbers of 8 bits are signed. The product of some processors needs them without a sign: then 128 is added to each.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr uint32_t BIAS = every(128);
constexpr int SIGNED_ZERO = 128;
#else
constexpr uint32_t BIAS = 0;
constexpr int SIGNED_ZERO = 0;
#endif

// Sixteen bytes: the lower halves are the first 16 numbers, the upper ones the next 16.
inline void nibbles(Rows rows, int64_t at, Bits* quads) {
    Bits packed[4];
    gather(rows, at, packed);
    for (int j = 0; j < 4; j++) quads[j] = low(packed[j]), quads[4 + j] = high(packed[j]);
}

// Sets bit 4 of number i where bit i of the row's word is set.
inline void fifth_bits(Bits bits, Bits* quads) {
#pragma GCC unroll 8
    for (int j = 0; j < QUADS; j++) {
        Bits four = bits >> (4 * j) & 15;
        Bits spread = four | four << 14;
        quads[j] |= ((spread | spread << 7) & every(1)) << 4;
    }
}

struct Q4_0 : Whole<4, 8, 1, false> {
    static constexpr int LEN = 32, BYTES = 18;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        out->scale[0] = halves(rows, at);
        nibbles(rows, at + 2, out->quads);
    }
};

struct Q4_1 : Whole<4, 0, 1, true> {
    static constexpr int LEN = 32, BYTES = 20;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        Bits head = words(rows, at);
        out->scale[0] = half(head), out->offset[0] = half(head >> 16);
        nibbles(rows, at + 4, out->quads);
    }
};

struct Q5_0 : Whole<5, 16, 1, false> {
    static constexpr int LEN = 32, BYTES = 22;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        out->scale[0] = halves(rows, at);
        nibbles(rows, at + 6, out->quads);
        fifth_bits(words(rows, at + 2), out->quads);
    }
};

struct Q5_1 : Whole<5, 0, 1, true> {
    static constexpr int LEN = 32, BYTES = 24;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        Bits head = words(rows, at);
        out->scale[0] = half(head), out->offset[0] = half(head >> 16);
        nibbles(rows, at + 8, out->quads);
        fifth_bits(words(rows, at + 4), out->quads);
    }
};

struct Q8_0 : Whole<8, SIGNED_ZERO, 1, false> {
    static constexpr int LEN = 32, BYTES = 34;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        out->scale[0] = halves(rows, at);
        gather_32(rows, at + 2, out->quads);
        for (Bits& quad : out->quads) quad ^= BIAS;
    }
};

// Scales and offsets of the eight groups of a block, 6 bits each, from its first 16 bytes.
struct KScales {
    Vec d, m;
    Bits scales[2], offsets[2];
    KScales(Rows rows, int64_t at) {
        Bits x[4];
        gather(rows, at, x);
        d = half(x[0]), m = half(x[0] >> 16);
        scales[0] = x[1] & every(63), scales[1] = low(x[3]) | (x[1] >> 2 & every(48));
        offsets[0] = x[2] & every(63), offsets[1] = high(x[3]) | (x[2] >> 2 & every(48));
    }
    void set(int group, Group<1>& out) const {
        out.scale[0] = d * byte_of(scales[group / 4], group % 4);
        out.offset[0] = -(m * byte_of(offsets[group / 4], group % 4));
    }
};

struct Q4_K : Whole<4, 0, 1, true> {
    static constexpr int LEN = 256, BYTES = 144;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        KScales scales(rows, at);
        for (int pair = 0; pair < 4; pair++) {
            Bits packed[QUADS];
            gather_32(rows, at + 16 + 32 * pair, packed);
            Group<1>&first = out[2 * pair], &second = out[2 * pair + 1];
            for (int j = 0; j < QUADS; j++) first.quads[j] = low(packed[j]), second.quads[j] = high(packed[j]);
            scales.set(2 * pair, first), scales.set(2 * pair + 1, second);
        }
    }
};

struct Q5_K : Whole<5, 0, 1, true> {
    static constexpr int LEN = 256, BYTES = 176;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        KScales scales(rows, at);
        Bits fifth[QUADS];  // bit g belongs to group g
        gather_32(rows, at + 16, fifth);
        for (int pair = 0; pair < 4; pair++) {
            Bits packed[QUADS];
            gather_32(rows, at + 48 + 32 * pair, packed);
            Group<1>&first = out[2 * pair], &second = out[2 * pair + 1];
            for (int j = 0; j < QUADS; j++) {
                first.quads[j] = low(packed[j]) | (fifth[j] >> (2 * pair) & every(1)) << 4;
                second.quads[j] = high(packed[j]) | (fifth[j] >> (2 * pair + 1) & every(1)) << 4;
            }
            scales.set(2 * pair, first), scales.set(2 * pair + 1, second);
        }
    }
};

struct Q6_K : Whole<6, 32, 2, false> {
    static constexpr int LEN = 256, BYTES = 210;
    static void unpack(Rows rows, int64_t at, Group<2>* out) {
        Bits scales[4];
        gather(rows, at + 192, scales);
        Vec d = halves(rows, at + 208);
        for (int part = 0; part < 2; part++, out += 4) {
            Bits one[QUADS], two[QUADS], top[QUADS];
            gather_32(rows, at + 64 * part, one), gather_32(rows, at + 64 * part + 32, two);
            gather_32(rows, at + 128 + 32 * part, top);
            for (int j = 0; j < QUADS; j++) {
                out[0].quads[j] = low(one[j]) | (top[j] & every(3)) << 4;
                out[1].quads[j] = low(two[j]) | (top[j] >> 2 & every(3)) << 4;
                out[2].quads[j] = high(one[j]) | (top[j] >> 4 & every(3)) << 4;
                out[3].quads[j] = high(two[j]) | (top[j] >> 6 & every(3)) << 4;
            }
            for (int i = 0; i < 8; i++) out[i / 2].scale[i % 2] = d * signed_byte_of(scales[2 * part + i / 4], i % 4);
        }
    }
};

struct Q2_K : Whole<2, 0, 2, true> {
    static constexpr int LEN = 256, BYTES = 84;
    static void unpack(Rows rows, int64_t at, Group<2>* out) {
        Bits scales[4], head = words(rows, at + 80);
        gather(rows, at, scales);
        Vec d = half(head), m = half(head >> 16);
        for (int part = 0; part < 2; part++) {
            Bits packed[QUADS];
            gather_32(rows, at + 16 + 32 * part, packed);
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < QUADS; j++) out[4 * part + i].quads[j] = packed[j] >> (2 * i) & every(3);
        }
        for (int i = 0; i < 16; i++) {
            out[i / 2].scale[i % 2] = d * byte_of(low(scales[i / 4]), i % 4);
            out[i / 2].offset[i % 2] = -(m * byte_of(high(scales[i / 4]), i % 4));
        }
    }
};

struct Q3_K : Whole<3, 4, 2, false> {
    static constexpr int LEN = 256, BYTES = 110;
    static void unpack(Rows rows, int64_t at, Group<2>* out) {
        Bits top[QUADS];  // bit g belongs to group g
        gather_32(rows, at, top);
        for (int part = 0; part < 2; part++) {
            Bits packed[QUADS];
            gather_32(rows, at + 32 + 32 * part, packed);
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < QUADS; j++)
                    out[4 * part + i].quads[j] = (packed[j] >> (2 * i) & every(3)) | (top[j] >> (4 * part + i) & every(1)) << 2;
        }
        Bits a = words(rows, at + 96), b = words(rows, at + 100), c = words(rows, at + 104);
        Bits scales[4] = {low(a) | (c & every(3)) << 4, low(b) | (c >> 2 & every(3)) << 4, high(a) | (c >> 4 & every(3)) << 4,
                          high(b) | (c >> 6 & every(3)) << 4};
        Vec d = halves(rows, at + 108);
        for (int i = 0; i < 16; i++) out[i / 2].scale[i % 2] = d * (byte_of(scales[i / 4], i % 4) - 32.0f);
    }
};

// The sixteen numbers of the formats IQ4, in place of their four bits.
inline Bits looked_up(Bits places) {
    alignas(16) static constexpr int8_t TABLE[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
#if defined(__AVX512BW__)
    __m512i table = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i*)TABLE));
    return (Bits)_mm512_shuffle_epi8(table, (__m512i)places) ^ BIAS;
#elif defined(__AVX2__)
    __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i*)TABLE));
    return (Bits)_mm256_shuffle_epi8(table, (__m256i)places) ^ BIAS;
#else
    uint8_t at[4 * W];
    std::memcpy(at, &places, sizeof at);
    for (uint8_t& byte : at) byte = uint8_t(TABLE[byte]);
    return read<Bits>(at) ^ BIAS;
#endif
}

struct IQ4_NL : Whole<8, SIGNED_ZERO, 1, false> {
    static constexpr int LEN = 32, BYTES = 18;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        out->scale[0] = halves(rows, at);
        nibbles(rows, at + 2, out->quads);
        for (Bits& quad : out->quads) quad = looked_up(quad);
    }
};

struct IQ4_XS : Whole<8, SIGNED_ZERO, 1, false> {
    static constexpr int LEN = 256, BYTES = 136;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        Bits head = words(rows, at), lower = words(rows, at + 4), upper = head >> 16;
        Vec d = half(head);
        for (int g = 0; g < 8; g++, out++) {
            out->scale[0] = d * (number((lower >> (4 * g) & 15) | (upper >> (2 * g) & 3) << 4) - 32.0f);
            nibbles(rows, at + 8 + 16 * g, out->quads);
            for (Bits& quad : out->quads) quad = looked_up(quad);
        }
    }
};

// 4 bits with a scale and a zero point, both float16, for LEN numbers.
template <int LEN_>
struct Int4 : Whole<4, 0, 1, true> {
    static constexpr int LEN = LEN_, BYTES = 4 + LEN / 2;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        Bits head = words(rows, at);
        Vec scale = half(head), offset = -(scale * half(head >> 16));
        for (int g = 0; g < LEN / GROUP; g++, out++) {
            out->scale[0] = scale, out->offset[0] = offset;
            nibbles(rows, at + 4 + 16 * g, out->quads);
        }
    }
};

// 8 bits with a float scale for LEN numbers.
template <int LEN_>
struct Int8 : Whole<8, SIGNED_ZERO, 1, false> {
    static constexpr int LEN = LEN_, BYTES = 4 + LEN;
    static void unpack(Rows rows, int64_t at, Group<1>* out) {
        Vec scale = (Vec)words(rows, at);
        for (int g = 0; g < LEN / GROUP; g++, out++) {
            out->scale[0] = scale;
            gather_32(rows, at + 4 + GROUP * g, out->quads);
            for (Bits& quad : out->quads) quad ^= BIAS;
        }
    }
};

struct F32 : Real {
    static constexpr int LEN = GROUP, BYTES = 4 * LEN;
    static void unpack(Rows rows, int64_t at, Numbers* out) {
        for (int i = 0; i < GROUP; i += 4) {
            Bits four[4];
            gather(rows, at + 4 * i, four);
            for (int j = 0; j < 4; j++) out->of[i + j] = (Vec)four[j];
        }
    }
};

// Sixteen bits: of each word, the lower half is the first number.
template <class First, class Second>
inline void pairs(Rows rows, int64_t at, Numbers* out, First first, Second second) {
    for (int i = 0; i < GROUP; i += 8) {
        Bits two[4];
        gather(rows, at + 2 * i, two);
        for (int j = 0; j < 4; j++) out->of[i + 2 * j] = first(two[j]), out->of[i + 2 * j + 1] = second(two[j]);
    }
}

struct F16 : Real {
    static constexpr int LEN = GROUP, BYTES = 2 * LEN;
    static void unpack(Rows rows, int64_t at, Numbers* out) {
        pairs(rows, at, out, [](Bits x) { return half(x); }, [](Bits x) { return half(x >> 16); });
    }
};

struct BF16 : Real {
    static constexpr int LEN = GROUP, BYTES = 2 * LEN;
    static void unpack(Rows rows, int64_t at, Numbers* out) {
        pairs(rows, at, out, [](Bits x) { return (Vec)(x << 16); }, [](Bits x) { return (Vec)(x & 0xffff0000u); });
    }
};

// float8 e4m3 with a float scale for LEN numbers.
template <int LEN_>
struct Float8 : Real {
    static constexpr int LEN = LEN_, BYTES = 4 + LEN;
    static void unpack(Rows rows, int64_t at, Numbers* out) {
        Vec scale = (Vec)words(rows, at);
        for (int g = 0; g < LEN / GROUP; g++, out++) {
            Bits quads[QUADS];
            gather_32(rows, at + 4 + GROUP * g, quads);
            for (int i = 0; i < GROUP; i++) {
                Bits code = quads[i / 4] >> (8 * (i % 4));
                Vec size = (Vec)((code & 127) << 20) * 0x1p120f;
                out->of[i] = (Vec)((Bits)size | (code & 128) << 24) * scale;
            }
        }
    }
};

// The sixteen numbers of NF4, in place of the four lowest bits.
inline Vec nf4(Bits places) {
    alignas(64) static constexpr float TABLE[16] = {
        -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
        -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
#if defined(__AVX512F__)
    return (Vec)_mm512_permutexvar_ps((__m512i)places, _mm512_load_ps(TABLE));
#elif defined(__AVX2__)
    __m256 first = _mm256_permutevar8x32_ps(_mm256_load_ps(TABLE), (__m256i)places);
    __m256 second = _mm256_permutevar8x32_ps(_mm256_load_ps(TABLE + 8), (__m256i)places);
    return (Vec)_mm256_blendv_ps(first, second, (__m256)(places << 28));
#else
    Vec out;
    for (int i = 0; i < W; i++) out[i] = TABLE[places[i] & 15];
    return out;
#endif
}

struct NF4 : Real {
    static constexpr int LEN = 64, BYTES = 4 + LEN / 2;
    static void unpack(Rows rows, int64_t at, Numbers* out) {
        Vec scale = (Vec)words(rows, at);
        for (int g = 0; g < LEN / GROUP; g++, out++) {
            Bits packed[4];
            gather(rows, at + 4 + 16 * g, packed);
            for (int i = 0; i < 16; i++) {
                Bits code = packed[i / 4] >> (8 * (i % 4));
                out->of[i] = nf4(code) * scale, out->of[16 + i] = nf4(code >> 4) * scale;
            }
        }
    }
};

}  // namespace blocks
}  // namespace
