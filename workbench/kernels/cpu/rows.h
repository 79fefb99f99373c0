// Work on rows between products: the norm of one, and the gate of a few of its numbers.
#pragma once
#include "vec.h"

namespace {

// to = from / rms(from) * weight, n numbers.
template <class T>
inline void norm_row(const T* from, const T* weight, T* to, int64_t n, float eps) {
    Vec squares = {};
    for (int64_t i = 0; i < n; i += W) squares += load(from + i) * load(from + i);
    float scale = 1.0f / std::sqrt(sum(squares) / n + eps);
    for (int64_t i = 0; i < n; i += W) store(to + i, load(from + i) * scale * load(weight + i));
}

// Activations of a gated layer; Python names them by these numbers.
constexpr int64_t SILU = 0, GELU_TANH = 1;

// activation(gate) * up. Both activations are g / (1 + e^-z): of silu z is g itself.
inline Vec gated(Vec g, Vec up, int64_t activation) {
    Vec z = activation == SILU ? g : 1.5957691216f * (g + 0.044715f * g * g * g);
    Vec small = exp_negative(z > 0 ? -z : z);  // e^-|z|
    return g * (z > 0 ? Vec{} + 1.0f : small) / (1.0f + small) * up;
}

}  // namespace
