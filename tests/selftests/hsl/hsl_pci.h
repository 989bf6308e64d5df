/* SPDX-License-Identifier: GPL-2.0 */
/* The ways in which a device goes and comes back, by its name in /sys/bus/pci/devices. 0 or -errno */
#ifndef HSL_PCI_H
#define HSL_PCI_H

#include "hsl_common.h"

#define PCI_DRIVER	"/sys/bus/pci/drivers/hsl/"
#define PCI_DEVICES	"/sys/bus/pci/devices/"

#define NEED_ROOT() do {							\
	if (geteuid())								\
		SKIP(return, "changes the system: run as root");		\
} while (0)

static inline int pci_write(const char *pci, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), PCI_DEVICES "%s/%s", pci, name);
	return write_text(path, text);
}

/* In the way that the kernel takes by itself */
static inline int pci_reset(const char *pci)
{
	return pci_write(pci, "reset", "1");
}

static inline int reset_function(const char *pci)
{
	int err = pci_write(pci, "reset_method", "flr");

	return err ? err : pci_reset(pci);
}

static inline int remove_and_rescan(const char *pci)
{
	int err = pci_write(pci, "remove", "1");

	return err ? err : write_text("/sys/bus/pci/rescan", "1");
}

static inline int unbind_and_bind(const char *pci)
{
	int err = write_text(PCI_DRIVER "unbind", pci);

	return err ? err : write_text(PCI_DRIVER "bind", pci);
}

#endif
