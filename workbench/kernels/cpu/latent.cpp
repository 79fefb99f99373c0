// Attention over latents: one K/V head, whose values are the first numbers of its keys. So a block of slots is read once, for
// the scores and for the sums of values, of all query heads.
#include <vector>

#include "codes.h"
#include "operations.h"
#include "tiles.h"

namespace {

constexpr int64_t LATENT_PIECE = 512;  // slots that one thread reads at a time for a row that attends alone

// Query rows over some of the slots that they see. Row r is query head r % heads of token r / heads.
struct LatentTask {
    Dense dense;
    int64_t first;  // row
    int count;
    int64_t begin, end;  // slots
    int64_t partial;     // its place among the unfinished results; -1: it has all that its rows see
};

// The room in which one thread computes a task. Sums of values have `v_room` numbers, whole blocks.
template <class T>
struct LatentRoom {
    static constexpr int N = Unit<T>::NUMBERS;
    int64_t dim, v_dim, v_room;
    std::vector<uint32_t> queries, keys, values;  // [TILE, dim / N], [dim / N, BLOCK], [BLOCK / N, v_room]
    std::vector<float> acc;                       // [TILE, v_room], not yet divided by the totals
    std::vector<T> read, zeros;
    float peak[TILE];
    Vec total[TILE];

    LatentRoom(int64_t dim, int64_t v_dim)
        : dim(dim), v_dim(v_dim), v_room((v_dim + BLOCK - 1) / BLOCK * BLOCK), queries(TILE * dim / N), keys(dim / N * BLOCK),
          values(BLOCK / N * v_room), acc(TILE * v_room), read(BLOCK * dim), zeros(dim) {}

    void pack(const T* const* rows, int count) {
        auto row = [&](int j) { return j < count ? rows[j] : zeros.data(); };
        for (int j = 0; j < BLOCK; j += W)
            for (int64_t i = 0; i < dim / N; i += W) {
                Bits x[W];
#pragma GCC unroll 16
                for (int r = 0; r < W; r++) x[r] = Unit<T>::units(row(j + r) + i * N);
                transpose(x);
#pragma GCC unroll 16
                for (int r = 0; r < W; r++) std::memcpy(&keys[(i + r) * BLOCK + j], &x[r], sizeof x[r]);
            }
        for (int j = 0; j < BLOCK; j += N)
            for (int64_t d = 0; d < v_dim; d += W) {
                Bits x = Unit<T>::across(row(j) + d, row(j + N - 1) + d);
                std::memcpy(&values[j / N * v_room + d], &x, sizeof x);
            }
    }

    void attend(const T* q, int64_t stride, Rows<T> k, const LatentTask& task, Shape s) {
        const Dense& d = task.dense;
        const int64_t units = dim / N;
        std::fill(acc.begin(), acc.end(), 0.0f), std::fill(queries.begin(), queries.end(), 0u);
        std::fill(peak, peak + TILE, -INFINITY), std::fill(total, total + TILE, Vec{});
        for (int r = 0; r < task.count; r++) {
            int64_t token = (task.first + r) / s.heads, head = (task.first + r) % s.heads;
            for (int64_t i = 0; i < units; i += W) {
                Bits x = Unit<T>::units(q + (d.first_token + token) * stride + head * dim + i * N);
                std::memcpy(&queries[r * units + i], &x, sizeof x);
            }
        }
        alignas(64) uint32_t weights[AT_ONCE][BLOCK / N];
        alignas(64) float scores[AT_ONCE][BLOCK];
        const T* rows[BLOCK];
        for (int64_t at = task.begin; at < task.end; at += BLOCK) {
            int n = std::min<int64_t>(BLOCK, task.end - at);
            for (int j = 0; j < n; j++) rows[j] = k.read(d.slot(at + j), dim, &read[j * dim]);
            pack(rows, n);
            for (int row = 0; row < task.count; row += AT_ONCE) {
                std::memset(scores, 0, sizeof scores);
                multiply<T>(&queries[row * units], units, keys.data(), BLOCK, units, scores[0], BLOCK);
                for (int r = 0; r < AT_ONCE; r++) {
                    int64_t end = d.end((task.first + std::min(row + r, task.count - 1)) / s.heads);
                    int from = std::max<int64_t>(0, end - d.window - at), to = std::min<int64_t>(n, end - at);
                    weigh(scores[r], s, from, to, peak[row + r], total[row + r], &acc[(row + r) * v_room], v_dim);
                    for (int j = 0; j < BLOCK; j += W) Unit<T>::weights(weights[r] + j / N, load(scores[r] + j));
                }
                for (int64_t at_dim = 0; at_dim < v_room; at_dim += BLOCK)
                    multiply<T>(weights[0], BLOCK / N, &values[at_dim], v_room, BLOCK / N, &acc[row * v_room + at_dim], v_room);
            }
        }
    }
};

// Parts of q [T, Hq, D] (rows `stride` apart) over k [slots, D]; out [T, Hq, Dv]. Part i is tokens [spans[2 * i], spans[2 * i + 1]),
// or without spans token i, over slots[starts[i]] to slots[starts[i + 1] - 1], or without slots over those numbers. With `causal`
// the last of the slots are the tokens' own, and each sees those up to its own.
template <class T>
void attend_latent(const T* q, int64_t stride, const void* k, const float* k_scales, int64_t format, const int64_t* slots,
                   const int64_t* starts, const int64_t* spans, T* out, float* lse, int64_t parts, int64_t window, int64_t causal,
                   int64_t heads, int64_t dim, int64_t v_dim, float scale, float softcap) {
    Shape s{heads, 1, scale, softcap};
    Rows<T> keys{k, k_scales, format};
    std::vector<LatentTask> tasks;
    std::vector<std::pair<int64_t, int64_t>> split;  // unfinished tasks of one tile: the first, and the number of them
    int64_t num_partial = 0;
    for (int64_t i = 0; i < parts; i++) {
        int64_t first_token = spans ? spans[2 * i] : i, tokens = spans ? spans[2 * i + 1] - first_token : 1;
        int64_t length = starts[i + 1] - starts[i];
        Dense dense{first_token, tokens, starts[i], causal ? length - tokens + 1 : length, window, slots ? slots + starts[i] : nullptr,
                    causal != 0};
        int64_t rows = tokens * heads;
        for (int64_t first = (rows - 1) / TILE * TILE; first >= 0; first -= TILE) {  // what takes longest comes first
            int count = std::min<int64_t>(TILE, rows - first);
            int64_t begin = std::max<int64_t>(0, dense.end(first / heads) - window), end = dense.end((first + count - 1) / heads);
            int64_t piece = tokens == 1 ? LATENT_PIECE : end - begin;
            if (end - begin <= piece) {
                tasks.push_back({dense, first, count, begin, end, -1});
                continue;
            }
            split.push_back({tasks.size(), (end - begin + piece - 1) / piece});
            for (int64_t at = begin; at < end; at += piece, num_partial++)
                tasks.push_back({dense, first, count, at, std::min(at + piece, end), num_partial});
        }
    }
    int64_t record = TILE * (v_dim + 2);  // of a task: sums [TILE, Dv], peaks, totals
    std::vector<float> partial(num_partial * record);
    auto put = [&](const LatentTask& task, int r, const float* sums, float peak, float total) {
        int64_t row = (task.dense.first_token * heads) + task.first + r;
        for (int64_t i = 0; i < v_dim; i += W) store(out + row * v_dim + i, load(sums + i) / total);
        lse[row] = peak + std::log(total);
    };
#pragma omp parallel if (tasks.size() > 1)
    {
        LatentRoom<T> room(dim, v_dim);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < tasks.size(); i++) {
            const LatentTask& task = tasks[i];
            room.attend(q, stride, keys, task, s);
            float* kept = task.partial < 0 ? nullptr : &partial[task.partial * record];
            for (int r = 0; r < task.count; r++) {
                const float* sums = &room.acc[r * room.v_room];
                if (!kept) {
                    put(task, r, sums, room.peak[r], sum(room.total[r]));
                    continue;
                }
                std::memcpy(kept + r * v_dim, sums, v_dim * sizeof(float));
                kept[TILE * v_dim + r] = room.peak[r], kept[TILE * (v_dim + 1) + r] = sum(room.total[r]);
            }
        }
#pragma omp for
        for (size_t i = 0; i < split.size(); i++) {
            const LatentTask& task = tasks[split[i].first];
            const float* first = &partial[task.partial * record];
            std::vector<float> sums(v_dim);
            for (int r = 0; r < task.count; r++) {
                float peak = -INFINITY, total = 0;
                for (int64_t p = 0; p < split[i].second; p++) peak = std::max(peak, first[p * record + TILE * v_dim + r]);
                std::fill(sums.begin(), sums.end(), 0.0f);
                for (int64_t p = 0; p < split[i].second; p++) {
                    const float* part = first + p * record;
                    float weight = std::exp(part[TILE * v_dim + r] - peak);
                    total += weight * part[TILE * (v_dim + 1) + r];
                    for (int64_t d = 0; d < v_dim; d += W) store(&sums[d], load(&sums[d]) + weight * load(part + r * v_dim + d));
                }
                put(task, r, sums.data(), peak, total);
            }
        }
    }
}

LIST(attend_latent)

}  // namespace
