// Attention of one query row per sequence, over K/V that are read in place.
#include <vector>

#include "attention.h"
#include "codes.h"
#include "lanes.h"
#include "operations.h"

namespace {

// W sums whose total is the dot product.
template <int D, class T>
inline Vec dot(const T* a, const T* b) {
    Vec total = {};
#pragma GCC unroll 4
    for (int i = 0; i < D; i += W) total += load(a + i) * load(b + i);
    return total;
}

#ifdef __AVX512BF16__
template <int D>
inline Vec dot(const bf16* a, const bf16* b) {
    __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < D; i += 2 * W)
        total = _mm512_dpbf16_ps(total, (__m512bh)_mm512_loadu_si512(a + i), (__m512bh)_mm512_loadu_si512(b + i));
    return (Vec)total;
}
#endif

// Scores of one query head with the keys of W slots.
template <int D, class T>
inline Vec scores_of(const T* q, const T* const* keys) {
    Vec x[W];
#pragma GCC unroll 16
    for (int j = 0; j < W; j++) x[j] = dot<D>(q, keys[j]);
    return sums(x);
}

constexpr int PIECE = 512;  // slots of one sequence that one thread reads

// acc[g] += sum over j of p[g][j] * rows[j], for G query heads of one K/V head, a strip of numbers at a time.
template <int G, int D, class T>
inline void add_values(const T* const* rows, int count, const float (*p)[BLOCK], float* acc) {
    for (int at = 0; at < D; at += STRIP * W) {
        Vec total[G][STRIP];
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
#pragma GCC unroll 4
            for (int i = 0; i < STRIP; i++) total[g][i] = load(acc + g * D + at + i * W);
        for (int j = 0; j < count; j++) {
#pragma GCC unroll 4
            for (int i = 0; i < STRIP; i++) {
                Vec x = load(rows[j] + at + i * W);
#pragma GCC unroll 4
                for (int g = 0; g < G; g++) total[g][i] += x * p[g][j];
            }
        }
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
#pragma GCC unroll 4
            for (int i = 0; i < STRIP; i++) store(acc + g * D + at + i * W, total[g][i]);
    }
}

// Turns `count` scores of one head into e^(score - peak). Peak and total include all earlier blocks; `acc` is rescaled with them.
inline void weigh(float* p, int count, float* peak, float* total, float* acc, int64_t dim) {
    for (int j = count; j % W; j++) p[j] = -INFINITY;
    Vec most = Vec{} + *peak;
    for (int j = 0; j < count; j += W) most = max(most, load(p + j));
    float higher = max(most), keep = std::exp(*peak - higher);
    Vec weights = {};
    for (int j = 0; j < count; j += W) {
        Vec e = exp_negative(load(p + j) - higher);
        store(p + j, e);
        weights += e;
    }
    *peak = higher;
    *total = *total * keep + sum(weights);
    if (keep != 1.0f)
        for (int64_t i = 0; i < dim; i += W) store(acc + i, load(acc + i) * keep);
}

// G query heads of one K/V head over one block of slots.
template <int G, int D, class T>
inline void attend_block(const T* q, const T* const* keys, const T* const* values, int count, const Shape& s, float* out,
                         float* peak, float* total) {
    float p[G][BLOCK];
    for (int j = 0; j < count; j += W)
        for (int g = 0; g < G; g++) store(p[g] + j, s.rest() * s.cap(scores_of<D>(q + g * D, keys + j)));
    for (int g = 0; g < G; g++) weigh(p[g], count, peak + g, total + g, out + g * D, D);
    add_values<G, D>(values, count, p, out);
}

// One query row over `count` slots: out [Hq, D] not yet divided by total [Hq]; peak [Hq] was taken off the scores.
template <int D, class T>
void attend_piece(const T* q, Rows<T> k, Rows<T> v, const int64_t* slots, int64_t count, Shape s, float* out, float* peak,
                  float* total) {
    int64_t group = s.heads / s.kv_heads;
    alignas(64) T room[2][BLOCK][D];
    std::fill(out, out + s.heads * D, 0.0f);
    std::fill(peak, peak + s.heads, -INFINITY);
    std::fill(total, total + s.heads, 0.0f);
    const T *keys[BLOCK], *values[BLOCK];
    for (int64_t at = 0; at < count; at += BLOCK) {
        int n = std::min<int64_t>(BLOCK, count - at);
        for (int64_t kv_head = 0; kv_head < s.kv_heads; kv_head++) {
            for (int j = 0; j < n; j++) {
                int64_t row = slots[at + j] * s.kv_heads + kv_head;
                int64_t next = slots[std::min(at + j + BLOCK, count - 1)] * s.kv_heads + kv_head;
                keys[j] = k.read(row, D, room[0][j]);
                values[j] = v.read(row, D, room[1][j]);
                for (int64_t line = 0; line < k.row_bytes(D); line += 64) {
                    __builtin_prefetch(k.address(next, D) + line);
                    __builtin_prefetch(v.address(next, D) + line);
                }
            }
            std::fill(keys + n, keys + BLOCK, keys[n - 1]);
            for (int64_t first = 0; first < group; first += 4) {
                int64_t head = kv_head * group + first;
                auto block = group - first >= 4   ? attend_block<4, D, T>
                             : group - first == 3 ? attend_block<3, D, T>
                             : group - first == 2 ? attend_block<2, D, T>
                                                  : attend_block<1, D, T>;
                block(q + head * D, keys, values, n, s, out + head * D, peak + head, total + head);
            }
        }
    }
}

struct Piece {
    int64_t row, start, end;
};

// Row b of q [B, Hq, D] (rows `stride` apart) over the K/V of slots[starts[b]] to slots[starts[b + 1] - 1], at least one.
template <int D, class T>
void attend_rows(const T* q, int64_t stride, Rows<T> k, Rows<T> v, const int64_t* slots, const int64_t* starts, T* out,
                  float* lse, int64_t rows, Shape s) {
    std::vector<Piece> pieces;
    std::vector<int64_t> first_piece;
    for (int64_t row = 0; row < rows; row++) {
        first_piece.push_back(pieces.size());
        for (int64_t at = starts[row]; at < starts[row + 1]; at += PIECE)
            pieces.push_back({row, at, std::min(at + PIECE, starts[row + 1])});
    }
    first_piece.push_back(pieces.size());
    int64_t size = s.heads * D, record = size + 2 * s.heads;
    std::vector<float> partial(pieces.size() * record);
#pragma omp parallel if (starts[rows] - starts[0] > 256)
    {
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < pieces.size(); i++) {
            Piece piece = pieces[i];
            float* sums = partial.data() + i * record;
            attend_piece<D>(q + piece.row * stride, k, v, slots + piece.start, piece.end - piece.start, s, sums, sums + size,
                            sums + size + s.heads);
        }
#pragma omp for
        for (int64_t row = 0; row < rows; row++)
            for (int64_t head = 0; head < s.heads; head++) {
                float peak = -INFINITY, total = 0, sums[D] = {};
                for (int64_t i = first_piece[row]; i < first_piece[row + 1]; i++)
                    peak = std::max(peak, partial[i * record + size + head]);
                for (int64_t i = first_piece[row]; i < first_piece[row + 1]; i++) {
                    const float* part = partial.data() + i * record;
                    float weight = std::exp(part[size + head] - peak);
                    total += weight * part[size + s.heads + head];
                    for (int d = 0; d < D; d += W) store(sums + d, load(sums + d) + weight * load(part + head * D + d));
                }
                for (int d = 0; d < D; d += W) store(out + row * size + head * D + d, load(sums + d) / total);
                lse[row * s.heads + head] = peak + std::log(total);
            }
    }
}

template <class T>
void attend_slots(const T* q, int64_t stride, const void* k, const void* v, const float* k_scales, const float* v_scales,
                  int64_t format, const int64_t* slots, const int64_t* starts, T* out, float* lse, int64_t rows, int64_t heads,
                  int64_t kv_heads, int64_t dim, float scale, float softcap) {
    Shape s{heads, kv_heads, scale, softcap};
    Rows<T> keys{k, k_scales, format}, values{v, v_scales, format};
    with_head_size(dim, [&](auto D) { attend_rows<D>(q, stride, keys, values, slots, starts, out, lse, rows, s); });
}

// Copies row i of a step, `size` numbers at from + i * stride, to slot slots[i] of a store whose slots are that large.
template <class T>
void write_slots(T* store, const T* from, int64_t stride, const int64_t* slots, int64_t rows, int64_t size) {
    for (int64_t i = 0; i < rows; i++) std::memcpy(store + slots[i] * size, from + i * stride, size * sizeof(T));
}

// Rounds row i of a step, [heads, dim] numbers at from + i * stride, to the codes of slot slots[i].
template <class T>
void write_codes(uint8_t* store, float* scales, int64_t format, const T* from, int64_t stride, const int64_t* slots,
                 int64_t rows, int64_t heads, int64_t dim) {
    auto write = format == E5M2 ? write_row<Float5M2, T> : format == E4M3 ? write_row<Float4M3, T> : write_row<Integer, T>;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t head = 0; head < heads; head++) {
            int64_t row = slots[i] * heads + head;
            const T* x = from + i * stride + head * dim;
            float scale = *scales;
            if (format == INT8) {
                scales[row] = scale = scale_of(x, dim);
                if (!(scale > 0)) scale = INFINITY;  // all are 0, or NaN is read whatever the codes are
            }
            write(x, scale, store + row * dim, dim);
        }
}

LIST(attend_slots)
LIST(write_slots)
LIST(write_codes)

}  // namespace
