/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stack switch for x86-64, System V ABI.
 *
 *   void fiber__switch(void **save_sp, void *to_sp)
 *
 * Saves the callee-saved registers on the running stack, leaves its stack
 * pointer in *save_sp, takes to_sp and restores what was saved there. The
 * control words of SSE and x87 are not saved: nothing in this program changes
 * them, and loading them costs more than the rest together.
 *
 * The note at the end promises IBT but not SHSTK: the final `ret` goes to
 * another stack's address, which a shadow stack would (rightly) refuse, so the
 * linked program must not claim to be fit for one.
 */
#if defined(__x86_64__)
	.text
	.globl fiber__switch
	.hidden fiber__switch
	.type fiber__switch, @function
	.align 16
fiber__switch:
	.cfi_startproc
	endbr64
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
	.cfi_endproc
	.size fiber__switch, .-fiber__switch

/* First frame of a new fiber: r12 = argument, r13 = function (never returns).
 * The undefined return address tells unwinders that the stack ends here. */
	.globl fiber__entry
	.hidden fiber__entry
	.type fiber__entry, @function
	.align 16
fiber__entry:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	xorl %ebp, %ebp
	movq %r12, %rdi
	callq *%r13
	ud2
	.cfi_endproc
	.size fiber__entry, .-fiber__entry

	.section .note.gnu.property, "a"
	.align 8
	.long 4
	.long 16
	.long 5
	.asciz "GNU"
	.long 0xc0000002	/* GNU_PROPERTY_X86_FEATURE_1_AND */
	.long 4
	.long 1			/* IBT */
	.long 0
#endif
	.section .note.GNU-stack, "", %progbits
