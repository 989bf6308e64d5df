/* SPDX-License-Identifier: GPL-2.0 */
/* The one place that asks which kernel this is. Oldest: 6.12. */
#ifndef _HSL_COMPAT_H
#define _HSL_COMPAT_H

#include <linux/iommu.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
static inline int hsl_compat_sva_enable(struct device *dev)
{
	int ret;

	ret = iommu_dev_enable_feature(dev, IOMMU_DEV_FEAT_IOPF);
	if (ret)
		return ret;

	ret = iommu_dev_enable_feature(dev, IOMMU_DEV_FEAT_SVA);
	if (ret)
		iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_IOPF);
	return ret;
}

static inline void hsl_compat_sva_disable(struct device *dev)
{
	iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_SVA);
	iommu_dev_disable_feature(dev, IOMMU_DEV_FEAT_IOPF);
}
#else
/* The IOMMU drivers do it themselves when the first PASID is attached. */
static inline int hsl_compat_sva_enable(struct device *dev)
{
	return 0;
}

static inline void hsl_compat_sva_disable(struct device *dev)
{
}
#endif

#endif /* _HSL_COMPAT_H */
