/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Linux 7.3 wants of sparse and 0.6.4 does not know yet, in words that it knows. For
 * the checker only: the strings that the kernel measures at compile time are literals.
 */
#define __typeof_unqual__	__typeof__
#define __builtin_strlen(s)	(sizeof(s) - 1)
