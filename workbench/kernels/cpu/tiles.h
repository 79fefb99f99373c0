// The parts that both forms of attention with tiles of rows share: products of packed blocks, and the softmax over the blocks.
#pragma once
#include "attention.h"
#include "lanes.h"

namespace {

// The operand of a multiply-add, always 4 bytes: a float, or two bf16 where the processor multiplies pairs.
// `units` are W neighbours in a row, `across` those of W columns over one or two rows.
template <class T>
struct Unit {
    static constexpr int NUMBERS = 1;
    static Bits units(const T* x) { return (Bits)load(x); }
    static Bits across(const T* x, const T*) { return (Bits)load(x); }
    static void weights(uint32_t* out, Vec p) { std::memcpy(out, &p, sizeof p); }
    static Vec multiply_add(Vec total, uint32_t a, Bits b) { return total + (Vec)(Bits{} + a) * (Vec)b; }
};

#ifdef __AVX512BF16__
template <>
struct Unit<bf16> {
    static constexpr int NUMBERS = 2;
    static Bits units(const bf16* x) { return (Bits)_mm512_loadu_si512(x); }
    static Bits across(const bf16* x, const bf16* y) { return (Bits)load(x) >> 16 | (Bits)load(y); }
    static void weights(uint32_t* out, Vec p) { store((bf16*)out, p); }
    static Vec multiply_add(Vec total, uint32_t a, Bits b) {
        return (Vec)_mm512_dpbf16_ps((__m512)total, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
    }
};
#endif

constexpr int AT_ONCE = 6;  // rows whose sums of one strip fit into the registers
constexpr int TILE = 48;    // rows that one thread takes at a time: it packs each block of keys and values for these

// total[r][0 to 63] += sum over i of a[r * width + i] * b[i * ldb + 0 to 63], in units; rows of `total` are ldt apart.
template <class T>
inline void multiply(const uint32_t* a, int64_t width, const uint32_t* b, int64_t ldb, int depth, float* total, int64_t ldt) {
    for (int at = 0; at < BLOCK; at += STRIP * W) {
        Vec sums[AT_ONCE][STRIP];
#pragma GCC unroll 8
        for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
            for (int j = 0; j < STRIP; j++) sums[r][j] = load(total + r * ldt + at + j * W);
        for (int i = 0; i < depth; i++) {
            Bits x[STRIP];
#pragma GCC unroll 4
            for (int j = 0; j < STRIP; j++) std::memcpy(&x[j], b + i * ldb + at + j * W, sizeof x[j]);
#pragma GCC unroll 8
            for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
                for (int j = 0; j < STRIP; j++) sums[r][j] = Unit<T>::multiply_add(sums[r][j], a[r * width + i], x[j]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
            for (int j = 0; j < STRIP; j++) store(total + r * ldt + at + j * W, sums[r][j]);
    }
}

// Turns the scores of one row with a block, those in [from, to), into e^(score - peak), and the others into 0. Peak and total
// include all earlier blocks; the sums of values `acc` [dim] are rescaled with them.
inline void weigh(float* scores, const Shape& s, int from, int to, float& peak, Vec& total, float* acc, int64_t dim) {
    constexpr int N = BLOCK / W;
    Vec x[N], most = Vec{} - INFINITY;
    const float scale = s.rest();
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) {
        x[j] = s.cap(load(scores + j * W));
        Ints column = lanes() + j * W;
        if (to < BLOCK || from > 0) x[j] = ((column < from) | (column >= to)) ? Vec{} - INFINITY : x[j];
        most = max(most, x[j]);
    }
    float highest = from < to ? scale * max(most) : peak;
    if (highest > peak) {
        float keep = std::exp(peak - highest);
        peak = highest;
        total *= keep;
        for (int64_t i = 0; i < dim; i += W) store(acc + i, load(acc + i) * keep);
    }
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) {
        x[j] = from < to ? exp_negative(x[j] * scale - peak) : Vec{};
        total += x[j];
        store(scores + j * W, x[j]);
    }
}

// Many query rows over the same slots: token i of `tokens` sees slots [end - window, end) of `slots`, or of the slots
// [first_slot, ...) where `slots` is null; end is `visible` + i where `causal`, else `visible`.
struct Dense {
    int64_t first_token, tokens, first_slot, visible, window;
    const int64_t* slots;
    bool causal;

    int64_t end(int64_t token) const { return visible + (causal ? token : 0); }
    int64_t slot(int64_t i) const { return slots ? slots[i] : first_slot + i; }
};

}  // namespace
