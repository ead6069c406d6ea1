/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the support library linkable while it has no other file. */
extern int support_anchor;
int support_anchor;
