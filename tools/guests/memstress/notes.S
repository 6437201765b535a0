// Note 1: flags bit 0, every vCPU starts at e_entry. Note 2: where the mailbox page is.
        .section .note.slat, "a", @note
        .balign 4
        .long   5, 4, 1
        .asciz  "slat"
        .balign 4
        .long   1

        .long   5, 8, 2
        .asciz  "slat"
        .balign 4
        .quad   slat_mailbox

        .section .note.GNU-stack, "", @progbits
