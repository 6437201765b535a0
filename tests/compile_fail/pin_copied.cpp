#include "mmu/translation_cache.hpp"

#include <utility>

slat::mmu::TranslationCache::Pin take(slat::mmu::TranslationCache::Pin& pin) {
#ifdef SLAT_OFFENCE
  return pin;
#else
  return std::move(pin);
#endif
}
