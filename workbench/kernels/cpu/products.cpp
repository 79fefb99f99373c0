// Products with quantised weights. For whole numbers, rows x of float numbers become int8 with a scale for every 32 of them, are
// multiplied with the whole numbers of the weight's blocks, and the sums of each group are added up as floats in the order of the
// groups. Real numbers are multiplied with x as it is, in a fixed order too. So a result depends on its own row and its own row of
// the weight alone, not on the other rows, the tile or the number of threads.
#ifdef _OPENMP
#include <omp.h>
#endif

#include <vector>

#include "blocks.h"
#include "lanes.h"
#include "operations.h"
#include "rows.h"

namespace {
namespace blocks {

// Not an operator: the compiler may reorder those.
inline Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
    return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
    return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

// The sum of NUM products of four bytes: w of BITS bits (8: with a sign, if the processor takes them so), x with a sign.
template <int BITS, int NUM>
struct Sum {
    Ints total;
#if defined(__AVX512VNNI__)
    void add(int, Bits w, Bits x) { total = (Ints)_mm512_dpbusd_epi32((__m512i)total, (__m512i)w, (__m512i)x); }
#elif defined(__AVXVNNI__)
    void add(int, Bits w, Bits x) { total = (Ints)_mm256_dpbusd_avx_epi32((__m256i)total, (__m256i)w, (__m256i)x); }
#elif defined(__AVX2__)
    // Sums of two products have 16 bits; so many of them fit together.
    static constexpr int FIT = std::min(NUM, BITS <= 4 ? 8 : BITS == 5 ? 4 : BITS == 6 ? 2 : 1);
    Bits pairs = {};
    void add(int j, Bits w, Bits x) {
        pairs = j % FIT ? plus(pairs, products(w, x)) : products(w, x);
        if (j % FIT == FIT - 1) total += widened(pairs);
    }
#if defined(__AVX512BW__)
    static Bits plus(Bits a, Bits b) { return (Bits)_mm512_add_epi16((__m512i)a, (__m512i)b); }
    static Ints widened(Bits a) { return (Ints)_mm512_madd_epi16((__m512i)a, _mm512_set1_epi16(1)); }
    static Bits products(Bits w, Bits x) {
        if constexpr (BITS < 8) return (Bits)_mm512_maddubs_epi16((__m512i)w, (__m512i)x);
        __m512i size = _mm512_abs_epi8((__m512i)w);
        __mmask64 is_negative = _mm512_movepi8_mask((__m512i)w);
        __m512i turned = _mm512_mask_sub_epi8((__m512i)x, is_negative, _mm512_setzero_si512(), (__m512i)x);
        return (Bits)_mm512_maddubs_epi16(size, turned);
    }
#else
    static Bits plus(Bits a, Bits b) { return (Bits)_mm256_add_epi16((__m256i)a, (__m256i)b); }
    static Ints widened(Bits a) { return (Ints)_mm256_madd_epi16((__m256i)a, _mm256_set1_epi16(1)); }
    static Bits products(Bits w, Bits x) {
        if constexpr (BITS < 8) return (Bits)_mm256_maddubs_epi16((__m256i)w, (__m256i)x);
        return (Bits)_mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)w), _mm256_sign_epi8((__m256i)x, (__m256i)w));
    }
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
    void add(int, Bits w, Bits x) { total = (Ints)vdotq_s32((int32x4_t)total, (int8x16_t)w, (int8x16_t)x); }
#elif defined(__ARM_NEON)
    void add(int, Bits w, Bits x) {
        int8x16_t a = (int8x16_t)w, b = (int8x16_t)x;
        int32x4_t lower = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        int32x4_t upper = vpaddlq_s16(vmull_s8(vget_high_s8(a), vget_high_s8(b)));
        total += (Ints)vpaddq_s32(lower, upper);
    }
#else
    void add(int, Bits w, Bits x) {
        for (int b = 0; b < 32; b += 8) total += ((Ints)(w << (24 - b)) >> 24) * ((Ints)(x << (24 - b)) >> 24);
    }
#endif
};

// Facts of 32 numbers of x, needed for the zero points and the offsets of a weight: of all, or of each half.
struct Sums {
    int32_t sum;      // of the whole numbers
    float weighted;  // the same times the scale
};

template <int HALVES>
struct Measure {
    float scale;
    Sums of[HALVES];
};

struct Activations {
    int64_t groups;     // of a row
    const float* real;  // the rows as they are
    std::vector<float> converted;
    std::vector<int8_t> numbers;
    std::vector<Measure<1>> wholes;
    std::vector<Measure<2>> halves;
    bool has_wholes, has_halves;  // whether they are needed

    void resize(int64_t rows, int64_t width) {
        groups = width / GROUP;
        numbers.resize(rows * width);
        if (has_wholes) wholes.resize(rows * groups);
        if (has_halves) halves.resize(rows * groups);
    }
    const float* real_of(int64_t row) const { return real + row * groups * GROUP; }
    const uint8_t* numbers_of(int64_t row) const { return (const uint8_t*)&numbers[row * groups * GROUP]; }
    template <int HALVES>
    const Measure<HALVES>* measures_of(int64_t row) const {
        if constexpr (HALVES == 2)
            return &halves[row * groups];
        else
            return &wholes[row * groups];
    }
};

typedef int8_t Bytes __attribute__((vector_size(W)));

// Rounds `num` groups of numbers, at most W, side by side: lane g of a vector belongs to group g. Null: not needed.
template <class T>
void quantise(const T* x, int8_t* numbers, Measure<1>* wholes, Measure<2>* halves, int num) {
    constexpr int NUM = GROUP / W;
    Bits sizes[W] = {};  // sizes of floats are in the order of their bits; NaN has the largest, and so is not lost
    for (int g = 0; g < num; g++)
        for (int i = 0; i < NUM; i++) {
            Bits size = (Bits)load(x + g * GROUP + i * W) & 0x7fffffff;
            sizes[g] = size > sizes[g] ? size : sizes[g];
        }
    Vec peak = (Vec)reduced(sizes, [](Bits a, Bits b) { return a > b ? a : b; });
    Vec inverse = peak < 1e-30f ? Vec{} : 127.0f / peak, scale = peak < 1e-30f ? Vec{} : peak / 127.0f;
    alignas(64) float inverses[W], scales[W];
    store(inverses, inverse), store(scales, scale);
    Bits parts[2][W] = {};
    for (int g = 0; g < num; g++)
        for (int i = 0; i < NUM; i++) {
            Vec scaled = load(x + g * GROUP + i * W) * inverses[g];
            Vec half = (Vec)(((Bits)scaled & 0x80000000) | 0x3f000000);  // 0.5 with the sign of the number
            Ints whole = __builtin_convertvector(scaled + half, Ints);
            Bytes bytes = __builtin_convertvector(whole, Bytes);
            std::memcpy(numbers + g * GROUP + i * W, &bytes, sizeof bytes);
            parts[i * W / 16][g] += (Bits)whole;
        }
    auto add = [](Bits a, Bits b) { return a + b; };
    for (int g = 0; g < num && !halves; g++) parts[0][g] += parts[1][g];
    Ints first = (Ints)reduced(parts[0], add), second = halves ? (Ints)reduced(parts[1], add) : Ints{}, all = first + second;
    for (int g = 0; g < num; g++) {
        auto sums = [&](int32_t sum) { return Sums{sum, sum * scales[g]}; };
        if (wholes) wholes[g] = {scales[g], {sums(all[g])}};
        if (halves) halves[g] = {scales[g], {sums(first[g]), sums(second[g])}};
    }
}

// Adds to sums [P][R] the products of R rows of x, from row `first` and group `start` on, with `num` groups of P times W rows of a
// weight; each W rows lie `apart` groups from the next.
template <class F, int R, int P>
void add_whole(const Group<F::HALVES>* weight, int64_t apart, int64_t num, const Activations& x, int64_t first, int64_t start,
               Vec* sums) {
    constexpr int NUM = QUADS / F::HALVES;
    const uint8_t* numbers[R];
    const Measure<F::HALVES>* measures[R];
    Vec total[P][R];
    for (int r = 0; r < R; r++) {
        numbers[r] = x.numbers_of(first + r) + start * GROUP, measures[r] = x.template measures_of<F::HALVES>(first + r) + start;
        for (int p = 0; p < P; p++) total[p][r] = sums[p * R + r];
    }
    for (int64_t g = 0; g < num; g++)
        for (int h = 0; h < F::HALVES; h++) {
            Sum<F::BITS, NUM> sum[P][R];
            for (int r = 0; r < R; r++) {
                Ints begin = F::ZERO ? Ints{} - F::ZERO * measures[r][g].of[h].sum : Ints{};
                for (int p = 0; p < P; p++) sum[p][r].total = begin;
            }
#pragma GCC unroll 8
            for (int j = 0; j < NUM; j++) {
                Bits w[P];
                for (int p = 0; p < P; p++) w[p] = weight[p * apart + g].quads[h * NUM + j];
#pragma GCC unroll 16
                for (int r = 0; r < R; r++) {
                    Bits four = Bits{} + read<uint32_t>(numbers[r] + g * GROUP + 4 * (h * NUM + j));
                    for (int p = 0; p < P; p++) sum[p][r].add(j, w[p], four);
                }
            }
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                const Measure<F::HALVES>& of = measures[r][g];
                for (int p = 0; p < P; p++) {
                    const Group<F::HALVES>& group = weight[p * apart + g];
                    Vec value = __builtin_convertvector(sum[p][r].total, Vec);
                    total[p][r] = multiply_add(value, group.scale[h] * of.scale, total[p][r]);
                    if (F::HAS_OFFSET) total[p][r] = multiply_add(Vec{} + of.of[h].weighted, group.offset[h], total[p][r]);
                }
            }
        }
    for (int p = 0; p < P; p++)
        for (int r = 0; r < R; r++) sums[p * R + r] = total[p][r];
}

// The same for real numbers: of each group, the numbers at even and at odd places are added up apart.
template <int R, int P>
void add_real(const Numbers* weight, int64_t apart, int64_t num, const Activations& x, int64_t first, int64_t start, Vec* sums) {
    const float* values[R];
    for (int r = 0; r < R; r++) values[r] = x.real_of(first + r) + start * GROUP;
    const Vec one = Vec{} + 1.0f;
    for (int64_t g = 0; g < num; g++) {
        Vec even[P][R] = {}, odd[P][R] = {};
#pragma GCC unroll 4
        for (int i = 0; i < GROUP; i += 2)
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                Vec a = Vec{} + values[r][g * GROUP + i], b = Vec{} + values[r][g * GROUP + i + 1];
                for (int p = 0; p < P; p++) {
                    even[p][r] = multiply_add(weight[p * apart + g].of[i], a, even[p][r]);
                    odd[p][r] = multiply_add(weight[p * apart + g].of[i + 1], b, odd[p][r]);
                }
            }
        for (int p = 0; p < P; p++)
            for (int r = 0; r < R; r++)
                sums[p * R + r] = multiply_add(one, multiply_add(one, even[p][r], odd[p][r]), sums[p * R + r]);
    }
}

// Compiled once for each kind of numbers, not for each format.
template <class K, int R, int P>
__attribute__((noinline)) void add_products(const typename K::Unpacked* weight, int64_t apart, int64_t num, const Activations& x,
                                            int64_t first, int64_t start, Vec* sums) {
    if constexpr (K::IS_WHOLE)
        add_whole<K, R, P>(weight, apart, num, x, first, start, sums);
    else
        add_real<R, P>(weight, apart, num, x, first, start, sums);
}

#if defined(__AVX512F__)
constexpr int TILE = 6, PANELS = 2;  // rows of x, and times W rows of a weight, whose sums fit into the registers together
#else
constexpr int TILE = 4, PANELS = 1;
#endif

// The same for `rows` rows of x, at most R, and PANELS times W rows of a weight.
template <class K, int R = TILE>
void add_tile(const typename K::Unpacked* weight, int64_t apart, int64_t num, const Activations& x, int64_t first, int64_t rows,
              int64_t start, Vec* sums) {
    if constexpr (R > 1)
        if (rows < R) return add_tile<K, R - 1>(weight, apart, num, x, first, rows, start, sums);
    add_products<K, R, PANELS>(weight, apart, num, x, first, start, sums);
}

// A quantised matrix [rows, width], and where its products go. Python writes these.
struct Part {
    const uint8_t* data;
    int64_t row_bytes, rows;
    int64_t type;            // number of the format in GGUF files
    const int32_t* places;   // of the results, one for each row; null: in order
    int64_t first_column;

    void at(int64_t row, const uint8_t** found) const {  // W rows; past the end the last one
        for (int i = 0; i < W; i++) found[i] = data + std::min(row + i, rows - 1) * row_bytes;
    }
};

// The matrix of results [.., stride], of float or bf16. The type is no template parameter: all formats would be compiled twice.
struct Results {
    void* data;
    const void* added;  // numbers of the same shape that are added to rounded results; null: none
    int64_t stride;
    bool is_bf16;

    // Fetches the places of results before they are put: rows lie far apart, and waiting for each takes a tenth of a product's time.
    void expect(const Part& part, int64_t weight_row, int64_t row) const {
        int64_t at = (row * stride + part.first_column + weight_row) * (is_bf16 ? 2 : 4);
        __builtin_prefetch((const char*)data + at, 1);
        if (added) __builtin_prefetch((const char*)added + at);
    }

    void put(const Part& part, int64_t weight_row, int64_t row, Vec sum) const {
        int64_t at = row * stride + part.first_column;
        if (is_bf16)
            put_as((bf16*)data + at, added ? (const bf16*)added + at : nullptr, part, weight_row, sum);
        else
            put_as((float*)data + at, added ? (const float*)added + at : nullptr, part, weight_row, sum);
    }

    template <class T>
    static void put_as(T* out, const T* more, const Part& part, int64_t weight_row, Vec sum) {
        int64_t num = std::min<int64_t>(W, part.rows - weight_row);
        T numbers[W];
        store(numbers, sum);
        if (!part.places && num == W) {
            if (more) sum = load(numbers) + load(more + weight_row);
            return store(out + weight_row, sum);
        }
        for (int64_t i = weight_row; i < weight_row + num; i++) {
            int64_t place = part.places ? part.places[i] : i;
            out[place] = numbers[i - weight_row];
            if (more) ::put(out + place, get(out[place]) + get(more[place]));
        }
    }
};

struct Task {
    const Part& part;
    int64_t row;  // the first of PANELS times W rows of the part
};

// Each piece of the weight is unpacked, stays in the nearest cache, and is multiplied with all rows of x.
template <class F>
void multiply_task(const Task& task, const Activations& x, int64_t num_rows, const Results& out) {
    constexpr int64_t IN_GROUPS = F::LEN / GROUP, MOST = (F::IS_WHOLE ? 1024 : 128) / GROUP;  // of a block; at once
    static thread_local std::vector<Vec> sums;
    typename F::Unpacked weight[PANELS * MOST];
    const uint8_t* rows[PANELS][W];
    for (int p = 0; p < PANELS; p++) task.part.at(task.row + p * W, rows[p]);
    const uint8_t* ahead = rows[0][0] + PANELS * W * task.part.row_bytes;
    int64_t tiles = (num_rows + TILE - 1) / TILE, tile = (num_rows + tiles - 1) / tiles;
    int64_t pieces = (x.groups + MOST - 1) / MOST, most = ((x.groups + pieces - 1) / pieces + IN_GROUPS - 1) / IN_GROUPS * IN_GROUPS;
    sums.assign(num_rows * PANELS, Vec{});
    for (int64_t start = 0; start < x.groups; start += most) {
        int64_t num = std::min(most, x.groups - start), at = start / IN_GROUPS * F::BYTES;
        for (int64_t b = 0; b < num / IN_GROUPS; b++, at += F::BYTES) {
            // The processor foresees a walk through memory, but not one that jumps between W rows.
            for (int64_t byte = 0; byte < PANELS * W * F::BYTES; byte += 64) __builtin_prefetch(ahead + PANELS * W * at + byte, 0, 2);
            for (int p = 0; p < PANELS; p++) F::unpack(rows[p], at, &weight[p * most + b * IN_GROUPS]);
        }
        bool is_last = start + num == x.groups;
        for (int64_t first = 0; first < num_rows; first += tile) {
            int64_t count = std::min(tile, num_rows - first);
            Vec* total = &sums[first * PANELS];
            for (int64_t r = first; is_last && r < first + count; r++) out.expect(task.part, task.row, r);
            add_tile<typename F::Kind>(weight, most, num, x, first, count, start, total);
            for (int64_t r = 0; is_last && r < count; r++)
                for (int p = 0; p < PANELS && task.row + p * W < task.part.rows; p++)
                    out.put(task.part, task.row + p * W, first + r, total[p * count + r]);
        }
    }
}

// Calls `use` with the format of this number: that of GGUF files, and from 1000 on our own.
template <class Use>
void with_format(int64_t type, Use use) {
    switch (type) {
        case 0: return use(F32{});
        case 1: return use(F16{});
        case 2: return use(Q4_0{});
        case 3: return use(Q4_1{});
        case 6: return use(Q5_0{});
        case 7: return use(Q5_1{});
        case 8: return use(Q8_0{});
        case 10: return use(Q2_K{});
        case 11: return use(Q3_K{});
        case 12: return use(Q4_K{});
        case 13: return use(Q5_K{});
        case 14: return use(Q6_K{});
        case 20: return use(IQ4_NL{});
        case 23: return use(IQ4_XS{});
        case 30: return use(BF16{});
        case 1000: return use(Int4<32>{});
        case 1001: return use(Int4<128>{});
        case 1002: return use(Int8<32>{});
        case 1003: return use(Int8<128>{});
        case 1004: return use(Float8<32>{});
        case 1005: return use(Float8<128>{});
        case 1006: return use(NF4{});
    }
}

inline int64_t num_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#endif
    return 1;
}

constexpr int64_t ALONE = 256;      // groups that one thread quantises in the time that several take to wait for each other
constexpr int64_t MOST_ROWS = 258;  // that are quantised at a time: they stay in the second cache, and take little memory
constexpr int64_t ENOUGH_ROWS = 192;  // of each thread, so that unpacking the weight once for them costs less than sharing them

// One product of some rows. What "all threads" do may be called in a parallel region by all of them, or outside by one.
struct Product {
    Activations x;
    std::vector<Task> tasks;
    int64_t rows;
    Results results;
    bool has_real;

    void begin(const Part* parts, int64_t num_parts, int64_t num_rows, int64_t width, const Results& out) {
        tasks.clear();
        rows = num_rows, results = out, has_real = x.has_wholes = x.has_halves = false;
        for (int64_t p = 0; p < num_parts; p++) {
            with_format(parts[p].type, [&](auto format) { is_needed<typename decltype(format)::Kind>() = true; });
            for (int64_t row = 0; row < parts[p].rows; row += PANELS * W) tasks.push_back({parts[p], row});
        }
        x.resize(num_rows, width);
    }

    template <class K>
    bool& is_needed() {
        if constexpr (!K::IS_WHOLE)
            return has_real;
        else
            return K::HALVES == 2 ? x.has_halves : x.has_wholes;
    }

    bool has_whole() const { return x.has_wholes || x.has_halves; }

    int64_t num_groups() const { return rows * x.groups; }

    // Groups of the rows are quantised W at a time.
    int64_t num_strips() const { return (num_groups() + W - 1) / W; }

    template <class T>
    void quantise_strip(const T* from, int64_t strip) {
        int64_t g = strip * W, num = std::min<int64_t>(W, num_groups() - g);
        if (!has_whole()) return;
        quantise(from + g * GROUP, &x.numbers[g * GROUP], x.has_wholes ? &x.wholes[g] : nullptr,
                 x.has_halves ? &x.halves[g] : nullptr, num);
    }

    // All threads; they wait for each other at the end.
    template <class T>
    void take(const T* from) {
        take_real(from);
#pragma omp for
        for (int64_t strip = 0; strip < num_strips(); strip++) quantise_strip(from, strip);
    }

    void take_real(const float* from) {
        if (!has_real) return;
#pragma omp single
        x.real = from;
    }

    void take_real(const bf16* from) {
        if (!has_real) return;
#pragma omp single
        x.converted.resize(rows * x.groups * GROUP), x.real = x.converted.data();
#pragma omp for
        for (int64_t i = 0; i < (int64_t)x.converted.size(); i += W) store(&x.converted[i], load(from + i));
    }

    // All threads; they do not wait.
    void multiply() const {
        int64_t num = tasks.size();
#pragma omp for schedule(guided) nowait
        for (int64_t i = 0; i < num; i++)
            with_format(tasks[i].part.type, [&](auto format) { multiply_task<decltype(format)>(tasks[i], x, rows, results); });
    }
};

// The weights of a norm before a product.
template <class T>
struct Norm {
    const T* weight;  // null: no norm
    float eps;
    std::vector<T> normed;

    // All threads; they wait for each other. Returns the rows after the norm.
    const T* apply(const T* x, int64_t rows, int64_t width) {
        if (!weight) return x;
#pragma omp single
        normed.resize(rows * width);
#pragma omp for
        for (int64_t row = 0; row < rows; row++) norm_row(x + row * width, weight, &normed[row * width], width, eps);
        return normed.data();
    }
};

// Calls `use` in a team of one thread, wherever it is called.
template <class Use>
void alone(Use use) {
#pragma omp parallel num_threads(1)
    use();
}

// Calls use(first, num) for pieces of `num_rows` rows. Each thread takes whole pieces where there are enough: then nothing that is
// computed in between goes from one processor to another. Else all threads compute a piece together.
template <class Use>
void for_pieces(int64_t num_rows, Use use) {
    int64_t threads = num_threads(), num = (num_rows + MOST_ROWS - 1) / MOST_ROWS;
    if (num_rows < threads * ENOUGH_ROWS) {
        for (int64_t row = 0; row < num_rows; row += MOST_ROWS) use(row, std::min(MOST_ROWS, num_rows - row));
        return;
    }
    num = (num + threads - 1) / threads * threads;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < num; i++) use(i * num_rows / num, (i + 1) * num_rows / num - i * num_rows / num);
}

// out [num_rows, stride] = norm(x) [num_rows, width] times the transposes of all parts, each in its own columns, plus `added`.
template <class T>
void multiply_blocks(const T* x, const T* norm_weight, float eps, const Part* parts, const T* added, T* out, int64_t num_rows,
                     int64_t width, int64_t num_parts, int64_t stride) {
    for_pieces(num_rows, [&](int64_t row, int64_t rows) {
        static thread_local Product kept_product;
        static thread_local Norm<T> kept_norm;
        Product& product = kept_product;
        Norm<T>& norm = kept_norm;
        norm.weight = norm_weight, norm.eps = eps;
        const T* from = x + row * width;
        Results results{out + row * stride, added ? added + row * stride : nullptr, stride, std::is_same_v<T, bf16>};
        product.begin(parts, num_parts, rows, width, results);
        bool is_little = product.num_groups() <= ALONE;
        if (is_little) alone([&] { product.take(norm.apply(from, rows, width)); });
#pragma omp parallel
        {
            if (!is_little) product.take(norm.apply(from, rows, width));
            product.multiply();
        }
    });
}

// out [num_rows, stride] = (activation(gate) * up) times the transposes of the parts `down`, plus `added`, where gate and up
// [num_rows, inner] are norm(x) [num_rows, width] times those of the parts `up`.
template <class T>
void multiply_gated(const T* x, const T* norm_weight, float eps, const Part* up, const Part* down, const T* added, T* out,
                    int64_t num_rows, int64_t width, int64_t inner, int64_t stride, int64_t num_up, int64_t num_down,
                    int64_t activation) {
    for_pieces(num_rows, [&](int64_t row, int64_t rows) {
        static thread_local Product kept_products[2];
        static thread_local Norm<T> kept_norm;
        static thread_local std::vector<T> kept_gate_up, kept_between;
        Product &first = kept_products[0], &second = kept_products[1];
        Norm<T>& norm = kept_norm;
        std::vector<T>&gate_up = kept_gate_up, &between = kept_between;
        norm.weight = norm_weight, norm.eps = eps;
        const T* from = x + row * width;
        constexpr bool is_bf16 = std::is_same_v<T, bf16>;
        gate_up.resize(rows * 2 * inner), between.resize(rows * inner);
        first.begin(up, num_up, rows, width, Results{gate_up.data(), nullptr, 2 * inner, is_bf16});
        second.begin(down, num_down, rows, inner,
                     Results{out + row * stride, added ? added + row * stride : nullptr, stride, is_bf16});
        bool is_little = first.num_groups() <= ALONE;
        if (is_little) alone([&] { first.take(norm.apply(from, rows, width)); });
#pragma omp parallel
        {
            if (!is_little) first.take(norm.apply(from, rows, width));
            first.multiply();
#pragma omp barrier
#pragma omp for
            for (int64_t strip = 0; strip < second.num_strips(); strip++) {
                for (int64_t g = strip * W; g < std::min((strip + 1) * W, second.num_groups()); g++) {
                    int64_t r = g / second.x.groups, column = g % second.x.groups * GROUP;
                    const T* gate = &gate_up[r * 2 * inner + column];
                    for (int i = 0; i < GROUP; i += W)
                        store(&between[g * GROUP + i], gated(load(gate + i), load(gate + inner + i), activation));
                }
                second.quantise_strip(between.data(), strip);
            }
            second.take_real(between.data());
            second.multiply();
        }
    });
}

// A gated layer: gate and up are the parts `up`, side by side.
struct Expert {
    const Part *up, *down;
    int64_t num_up, num_down;
};

// out [num_rows, stride] = for each row the sum, over its experts chosen [num_rows, top_k] in this order, of weight times
// (activation(gate) * up) times the transposes of the parts `down`. All threads go through the experts together.
template <class T>
void multiply_experts(const T* x, const Expert* experts, const int64_t* chosen, const float* weights, T* out, int64_t num_rows,
                      int64_t top_k, int64_t num_experts, int64_t width, int64_t inner, int64_t stride, int64_t activation) {
    static thread_local std::vector<Product> kept_first, kept_second;
    static thread_local std::vector<T> kept_x, kept_gate_up, kept_between, kept_results;
    static thread_local std::vector<float> kept_real;
    constexpr bool is_bf16 = std::is_same_v<T, bf16>;
    int64_t num = num_rows * top_k;
    std::vector<int64_t> starts(num_experts + 1), place(num), active;  // place i of a row and rank lies at place[i], by expert
    for (int64_t i = 0; i < num; i++) starts[chosen[i] + 1]++;
    for (int64_t e = 0; e < num_experts; e++) {
        if (starts[e + 1]) active.push_back(e);
        starts[e + 1] += starts[e];
    }
    std::vector<Product>&first = kept_first, &second = kept_second;
    std::vector<T>&rows = kept_x, &gate_up = kept_gate_up, &between = kept_between, &results = kept_results;
    std::vector<float>& real = kept_real;
    if (first.size() < active.size()) first.resize(active.size()), second.resize(active.size());
    rows.resize(num * width), gate_up.resize(num * 2 * inner), between.resize(num * inner), results.resize(num * stride);
    real.resize(num * inner);
    std::vector<int64_t> next(starts.begin(), starts.end() - 1);
    for (int64_t i = 0; i < num; i++) {
        place[i] = next[chosen[i]]++;
        std::memcpy(&rows[place[i] * width], x + i / top_k * width, width * sizeof(T));
    }
    int64_t num_active = active.size();
    for (int64_t a = 0; a < num_active; a++) {
        const Expert& expert = experts[active[a]];
        int64_t start = starts[active[a]], count = starts[active[a] + 1] - start;
        first[a].begin(expert.up, expert.num_up, count, width, Results{&gate_up[start * 2 * inner], nullptr, 2 * inner, is_bf16});
        second[a].begin(expert.down, expert.num_down, count, inner, Results{&results[start * stride], nullptr, stride, is_bf16});
        first[a].take(&rows[start * width]);
        second[a].x.real = &real[start * inner];
    }
#pragma omp parallel
    {
        for (int64_t a = 0; a < num_active; a++) first[a].multiply();
#pragma omp barrier
#pragma omp for
        for (int64_t row = 0; row < num; row++)
            for (int64_t i = 0; i < inner; i += W) {
                const T* gate = &gate_up[row * 2 * inner + i];
                store(&between[row * inner + i], gated(load(gate), load(gate + inner), activation));
                store(&real[row * inner + i], load(&between[row * inner + i]));
            }
        for (int64_t a = 0; a < num_active; a++) {
            if (!second[a].has_whole()) continue;
#pragma omp for nowait
            for (int64_t strip = 0; strip < second[a].num_strips(); strip++)
                second[a].quantise_strip(&between[starts[active[a]] * inner], strip);
        }
#pragma omp barrier
        for (int64_t a = 0; a < num_active; a++) second[a].multiply();
#pragma omp barrier
#pragma omp for
        for (int64_t row = 0; row < num_rows; row++)
            for (int64_t i = 0; i < stride; i += W) {
                Vec total = {};
                for (int64_t k = 0; k < top_k; k++)
                    total += weights[row * top_k + k] * load(&results[place[row * top_k + k] * stride + i]);
                store(out + row * stride + i, total);
            }
    }
}

template <class K>
float number_of(const typename K::Unpacked& group, int i, int64_t row) {
    if constexpr (K::IS_WHOLE) {
        uint32_t byte = group.quads[i / 4][row] >> (8 * (i % 4)) & 255;
        int q = (K::BITS == 8 && !K::ZERO ? int8_t(byte) : int(byte)) - K::ZERO;
        int h = K::HALVES == 2 ? i / 16 : 0;
        float number = group.scale[h][row] * q;
        return K::HAS_OFFSET ? number + group.offset[h][row] : number;
    } else {
        return group.of[i][row];
    }
}

template <class F, class T>
void read_rows_as(const Part& part, const int64_t* ids, T* out, int64_t num, int64_t width) {
    constexpr int GROUPS = F::LEN / GROUP;
    for (int64_t first = 0; first < num; first += W) {
        int64_t count = std::min<int64_t>(W, num - first);
        const uint8_t* rows[W];
        for (int i = 0; i < W; i++) rows[i] = part.data + ids[first + std::min<int64_t>(i, count - 1)] * part.row_bytes;
        for (int64_t block = 0; block < width / F::LEN; block++) {
            typename F::Unpacked groups[GROUPS];
            F::unpack(rows, block * F::BYTES, groups);
            for (int64_t r = 0; r < count; r++)
                for (int g = 0; g < GROUPS; g++)
                    for (int i = 0; i < GROUP; i++)
                        put(out + (first + r) * width + block * F::LEN + g * GROUP + i, number_of<typename F::Kind>(groups[g], i, r));
        }
    }
}

// out [num, width] = rows `ids` of a quantised matrix.
template <class T>
void read_rows(const Part* part, const int64_t* ids, T* out, int64_t num, int64_t width) {
    with_format(part->type, [&](auto format) { read_rows_as<decltype(format)>(*part, ids, out, num, width); });
}

}  // namespace blocks

using blocks::multiply_blocks, blocks::multiply_experts, blocks::multiply_gated, blocks::read_rows;
LIST(multiply_blocks)
LIST(multiply_experts)
LIST(multiply_gated)
LIST(read_rows)

}  // namespace
