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

constexpr int PIECE = 128;  // slots of one sequence that one thread reads at a time

// Fetches keys and values into the cache, a few slots at a time, while the processor computes with those before them.
struct Fetch {
    const char *k, *v;
    int64_t bytes;  // of all heads of a slot
    const int64_t *next, *end;
    int at_once;

    void some() {
        for (int i = 0; i < at_once && next < end; i++, next++)
            for (int64_t line = 0; line < bytes; line += 64) {
                __builtin_prefetch(k + *next * bytes + line, 0, 2);
                __builtin_prefetch(v + *next * bytes + line, 0, 2);
            }
    }
};

// Keys or values of a block of slots for one K/V head: that of slot j is at rows[j] + offset. Beyond the last they are the last.
template <class T>
struct Heads {
    const T* rows[BLOCK];
    int64_t offset;

    const T* operator[](int j) const { return rows[j] + offset; }
};

// Scores of one query head with the keys of W slots, from slot j on.
template <int D, class T>
inline Vec scores_of(const T* q, const Heads<T>& keys, int j) {
    Vec x[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) x[i] = dot<D>(q, keys[j + i]);
    return sums(x);
}

// acc[g] += sum over j of p[g][j] * values[j], for G query heads of one K/V head, a strip of numbers at a time.
template <int G, int D, class T>
inline void add_values(const Heads<T>& values, int count, const float (*p)[BLOCK], float* acc, Fetch& fetch) {
    for (int at = 0; at < D; at += STRIP * W) {
        Vec total[G][STRIP];
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
#pragma GCC unroll 4
            for (int i = 0; i < STRIP; i++) total[g][i] = load(acc + g * D + at + i * W);
        for (int j = 0; j < count; j++) {
            if (j % W == 0) fetch.some();
#pragma GCC unroll 4
            for (int i = 0; i < STRIP; i++) {
                Vec x = load(values[j] + at + i * W);
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

// Puts the numbers of `acc` into the order of the values, after the last of them.
template <int D>
inline void in_order(float*, const void*) {}

#ifdef __AVX512BF16__
// The values of two slots at once, as pairs. So within 32 numbers `acc` has first the lower four of each eight, then the others.
template <int G, int D>
inline void add_values(const Heads<bf16>& values, int count, const float (*p)[BLOCK], float* acc, Fetch& fetch) {
    alignas(64) uint32_t weights[G][BLOCK / 2];
    for (int g = 0; g < G; g++)
        for (int j = 0; j < count; j += W) store((bf16*)weights[g] + j, load(p[g] + j));
    for (int at = 0; at < D; at += 4 * W) {
        __m512 total[G][4];
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) total[g][i] = _mm512_loadu_ps(acc + g * D + at + i * W);
        for (int j = 0; j < count; j += 2) {
            if (j % W == 0) fetch.some();
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++) {
                __m512i x = _mm512_loadu_si512(values[j] + at + half * 32), y = _mm512_loadu_si512(values[j + 1] + at + half * 32);
                __m512bh low = (__m512bh)_mm512_unpacklo_epi16(x, y), high = (__m512bh)_mm512_unpackhi_epi16(x, y);
#pragma GCC unroll 4
                for (int g = 0; g < G; g++) {
                    __m512bh w = (__m512bh)_mm512_set1_epi32(weights[g][j / 2]);
                    total[g][2 * half] = _mm512_dpbf16_ps(total[g][2 * half], w, low);
                    total[g][2 * half + 1] = _mm512_dpbf16_ps(total[g][2 * half + 1], w, high);
                }
            }
        }
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) _mm512_storeu_ps(acc + g * D + at + i * W, total[g][i]);
    }
}

template <int D>
inline void in_order(float* acc, const bf16*) {
    for (int at = 0; at < D; at += 32) {
        float x[32];
        std::memcpy(x, acc + at, sizeof x);
        for (int i = 0; i < 32; i++) acc[at + i / 4 % 4 * 8 + i / 16 * 4 + i % 4] = x[i];
    }
}
#endif

// Turns `count` scores of one head into e^(score - peak), and those up to the next multiple of W into 0. Peak and total include
// all earlier blocks; `acc` is rescaled with them.
inline void weigh(float* p, int count, float* peak, float* total, float* acc, int64_t dim) {
    for (int j = count; j % W; j++) p[j] = -INFINITY;
    Vec most = Vec{} + *peak;
    for (int j = 0; j < count; j += W) most = max(most, load(p + j));
    float higher = max(most);
    Vec weights = {};
    for (int j = 0; j < count; j += W) {
        Vec e = exp_negative(load(p + j) - higher);
        store(p + j, e);
        weights += e;
    }
    if (higher != *peak) {
        float keep = std::exp(*peak - higher);
        *total *= keep;
        for (int64_t i = 0; i < dim; i += W) store(acc + i, load(acc + i) * keep);
    }
    *peak = higher;
    *total += sum(weights);
}

// G query heads of one K/V head over one block of slots.
template <int G, int D, class T>
inline void attend_block(const T* q, const Heads<T>& keys, const Heads<T>& values, int count, const Shape& s, float* out,
                         float* peak, float* total, Fetch& fetch) {
    alignas(64) float p[G][BLOCK];
    for (int j = 0; j < count; j += W) {
        fetch.some();
#pragma GCC unroll 4
        for (int g = 0; g < G; g++) {
            store(p[g] + j, s.rest() * s.cap(scores_of<D>(q + g * D, keys, j)));
            asm volatile("" ::: "memory");  // keys of W slots do not fit into the registers: each head loads them
        }
    }
    for (int g = 0; g < G; g++) weigh(p[g], count, peak + g, total + g, out + g * D, D);
    add_values<G, D>(values, count, p, out, fetch);
}

struct Piece {
    int64_t row, start, end;
};

// One query row over the slots of a piece: out [Hq, D] not yet divided by total [Hq]; peak [Hq] was taken off the scores.
// The slots of `after` are probably the next that this thread reads.
template <int D, class T>
void attend_piece(const T* q, Rows<T> k, Rows<T> v, const int64_t* slots, Piece piece, Piece after, Shape s, float* out,
                  float* peak, float* total) {
    int64_t group = s.heads / s.kv_heads, bytes = s.kv_heads * k.row_bytes(D);
    alignas(64) T room[2][BLOCK][D];
    std::fill(out, out + s.heads * D, 0.0f);
    std::fill(peak, peak + s.heads, -INFINITY);
    std::fill(total, total + s.heads, 0.0f);
    Heads<T> keys, values;
    int calls = 2 * BLOCK / W * s.kv_heads, at_once = (BLOCK + calls - 1) / calls;
    for (int64_t at = piece.start; at < piece.end; at += BLOCK) {
        int n = std::min<int64_t>(BLOCK, piece.end - at);
        Piece next = at + BLOCK < piece.end ? Piece{piece.row, at + BLOCK, piece.end} : after;
        Fetch fetch{(const char*)k.numbers, (const char*)v.numbers, bytes, slots + next.start,
                    slots + std::min(next.end, next.start + BLOCK), at_once};
        if (k.format == DENSE)
            for (int j = 0; j < BLOCK; j++) {
                int64_t first = slots[at + std::min(j, n - 1)] * s.kv_heads * D;
                keys.rows[j] = (const T*)k.numbers + first;
                values.rows[j] = (const T*)v.numbers + first;
            }
        for (int64_t kv_head = 0; kv_head < s.kv_heads; kv_head++) {
            keys.offset = values.offset = kv_head * D;
            if (k.format != DENSE) {
                for (int j = 0; j < BLOCK; j++) {
                    int64_t row = slots[at + std::min(j, n - 1)] * s.kv_heads + kv_head;
                    keys.rows[j] = j < n ? k.read(row, D, room[0][j]) : room[0][n - 1];
                    values.rows[j] = j < n ? v.read(row, D, room[1][j]) : room[1][n - 1];
                }
                keys.offset = values.offset = 0;
            }
            for (int64_t first = 0; first < group; first += 4) {
                int64_t head = kv_head * group + first;
                auto block = group - first >= 4   ? attend_block<4, D, T>
                             : group - first == 3 ? attend_block<3, D, T>
                             : group - first == 2 ? attend_block<2, D, T>
                                                  : attend_block<1, D, T>;
                block(q + head * D, keys, values, n, s, out + head * D, peak + head, total + head, fetch);
            }
        }
    }
    for (int64_t head = 0; head < s.heads; head++) in_order<D>(out + head * D, q);
}

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
    int64_t size = s.heads * D, record = size + 2 * s.heads, last = pieces.size() - 1;
    std::vector<float> partial(pieces.size() * record);
#pragma omp parallel if (starts[rows] - starts[0] > 256)
    {
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i <= last; i++) {
            Piece piece = pieces[i];
            float* sums = partial.data() + i * record;
            attend_piece<D>(q + piece.row * stride, k, v, slots, piece, pieces[std::min(i + 1, last)], s, sums, sums + size,
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
