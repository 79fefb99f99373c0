// Names that both forms of attention share.
#pragma once
#include <type_traits>

#include "vec.h"

namespace {

constexpr int BLOCK = 64;  // slots whose scores are held at once

struct Shape {
    int64_t heads, kv_heads;
    float scale, softcap;

    // The factor that capped scores still lack.
    float rest() const { return softcap == 0 ? scale : 1; }

    // softcap * tanh(scale * score / softcap); where the softcap is 0 the score as it is.
    Vec cap(Vec score) const {
        if (softcap == 0) return score;
        Vec x = score * (scale / softcap), small = exp_negative(-2.0f * (x > 0 ? x : -x)), t = (1.0f - small) / (1.0f + small);
        return softcap * (x > 0 ? t : -t);
    }
};

// Calls f with the head size as a constant of the compiler.
template <class F>
void with_head_size(int64_t dim, F f) {
    if (dim == 64)
        f(std::integral_constant<int, 64>{});
    else if (dim == 128)
        f(std::integral_constant<int, 128>{});
    else
        f(std::integral_constant<int, 256>{});
}

}  // namespace
