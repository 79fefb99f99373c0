// All layers of a decode step in one call: what Python would call for each layer, in the same order and to the same bits.
#include "operations.h"
#include "rows.h"

namespace {

// One layer. Python writes these and the next three (kernels/decode.py). Norms and biases that a layer lacks are null.
struct DecodeLayer {
    const void *attention_norm, *mlp_norm;    // before the products
    const void *attention_after, *mlp_after;  // of what is added to x
    const void *q_norm, *k_norm;              // of each head
    const void* qkv_bias;
    const void *qkv, *o, *up, *down;  // tables of `Part`
    int64_t num_qkv, num_o, num_up, num_down;
    void *k, *v;
    float *k_scales, *v_scales;
    int64_t turn, context;  // indices
};

struct DecodeTurn {
    const void *cos, *sin;
};

// Slots [start, end) that the rows named in `run_rows` from `first` on share.
struct DecodeRun {
    int64_t start, end, first, count;
};

// Row r attends to slots[starts[r] : starts[r + 1]], the last of which is its own, and to the runs that name it.
struct DecodeContext {
    const int64_t *slots, *starts;
    const DecodeRun* runs;
    const int64_t* run_rows;
    int64_t num_runs;
};

// The operation of this name; its file is compiled apart.
template <class F>
F* operation_named(const char* name, const char* dtype) {
    for (const Operation& one : operations())
        if (!std::strcmp(one.name, name) && !std::strcmp(one.dtype, dtype)) return (F*)one.address;
    return nullptr;
}

// Changes x [rows, width]: it goes through all layers. The K and V of row r go to slot new_slots[r]. `format` is that of K and V;
// all layers have one shape.
template <class T>
void decode_layers(const DecodeLayer* layers, T* x, const DecodeTurn* turns, const DecodeContext* contexts, const int64_t* new_slots,
                   int64_t num_layers, int64_t rows, int64_t width, int64_t inner, int64_t heads, int64_t kv_heads, int64_t dim,
                   int64_t format, int64_t activation, float eps, float scale, float softcap) {
    const char* dtype = std::is_same_v<T, float> ? "float32" : "bfloat16";
    using Blocks = void(const T*, const void*, float, const void*, const T*, T*, int64_t, int64_t, int64_t, int64_t);
    using Gated = void(const T*, const void*, float, const void*, const void*, const T*, T*, int64_t, int64_t, int64_t, int64_t,
                       int64_t, int64_t, int64_t);
    auto multiply_blocks = operation_named<Blocks>("multiply_blocks", dtype);
    auto multiply_gated = operation_named<Gated>("multiply_gated", dtype);
    int64_t turned_size = (heads + kv_heads) * dim, qkv_size = turned_size + kv_heads * dim;
    static thread_local std::vector<T> qkv, turned, attended, between, run_queries, run_out;
    static thread_local std::vector<float> lse, run_lse;
    qkv.resize(rows * qkv_size), turned.resize(rows * turned_size), attended.resize(rows * heads * dim);
    between.resize(rows * width), lse.resize(rows * heads);
    run_queries.resize(rows * heads * dim), run_out.resize(rows * heads * dim), run_lse.resize(rows * heads);
    auto keep = [&](void* store, float* scales, const T* from, int64_t stride) {
        if (format == DENSE)
            write_slots((T*)store, from, stride, new_slots, rows, kv_heads * dim);
        else
            write_codes((uint8_t*)store, scales, format, from, stride, new_slots, rows, kv_heads, dim);
    };
    auto norm_heads = [&](const void* weight, int64_t first, int64_t count) {
        for (int64_t i = 0; weight && i < rows * count; i++) {
            T* head = qkv.data() + i / count * qkv_size + (first + i % count) * dim;
            norm_row(head, (const T*)weight, head, dim, eps);
        }
    };
    auto add = [](T* to, const T* more, int64_t size) {
        for (int64_t i = 0; i < size; i += W) store(to + i, load(to + i) + load(more + i));
    };
    auto add_normed = [&](const void* weight) {  // x += norm(between)
        for (int64_t row = 0; row < rows; row++) {
            T* more = between.data() + row * width;
            norm_row(more, (const T*)weight, more, width, eps);
            add(x + row * width, more, width);
        }
    };
    auto attend_run = [&](const DecodeLayer* layer, const DecodeContext& context, const DecodeRun& run) {
        const int64_t *rows_of = context.run_rows + run.first, size = heads * dim;
        bool is_together = rows_of[run.count - 1] - rows_of[0] == run.count - 1;
        const T* queries = turned.data() + rows_of[0] * turned_size;
        for (int64_t i = 0; i < run.count && !is_together; i++)
            std::memcpy(run_queries.data() + i * size, turned.data() + rows_of[i] * turned_size, size * sizeof(T));
        int64_t first = run.start * kv_heads, bytes = dim * (format == DENSE ? sizeof(T) : 1);
        int64_t first_scale = format == INT8 ? first : 0;
        attend_all(is_together ? queries : run_queries.data(), is_together ? turned_size : size, (char*)layer->k + first * bytes,
                   (char*)layer->v + first * bytes, layer->k_scales + first_scale, layer->v_scales + first_scale, format,
                   run_out.data(), run_lse.data(), run.count, run.end - run.start, heads, kv_heads, dim, scale, softcap);
        for (int64_t i = 0; i < run.count; i += is_together ? run.count : 1)
            merge(attended.data() + rows_of[i] * size, lse.data() + rows_of[i] * heads, run_out.data() + i * size,
                  run_lse.data() + i * heads, heads * (is_together ? run.count : 1), dim);
    };
    for (const DecodeLayer* layer = layers; layer < layers + num_layers; layer++) {
        const DecodeTurn& turn = turns[layer->turn];
        const DecodeContext& context = contexts[layer->context];
        multiply_blocks(x, layer->attention_norm, eps, layer->qkv, nullptr, qkv.data(), rows, width, layer->num_qkv, qkv_size);
        for (int64_t row = 0; layer->qkv_bias && row < rows; row++)
            add(qkv.data() + row * qkv_size, (const T*)layer->qkv_bias, qkv_size);
        norm_heads(layer->q_norm, 0, heads);
        norm_heads(layer->k_norm, heads, kv_heads);
        rotate(qkv.data(), (const T*)turn.cos, (const T*)turn.sin, turned.data(), rows, heads + kv_heads, dim, qkv_size);
        keep(layer->k, layer->k_scales, turned.data() + heads * dim, turned_size);
        keep(layer->v, layer->v_scales, qkv.data() + turned_size, qkv_size);
        attend_slots(turned.data(), turned_size, layer->k, layer->v, layer->k_scales, layer->v_scales, format, context.slots,
                     context.starts, attended.data(), lse.data(), rows, heads, kv_heads, dim, scale, softcap);
        for (int64_t i = 0; i < context.num_runs; i++) attend_run(layer, context, context.runs[i]);
        bool is_apart = layer->attention_after;  // a norm comes before the sum
        multiply_blocks(attended.data(), nullptr, 0, layer->o, is_apart ? nullptr : x, between.data(), rows, heads * dim,
                        layer->num_o, width);
        if (is_apart) add_normed(layer->attention_after);
        multiply_gated(is_apart ? x : between.data(), layer->mlp_norm, eps, layer->up, layer->down,
                       is_apart ? nullptr : between.data(), is_apart ? between.data() : x, rows, width, inner, width,
                       layer->num_up, layer->num_down, activation);
        if (is_apart) add_normed(layer->mlp_after);
    }
}

LIST(decode_layers)

}  // namespace
