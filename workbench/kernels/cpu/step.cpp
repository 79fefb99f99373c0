// All layers of a decode step in one call: what Python would call for each layer, in the same order and to the same bits.
#include "operations.h"

namespace {

// One layer. Python writes these (kernels/decode.py).
struct DecodeLayer {
    const void *attention_norm, *mlp_norm;
    const void *qkv, *o, *up, *down;  // tables of `Part`
    int64_t num_qkv, num_o, num_up, num_down;
    void *k, *v;
    float *k_scales, *v_scales;
};

// Slots [start, end) that the rows named in `run_rows` from `first` on share.
struct DecodeRun {
    int64_t start, end, first, count;
};

// The operation of this name; its file is compiled apart.
template <class F>
F* operation_named(const char* name, const char* dtype) {
    for (const Operation& one : operations())
        if (!std::strcmp(one.name, name) && !std::strcmp(one.dtype, dtype)) return (F*)one.address;
    return nullptr;
}

// Changes x [rows, width]: it goes through all layers. Row r attends to slots[starts[r] : starts[r + 1]], of which new_slots[r] is
// its own, and to the runs that name it. `format` is that of K and V; all layers have one shape.
template <class T>
void decode_layers(const DecodeLayer* layers, T* x, const T* cos, const T* sin, const int64_t* new_slots, const int64_t* slots,
                   const int64_t* starts, const DecodeRun* runs, const int64_t* run_rows, int64_t num_runs, int64_t num_layers,
                   int64_t rows, int64_t width, int64_t inner, int64_t heads, int64_t kv_heads, int64_t dim, int64_t format,
                   int64_t activation, float eps, float scale, float softcap) {
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
    if (num_runs) run_queries.resize(rows * heads * dim), run_out.resize(rows * heads * dim), run_lse.resize(rows * heads);
    auto keep = [&](void* store, float* scales, const T* from, int64_t stride) {
        if (format == DENSE)
            write_slots((T*)store, from, stride, new_slots, rows, kv_heads * dim);
        else
            write_codes((uint8_t*)store, scales, format, from, stride, new_slots, rows, kv_heads, dim);
    };
    auto attend_run = [&](const DecodeLayer* layer, const DecodeRun& run) {
        const int64_t *rows_of = run_rows + run.first, size = heads * dim;
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
        multiply_blocks(x, layer->attention_norm, eps, layer->qkv, nullptr, qkv.data(), rows, width, layer->num_qkv, qkv_size);
        rotate(qkv.data(), cos, sin, turned.data(), rows, heads + kv_heads, dim, qkv_size);
        keep(layer->k, layer->k_scales, turned.data() + heads * dim, turned_size);
        keep(layer->v, layer->v_scales, qkv.data() + turned_size, qkv_size);
        attend_slots(turned.data(), turned_size, layer->k, layer->v, layer->k_scales, layer->v_scales, format, slots, starts,
                     attended.data(), lse.data(), rows, heads, kv_heads, dim, scale, softcap);
        for (int64_t i = 0; i < num_runs; i++) attend_run(layer, runs[i]);
        multiply_blocks(attended.data(), nullptr, 0, layer->o, x, between.data(), rows, heads * dim, layer->num_o, width);
        multiply_gated(between.data(), layer->mlp_norm, eps, layer->up, layer->down, between.data(), x, rows, width, inner, width,
                       layer->num_up, layer->num_down, activation);
    }
}

LIST(decode_layers)

}  // namespace
