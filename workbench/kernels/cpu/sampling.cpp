// Rows of logits: hide what a mask forbids, find the largest, describe the distribution.
#include "operations.h"

namespace {

constexpr uint32_t ALL = (1u << W) - 1;  // the bits of a vector's numbers
constexpr int GROUP = 64;                // numbers that are skipped together where a mask hides them all

// In place: number i of each row of x [rows, n] becomes -inf where bit i of the row's mask [words] is not set.
template <class T>
void mask_rows(T* x, const uint32_t* mask, int64_t rows, int64_t n, int64_t words) {
    const Bits bit = (Bits{} + 1) << (Bits)lanes();
    const Vec hidden = Vec{} - INFINITY;
#pragma omp parallel for if (rows * n > 16384)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t at = 0; at < n; at += W) {
            uint32_t allowed = mask[row * words + at / 32] >> at % 32 & ALL;
            T* p = x + row * n + at;
            if (at + W > n)
                for (int64_t i = 0; i < n - at; i++) put(p + i, allowed >> i & 1 ? get(p[i]) : -INFINITY);
            else if (!allowed)
                store(p, hidden);
            else if (allowed != ALL)
                store(p, ((Bits{} + allowed) & bit) != 0 ? load(p) : hidden);
        }
}

// W numbers of a row from place `at`; -inf behind its end, and where a bit of its mask (null: all are set) is not set.
template <class T>
inline Vec allowed_at(const T* x, const uint32_t* mask, int64_t at, int64_t n) {
    const Bits bit = (Bits{} + 1) << (Bits)lanes();
    const Vec hidden = Vec{} - INFINITY;
    Vec v;
    if (at + W <= n)
        v = load(x + at);
    else
        for (int64_t i = 0; i < W; i++) v[i] = at + i < n ? get(x[at + i]) : -INFINITY;
    if (mask == nullptr) return v;
    uint32_t allowed = mask[at / 32] >> at % 32 & ALL;
    return allowed == ALL ? v : ((Bits{} + allowed) & bit) != 0 ? v : hidden;
}

// Whether none of the 64 numbers of a row from place `at`, a multiple of 64, has a bit.
inline bool is_hidden(const uint32_t* mask, int64_t at, int64_t n) {
    return mask != nullptr && !mask[at / 32] && (at + 32 >= n || !mask[at / 32 + 1]);
}

// The largest number of each row of x [rows, n] among those whose bit of its mask (null: all) is set, and the first place where it
// stands; NaN is larger than all numbers. A row without a bit has -inf at place 0.
template <class T>
void argmax(const T* x, const uint32_t* masks, int64_t* best, float* peak, int64_t rows, int64_t n, int64_t words) {
#pragma omp parallel for if (rows * n > 16384)
    for (int64_t row = 0; row < rows; row++) {
        const T* from = x + row * n;
        const uint32_t* mask = masks == nullptr ? nullptr : masks + row * words;
        Vec most[GROUP / W];
        Ints is_nan = {};
        for (int i = 0; i < GROUP / W; i++) most[i] = Vec{} - INFINITY;
        for (int64_t at = 0; at < n; at += GROUP) {
            if (is_hidden(mask, at, n)) continue;
#pragma GCC unroll 16
            for (int i = 0; i < GROUP / W; i++) {
                Vec v = at + i * W < n ? allowed_at(from, mask, at + i * W, n) : Vec{} - INFINITY;
                most[i] = max(most[i], v);
                is_nan |= v != v;
            }
        }
        for (int i = 1; i < GROUP / W; i++) most[0] = max(most[0], most[i]);
        float highest = max(most[0]);
        bool found_nan = false;
        for (int i = 0; i < W; i++) found_nan |= is_nan[i] != 0;
        best[row] = 0;
        peak[row] = -INFINITY;
        for (int64_t at = 0; at < n; at += W) {
            if (at % GROUP == 0 && is_hidden(mask, at, n)) {
                at += GROUP - W;
                continue;
            }
            Vec v = allowed_at(from, mask, at, n);
            Ints is_best = found_nan ? v != v : v == highest;
            int i = 0;
            while (i < W && !is_best[i]) i++;
            if (i == W || at + i >= n) continue;
            best[row] = at + i;
            peak[row] = v[i];
            break;
        }
    }
}

// Finds in rows which[r] of x [.., n], where mask [rows, words] allows (null: all of it): the k largest numbers in order, of equals
// the first first, with their places; and stats [rows, 4]: log-sum-exp, entropy of the softmax, how many numbers are larger
// than the one at tokens[r], and that number. What is not finite makes the log-sum-exp NaN.
template <class T>
void look(const T* x, const int64_t* which, const int64_t* tokens, const uint32_t* mask, float* stats, int64_t* ids,
          float* best, int64_t rows, int64_t n, int64_t words, int64_t k) {
#pragma omp parallel for if (rows * n > 16384)
    for (int64_t row = 0; row < rows; row++) {
        const T* from = x + which[row] * n;
        const uint32_t* bits = mask == nullptr ? nullptr : mask + row * words;
        float* top = best + row * k;
        int64_t* place = ids + row * k;
        for (int64_t i = 0; i < k; i++) top[i] = -INFINITY, place[i] = 0;
        for (int64_t at = 0; at < n; at += GROUP) {
            Vec v[GROUP / W], most = Vec{} - INFINITY;
            for (int i = 0; i < GROUP / W; i++) v[i] = at + i * W < n ? allowed_at(from, bits, at + i * W, n) : Vec{} - INFINITY;
            for (Vec x : v) most = max(most, x);
            if (!(max(most) > top[k - 1])) continue;
            for (int64_t j = 0; j < GROUP; j++) {
                float value = v[j / W][j % W];
                if (!(value > top[k - 1])) continue;
                int64_t to = k - 1;
                for (; to > 0 && value > top[to - 1]; to--) top[to] = top[to - 1], place[to] = place[to - 1];
                top[to] = value, place[to] = at + j;
            }
        }
        float own = get(from[tokens[row]]), peak = top[0];
        Vec total = {}, mean = {}, higher = {};
        const Vec least = Vec{} - 87.0f, one = Vec{} + 1.0f;
        for (int64_t at = 0; at < n; at += W) {
            Vec v = allowed_at(from, bits, at, n);
            Vec below = v - peak;
            below = below < least ? least : below;  // in this order NaN passes through
            Vec e = exp_negative(below);
            total += e;
            mean += e * below;
            higher += v > own ? one : Vec{};
        }
        float sum_e = sum(total);
        float* told = stats + row * 4;
        told[0] = peak + std::log(sum_e);
        told[1] = std::log(sum_e) - sum(mean) / sum_e;
        told[2] = sum(higher);
        told[3] = own;
    }
}

LIST(mask_rows)
LIST(argmax)
LIST(look)

}  // namespace
