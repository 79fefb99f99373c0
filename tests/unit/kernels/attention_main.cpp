// Prints how far attention and experts are from plain arithmetic in double, on any processor: the largest difference of each.
#include <cstdio>
#include <vector>

#include "library.cpp"
#include "products.cpp"

static uint32_t state = 1;
static float next() {  // -1 to 1
    state = state * 1664525u + 1013904223u;
    return (int32_t)state / 2147483648.0f;
}

template <class T>
static std::vector<T> numbers(int64_t count, float size = 1) {
    std::vector<T> found(count);
    for (T& number : found) put(&number, size * next());
    return found;
}

template <class T>
static std::vector<double> wide(const std::vector<T>& found) {
    std::vector<double> out;
    for (T number : found) out.push_back(get(number));
    return out;
}

template <class T>
static void show(const char* name, const std::vector<T>& found, const std::vector<double>& wanted) {
    double most = 0;
    for (size_t i = 0; i < wanted.size(); i++) most = std::max(most, std::fabs(get(found[i]) - wanted[i]));
    std::printf("%s_%s %.3g\n", name, sizeof(T) == 4 ? "float32" : "bfloat16", found.size() == wanted.size() ? most : INFINITY);
}

constexpr double NONE = 0;  // no cap

// The softmax over slots [from, to) of scaled, capped scores, times values: into out [v_dim].
static void attend_one(const double* q, const std::vector<double>& k, const std::vector<double>& v, const std::vector<int64_t>& slots,
                       int64_t from, int64_t to, int64_t dim, int64_t v_dim, int64_t k_step, int64_t v_step, double scale, double cap,
                       double* out) {
    double peak = -INFINITY, total = 0;
    std::vector<double> scores;
    for (int64_t i = from; i < to; i++) {
        double score = 0;
        for (int64_t d = 0; d < dim; d++) score += q[d] * k[slots[i] * k_step + d];
        score *= scale;
        scores.push_back(cap == NONE ? score : cap * std::tanh(score / cap));
        peak = std::max(peak, scores.back());
    }
    for (double& score : scores) total += score = std::exp(score - peak);
    for (int64_t d = 0; d < v_dim; d++) {
        out[d] = 0;
        for (int64_t i = from; i < to; i++) out[d] += scores[i - from] / total * v[slots[i] * v_step + d];
    }
}

static std::vector<int64_t> shuffled(int64_t count) {
    std::vector<int64_t> slots(count);
    for (int64_t i = 0; i < count; i++) slots[i] = i * 37 % count;  // the count is no multiple of 37
    return slots;
}

// Two texts with older tokens, and one that decodes over more slots than a thread reads at a time.
template <class T>
static void latent(double cap) {
    constexpr int64_t HEADS = 6, DIM = 96, V = 64, SLOTS = 1800, TOKENS = 24;
    auto q = numbers<T>(TOKENS * HEADS * DIM), k = numbers<T>(SLOTS * DIM);
    std::vector<T> out(TOKENS * HEADS * V);
    std::vector<float> lse(TOKENS * HEADS);
    auto slots = shuffled(SLOTS);
    std::vector<int64_t> starts{0, 40, 190, 1800}, spans{0, 7, 7, 23, 23, 24};
    attend_latent<T>(q.data(), HEADS * DIM, k.data(), nullptr, DENSE, slots.data(), starts.data(), spans.data(), out.data(), lse.data(),
                     3, 1 << 20, 1, HEADS, DIM, V, 0.3f, (float)cap);
    std::vector<double> wanted(out.size()), wide_q = wide(q), wide_k = wide(k);
    for (int part = 0; part < 3; part++)
        for (int64_t token = spans[2 * part]; token < spans[2 * part + 1]; token++)
            for (int64_t head = 0; head < HEADS; head++) {
                int64_t row = token * HEADS + head, end = starts[part + 1] - (spans[2 * part + 1] - token) + 1;
                attend_one(&wide_q[row * DIM], wide_k, wide_k, slots, starts[part], end, DIM, V, DIM, DIM, 0.3, cap, &wanted[row * V]);
            }
    show(cap == NONE ? "latent" : "latent_capped", out, wanted);
}

// Rows that decode, and parts of prompts in a window, over heads that share keys.
template <class T>
static void grouped() {
    constexpr int64_t HEADS = 6, KV = 2, DIM = 64, SLOTS = 700, TOKENS = 30, WINDOW = 50;
    auto q = numbers<T>(TOKENS * HEADS * DIM), k = numbers<T>(SLOTS * KV * DIM), v = numbers<T>(SLOTS * KV * DIM);
    std::vector<T> out(3 * HEADS * DIM), tiles(TOKENS * HEADS * DIM);
    std::vector<float> lse(TOKENS * HEADS);
    auto slots = shuffled(SLOTS);
    std::vector<int64_t> starts{0, 1, 130, 700}, spans{0, 1, 1, 29, 29, 30};
    attend_slots<T>(q.data(), HEADS * DIM, k.data(), v.data(), nullptr, nullptr, DENSE, slots.data(), starts.data(), out.data(),
                    lse.data(), 3, HEADS, KV, DIM, 0.2f, 0);
    attend_causal<T>(q.data(), HEADS * DIM, k.data(), v.data(), nullptr, nullptr, DENSE, slots.data(), starts.data(), spans.data(),
                     tiles.data(), lse.data(), 3, WINDOW, HEADS, KV, DIM, 0.2f, 0);
    auto wide_q = wide(q), wide_k = wide(k), wide_v = wide(v);
    std::vector<double> wanted(out.size()), in_parts(tiles.size());
    auto one = [&](int64_t token, int64_t head, int64_t from, int64_t to, double* into) {
        int64_t shift = head / (HEADS / KV) * DIM;
        std::vector<double> keys(wide_k.begin() + shift, wide_k.end()), values(wide_v.begin() + shift, wide_v.end());
        attend_one(&wide_q[(token * HEADS + head) * DIM], keys, values, slots, from, to, DIM, DIM, KV * DIM, KV * DIM, 0.2, NONE, into);
    };
    for (int part = 0; part < 3; part++)
        for (int64_t head = 0; head < HEADS; head++) {
            one(part, head, starts[part], starts[part + 1], &wanted[(part * HEADS + head) * DIM]);
            for (int64_t token = spans[2 * part]; token < spans[2 * part + 1]; token++) {
                int64_t end = starts[part + 1] - (spans[2 * part + 1] - token) + 1;
                one(token, head, std::max(starts[part], end - WINDOW), end, &in_parts[(token * HEADS + head) * DIM]);
            }
        }
    show("decode", out, wanted), show("prompts", tiles, in_parts);
}

// Dense experts of plain numbers: three of seven for each row.
template <class T>
static void experts() {
    constexpr int64_t NUM = 7, TOP = 3, ROWS = 5, WIDTH = 96, INNER = 64;
    auto up = numbers<float>(NUM * 2 * INNER * WIDTH, 0.2f), down = numbers<float>(NUM * WIDTH * INNER, 0.2f), weights = numbers<float>(ROWS * TOP);
    auto x = numbers<T>(ROWS * WIDTH);
    std::vector<T> out(ROWS * WIDTH);
    std::vector<blocks::Part> first, second;
    for (int64_t e = 0; e < NUM; e++) {
        first.push_back({(const uint8_t*)&up[e * 2 * INNER * WIDTH], WIDTH * 4, 2 * INNER, 0, nullptr, 0});
        second.push_back({(const uint8_t*)&down[e * WIDTH * INNER], INNER * 4, WIDTH, 0, nullptr, 0});
    }
    std::vector<blocks::Expert> all;
    for (int64_t e = 0; e < NUM; e++) all.push_back({&first[e], &second[e], 1, 1});
    std::vector<int64_t> chosen;
    for (int64_t i = 0; i < ROWS * TOP; i++) chosen.push_back((i / TOP + i % TOP * 2) % NUM);
    blocks::multiply_experts<T>(x.data(), all.data(), chosen.data(), weights.data(), out.data(), ROWS, TOP, NUM, WIDTH, INNER, WIDTH, SILU);
    std::vector<double> wanted(out.size());
    for (int64_t i = 0; i < ROWS * TOP; i++) {
        const float *gate = &up[chosen[i] * 2 * INNER * WIDTH], *back = &down[chosen[i] * WIDTH * INNER];
        for (int64_t n = 0; n < INNER; n++) {
            double g = 0, u = 0;
            for (int64_t d = 0; d < WIDTH; d++) {
                g += gate[n * WIDTH + d] * (double)get(x[i / TOP * WIDTH + d]);
                u += gate[(INNER + n) * WIDTH + d] * (double)get(x[i / TOP * WIDTH + d]);
            }
            double inside = g / (1 + std::exp(-g)) * u;
            for (int64_t d = 0; d < WIDTH; d++) wanted[i / TOP * WIDTH + d] += weights[i] * inside * back[d * INNER + n];
        }
    }
    show("experts", out, wanted);
}

int main() {
    latent<float>(NONE), latent<bf16>(NONE), latent<float>(2), grouped<float>(), grouped<bf16>(), experts<float>(), experts<bf16>();
}
