// The softmax of scores that a matrix product left in memory, and the merge of two partial results of attention.
#include <vector>

#include "operations.h"

namespace {

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

LIST(softmax)
LIST(merge)

}  // namespace
