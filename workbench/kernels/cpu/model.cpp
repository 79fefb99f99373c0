// The operations of a layer between its products: norm, rotary turn, gated activation.
#include "operations.h"
#include "rows.h"

namespace {

template <class T>
void rms_norm(const T* x, const T* weight, T* out, int64_t rows, int64_t n, int64_t stride, float eps) {
#pragma omp parallel for if (rows > 16)
    for (int64_t row = 0; row < rows; row++) norm_row(x + row * stride, weight, out + row * n, n, eps);
}

template <class T>
void rotate(const T* x, const T* cos, const T* sin, T* out, int64_t rows, int64_t heads, int64_t dim, int64_t stride) {
    int64_t half = dim / 2;
#pragma omp parallel for if (rows > 16)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t head = 0; head < heads; head++) {
            const T* from = x + row * stride + head * dim;
            T* to = out + (row * heads + head) * dim;
            const T *c = cos + row * dim, *s = sin + row * dim;
            for (int64_t i = 0; i < half; i += W) {
                Vec a = load(from + i), b = load(from + half + i);
                store(to + i, a * load(c + i) - b * load(s + i));
                store(to + half + i, b * load(c + half + i) + a * load(s + half + i));
            }
        }
}

template <class T>
void silu_mul(const T* gate_up, T* out, int64_t rows, int64_t n) {
#pragma omp parallel for if (rows > 8)
    for (int64_t row = 0; row < rows; row++) {
        const T *gate = gate_up + row * 2 * n, *up = gate + n;
        for (int64_t i = 0; i < n; i += W) store(out + row * n + i, gated(load(gate + i), load(up + i), SILU));
    }
}

LIST(rms_norm)
LIST(rotate)
LIST(silu_mul)

}  // namespace
