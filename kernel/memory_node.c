// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory as a NUMA node: the kernel's own memory, for numactl, mbind,
 * move_pages and everybody else. The node is one that the firmware declared and
 * left without memory: the device's own, that of a generic initiator, or any.
 */
#include <linux/memory.h>
#include <linux/memory-tiers.h>
#include <linux/memory_hotplug.h>
#include <linux/nodemask.h>

#include "memory.h"

/* Farther than any DRAM, as long as the platform does not say otherwise (HMAT). */
#define HSL_NODE_DISTANCE	(MEMTIER_ADISTANCE_DRAM * 5)

static DEFINE_MUTEX(hsl_node_lock);	/* one node is not given to two devices */
static LIST_HEAD(hsl_node_types);
static nodemask_t hsl_nodes;		/* those given out; memory that is offline does not show */

static bool hsl_node_usable(int nid)
{
	return nid != NUMA_NO_NODE && node_state(nid, N_POSSIBLE) && !node_state(nid, N_MEMORY) &&
	       !node_state(nid, N_CPU) && !node_isset(nid, hsl_nodes);
}

static int hsl_node_find(struct hsl_memory *mem)
{
	int nid = dev_to_node(&mem->hdev->pdev->dev);

	if (hsl_node_usable(nid))
		return nid;
	for_each_node_state(nid, N_GENERIC_INITIATOR)
		if (hsl_node_usable(nid))
			return nid;
	for_each_node_state(nid, N_POSSIBLE)
		if (hsl_node_usable(nid))
			return nid;
	return NUMA_NO_NODE;
}

static int hsl_node_tier(int nid)
{
	struct memory_dev_type *type;
	int distance = HSL_NODE_DISTANCE;

	lockdep_assert_held(&hsl_node_lock);

	mt_calc_adistance(nid, &distance);
	type = mt_find_alloc_memory_type(distance, &hsl_node_types);
	if (IS_ERR(type))
		return PTR_ERR(type);
	init_node_memory_type(nid, type);
	return 0;
}

static u64 hsl_node_size(struct hsl_memory *mem)
{
	return (u64)mem->nr_pages << PAGE_SHIFT;
}

/* What is lost is given to nobody, and taken from who has it: as far as it is online. */
void hsl_node_lose(struct hsl_memory *mem)
{
	unsigned long n;
	struct page *page;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		return;
	for (n = 0; n < mem->nr_pages; n++) {
		page = hsl_mem_is_bad(mem, n) ? pfn_to_online_page(mem->pfn + n) : NULL;
		if (page && !PageHWPoison(page))
			memory_failure(mem->pfn + n, 0);
		if (!(n % HSL_BLOCK_PAGES))
			cond_resched();
	}
}

/* More of it is online now. */
static int hsl_node_event(struct notifier_block *nb, unsigned long action, void *data)
{
	struct hsl_memory *mem = container_of(nb, struct hsl_memory, node_notifier);

	if (action == MEM_ONLINE)
		hsl_mem_lose_again(mem);
	return NOTIFY_OK;
}

/* Nobody else uses the range. An errno, and in @why the reason. */
int hsl_node_add(struct hsl_memory *mem, char *why, size_t len)
{
	unsigned long block = memory_block_size_bytes();
	int nid, ret;

	if (!IS_ALIGNED(mem->start, block) || !IS_ALIGNED(hsl_node_size(mem), block)) {
		snprintf(why, len, "%llu MiB at %pa are not whole memory blocks of %lu MiB",
			 hsl_node_size(mem) >> 20, &mem->start, block >> 20);
		return -EINVAL;
	}

	guard(mutex)(&hsl_node_lock);
	nid = hsl_node_find(mem);
	if (nid == NUMA_NO_NODE) {
		strscpy(why, "the firmware declares no NUMA node without memory", len);
		return -ENXIO;
	}
	ret = hsl_node_tier(nid);
	if (!ret) {
		/* It shows as "System RAM (hsl)", for a kexec not to take it for memory that stays. */
		ret = add_memory_driver_managed(nid, mem->start, hsl_node_size(mem),
						"System RAM (hsl)", MHP_NONE);
		if (ret)
			clear_node_memory_type(nid, NULL);
	}
	if (ret) {
		snprintf(why, len, "the kernel does not add it to node %d: %d", nid, ret);
		return ret;
	}
	mem->nid = nid;
	node_set(nid, hsl_nodes);
	mem->node_notifier.notifier_call = hsl_node_event;
	if (register_memory_notifier(&mem->node_notifier))
		dev_warn(&mem->hdev->dev, "lost pages are not kept back when memory comes online\n");
	if (node_state(nid, N_MEMORY))
		dev_info(&mem->hdev->dev, "device memory is node %d\n", nid);
	else
		dev_warn(&mem->hdev->dev,
			 "device memory was added to node %d, but is offline: bring it online as movable, or boot with memhp_default_state=online_movable\n",
			 nid);
	return 0;
}

/* Pages in use move elsewhere, as long as there is room and a signal does not come. */
int hsl_node_remove(struct hsl_memory *mem)
{
	int ret;

	ret = offline_and_remove_memory(mem->start, hsl_node_size(mem));
	if (ret)
		return ret;
	unregister_memory_notifier(&mem->node_notifier);
	guard(mutex)(&hsl_node_lock);
	clear_node_memory_type(mem->nid, NULL);
	node_clear(mem->nid, hsl_nodes);
	mem->nid = NUMA_NO_NODE;
	return 0;
}

/* No device is left. */
void hsl_node_exit(void)
{
	guard(mutex)(&hsl_node_lock);
	mt_put_memory_types(&hsl_node_types);
}
