// Offsets that start.S and the C++ side share; machine.cpp asserts them.
#pragma once

// One area per vCPU: | ring-3 stack | ring-0 stack | descriptor tables and Boot |
#define SLAT_AREA_SHIFT 13
#define SLAT_AREA_SIZE (1 << SLAT_AREA_SHIFT)
#define SLAT_RING3_STACK_TOP 5120
#define SLAT_RING0_STACK_TOP 7680

// Sizes of the exception stubs in start.S.
#define SLAT_STUB_COUNT 32
#define SLAT_STUB_SIZE 16
