// Prints a hash of the products of every format, on any processor.
#include <cstdio>
#include <vector>

#include "library.cpp"
#include "products.cpp"

static uint32_t state = 1;
static uint32_t next() { return state = state * 1664525u + 1013904223u; }

static void print_hash(const char* name, const std::vector<float>& numbers) {
    uint64_t hash = 14695981039346656037ull;
    for (float number : numbers) {
        uint32_t bits;
        std::memcpy(&bits, &number, 4);
        hash = (hash ^ bits) * 1099511628211ull;
    }
    std::printf("%s %016llx\n", name, (unsigned long long)hash);
}

template <class F>
static void show(const char* name, int64_t type, std::vector<int> scales) {
    constexpr int64_t ROWS = 37, WIDTH = 512, NUM = 15, ROW_BYTES = WIDTH / F::LEN * F::BYTES;
    std::vector<uint8_t> data(ROWS * ROW_BYTES);
    for (uint8_t& byte : data) byte = next() >> 24;
    for (int64_t at = 0; at < (int64_t)data.size(); at += F::BYTES)
        for (int scale : scales) data[at + scale + 1] = 0x20 | (next() >> 24 & 0x81);  // a float16, or the top of a float: small
    std::vector<float> x(NUM * WIDTH), out(NUM * ROWS), read(ROWS * WIDTH);
    for (float& number : x) number = (int32_t)next() / 1e9f;
    blocks::Part part{data.data(), ROW_BYTES, ROWS, type, nullptr, 0};
    blocks::multiply_blocks<float>(x.data(), nullptr, 0, &part, nullptr, out.data(), NUM, WIDTH, 1, ROWS);
    std::vector<int64_t> ids(ROWS);
    for (int64_t i = 0; i < ROWS; i++) ids[i] = i;
    blocks::read_rows<float>(&part, ids.data(), read.data(), ROWS, WIDTH);
    print_hash(name, out), print_hash("rows", read);
}

static std::vector<int> all(int step) {  // the upper two bytes of 32 numbers
    std::vector<int> places;
    for (int i = 0; i < 32; i++) places.push_back(step * (i + 1) - 2);
    return places;
}

int main() {
    using namespace blocks;
    show<Q4_0>("Q4_0", 2, {0}), show<Q4_1>("Q4_1", 3, {0, 2}), show<Q5_0>("Q5_0", 6, {0}), show<Q5_1>("Q5_1", 7, {0, 2});
    show<Q8_0>("Q8_0", 8, {0}), show<Q2_K>("Q2_K", 10, {80, 82}), show<Q3_K>("Q3_K", 11, {108}), show<Q4_K>("Q4_K", 12, {0, 2});
    show<Q5_K>("Q5_K", 13, {0, 2}), show<Q6_K>("Q6_K", 14, {208}), show<IQ4_NL>("IQ4_NL", 20, {0}), show<IQ4_XS>("IQ4_XS", 23, {0});
    show<F32>("F32", 0, all(4)), show<F16>("F16", 1, all(2)), show<BF16>("BF16", 30, all(2));
    show<Int4<32>>("INT4_32", 1000, {0, 2}), show<Int4<128>>("INT4_128", 1001, {0, 2});
    show<Int8<32>>("INT8_32", 1002, {2}), show<Int8<128>>("INT8_128", 1003, {2});
    show<Float8<32>>("F8_E4M3_32", 1004, {2}), show<Float8<128>>("F8_E4M3_128", 1005, {2}), show<NF4>("NF4", 1006, {2});
}
