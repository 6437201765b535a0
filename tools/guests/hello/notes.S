// Note 1: flags 0, only vCPU 0 starts here.
        .section .note.slat, "a", @note
        .balign 4
        .long   5, 4, 1
        .asciz  "slat"
        .balign 4
        .long   0

        .section .note.GNU-stack, "", @progbits
