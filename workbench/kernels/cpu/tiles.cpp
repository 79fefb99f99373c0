// Attention of many query rows over the same slots: blocks of keys and values are packed once for a tile of rows.
#include <vector>

#include "codes.h"
#include "operations.h"
#include "tiles.h"

namespace {

// One block of keys and values of one K/V head, in the order in which `multiply` reads them; beyond `count` they are zero.
template <int D, class T>
struct Packed {
    static constexpr int N = Unit<T>::NUMBERS;
    uint32_t keys[D / N][BLOCK];    // unit i of each slot
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

// Rows [first, first + count) of one K/V head; row r is query head r % group of token r / group.
template <int D, class T>
void attend_tile(const T* q, int64_t stride, Rows<T> k, Rows<T> v, T* out, float* lse, const Dense& d, int64_t kv_head,
                 int64_t first, int count, Shape s) {
    constexpr int N = Unit<T>::NUMBERS, UNITS = D / N;
    int64_t group = s.heads / s.kv_heads;
    alignas(64) T room[2][BLOCK][D];
    alignas(64) uint32_t queries[TILE][UNITS] = {};
    alignas(64) float acc[TILE][D] = {};
    alignas(64) uint32_t weights[AT_ONCE][BLOCK / N];
    alignas(64) Packed<D, T> packed;
    alignas(64) float scores[AT_ONCE][BLOCK];
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
            int64_t row = d.slot(at + j) * s.kv_heads + kv_head;
            keys[j] = k.read(row, D, room[0][j]);
            values[j] = v.read(row, D, room[1][j]);
        }
        packed.pack(keys, values, n);
        for (int row = 0; row < count; row += AT_ONCE) {
            std::memset(scores, 0, sizeof scores);
            multiply<T>(queries[row], UNITS, packed.keys[0], BLOCK, UNITS, scores[0], BLOCK);
            for (int r = 0; r < AT_ONCE; r++) {
                int64_t end = d.end((first + std::min(row + r, count - 1)) / group);
                int from = std::max<int64_t>(0, end - d.window - at), to = std::min<int64_t>(n, end - at);
                weigh(scores[r], s, from, to, peak[row + r], total[row + r], acc[row + r], D);
                for (int j = 0; j < BLOCK; j += W) Unit<T>::weights(weights[r] + j / N, load(scores[r] + j));
            }
            for (int at_dim = 0; at_dim < D; at_dim += BLOCK)
                multiply<T>(weights[0], BLOCK / N, packed.values[0] + at_dim, D, (n + N - 1) / N, acc[row] + at_dim, D);
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
void attend_parts(const T* q, int64_t stride, Rows<T> k, Rows<T> v, const int64_t* slots, const int64_t* starts,
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
void attend_whole(const T* q, int64_t stride, Rows<T> k, Rows<T> v, T* out, float* lse, int64_t tokens, int64_t length, Shape s) {
    Dense dense{0, tokens, 0, length, length, nullptr, false};
    int64_t rows = tokens * (s.heads / s.kv_heads), tiles = (rows + TILE - 1) / TILE;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < tiles * s.kv_heads; i++) {
        int64_t first = i / s.kv_heads * TILE;
        attend_tile<D>(q, stride, k, v, out, lse, dense, i % s.kv_heads, first, std::min<int64_t>(TILE, rows - first), s);
    }
}

template <class T>
void attend_causal(const T* q, int64_t stride, const void* k, const void* v, const float* k_scales, const float* v_scales,
                   int64_t format, const int64_t* slots, const int64_t* starts, const int64_t* spans, T* out, float* lse,
                   int64_t parts, int64_t window, int64_t heads, int64_t kv_heads, int64_t dim, float scale, float softcap) {
    Shape s{heads, kv_heads, scale, softcap};
    Rows<T> keys{k, k_scales, format}, values{v, v_scales, format};
    with_head_size(dim, [&](auto D) {
        attend_parts<D>(q, stride, keys, values, slots, starts, spans, out, lse, parts, window, s);
    });
}

template <class T>
void attend_all(const T* q, int64_t stride, const void* k, const void* v, const float* k_scales, const float* v_scales,
                int64_t format, T* out, float* lse, int64_t tokens, int64_t length, int64_t heads, int64_t kv_heads, int64_t dim,
                float scale, float softcap) {
    Shape s{heads, kv_heads, scale, softcap};
    Rows<T> keys{k, k_scales, format}, values{v, v_scales, format};
    with_head_size(dim, [&](auto D) { attend_whole<D>(q, stride, keys, values, out, lse, tokens, length, s); });
}

LIST(attend_causal)
LIST(attend_all)

}  // namespace
