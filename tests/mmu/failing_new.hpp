// operator new, of this executable, that can be made to fail: the third way in which memory runs out,
// besides mmu's allocate() and the host.
#pragma once

namespace slat::mmu::testing {

/// The n-th operator new of this thread from now on throws, once; 0 switches it off. Returns what was
/// left of the last order: 0 if its call has failed by now.
unsigned fail_new(unsigned n);

/// False where a sanitizer keeps its own operator new: then fail_new() does nothing.
bool fail_new_works();

} // namespace slat::mmu::testing
