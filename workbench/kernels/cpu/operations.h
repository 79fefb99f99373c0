// The list of this library's operations. An operation is declared by its definition and one line below it, LIST(name);
// Python reads name, address and arguments from the list.
#pragma once
#include <cstdint>
#include <type_traits>
#include <vector>

#include "vec.h"

struct Operation {
    const char* name;
    const char* dtype;      // of the numbers that it computes with
    const char* arguments;  // a letter for each: P pointer, N int64_t, F float
    void (*address)();
};

inline std::vector<Operation>& operations() {  // of all files
    static std::vector<Operation> list;
    return list;
}

namespace {

template <class A>
constexpr char letter_of() {
    if (std::is_pointer_v<A>) return 'P';
    static_assert(std::is_pointer_v<A> || std::is_same_v<A, int64_t> || std::is_same_v<A, float>, "Python passes no such type");
    return std::is_same_v<A, float> ? 'F' : 'N';
}

template <class... A>
Operation operation(const char* name, const char* dtype, void (*function)(A...)) {
    static constexpr char arguments[] = {letter_of<A>()..., 0};
    return {name, dtype, arguments, (void (*)())function};
}

}  // namespace

#define LIST(NAME)                                                          \
    [[maybe_unused]] const bool NAME##_is_listed =                          \
        (operations().push_back(operation(#NAME, "float32", &NAME<float>)), \
         operations().push_back(operation(#NAME, "bfloat16", &NAME<bf16>)), true);
