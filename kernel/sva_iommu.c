// SPDX-License-Identifier: GPL-2.0
/*
 * SVA provider "iommu": the platform's IOMMU walks the process's page tables
 * (PASID), the device caches translations (ATS) and asks for missing pages
 * (PRI). A chain of things must be there and on; the first one that is not is
 * told by name, with what turns it on.
 */
#include <linux/iommu.h>
#include <linux/pci-ats.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>

#include "compat.h"
#include "hsl.h"

#define HSL_BOOT_HINT "boot with intel_iommu=on,sm_on"

static const char *hsl_bind_hint(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return ": this kernel keeps SVA off here, as 6.12 does on x86; 7.3 is known to work";
	case -ENODEV:
	case -EINVAL:
		return ": the IOMMU cannot do it here (first-level paging, coherent walks, PRI), see its log";
	default:
		return "";
	}
}

static int hsl_bind_gate(char *why, size_t len, int err)
{
	snprintf(why, len, "iommu_sva_bind_device() returned %d%s", err, hsl_bind_hint(err));
	return -EOPNOTSUPP;
}

/*
 * The last gate is bind itself. Probing on behalf of a process (modprobe), its
 * address space serves for a try; otherwise the first open tells.
 */
static int hsl_iommu_try(struct hsl_device *hdev, char *why, size_t len)
{
	struct iommu_sva *handle;
	struct mm_struct *mm;

	mm = get_task_mm(current);
	if (!mm)
		return 0;

	handle = iommu_sva_bind_device(&hdev->pdev->dev, mm);
	if (!IS_ERR(handle))
		iommu_sva_unbind_device(handle);
	mmput(mm);

	if (IS_ERR(handle) && PTR_ERR(handle) != -ENOMEM && PTR_ERR(handle) != -EINTR)
		return hsl_bind_gate(why, len, PTR_ERR(handle));
	return 0;
}

#if defined(CONFIG_PCI_ATS) && defined(CONFIG_PCI_PRI) && defined(CONFIG_PCI_PASID)
static int hsl_iommu_gates(struct pci_dev *pdev, char *why, size_t len)
{
	if (!pdev->pasid_cap)
		return hsl_sva_gate(why, len, "the function has no PASID capability");
	if (!pdev->ats_cap)
		return hsl_sva_gate(why, len, "the function has no ATS capability, or pci=noats hides it");
	if (!pdev->pri_cap)
		return hsl_sva_gate(why, len, "the function has no PRI capability");
	if (!pdev->pasid_enabled)
		return hsl_sva_gate(why, len, "the IOMMU driver has not enabled PASID: " HSL_BOOT_HINT "; a PCIe switch above must have ACS");
	if (!pdev->ats_enabled)
		return hsl_sva_gate(why, len, "the IOMMU driver has not enabled ATS: the BIOS must allow it for this slot; no pci=noats");
	return 0;
}
#else
static int hsl_iommu_gates(struct pci_dev *pdev, char *why, size_t len)
{
	return hsl_sva_gate(why, len, "kernel built without CONFIG_PCI_ATS, CONFIG_PCI_PRI and CONFIG_PCI_PASID");
}
#endif

static int hsl_iommu_probe(struct hsl_device *hdev, char *why, size_t len)
{
	struct pci_dev *pdev = hdev->pdev;
	int ret;

	if (!IS_ENABLED(CONFIG_IOMMU_SVA))
		return hsl_sva_gate(why, len, "kernel built without CONFIG_IOMMU_SVA: CONFIG_INTEL_IOMMU_SVM or another IOMMU's option selects it");
	if (!(hdev->limits.caps & HSL_CAP_XLATE_IOMMU))
		return hsl_sva_gate(why, len, "the device does not offer it");
	if (!device_iommu_mapped(&pdev->dev))
		return hsl_sva_gate(why, len,
				    "no IOMMU translates for this device: turn it on in the BIOS, " HSL_BOOT_HINT);

	ret = hsl_iommu_gates(pdev, why, len);
	if (ret)
		return ret;

	ret = hsl_compat_sva_enable(&pdev->dev);
	if (ret) {
		snprintf(why, len, "the IOMMU driver refuses SVA for this device: %d; "
			 HSL_BOOT_HINT, ret);
		return -EOPNOTSUPP;
	}

	ret = hsl_iommu_try(hdev, why, len);
	if (ret)
		hsl_compat_sva_disable(&pdev->dev);
	return ret;
}

static void hsl_iommu_remove(struct hsl_device *hdev)
{
	hsl_compat_sva_disable(&hdev->pdev->dev);
}

static int hsl_iommu_bind(struct hsl_context *ctx, struct hsl_binding *b, char *why, size_t len)
{
	struct device *dev = &ctx->hdev->pdev->dev;
	struct iommu_sva *handle;

	/* The caller is current, so that its mm has users. */
	handle = iommu_sva_bind_device(dev, ctx->mm);
	if (IS_ERR(handle)) {
		switch (PTR_ERR(handle)) {
		case -ENOMEM:
		case -EINTR:
			return PTR_ERR(handle);
		case -ENOSPC:	/* out of PASIDs */
		case -EBUSY:
			return -EBUSY;
		}
		return hsl_bind_gate(why, len, PTR_ERR(handle));
	}

	b->handle = handle;
	b->xlate = HSL_XLATE_IOMMU;
	b->pasid = iommu_sva_get_pasid(handle);
	return 0;
}

static void hsl_iommu_unbind(struct hsl_context *ctx, struct hsl_binding *b)
{
	iommu_sva_unbind_device(b->handle);
}

const struct hsl_sva_ops hsl_sva_iommu = {
	.name = "iommu",
	.id = HSL_SVA_IOMMU,
	.notified = true,
	.probe = hsl_iommu_probe,
	.remove = hsl_iommu_remove,
	.bind = hsl_iommu_bind,
	.unbind = hsl_iommu_unbind,
};
