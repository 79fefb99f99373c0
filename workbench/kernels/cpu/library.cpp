// All but the products, which compile at the same time and take as long: one file is compiled faster than five.
#include "decode.cpp"
#include "latent.cpp"
#include "model.cpp"
#include "sampling.cpp"
#include "softmax.cpp"
#include "tiles.cpp"

#include "step.cpp"  // of the others

extern "C" __attribute__((visibility("default"))) const Operation* list_operations(int64_t* count) {
    *count = operations().size();
    return operations().data();
}
