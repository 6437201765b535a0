// Compiles the largest header and links the library of vmm.
#include <vmm/machine.hpp>

int main() {
  auto machine = slat::vmm::Machine::create({.kernel = std::filesystem::path("/nonexistent")});
  return machine ? 1 : 0;
}
