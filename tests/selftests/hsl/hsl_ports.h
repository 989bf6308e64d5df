/* SPDX-License-Identifier: GPL-2.0 */
/* Link ports in sysfs. A link is cut by disabling a port of it. */
#ifndef HSL_PORTS_H
#define HSL_PORTS_H

#include "hsl_test.h"

static inline const char *port_file(unsigned int dev, unsigned int port, const char *name)
{
	static __thread char path[96];

	snprintf(path, sizeof(path), "/sys/class/hsl/hsl%u/port%u/%s", dev, port, name);
	return path;
}

static inline int port_write(unsigned int dev, unsigned int port, const char *name, long long val)
{
	return write_number(port_file(dev, port, name), val);
}

static inline void ports_enable(unsigned int dev, uint32_t ports, bool on)
{
	for (uint32_t p = 0; p < ports; p++)
		port_write(dev, p, "enable", on);
}

#endif
