// What torch has no single fast operation for on a CPU. Plain C interface, called through ctypes by kernels/cpu.py.
//
// T is float or bf16; sums are float. Rows are split over the OpenMP threads that torch uses too. Vectors of 16 floats
// are GCC vector extensions, so the compiler maps them to what the processor has.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int W = 16;
typedef float Vec __attribute__((vector_size(4 * W)));
typedef uint32_t Bits __attribute__((vector_size(4 * W)));
typedef int32_t Ints __attribute__((vector_size(4 * W)));
typedef uint16_t Halves __attribute__((vector_size(2 * W)));

struct bf16 {
    uint16_t bits;
};

inline Vec load(const float* p) {
    Vec x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

inline Vec load(const bf16* p) {
#ifdef __AVX512F__  // GCC 12 takes twice as many instructions for the general form
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
#endif
    Halves h;
    std::memcpy(&h, p, sizeof h);
    return (Vec)(__builtin_convertvector(h, Bits) << 16);
}

inline void store(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }

inline void store(bf16* p, Vec x) {  // to nearest even; NaN stays NaN
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
    return;
#endif
    Bits b = (Bits)x;
    Bits rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    Bits is_nan = (Bits)(x != x);
    Halves h = __builtin_convertvector((rounded & ~is_nan) | (is_nan & 0x7fc0), Halves);
    std::memcpy(p, &h, sizeof h);
}

inline float get(float x) { return x; }

inline float get(bf16 x) {
    uint32_t b = uint32_t(x.bits) << 16;
    float f;
    std::memcpy(&f, &b, 4);
    return f;
}

template <class T>
inline void put(T* p, float x) {
    Vec v = Vec{} + x;
    T out[W];
    store(out, v);
    *p = out[0];
}

inline float sum(Vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
    float total = 0;
    for (int i = 0; i < W; i++) total += x[i];
    return total;
#endif
}

inline Vec max(Vec a, Vec b) { return a > b ? a : b; }

inline float max(Vec x) {
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)x);
#endif
    float most = x[0];
    for (int i = 1; i < W; i++) most = std::max(most, x[i]);
    return most;
}

// e^x for x <= 0, relative error below 1e-6: 2^n times a polynomial of what is left of the exponent.
inline Vec exp_negative(Vec x) {
    x = x < -87.0f ? Vec{} - 87.0f : x;  // in this order NaN passes through
    Vec n = x * 1.44269504f;
    Ints whole = __builtin_convertvector(n - 0.5f, Ints);  // x <= 0, so truncation rounds to nearest
    n = __builtin_convertvector(whole, Vec);
    Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Vec)((whole + 127) << 23);
}

template <class T>
void rms_norm(const T* x, const T* weight, T* out, int64_t rows, int64_t n, int64_t stride, float eps) {
#pragma omp parallel for if (rows > 16)
    for (int64_t row = 0; row < rows; row++) {
        const T* from = x + row * stride;
        T* to = out + row * n;
        Vec squares = {};
        for (int64_t i = 0; i < n; i += W) squares += load(from + i) * load(from + i);
        float scale = 1.0f / std::sqrt(sum(squares) / n + eps);
        for (int64_t i = 0; i < n; i += W) store(to + i, load(from + i) * scale * load(weight + i));
    }
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
        for (int64_t i = 0; i < n; i += W) {
            Vec g = load(gate + i);
            Vec small = exp_negative(g > 0 ? -g : g);  // e^-|g|
            store(out + row * n + i, g * (g > 0 ? Vec{} + 1.0f : small) / (1.0f + small) * load(up + i));
        }
    }
}

// In place: scores [rows, width] become softmax weights of scale * score. Row r sees columns [visible - window, visible)
// where visible = first + (r % period) / group; the other weights are zero. lse gets the log-sum-exp of each row.
template <class T>
void softmax(T* scores, float* lse, int64_t rows, int64_t period, int64_t width, int64_t first, int64_t group,
             int64_t window, float scale) {
#pragma omp parallel
    {
        std::vector<float> buffer(width + W);
        float* row_of = buffer.data();
#pragma omp for
        for (int64_t row = 0; row < rows; row++) {
            T* p = scores + row * width;
            int64_t end = std::min(width, first + (row % period) / group);
            int64_t start = std::max<int64_t>(0, end - window);
            int64_t whole = start + (end - start) / W * W;
            Vec most = Vec{} - INFINITY;
            for (int64_t i = start; i < whole; i += W) {
                Vec x = load(p + i) * scale;
                most = max(most, x);
                store(row_of + i, x);
            }
            float peak = max(most);
            for (int64_t i = whole; i < end; i++) peak = std::max(peak, row_of[i] = get(p[i]) * scale);
            for (int64_t i = end; i < whole + W; i++) row_of[i] = -INFINITY;
            Vec totals = {};
            for (int64_t i = start; i < whole; i += W) {
                Vec e = exp_negative(load(row_of + i) - peak);
                totals += e;
                store(row_of + i, e);
            }
            float total = sum(totals);
            if (whole < end) {
                store(row_of + whole, exp_negative(load(row_of + whole) - peak));
                for (int64_t i = whole; i < end; i++) total += row_of[i];
            }
            float part = 1.0f / total;
            for (int64_t i = start; i < whole; i += W) store(p + i, load(row_of + i) * part);
            for (int64_t i = whole; i < end; i++) put(p + i, row_of[i] * part);
            std::memset((void*)p, 0, start * sizeof(T));
            std::memset((void*)(p + end), 0, (width - end) * sizeof(T));
            if (lse) lse[row] = peak + std::log(total);
        }
    }
}

// Sixteen sums whose total is the dot product.
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

// Groups of H lanes of a and b, alternating: the lower groups of each, plus the upper ones. Four rounds of it turn 16
// vectors into the vector of their sums, at a third of the cost of 16 sums.
#define LANE(H, UP, L) ((L) / (2 * H) * (2 * H) + (L) % H + ((L) % (2 * H) >= H ? W : 0) + UP)
#define LANES(H, UP)                                                                                                     \
    LANE(H, UP, 0), LANE(H, UP, 1), LANE(H, UP, 2), LANE(H, UP, 3), LANE(H, UP, 4), LANE(H, UP, 5), LANE(H, UP, 6),      \
        LANE(H, UP, 7), LANE(H, UP, 8), LANE(H, UP, 9), LANE(H, UP, 10), LANE(H, UP, 11), LANE(H, UP, 12),               \
        LANE(H, UP, 13), LANE(H, UP, 14), LANE(H, UP, 15)
#define ADD_GROUPS(H, x, i)                                                                                              \
    __builtin_shufflevector(x[i], x[i + H], LANES(H, 0)) + __builtin_shufflevector(x[i], x[i + H], LANES(H, H))

// Row i of x becomes its column i.
inline void transpose(Bits* x) {
#define SWAP_GROUPS(H)                                                                                                   \
    _Pragma("GCC unroll 16") for (int i = 0; i < W; i++) {                                                               \
        if (i & H) continue;                                                                                             \
        Bits a = x[i], b = x[i + H];                                                                                     \
        x[i] = __builtin_shufflevector(a, b, LANES(H, 0));                                                               \
        x[i + H] = __builtin_shufflevector(a, b, LANES(H, H));                                                           \
    }
    SWAP_GROUPS(8) SWAP_GROUPS(4) SWAP_GROUPS(2) SWAP_GROUPS(1)
}

inline Vec sums(Vec* x) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) x[i] = ADD_GROUPS(8, x, i);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) x[i] = ADD_GROUPS(4, x, i);
    x[0] = ADD_GROUPS(2, x, 0);
    x[1] = ADD_GROUPS(2, x, 1);
    return ADD_GROUPS(1, x, 0);
}

// Scores of one query head with the keys of 16 slots.
template <int D, class T>
inline Vec scores_of(const T* q, const T* const* keys) {
    Vec x[W];
#pragma GCC unroll 16
    for (int j = 0; j < W; j++) x[j] = dot<D>(q, keys[j]);
    return sums(x);
}

constexpr int BLOCK = 64;   // slots whose scores are held at once
constexpr int PIECE = 512;  // slots of one sequence that one thread reads

struct Shape {
    int64_t heads, kv_heads;
    float scale;
};

// acc[g] += sum over j of p[g][j] * rows[j], for G query heads of one KV head, 64 numbers at a time.
template <int G, int D, class T>
inline void add_values(const T* const* rows, int count, const float (*p)[BLOCK], float* acc) {
    for (int at = 0; at < D; at += 4 * W) {
        Vec total[G][4];
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) total[g][i] = load(acc + g * D + at + i * W);
        for (int j = 0; j < count; j++) {
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                Vec x = load(rows[j] + at + i * W);
#pragma GCC unroll 4
                for (int g = 0; g < G; g++) total[g][i] += x * p[g][j];
            }
        }
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) store(acc + g * D + at + i * W, total[g][i]);
    }
}

// `count` scores of one head become e^(score - peak), where peak and total include all earlier blocks: `acc` follows.
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

// G query heads of one KV head over one block of slots.
template <int G, int D, class T>
inline void attend_block(const T* q, const T* const* keys, const T* const* values, int count, float scale, float* out,
                         float* peak, float* total) {
    float p[G][BLOCK];
    for (int j = 0; j < count; j += W)
        for (int g = 0; g < G; g++) store(p[g] + j, scale * scores_of<D>(q + g * D, keys + j));
    for (int g = 0; g < G; g++) weigh(p[g], count, peak + g, total + g, out + g * D, D);
    add_values<G, D>(values, count, p, out);
}

// One query row over `count` slots: out [Hq, D] not yet divided by total [Hq]; peak [Hq] was taken off the scores.
template <int D, class T>
void attend_piece(const T* q, const T* k, const T* v, const int64_t* slots, int64_t count, Shape s, float* out, float* peak,
                  float* total) {
    int64_t group = s.heads / s.kv_heads, slot_size = s.kv_heads * D;
    std::fill(out, out + s.heads * D, 0.0f);
    std::fill(peak, peak + s.heads, -INFINITY);
    std::fill(total, total + s.heads, 0.0f);
    const T *keys[BLOCK], *values[BLOCK];
    for (int64_t at = 0; at < count; at += BLOCK) {
        int n = std::min<int64_t>(BLOCK, count - at);
        for (int64_t kv_head = 0; kv_head < s.kv_heads; kv_head++) {
            for (int j = 0; j < BLOCK; j++) {
                int64_t slot = slots[at + std::min(j, n - 1)], next = slots[std::min(at + j + BLOCK, count - 1)];
                keys[j] = k + slot * slot_size + kv_head * D;
                values[j] = v + slot * slot_size + kv_head * D;
                for (size_t line = 0; line < D * sizeof(T); line += 64) {
                    __builtin_prefetch((const char*)(k + next * slot_size + kv_head * D) + line);
                    __builtin_prefetch((const char*)(v + next * slot_size + kv_head * D) + line);
                }
            }
            for (int64_t first = 0; first < group; first += 4) {
                int64_t head = kv_head * group + first;
                auto block = group - first >= 4   ? attend_block<4, D, T>
                             : group - first == 3 ? attend_block<3, D, T>
                             : group - first == 2 ? attend_block<2, D, T>
                                                  : attend_block<1, D, T>;
                block(q + head * D, keys, values, n, s.scale, out + head * D, peak + head, total + head);
            }
        }
    }
}

struct Piece {
    int64_t row, start, end;
};

// Row b of q [B, Hq, D] (rows `stride` apart) over the K/V of slots[starts[b]] to slots[starts[b + 1] - 1], at least one.
template <int D, class T>
void attend_slots(const T* q, int64_t stride, const T* k, const T* v, const int64_t* slots, const int64_t* starts, T* out,
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

// Row i of a step, `row_size` bytes at from + i * stride, goes to slot slots[i] of a store whose slots are that large.
void write_slots(char* store, const char* from, int64_t stride, const int64_t* slots, int64_t rows, int64_t row_size) {
    for (int64_t i = 0; i < rows; i++) std::memcpy(store + slots[i] * row_size, from + i * stride, row_size);
}

// In place: number i of each row of x [rows, n] becomes -inf where bit i of the row's mask [words] is not set.
template <class T>
void mask_rows(T* x, const uint32_t* mask, int64_t rows, int64_t n, int64_t words) {
    const Bits bit = Bits{} + 1 << Bits{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const Vec hidden = Vec{} - INFINITY;
#pragma omp parallel for if (rows * n > 16384)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t at = 0; at < n; at += W) {
            uint32_t allowed = mask[row * words + at / 32] >> at % 32 & 0xffff;
            T* p = x + row * n + at;
            if (at + W > n)
                for (int64_t i = 0; i < n - at; i++) put(p + i, allowed >> i & 1 ? get(p[i]) : -INFINITY);
            else if (!allowed)
                store(p, hidden);
            else if (allowed != 0xffff)
                store(p, ((Bits{} + allowed) & bit) != 0 ? load(p) : hidden);
        }
}

// 16 numbers of a row from place `at`; -inf behind its end, and where a bit of its mask (null: all are set) is not set.
template <class T>
inline Vec allowed_at(const T* x, const uint32_t* mask, int64_t at, int64_t n) {
    const Bits bit = Bits{} + 1 << Bits{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const Vec hidden = Vec{} - INFINITY;
    Vec v;
    if (at + W <= n)
        v = load(x + at);
    else
        for (int64_t i = 0; i < W; i++) v[i] = at + i < n ? get(x[at + i]) : -INFINITY;
    if (mask == nullptr) return v;
    uint32_t allowed = mask[at / 32] >> at % 32 & 0xffff;
    return allowed == 0xffff ? v : ((Bits{} + allowed) & bit) != 0 ? v : hidden;
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
        Vec most[4];
        Ints is_nan = {};
        for (int i = 0; i < 4; i++) most[i] = Vec{} - INFINITY;
        for (int64_t at = 0; at < n; at += 4 * W) {
            if (is_hidden(mask, at, n)) continue;
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                Vec v = at + i * W < n ? allowed_at(from, mask, at + i * W, n) : Vec{} - INFINITY;
                most[i] = max(most[i], v);
                is_nan |= v != v;
            }
        }
        float highest = max(max(max(most[0], most[1]), max(most[2], most[3])));
        bool found_nan = false;
        for (int i = 0; i < W; i++) found_nan |= is_nan[i] != 0;
        best[row] = 0;
        peak[row] = -INFINITY;
        for (int64_t at = 0; at < n; at += W) {
            if (at % (4 * W) == 0 && is_hidden(mask, at, n)) {
                at += 3 * W;
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

// Of rows which[r] of x [.., n], where mask [rows, words] allows (null: all of it): the k largest numbers in order, of equals
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
        for (int64_t at = 0; at < n; at += 4 * W) {
            Vec v[4];
            for (int i = 0; i < 4; i++) v[i] = at + i * W < n ? allowed_at(from, bits, at + i * W, n) : Vec{} - INFINITY;
            if (!(max(max(max(v[0], v[1]), max(v[2], v[3]))) > top[k - 1])) continue;
            for (int64_t j = 0; j < 4 * W; j++) {
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

// What one multiply-add takes from each side: a float, or two bf16 where the processor multiplies pairs. Always 4 bytes.
// `units` are those of 16 or 32 neighbours in a row, `across` those of 16 columns over one or two rows.
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

#ifdef __AVX512F__
constexpr int AT_ONCE = 6;  // rows whose 4 vectors of sums fit into the registers
#else
constexpr int AT_ONCE = 2;
#endif
constexpr int TILE = 48;  // rows one thread takes at a time: it packs each block of keys and values for these

// total[r][0 to 63] += sum over i of a[r * width + i] * b[i * ldb + 0 to 63], in units.
template <class T>
inline void multiply(const uint32_t* a, int64_t width, const uint32_t* b, int64_t ldb, int depth, Vec total[AT_ONCE][4]) {
    Vec sums[AT_ONCE][4];
#pragma GCC unroll 8
    for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) sums[r][j] = total[r][j];
    for (int i = 0; i < depth; i++) {
        Bits x[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) std::memcpy(&x[j], b + i * ldb + j * W, sizeof x[j]);
#pragma GCC unroll 8
        for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) sums[r][j] = Unit<T>::multiply_add(sums[r][j], a[r * width + i], x[j]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) total[r][j] = sums[r][j];
}

// One block of keys and values of one KV head, as `multiply` wants them; beyond `count` they are zero.
template <int D, class T>
struct Packed {
    static constexpr int N = Unit<T>::NUMBERS;
    uint32_t keys[D / N][BLOCK];      // unit i of each slot
    uint32_t values[BLOCK / N][D];  // each number of N neighbouring slots

    void pack(const T* const* k, const T* const* v, int count) {
        static const T zeros[D] = {};
        for (int j = 0; j < BLOCK; j += W)
            for (int i = 0; i < D / N; i += W) {
                Bits x[W];
#pragma GCC unroll 16
                for (int r = 0; r < W; r++) x[r] = Unit<T>::units((j + r < count ? k[j + r] : zeros) + i * N);
                transpose(x);
#pragma GCC unroll 16
                for (int r = 0; r < W; r++) std::memcpy(&keys[i + r][j], &x[r], sizeof x[r]);
            }
        for (int j = 0; j < BLOCK; j += N)
            for (int d = 0; d < D; d += W) {
                Bits x = Unit<T>::across((j < count ? v[j] : zeros) + d, (j + N - 1 < count ? v[j + N - 1] : zeros) + d);
                std::memcpy(&values[j / N][d], &x, sizeof x);
            }
    }
};

// The scores of one row with a block become e^(scale * score - peak); peak and total include all earlier blocks, and the
// sums of values follow.
template <int D>
inline void weigh(Vec* x, float scale, float& peak, Vec& total, float* acc) {
    float highest = scale * max(max(max(x[0], x[1]), max(x[2], x[3])));
    if (highest > peak) {
        float keep = std::exp(peak - highest);
        peak = highest;
        total *= keep;
        for (int i = 0; i < D; i += W) store(acc + i, load(acc + i) * keep);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) total += x[j] = exp_negative(x[j] * scale - peak);
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

// Rows [first, first + count) of one KV head; row r is query head r % group of token r / group.
template <int D, class T>
void attend_tile(const T* q, int64_t stride, const T* k, const T* v, T* out, float* lse, const Dense& d, int64_t kv_head,
                 int64_t first, int count, Shape s) {
    constexpr int N = Unit<T>::NUMBERS, UNITS = D / N;
    int64_t group = s.heads / s.kv_heads, slot_size = s.kv_heads * D;
    alignas(64) uint32_t queries[TILE][UNITS] = {};
    alignas(64) float acc[TILE][D] = {};
    alignas(64) uint32_t weights[AT_ONCE][BLOCK / N];
    alignas(64) Packed<D, T> packed;
    const Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    float peak[TILE];
    Vec total[TILE] = {};
    std::fill(peak, peak + TILE, -INFINITY);
    for (int r = 0; r < count; r++) {
        int64_t token = (first + r) / group, head = kv_head * group + (first + r) % group;
        for (int i = 0; i < UNITS; i += W) {
            Bits x = Unit<T>::units(q + (d.first_token + token) * stride + head * D + i * N);
            std::memcpy(&queries[r][i], &x, sizeof x);
        }
    }
    int64_t first_token = first / group, last_token = (first + count - 1) / group;
    int64_t begin = std::max<int64_t>(0, d.end(first_token) - d.window), stop = d.end(last_token);
    const T *keys[BLOCK], *values[BLOCK];
    for (int64_t at = begin; at < stop; at += BLOCK) {
        int n = std::min<int64_t>(BLOCK, stop - at);
        for (int j = 0; j < n; j++) {
            int64_t place = d.slot(at + j) * slot_size + kv_head * D;
            keys[j] = k + place;
            values[j] = v + place;
        }
        packed.pack(keys, values, n);
        for (int row = 0; row < count; row += AT_ONCE) {
            Vec scores[AT_ONCE][4] = {};
            multiply<T>(queries[row], UNITS, packed.keys[0], BLOCK, UNITS, scores);
            for (int r = 0; r < AT_ONCE; r++) {
                int64_t end = d.end((first + std::min(row + r, count - 1)) / group);
                int from = std::max<int64_t>(0, end - d.window - at), to = std::min<int64_t>(n, end - at);
                if (to < BLOCK || from > 0)
                    for (int j = 0; j < 4; j++) scores[r][j] = lanes + j * W < from | lanes + j * W >= to ? -INFINITY : scores[r][j];
                if (from < to) weigh<D>(scores[r], s.scale, peak[row + r], total[row + r], acc[row + r]);
                for (int j = 0; j < 4; j++) Unit<T>::weights(weights[r] + j * W / N, from < to ? scores[r][j] : Vec{});
            }
            for (int at_dim = 0; at_dim < D; at_dim += 4 * W) {
                Vec sums[AT_ONCE][4];
#pragma GCC unroll 8
                for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
                    for (int j = 0; j < 4; j++) sums[r][j] = load(acc[row + r] + at_dim + j * W);
                multiply<T>(weights[0], BLOCK / N, packed.values[0] + at_dim, D, BLOCK / N, sums);
#pragma GCC unroll 8
                for (int r = 0; r < AT_ONCE; r++)
#pragma GCC unroll 4
                    for (int j = 0; j < 4; j++) store(acc[row + r] + at_dim + j * W, sums[r][j]);
            }
        }
    }
    for (int r = 0; r < count; r++) {
        int64_t token = d.first_token + (first + r) / group, head = kv_head * group + (first + r) % group;
        float whole = sum(total[r]);
        for (int i = 0; i < D; i += W) store(out + (token * s.heads + head) * D + i, load(acc[r] + i) / whole);
        lse[token * s.heads + head] = peak[r] + std::log(whole);
    }
}

// Parts of q [T, Hq, D] (rows `stride` apart) over k, v [slots, Hkv, D]. Part i is tokens [spans[2 * i], spans[2 * i + 1])
// over slots[starts[i]] to slots[starts[i + 1] - 1], the last of which are the tokens' own.
template <int D, class T>
void attend_causal(const T* q, int64_t stride, const T* k, const T* v, const int64_t* slots, const int64_t* starts,
                   const int64_t* spans, T* out, float* lse, int64_t parts, int64_t window, Shape s) {
    struct Task {
        Dense dense;
        int64_t kv_head, first;
        int count;
    };
    std::vector<Task> tasks;
    for (int64_t i = 0; i < parts; i++) {
        int64_t first_token = spans[2 * i], tokens = spans[2 * i + 1] - first_token, length = starts[i + 1] - starts[i];
        Dense dense{first_token, tokens, 0, length - tokens + 1, window, slots + starts[i], true};
        int64_t rows = tokens * (s.heads / s.kv_heads);
        for (int64_t first = (rows - 1) / TILE * TILE; first >= 0; first -= TILE)  // what takes longest comes first
            for (int64_t head = 0; head < s.kv_heads; head++)
                tasks.push_back({dense, head, first, (int)std::min<int64_t>(TILE, rows - first)});
    }
#pragma omp parallel for schedule(dynamic) if (tasks.size() > 1)
    for (size_t i = 0; i < tasks.size(); i++) {
        const Task& task = tasks[i];
        attend_tile<D>(q, stride, k, v, out, lse, task.dense, task.kv_head, task.first, task.count, s);
    }
}

// Every row of q [tokens, Hq, D] over all of k, v [length, Hkv, D].
template <int D, class T>
void attend_all(const T* q, int64_t stride, const T* k, const T* v, T* out, float* lse, int64_t tokens, int64_t length, Shape s) {
    Dense dense{0, tokens, 0, length, length, nullptr, false};
    int64_t rows = tokens * (s.heads / s.kv_heads), tiles = (rows + TILE - 1) / TILE;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < tiles * s.kv_heads; i++) {
        int64_t first = i / s.kv_heads * TILE;
        attend_tile<D>(q, stride, k, v, out, lse, dense, i % s.kv_heads, first, std::min<int64_t>(TILE, rows - first), s);
    }
}

// In place: out [n, D] and lse [n] become what one softmax over both parts would have given.
template <class T>
void merge(T* out, float* lse, const T* other, const float* other_lse, int64_t n, int64_t dim) {
#pragma omp parallel for if (n > 256)
    for (int64_t i = 0; i < n; i++) {
        float peak = std::max(lse[i], other_lse[i]);
        float a = std::exp(lse[i] - peak), b = std::exp(other_lse[i] - peak), total = a + b;
        a /= total;
        b /= total;
        for (int64_t d = 0; d < dim; d += W)
            store(out + i * dim + d, load(out + i * dim + d) * a + load(other + i * dim + d) * b);
        lse[i] = peak + std::log(total);
    }
}

}  // namespace

#define EXPORT(T, NAME)                                                                                                  \
    extern "C" void rms_norm_##NAME(const T* x, const T* weight, T* out, int64_t rows, int64_t n, int64_t stride,        \
                                    float eps) {                                                                         \
        rms_norm(x, weight, out, rows, n, stride, eps);                                                                  \
    }                                                                                                                    \
    extern "C" void rotate_##NAME(const T* x, const T* cos, const T* sin, T* out, int64_t rows, int64_t heads,           \
                                  int64_t dim, int64_t stride) {                                                         \
        rotate(x, cos, sin, out, rows, heads, dim, stride);                                                              \
    }                                                                                                                    \
    extern "C" void silu_mul_##NAME(const T* gate_up, T* out, int64_t rows, int64_t n) {                                 \
        silu_mul(gate_up, out, rows, n);                                                                                 \
    }                                                                                                                    \
    extern "C" void softmax_##NAME(T* scores, float* lse, int64_t rows, int64_t period, int64_t width, int64_t first,    \
                                   int64_t group, int64_t window, float scale) {                                         \
        softmax(scores, lse, rows, period, width, first, group, window, scale);                                          \
    }                                                                                                                    \
    extern "C" void attend_slots_##NAME(const T* q, int64_t stride, const T* k, const T* v, const int64_t* slots,        \
                                        const int64_t* starts, T* out, float* lse, int64_t rows, int64_t heads,          \
                                        int64_t kv_heads, int64_t dim, float scale) {                                    \
        auto call = dim == 64 ? attend_slots<64, T> : dim == 128 ? attend_slots<128, T> : attend_slots<256, T>;          \
        call(q, stride, k, v, slots, starts, out, lse, rows, Shape{heads, kv_heads, scale});                             \
    }                                                                                                                    \
    extern "C" void attend_causal_##NAME(const T* q, int64_t stride, const T* k, const T* v, const int64_t* slots,       \
                                         const int64_t* starts, const int64_t* spans, T* out, float* lse,                \
                                         int64_t parts, int64_t window, int64_t heads, int64_t kv_heads, int64_t dim,    \
                                         float scale) {                                                                  \
        auto call = dim == 64 ? attend_causal<64, T> : dim == 128 ? attend_causal<128, T> : attend_causal<256, T>;       \
        call(q, stride, k, v, slots, starts, spans, out, lse, parts, window, Shape{heads, kv_heads, scale});             \
    }                                                                                                                    \
    extern "C" void attend_all_##NAME(const T* q, int64_t stride, const T* k, const T* v, T* out, float* lse,            \
                                      int64_t tokens, int64_t length, int64_t heads, int64_t kv_heads, int64_t dim,      \
                                      float scale) {                                                                     \
        auto call = dim == 64 ? attend_all<64, T> : dim == 128 ? attend_all<128, T> : attend_all<256, T>;                \
        call(q, stride, k, v, out, lse, tokens, length, Shape{heads, kv_heads, scale});                                  \
    }                                                                                                                    \
    extern "C" void mask_rows_##NAME(T* x, const uint32_t* mask, int64_t rows, int64_t n, int64_t words) {               \
        mask_rows(x, mask, rows, n, words);                                                                              \
    }                                                                                                                    \
    extern "C" void argmax_##NAME(const T* x, const uint32_t* masks, int64_t* best, float* peak, int64_t rows, int64_t n, \
                                  int64_t words) {                                                                       \
        argmax(x, masks, best, peak, rows, n, words);                                                                    \
    }                                                                                                                    \
    extern "C" void look_##NAME(const T* x, const int64_t* which, const int64_t* tokens, const uint32_t* mask,           \
                                float* stats, int64_t* ids, float* best, int64_t rows, int64_t n, int64_t words,         \
                                int64_t k) {                                                                             \
        look(x, which, tokens, mask, stats, ids, best, rows, n, words, k);                                               \
    }                                                                                                                    \
    extern "C" void write_slots_##NAME(T* store, const T* from, int64_t stride, const int64_t* slots, int64_t rows,      \
                                       int64_t row_size) {                                                               \
        write_slots((char*)store, (const char*)from, stride * sizeof(T), slots, rows, row_size * sizeof(T));             \
    }                                                                                                                    \
    extern "C" void merge_##NAME(T* out, float* lse, const T* other, const float* other_lse, int64_t n, int64_t dim) {   \
        merge(out, lse, other, other_lse, n, dim);                                                                       \
    }

EXPORT(float, float32)
EXPORT(bf16, bfloat16)
