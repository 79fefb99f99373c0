// Sums and transposition over the lanes of W vectors, in log2(W) rounds of shuffles.
#pragma once
#include "vec.h"

namespace {

// The lane of the pair (a, b) that stands at lane `at` when groups of H lanes of a and b alternate: their lower groups, or,
// with `up` = H, their upper ones.
constexpr int lane(int H, int up, int at) { return at / (2 * H) * (2 * H) + at % H + (at % (2 * H) >= H ? W : 0) + up; }

template <int H, int UP, class V, int... L>
inline V groups(V a, V b, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(a, b, lane(H, UP, L)...);
}

template <int H>
inline void swap_groups(Bits* x) {
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) {
        if (i & H) continue;
        Bits a = x[i], b = x[i + H];
        x[i] = groups<H, 0>(a, b, Lanes{});
        x[i + H] = groups<H, H>(a, b, Lanes{});
    }
    if constexpr (H > 1) swap_groups<H / 2>(x);
}

// Row i of x becomes its column i.
inline void transpose(Bits* x) { swap_groups<W / 2>(x); }

template <int H, class V, class F>
inline void join_groups(V* x, F join) {
#pragma GCC unroll 8
    for (int i = 0; i < H; i++) x[i] = join(groups<H, 0>(x[i], x[i + H], Lanes{}), groups<H, H>(x[i], x[i + H], Lanes{}));
    if constexpr (H > 1) join_groups<H / 2>(x, join);
}

// The vector whose lane i is `join` of all lanes of x[i], for W vectors: at a third of the cost of one after the other.
template <class V, class F>
inline V reduced(V* x, F join) {
    join_groups<W / 2>(x, join);
    return x[0];
}

// The vector of the sums of W vectors.
inline Vec sums(Vec* x) {
    return reduced(x, [](Vec a, Vec b) { return a + b; });
}

}  // namespace
