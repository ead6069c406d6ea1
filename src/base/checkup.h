/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_CHECKUP_H
#define XIN_BASE_CHECKUP_H

/* What `xin doctor` says of a back end that answers: facts for one line, and
 * advice where something will go wrong later ("" = nothing will). The
 * *_checkup functions of the fronts fill it; what cannot be used is their
 * error, whose sentence says what to do. */
struct checkup {
	char facts[256];
	char advice[512];
};

/* Clocks of two machines that differ by more get advice. */
#define CHECKUP_SKEW_MS 2000

#endif
