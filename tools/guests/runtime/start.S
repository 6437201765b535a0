// Entry of every own image, and the exception stubs. Contract: see README.md.
#include "guests/runtime/layout.h"

        .section .text.start, "ax", @progbits
        .globl  slat_start
        .type   slat_start, @function
// rdi = vCPU index, rsi = boot_params, rdx = vCPU count; long mode, CPL 0, interrupts off, no stack.
slat_start:
        cld
        cmpq    $SLAT_GUEST_VCPUS, %rdi
        jae     park                            // no area for it; vCPU 0 refuses the count
        movq    %rdi, %rsp
        shlq    $SLAT_AREA_SHIFT, %rsp
        addq    $(slat_areas + SLAT_RING0_STACK_TOP), %rsp
        xorl    %ebp, %ebp
        call    slat_start_vcpu                 // does not return
park:
        pause
        jmp     park
        .size   slat_start, . - slat_start

// Stubs of equal size: each leaves vector and error code on the stack, a zero where the CPU pushes none.
        .section .text.stubs, "ax", @progbits
        .globl  slat_exception_stubs
        .balign SLAT_STUB_SIZE
slat_exception_stubs:
        .set    vector, 0
        .rept   SLAT_STUB_COUNT
        .balign SLAT_STUB_SIZE
        // Vectors 8, 10..14, 17, 21, 29 and 30 come with an error code.
        .if     !((0x60227d00 >> vector) & 1)
        pushq   $0
        .endif
        pushq   $vector
        jmp     exception
        .set    vector, vector + 1
        .endr
exception:
        cld
        movq    %rsp, %rdi
        andq    $-16, %rsp
        call    slat_exception                  // does not return
        jmp     park

        .section .note.GNU-stack, "", @progbits
