// Prints the value of every code and a hash of what many numbers are rounded to, on any processor.
#include <cstdio>
#include <vector>

#include "library.cpp"

static uint32_t state = 1;
static uint32_t next() { return state = state * 1664525u + 1013904223u; }

template <class T>
static void print_hash(const char* name, const std::vector<T>& numbers) {
    uint64_t hash = 14695981039346656037ull;
    for (T number : numbers)
        for (size_t i = 0; i < sizeof(T); i++) hash = (hash ^ ((const uint8_t*)&number)[i]) * 1099511628211ull;
    std::printf("%s %016llx\n", name, (unsigned long long)hash);
}

int main() {
    constexpr int64_t SLOTS = 5000, D = 64;
    std::vector<uint8_t> every(256), codes(SLOTS * D);
    std::vector<float> read(256), numbers(SLOTS * D), scales(SLOTS, 1.0f);
    std::vector<int64_t> slots(SLOTS);
    for (int i = 0; i < 256; i++) every[i] = i;
    for (int64_t i = 0; i < SLOTS; i++) slots[i] = i;
    for (float& number : numbers) {
        uint32_t bits = next() ^ next() >> 16;
        if ((bits & 0x7f800000) == 0x7f800000) bits &= 0xbfffffff;  // finite: a row of integers is not rounded with others
        std::memcpy(&number, &bits, 4);
    }
    for (int64_t format : {E5M2, E4M3, INT8}) {
        for (int64_t at = 0; at < 256; at += D)
            Rows<float>{every.data() + at, scales.data(), format}.read(0, D, read.data() + at);
        for (const float& value : read) std::printf("%g%c", value, &value == &read.back() ? '\n' : ' ');
        write_codes(codes.data(), scales.data(), format, numbers.data(), D, slots.data(), SLOTS, 1, D);
        print_hash("codes", codes), print_hash("scales", scales);
        std::fill(scales.begin(), scales.end(), 1.0f);
    }
}
