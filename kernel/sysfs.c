// SPDX-License-Identifier: GPL-2.0
/*
 * Attributes of /sys/class/hsl/hslN, described in
 * Documentation/ABI/testing/sysfs-class-hsl.
 */
#include <linux/sysfs.h>

#include "hsl.h"

static struct hsl_device *hsl_from_dev(struct device *dev)
{
	return container_of(dev, struct hsl_device, dev);
}

/* A register; ENODEV while the device is being reset or after it broke. */
static ssize_t hsl_show_reg(struct device *dev, char *buf, u32 reg, bool wide)
{
	struct hsl_device *hdev = hsl_from_dev(dev);
	u64 val;

	guard(mutex)(&hdev->lock);
	if (hdev->state != HSL_ALIVE)
		return -ENODEV;
	val = wide ? hsl_read64(hdev, reg) : hsl_read(hdev, reg);
	return sysfs_emit(buf, "%llu\n", val);
}

static ssize_t hw_version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	u32 version = hsl_from_dev(dev)->limits.version;

	return sysfs_emit(buf, "%u.%u\n", version >> 8, version & 0xff);
}
static DEVICE_ATTR_RO(hw_version);

static ssize_t caps_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%#x\n", hsl_from_dev(dev)->limits.caps);
}
static DEVICE_ATTR_RO(caps);

static ssize_t sva_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return hsl_sva_show(hsl_from_dev(dev), buf);
}
static DEVICE_ATTR_RO(sva);

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	static const char *const names[] = {
		[HSL_ALIVE] = "alive",
		[HSL_CLAIMED] = "resetting",
		[HSL_BROKEN] = "broken",
		[HSL_GONE] = "gone",
	};

	return sysfs_emit(buf, "%s\n", names[READ_ONCE(hsl_from_dev(dev)->state)]);
}
static DEVICE_ATTR_RO(state);

static ssize_t generation_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(hsl_from_dev(dev)->generation));
}
static DEVICE_ATTR_RO(generation);

static ssize_t contexts_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(hsl_from_dev(dev)->nr_open));
}
static DEVICE_ATTR_RO(contexts);

static ssize_t queues_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct hsl_device *hdev = hsl_from_dev(dev);

	guard(mutex)(&hdev->lock);
	return sysfs_emit(buf, "%u\n", bitmap_weight(hdev->queue_map, hdev->limits.nr_queues));
}
static DEVICE_ATTR_RO(queues);

static ssize_t events_lost_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return hsl_show_reg(dev, buf, HSL_REG_EVQ_LOST, false);
}
static DEVICE_ATTR_RO(events_lost);

static ssize_t fabric_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct hsl_limits *lim = &hsl_from_dev(dev)->limits;

	return lim->node == HSL_NODE_NONE ? sysfs_emit(buf, "none\n") :
					    sysfs_emit(buf, "%#x\n", lim->fabric);
}
static DEVICE_ATTR_RO(fabric);

static ssize_t fabric_node_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct hsl_limits *lim = &hsl_from_dev(dev)->limits;

	return sysfs_emit(buf, "%d\n", lim->node == HSL_NODE_NONE ? -1 : (int)lim->node);
}
static DEVICE_ATTR_RO(fabric_node);

static ssize_t peers_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return hsl_peers_show(hsl_from_dev(dev), buf);
}
static DEVICE_ATTR_RO(peers);

static struct attribute *hsl_attrs[] = {
	&dev_attr_hw_version.attr,
	&dev_attr_caps.attr,
	&dev_attr_sva.attr,
	&dev_attr_state.attr,
	&dev_attr_generation.attr,
	&dev_attr_contexts.attr,
	&dev_attr_queues.attr,
	&dev_attr_events_lost.attr,
	&dev_attr_fabric.attr,
	&dev_attr_fabric_node.attr,
	&dev_attr_peers.attr,
	NULL
};

static const struct attribute_group hsl_group = {
	.attrs = hsl_attrs,
};

/* One file for each provider */
static ssize_t iommu_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return hsl_sva_show_provider(hsl_from_dev(dev), HSL_SVA_IOMMU, buf);
}
static DEVICE_ATTR_RO(iommu);

static ssize_t hmm_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return hsl_sva_show_provider(hsl_from_dev(dev), HSL_SVA_HMM, buf);
}
static DEVICE_ATTR_RO(hmm);

static struct attribute *hsl_provider_attrs[] = {
	&dev_attr_iommu.attr,
	&dev_attr_hmm.attr,
	NULL
};
static_assert(ARRAY_SIZE(hsl_provider_attrs) == HSL_SVA_NR);

static const struct attribute_group hsl_provider_group = {
	.name = "providers",
	.attrs = hsl_provider_attrs,
};

#define HSL_LIMIT(_name, _fmt, _val)						\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr, char *buf) \
{										\
	struct hsl_device *hdev = hsl_from_dev(dev);				\
										\
	return sysfs_emit(buf, _fmt "\n", _val);				\
}										\
static DEVICE_ATTR_RO(_name)

HSL_LIMIT(nr_queues, "%u", hdev->limits.nr_queues);
HSL_LIMIT(nr_contexts, "%u", hdev->limits.nr_contexts);
HSL_LIMIT(nr_vectors, "%u", hdev->limits.nr_vectors);
HSL_LIMIT(nr_ports, "%u", hdev->limits.nr_ports);
HSL_LIMIT(max_queues_per_context, "%u", hdev->max_queues);
HSL_LIMIT(max_ring_entries, "%u", 1u << hdev->limits.ring_order);
HSL_LIMIT(max_xfer, "%u", hdev->limits.max_xfer);
HSL_LIMIT(ops, "%#llx", hdev->limits.ops);
HSL_LIMIT(mem_size, "%llu", hdev->limits.mem_size);

static struct attribute *hsl_limit_attrs[] = {
	&dev_attr_nr_queues.attr,
	&dev_attr_nr_contexts.attr,
	&dev_attr_nr_vectors.attr,
	&dev_attr_nr_ports.attr,
	&dev_attr_max_queues_per_context.attr,
	&dev_attr_max_ring_entries.attr,
	&dev_attr_max_xfer.attr,
	&dev_attr_ops.attr,
	&dev_attr_mem_size.attr,
	NULL
};

static const struct attribute_group hsl_limit_group = {
	.name = "limits",
	.attrs = hsl_limit_attrs,
};

struct hsl_counter_attr {
	struct device_attribute attr;
	u32 counter;
};

static ssize_t hsl_counter_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	u32 n = container_of(attr, struct hsl_counter_attr, attr)->counter;

	return hsl_show_reg(dev, buf, HSL_REG_COUNTER(n), true);
}

#define HSL_COUNTER(_name, _counter)						\
static struct hsl_counter_attr hsl_counter_##_name = {				\
	.attr = __ATTR(_name, 0444, hsl_counter_show, NULL),			\
	.counter = _counter,							\
}

HSL_COUNTER(ops, HSL_CNT_OPS);
HSL_COUNTER(bytes, HSL_CNT_BYTES);
HSL_COUNTER(ats_requests, HSL_CNT_ATS_REQUESTS);
HSL_COUNTER(atc_hits, HSL_CNT_ATC_HITS);
HSL_COUNTER(page_requests, HSL_CNT_PAGE_REQUESTS);
HSL_COUNTER(invalidations, HSL_CNT_INVALIDATIONS);
HSL_COUNTER(doorbells, HSL_CNT_DOORBELLS);
HSL_COUNTER(interrupts, HSL_CNT_INTERRUPTS);
HSL_COUNTER(faults, HSL_CNT_FAULTS);
HSL_COUNTER(queue_errors, HSL_CNT_QUEUE_ERRORS);
HSL_COUNTER(oracle_checks, HSL_CNT_ORACLE_CHECKS);
HSL_COUNTER(oracle_breaches, HSL_CNT_ORACLE_BREACHES);
HSL_COUNTER(walks, HSL_CNT_WALKS);
HSL_COUNTER(poisoned, HSL_CNT_POISONED);
HSL_COUNTER(host_bytes, HSL_CNT_HOST_BYTES);
HSL_COUNTER(own_bytes, HSL_CNT_OWN_BYTES);
HSL_COUNTER(link_bytes, HSL_CNT_LINK_BYTES);
HSL_COUNTER(pcie_bytes, HSL_CNT_PCIE_BYTES);
HSL_COUNTER(via_host_bytes, HSL_CNT_VIA_HOST_BYTES);
HSL_COUNTER(unreachable, HSL_CNT_UNREACHABLE);

static struct attribute *hsl_counter_attrs[] = {
	[HSL_CNT_OPS] = &hsl_counter_ops.attr.attr,
	[HSL_CNT_BYTES] = &hsl_counter_bytes.attr.attr,
	[HSL_CNT_ATS_REQUESTS] = &hsl_counter_ats_requests.attr.attr,
	[HSL_CNT_ATC_HITS] = &hsl_counter_atc_hits.attr.attr,
	[HSL_CNT_PAGE_REQUESTS] = &hsl_counter_page_requests.attr.attr,
	[HSL_CNT_INVALIDATIONS] = &hsl_counter_invalidations.attr.attr,
	[HSL_CNT_DOORBELLS] = &hsl_counter_doorbells.attr.attr,
	[HSL_CNT_INTERRUPTS] = &hsl_counter_interrupts.attr.attr,
	[HSL_CNT_FAULTS] = &hsl_counter_faults.attr.attr,
	[HSL_CNT_QUEUE_ERRORS] = &hsl_counter_queue_errors.attr.attr,
	[HSL_CNT_ORACLE_CHECKS] = &hsl_counter_oracle_checks.attr.attr,
	[HSL_CNT_ORACLE_BREACHES] = &hsl_counter_oracle_breaches.attr.attr,
	[HSL_CNT_WALKS] = &hsl_counter_walks.attr.attr,
	[HSL_CNT_POISONED] = &hsl_counter_poisoned.attr.attr,
	[HSL_CNT_HOST_BYTES] = &hsl_counter_host_bytes.attr.attr,
	[HSL_CNT_OWN_BYTES] = &hsl_counter_own_bytes.attr.attr,
	[HSL_CNT_LINK_BYTES] = &hsl_counter_link_bytes.attr.attr,
	[HSL_CNT_PCIE_BYTES] = &hsl_counter_pcie_bytes.attr.attr,
	[HSL_CNT_VIA_HOST_BYTES] = &hsl_counter_via_host_bytes.attr.attr,
	[HSL_CNT_UNREACHABLE] = &hsl_counter_unreachable.attr.attr,
	[HSL_CNT_NR] = NULL
};
static_assert(ARRAY_SIZE(hsl_counter_attrs) == HSL_CNT_NR + 1);

/* @n: enum hsl_counter */
const char *hsl_counter_name(u32 n)
{
	return hsl_counter_attrs[n]->name;
}

static const struct attribute_group hsl_counter_group = {
	.name = "counters",
	.attrs = hsl_counter_attrs,
};

const struct attribute_group *hsl_sysfs_groups[] = {
	&hsl_group,
	&hsl_provider_group,
	&hsl_limit_group,
	&hsl_counter_group,
#ifdef CONFIG_DEVICE_MIGRATION
	&hsl_sysfs_memory_group,
#endif
	NULL
};
