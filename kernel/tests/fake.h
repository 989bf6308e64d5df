/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device without hardware, for the unit tests: its registers are memory, which
 * holds what was written to it and does nothing.
 *
 * Each *_test.c here is the end of the file of its name, so that it sees what is
 * static there; it is there only with CONFIG_HSL_KUNIT_TEST.
 */
#ifndef _HSL_TESTS_FAKE_H
#define _HSL_TESTS_FAKE_H

#include <kunit/test.h>

#include "hsl.h"

/* A value for a field of a structure, or for a register, of 4 or 8 bytes */
struct hsl_fake_value {
	size_t at;
	size_t size;
	u64 val;
};

#define HSL_FAKE_FIELD(_struct, _field, _val) {					\
		.at = offsetof(struct _struct, _field),				\
		.size = sizeof_field(struct _struct, _field),			\
		.val = _val,							\
	}

#define HSL_FAKE_REG(_reg, _val)	{ .at = _reg, .size = 4, .val = _val }
#define HSL_FAKE_REG64(_reg, _val)	{ .at = _reg, .size = 8, .val = _val }

static inline void hsl_fake_set(void *where, const struct hsl_fake_value *v)
{
	if (v->size == sizeof(u64))
		*(u64 *)(where + v->at) = v->val;
	else if (v->size == sizeof(u32))
		*(u32 *)(where + v->at) = v->val;
}

/* Alive, with the smallest limits and all registers 0; gone with the test. */
static inline struct hsl_device *hsl_fake_device(struct kunit *test)
{
	struct hsl_device *hdev = kunit_kzalloc(test, sizeof(*hdev), GFP_KERNEL);
	struct pci_dev *pdev = kunit_kzalloc(test, sizeof(*pdev), GFP_KERNEL);
	void *regs = kunit_kzalloc(test, HSL_CTRL_BAR_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, hdev);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	KUNIT_ASSERT_NOT_NULL(test, regs);
	pdev->dev.init_name = "fake";
	hdev->pdev = pdev;
	hdev->dev.init_name = "fake";
	hdev->ctrl = (void __iomem __force *)regs;
	hdev->mem_bar = HSL_BAR_NONE;
	hdev->state = HSL_ALIVE;
	hdev->limits = (struct hsl_limits) {
		.ops = 1, .nr_queues = 1, .nr_contexts = 1, .nr_vectors = 1, .ring_order = 1,
		.max_xfer = 1, .evq_order = 1, .node = HSL_NODE_NONE,
	};
	mutex_init(&hdev->lock);
	mutex_init(&hdev->evq.lock);
	spin_lock_init(&hdev->event_lock);
	spin_lock_init(&hdev->fltq.lock);
	return hdev;
}

#endif /* _HSL_TESTS_FAKE_H */
