// SPDX-License-Identifier: GPL-2.0
/*
 * Shared virtual addressing: which provider carries a process's addresses to
 * the device, and why none does where none does. A new provider is one more
 * ops table in hsl_sva_providers[], in order of preference.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "hsl.h"

static char *sva = "auto";
module_param(sva, charp, 0444);
MODULE_PARM_DESC(sva, "Provider of shared virtual addressing: auto (default), iommu");

static const struct hsl_sva_ops *const hsl_sva_providers[] = {
	&hsl_sva_iommu,
};

static bool hsl_sva_wanted(const struct hsl_sva_ops *ops)
{
	return sysfs_streq(sva, "auto") || sysfs_streq(sva, ops->name);
}

int hsl_sva_param(void)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(hsl_sva_providers); n++)
		if (hsl_sva_wanted(hsl_sva_providers[n]))
			return 0;
	pr_err("sva=%s: no such provider\n", sva);
	return -EINVAL;
}

/* Say it once, in the log and in sysfs, until something else is to be said. */
static void hsl_sva_reason(struct hsl_device *hdev, const char *provider, const char *why)
{
	char text[sizeof(hdev->sva_reason)];

	snprintf(text, sizeof(text), "%s: %s", provider, why);

	guard(mutex)(&hdev->lock);
	if (!strcmp(hdev->sva_reason, text))
		return;
	strscpy(hdev->sva_reason, text);
	dev_warn(&hdev->pdev->dev, "no shared virtual addressing, open() will fail: %s\n", text);
}

/* Never fails: a device without a provider is there, and says why. */
void hsl_sva_probe(struct hsl_device *hdev)
{
	char why[sizeof(hdev->sva_reason)];
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(hsl_sva_providers); n++) {
		const struct hsl_sva_ops *ops = hsl_sva_providers[n];

		if (!hsl_sva_wanted(ops))
			continue;
		why[0] = '\0';
		if (!ops->probe(hdev, why, sizeof(why))) {
			hdev->sva = ops;
			return;
		}
		hsl_sva_reason(hdev, ops->name, why);
	}
}

void hsl_sva_remove(struct hsl_device *hdev)
{
	if (hdev->sva && hdev->sva->remove)
		hdev->sva->remove(hdev);
	hdev->sva = NULL;
}

int hsl_sva_bind(struct hsl_context *ctx)
{
	struct hsl_device *hdev = ctx->hdev;
	const struct hsl_sva_ops *ops = hdev->sva;
	char why[sizeof(hdev->sva_reason)];
	int ret;

	lockdep_assert_held(&ctx->lock);

	if (!ops)
		return -EOPNOTSUPP;

	why[0] = '\0';
	ret = ops->bind(ctx, why, sizeof(why));
	if (ret) {
		if (why[0])
			hsl_sva_reason(hdev, ops->name, why);
		return ret;
	}

	ctx->sva = ops;
	if (READ_ONCE(hdev->sva_reason[0])) {
		guard(mutex)(&hdev->lock);
		hdev->sva_reason[0] = '\0';
	}
	return 0;
}

void hsl_sva_unbind(struct hsl_context *ctx)
{
	lockdep_assert_held(&ctx->lock);

	ctx->sva->unbind(ctx);
}
