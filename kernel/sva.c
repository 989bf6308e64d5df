// SPDX-License-Identifier: GPL-2.0
/*
 * Shared virtual addressing: which provider carries a process's addresses to
 * the device, and why none does where none does. A new provider is one more
 * ops table in hsl_sva_providers[], in order of preference.
 *
 * All providers are probed: a program may choose one that is not the first.
 * The module parameter takes the choice away, from programs too.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/sysfs.h>

#include "hsl.h"

static char *sva = "auto";
module_param(sva, charp, 0444);
MODULE_PARM_DESC(sva, "Provider of shared virtual addressing: auto (default), iommu, hmm");

static const struct hsl_sva_ops *const hsl_sva_providers[] = {
	&hsl_sva_iommu,
	&hsl_sva_hmm,
};
static_assert(ARRAY_SIZE(hsl_sva_providers) == HSL_SVA_NR - 1);

static bool hsl_sva_forced(void)
{
	return !sysfs_streq(sva, "auto");
}

static bool hsl_sva_wanted(const struct hsl_sva_ops *ops)
{
	return !hsl_sva_forced() || sysfs_streq(sva, ops->name);
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

/* For providers: this gate is closed. */
int hsl_sva_gate(char *why, size_t len, const char *text)
{
	strscpy(why, text, len);
	return -EOPNOTSUPP;
}

/* What a context gets that does not choose; NULL: nothing works. */
static const struct hsl_sva_ops *hsl_sva_default(struct hsl_device *hdev)
{
	unsigned int n;

	lockdep_assert_held(&hdev->lock);

	for (n = 0; n < ARRAY_SIZE(hsl_sva_providers); n++)
		if (!hdev->sva[hsl_sva_providers[n]->id].why[0])
			return hsl_sva_providers[n];
	return NULL;
}

static unsigned int hsl_sva_place(const struct hsl_sva_ops *ops)
{
	unsigned int n = 0;

	while (hsl_sva_providers[n] != ops)
		n++;
	return n;
}

/* Why @ops, and not the one before it in order of preference? */
static void hsl_sva_reason(struct hsl_device *hdev, const struct hsl_sva_ops *ops, u32 want,
			   char *why, size_t len)
{
	unsigned int n = hsl_sva_place(ops);

	lockdep_assert_held(&hdev->lock);

	if (want)
		strscpy(why, "chosen by the program", len);
	else if (hsl_sva_forced())
		strscpy(why, "forced by module parameter", len);
	else if (!n)
		strscpy(why, "automatic: first that works", len);
	else
		scnprintf(why, len, "%s: %s", hsl_sva_providers[n - 1]->name,
			  hdev->sva[hsl_sva_providers[n - 1]->id].why);
}

/* All that is closed, from place @n on. */
static int hsl_sva_gates(struct hsl_device *hdev, unsigned int n, char *buf, size_t len)
{
	int at = 0;

	lockdep_assert_held(&hdev->lock);

	buf[0] = '\0';
	for (; n < ARRAY_SIZE(hsl_sva_providers); n++)
		if (hdev->sva[hsl_sva_providers[n]->id].why[0])
			at += scnprintf(buf + at, len - at, "%s%s: %s", at ? "; " : "",
					hsl_sva_providers[n]->name,
					hdev->sva[hsl_sva_providers[n]->id].why);
	return at;
}

ssize_t hsl_sva_show(struct hsl_device *hdev, char *buf)
{
	const struct hsl_sva_ops *ops;
	int at;

	guard(mutex)(&hdev->lock);
	ops = hsl_sva_default(hdev);
	if (ops)
		return sysfs_emit(buf, "%s\n", ops->name);
	at = sysfs_emit(buf, "none (");
	at += hsl_sva_gates(hdev, 0, buf + at, PAGE_SIZE - at);
	return at + sysfs_emit_at(buf, at, ")\n");
}

ssize_t hsl_sva_show_provider(struct hsl_device *hdev, u32 id, char *buf)
{
	guard(mutex)(&hdev->lock);
	return sysfs_emit(buf, "%s\n", hdev->sva[id].why[0] ? hdev->sva[id].why : "ok");
}

/* In the log, with what it says in sysfs. */
static void hsl_sva_log(struct hsl_device *hdev)
{
	char reason[sizeof(hdev->sva[0].why) + 16], text[512];
	const struct hsl_sva_ops *ops;

	lockdep_assert_held(&hdev->lock);

	ops = hsl_sva_default(hdev);
	if (ops) {
		hsl_sva_reason(hdev, ops, HSL_SVA_NONE, reason, sizeof(reason));
		/* The reason names none behind it, which a program may choose. */
		hsl_sva_gates(hdev, hsl_sva_place(ops) + 1, text, sizeof(text));
		dev_info(&hdev->pdev->dev, "shared virtual addressing: %s (%s)%s%s\n", ops->name,
			 reason, text[0] ? "; " : "", text);
	} else {
		hsl_sva_gates(hdev, 0, text, sizeof(text));
		dev_warn(&hdev->pdev->dev, "no shared virtual addressing, open() will fail: %s\n",
			 text);
	}
}

/* Never fails: a device without a provider is there, and says why. */
void hsl_sva_probe(struct hsl_device *hdev)
{
	char why[sizeof(hdev->sva[0].why)];
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(hsl_sva_providers); n++) {
		const struct hsl_sva_ops *ops = hsl_sva_providers[n];
		struct hsl_sva_state *state = &hdev->sva[ops->id];

		why[0] = '\0';
		if (!hsl_sva_wanted(ops))
			scnprintf(why, sizeof(why), "not allowed: module parameter sva=%s", sva);
		else
			state->probed = !ops->probe(hdev, why, sizeof(why));
		scoped_guard(mutex, &hdev->lock)
			strscpy(state->why, why);
	}

	guard(mutex)(&hdev->lock);
	hsl_sva_log(hdev);
}

void hsl_sva_remove(struct hsl_device *hdev)
{
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(hsl_sva_providers); n++) {
		const struct hsl_sva_ops *ops = hsl_sva_providers[n];

		if (hdev->sva[ops->id].probed && ops->remove)
			ops->remove(hdev);
	}
}

/* A bind tells what a probe could not. Say it once, until something else is to be said. */
static void hsl_sva_found(struct hsl_device *hdev, const struct hsl_sva_ops *ops, const char *why)
{
	struct hsl_sva_state *state = &hdev->sva[ops->id];

	guard(mutex)(&hdev->lock);
	if (!strcmp(state->why, why))
		return;
	strscpy(state->why, why);
	hsl_sva_log(hdev);
}

/* By @want, enum hsl_sva; HSL_SVA_NONE: the first that works. */
int hsl_sva_bind(struct hsl_context *ctx, u32 want, struct hsl_binding *b)
{
	struct hsl_device *hdev = ctx->hdev;
	char why[sizeof(hdev->sva[0].why)];
	unsigned int n;
	int ret;

	lockdep_assert_held(&ctx->lock);

	for (n = 0; n < ARRAY_SIZE(hsl_sva_providers); n++) {
		const struct hsl_sva_ops *ops = hsl_sva_providers[n];

		if (!hdev->sva[ops->id].probed || (want && ops->id != want))
			continue;

		memset(b, 0, sizeof(*b));
		why[0] = '\0';
		ret = ops->bind(ctx, b, why, sizeof(why));
		if (!ret) {
			b->ops = ops;
			hsl_sva_found(hdev, ops, "");
			guard(mutex)(&hdev->lock);
			hsl_sva_reason(hdev, ops, want, b->why, sizeof(b->why));
			return 0;
		}
		/* What is short now is no reason for another way. */
		if (ret != -EOPNOTSUPP)
			return ret;
		hsl_sva_found(hdev, ops, why);
	}
	return -EOPNOTSUPP;
}

void hsl_sva_unbind(struct hsl_context *ctx, struct hsl_binding *b)
{
	lockdep_assert_held(&ctx->lock);

	b->ops->unbind(ctx, b);
}

/* Ahead of the device's faults; a provider without tables of its own has nothing to do. */
int hsl_sva_map(struct hsl_context *ctx, unsigned long start, unsigned long end, bool write)
{
	const struct hsl_sva_ops *ops;

	scoped_guard(mutex, &ctx->lock) {
		if (ctx->dead)
			return -ENODEV;
		ops = ctx->sva.ops;
	}
	return ops->map ? ops->map(ctx, start, end, write) : 0;
}
