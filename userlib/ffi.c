// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * libhsl-ffi: the inline functions of hsl.h once more, as functions that can be called by
 * name, for languages that do not compile the header. In all else it is libhsl.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/hsl.h>

/* What the header includes is included by now: the words below stand for its own alone. */
#define static	__attribute__((visibility("default")))
#define inline
#include <hsl.h>
