// Inline functions of mmu's headers depend on SLAT_CHECKED: a program that sees another value than the library was
// built with would break the one-definition rule. The package must carry it.
#ifdef SLAT_CHECKED
static_assert(EXPECT_CHECKED == 1, "slat was built without SLAT_CHECKED");
#else
static_assert(EXPECT_CHECKED == 0,
              "slat was built with SLAT_CHECKED, and the package does not say so");
#endif
