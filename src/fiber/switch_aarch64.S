/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stack switch for arm64, AAPCS64: see switch_x86_64.S. Saved: x19-x30 and the
 * low halves of v8-v15, 160 bytes.
 */
#if defined(__aarch64__)
	.text
	.globl fiber__switch
	.hidden fiber__switch
	.type fiber__switch, %function
	.align 4
fiber__switch:
	.cfi_startproc
	hint #34		/* bti c */
	sub sp, sp, #160
	stp x19, x20, [sp, #0]
	stp x21, x22, [sp, #16]
	stp x23, x24, [sp, #32]
	stp x25, x26, [sp, #48]
	stp x27, x28, [sp, #64]
	stp x29, x30, [sp, #80]
	stp d8, d9, [sp, #96]
	stp d10, d11, [sp, #112]
	stp d12, d13, [sp, #128]
	stp d14, d15, [sp, #144]
	mov x2, sp
	str x2, [x0]
	mov sp, x1
	ldp x19, x20, [sp, #0]
	ldp x21, x22, [sp, #16]
	ldp x23, x24, [sp, #32]
	ldp x25, x26, [sp, #48]
	ldp x27, x28, [sp, #64]
	ldp x29, x30, [sp, #80]
	ldp d8, d9, [sp, #96]
	ldp d10, d11, [sp, #112]
	ldp d12, d13, [sp, #128]
	ldp d14, d15, [sp, #144]
	add sp, sp, #160
	ret
	.cfi_endproc
	.size fiber__switch, .-fiber__switch

/* First frame of a new fiber: x19 = argument, x20 = function. */
	.globl fiber__entry
	.hidden fiber__entry
	.type fiber__entry, %function
	.align 4
fiber__entry:
	.cfi_startproc
	.cfi_undefined x30
	hint #36		/* bti j */
	mov x29, xzr
	mov x30, xzr
	mov x0, x19
	blr x20
	brk #1
	.cfi_endproc
	.size fiber__entry, .-fiber__entry
#endif
	.section .note.GNU-stack, "", %progbits
