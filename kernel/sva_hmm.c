// SPDX-License-Identifier: GPL-2.0
/*
 * SVA provider "hmm": the device walks page tables of its own, which the
 * driver fills from the process's and keeps in step with them.
 */
#include "hsl.h"

static int hsl_hmm_probe(struct hsl_device *hdev, char *why, size_t len)
{
	if (!IS_ENABLED(CONFIG_HMM_MIRROR) || !IS_ENABLED(CONFIG_MMU_NOTIFIER))
		return hsl_sva_gate(why, len, "kernel built without CONFIG_HMM_MIRROR, which another driver's option selects");
	if (!(hdev->limits.caps & HSL_CAP_XLATE_DEVICE))
		return hsl_sva_gate(why, len, "the device does not offer it");
	return hsl_sva_gate(why, len, "not in this version of the driver");
}

const struct hsl_sva_ops hsl_sva_hmm = {
	.name = "hmm",
	.id = HSL_SVA_HMM,
	.probe = hsl_hmm_probe,
};
