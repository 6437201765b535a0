#include "mmu/notifier.hpp"

#include <utility>

slat::mmu::NotifierChain::Scope take(slat::mmu::NotifierChain::Scope& scope) {
#ifdef SLAT_OFFENCE
  return scope;
#else
  return std::move(scope);
#endif
}
