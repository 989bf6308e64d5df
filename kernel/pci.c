// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI function: binding, what the device says about itself, resets that
 * come from the PCI core, and the module.
 *
 * A function is ours by its class and its DVSEC, never by its ids. Nothing
 * that the device reports is believed before hsl_hw_limits() has checked it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/module.h>

#include "hsl.h"

static unsigned int max_queues_per_context = 64;
module_param(max_queues_per_context, uint, 0444);
MODULE_PARM_DESC(max_queues_per_context, "Queues one open file may have (default 64)");

/* More than these are not used, whatever the device has. */
#define HSL_RING_ORDER_CAP	20
#define HSL_EVQ_ORDER_CAP	10
#define HSL_FLTQ_ORDER_CAP	12

static int hsl_bad(struct hsl_device *hdev, const char *what, u64 val)
{
	dev_err(&hdev->pdev->dev, "the device reports %s %#llx, which cannot be\n",
		what, val);
	return -EINVAL;
}

/* Read and check the limits. The caller may touch registers. */
static int hsl_hw_limits(struct hsl_device *hdev, struct hsl_limits *lim)
{
	struct pci_dev *pdev = hdev->pdev;
	u32 val;

	val = hsl_read(hdev, HSL_REG_MAGIC);
	if (val != HSL_MAGIC)
		return hsl_bad(hdev, "magic", val);

	lim->version = hsl_read(hdev, HSL_REG_VERSION);
	if (lim->version >> 8 != HSL_VERSION_MAJOR)
		return hsl_bad(hdev, "version", lim->version);

	lim->caps = hsl_read(hdev, HSL_REG_CAPS);

	lim->nr_queues = hsl_read(hdev, HSL_REG_NR_QUEUES);
	if (!lim->nr_queues || lim->nr_queues > HSL_MAX_QUEUES ||
	    pci_resource_len(pdev, hdev->ctrl_bar) < HSL_REG_Q(lim->nr_queues) ||
	    pci_resource_len(pdev, hdev->db_bar) / HSL_DB_STRIDE < lim->nr_queues)
		return hsl_bad(hdev, "queues", lim->nr_queues);

	lim->nr_contexts = hsl_read(hdev, HSL_REG_NR_CONTEXTS);
	if (!lim->nr_contexts || lim->nr_contexts > HSL_MAX_CONTEXTS)
		return hsl_bad(hdev, "contexts", lim->nr_contexts);

	lim->nr_vectors = hsl_read(hdev, HSL_REG_NR_VECTORS);
	if (!lim->nr_vectors || lim->nr_vectors > PCI_MSIX_FLAGS_QSIZE + 1)
		return hsl_bad(hdev, "vectors", lim->nr_vectors);

	lim->ring_order = hsl_read(hdev, HSL_REG_RING_ORDER);
	if (!lim->ring_order || lim->ring_order > 31)
		return hsl_bad(hdev, "ring order", lim->ring_order);
	lim->ring_order = min(lim->ring_order, HSL_RING_ORDER_CAP);

	lim->max_xfer = hsl_read(hdev, HSL_REG_MAX_XFER);
	if (!lim->max_xfer)
		return hsl_bad(hdev, "transfer size", lim->max_xfer);

	lim->evq_order = hsl_read(hdev, HSL_REG_EVQ_ORDER_MAX);
	if (!lim->evq_order || lim->evq_order > 31)
		return hsl_bad(hdev, "event queue order", lim->evq_order);
	lim->evq_order = min(lim->evq_order, HSL_EVQ_ORDER_CAP);

	lim->fltq_order = 0;
	if (lim->caps & HSL_CAP_XLATE_DEVICE) {
		/* One that may overflow would lose faults. See hsl_fltq_drain(). */
		lim->fltq_order = hsl_read(hdev, HSL_REG_FLTQ_ORDER_MIN) + 1;
		if (lim->fltq_order < 2 || lim->fltq_order > HSL_FLTQ_ORDER_CAP ||
		    pci_resource_len(pdev, hdev->ctrl_bar) < HSL_REG_FAULT_RESPONSE + 8)
			return hsl_bad(hdev, "fault queue order", lim->fltq_order);
	}

	lim->node = HSL_NODE_NONE;
	if (lim->caps & HSL_CAP_LINK) {
		lim->node = hsl_read(hdev, HSL_REG_NODE);
		lim->fabric = hsl_read(hdev, HSL_REG_FABRIC);
		lim->nr_ports = hsl_read(hdev, HSL_REG_NR_PORTS);
		if (lim->node >= HSL_MAX_NODES || lim->nr_ports > HSL_MAX_PORTS)
			return hsl_bad(hdev, "node or ports", lim->node);
	}

	lim->ops = hsl_read64(hdev, HSL_REG_OPS);
	if (!lim->ops || (lim->ops & BIT_ULL(HSL_OP_SIGNAL) &&
			  pci_resource_len(pdev, hdev->ctrl_bar) < HSL_REG_SIGNAL(HSL_MAX_SIGNALS)))
		return hsl_bad(hdev, "operations", lim->ops);

	lim->mem_size = 0;
	if (lim->caps & HSL_CAP_MEM) {
		lim->mem_size = hsl_read64(hdev, HSL_REG_MEM_SIZE);
		if (hdev->mem_bar == HSL_BAR_NONE ||
		    lim->mem_size > pci_resource_len(pdev, hdev->mem_bar))
			return hsl_bad(hdev, "memory size", lim->mem_size);
	}

	return 0;
}

static bool hsl_bar_ok(struct pci_dev *pdev, u8 bar)
{
	return bar < PCI_STD_NUM_BARS &&
	       pci_resource_flags(pdev, bar) & IORESOURCE_MEM &&
	       pci_resource_len(pdev, bar);
}

/* Which BAR is which. */
static int hsl_dvsec_read(struct hsl_device *hdev)
{
	struct pci_dev *pdev = hdev->pdev;
	u16 version;

	pci_read_config_word(pdev, hdev->dvsec + HSL_DVSEC_VERSION, &version);
	pci_read_config_byte(pdev, hdev->dvsec + HSL_DVSEC_CTRL_BAR, &hdev->ctrl_bar);
	pci_read_config_byte(pdev, hdev->dvsec + HSL_DVSEC_DB_BAR, &hdev->db_bar);
	pci_read_config_byte(pdev, hdev->dvsec + HSL_DVSEC_MEM_BAR, &hdev->mem_bar);

	if (version >> 8 != HSL_VERSION_MAJOR) {
		dev_err(&pdev->dev, "hardware version %u.%u, this driver knows %u.x\n",
			version >> 8, version & 0xff, HSL_VERSION_MAJOR);
		return -ENODEV;
	}
	if (!hsl_bar_ok(pdev, hdev->ctrl_bar) || !hsl_bar_ok(pdev, hdev->db_bar) ||
	    hdev->ctrl_bar == hdev->db_bar ||
	    (hdev->mem_bar != HSL_BAR_NONE &&
	     (!hsl_bar_ok(pdev, hdev->mem_bar) || hdev->mem_bar == hdev->ctrl_bar ||
	      hdev->mem_bar == hdev->db_bar))) {
		dev_err(&pdev->dev, "BARs %u, %u, %u of the DVSEC are not there\n",
			hdev->ctrl_bar, hdev->db_bar, hdev->mem_bar);
		return -EINVAL;
	}
	if (pci_resource_len(pdev, hdev->ctrl_bar) < HSL_REG_QUEUES)
		return hsl_bad(hdev, "a control BAR of", pci_resource_len(pdev, hdev->ctrl_bar));

	return 0;
}

static int hsl_map(struct hsl_device *hdev)
{
	struct pci_dev *pdev = hdev->pdev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;

	hdev->ctrl = pcim_iomap_region(pdev, hdev->ctrl_bar, KBUILD_MODNAME);
	if (IS_ERR(hdev->ctrl))
		return PTR_ERR(hdev->ctrl);

	hdev->db = pcim_iomap_region(pdev, hdev->db_bar, KBUILD_MODNAME);
	if (IS_ERR(hdev->db))
		return PTR_ERR(hdev->db);

	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	/* What is imported is as long as it is: the device has pages, not segments. */
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);

	ret = hsl_hw_limits(hdev, &hdev->limits);
	if (ret)
		return ret;

	hdev->max_queues = clamp(max_queues_per_context, 1, hdev->limits.nr_queues);
	/* Not devm: a call that began before the removal may still look. */
	hdev->contexts = kcalloc(hdev->limits.nr_contexts, sizeof(*hdev->contexts), GFP_KERNEL);
	hdev->queues = kcalloc(hdev->limits.nr_queues, sizeof(*hdev->queues), GFP_KERNEL);
	hdev->queue_map = bitmap_zalloc(hdev->limits.nr_queues, GFP_KERNEL);
	hdev->stuck_map = bitmap_zalloc(hdev->limits.nr_queues, GFP_KERNEL);
	hdev->drain_map = bitmap_zalloc(hdev->limits.nr_queues, GFP_KERNEL);
	if (!hdev->contexts || !hdev->queues || !hdev->queue_map || !hdev->stuck_map ||
	    !hdev->drain_map)
		return -ENOMEM;

	return 0;
}

/* A boot loader, a kernel before this one or a guest may have left queues running. */
static int hsl_hw_first_start(struct hsl_device *hdev)
{
	int ret;

	/* They would go on as soon as the device may use the bus. */
	pci_clear_master(hdev->pdev);
	ret = hsl_hw_reset(hdev);
	return ret ? ret : hsl_hw_start(hdev);
}

static int hsl_bring_up(struct hsl_device *hdev)
{
	int ret;

	hsl_memory_init(hdev);
	ret = hsl_evq_init(hdev);
	if (ret)
		return ret;
	ret = hsl_fltq_init(hdev);
	if (ret) {
		hsl_evq_exit(hdev);
		return ret;
	}

	ret = hsl_irq_init(hdev);
	if (!ret) {
		ret = hsl_hw_first_start(hdev);
		if (!ret) {
			hsl_sva_probe(hdev);
			hsl_memory_start(hdev);
			ret = hsl_device_add(hdev);
			if (!ret) {
				hsl_ports_add(hdev);
				hsl_peers_join(hdev);
				return 0;
			}
			hsl_device_claim(hdev);
			/* A node that is left of another one may have led here. */
			hsl_device_kill_contexts(hdev, false);
			hsl_hw_stop(hdev);
			hsl_device_yield(hdev, HSL_GONE);
			cancel_work_sync(&hdev->reset_work);
			hsl_sva_remove(hdev);
			hsl_memory_exit(hdev);
		}
		hsl_irq_exit(hdev);
	}
	hsl_fltq_exit(hdev);
	hsl_evq_exit(hdev);
	return ret;
}

static int hsl_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct hsl_device *hdev;
	u16 dvsec;
	int ret;

	dvsec = pci_find_dvsec_capability(pdev, HSL_DVSEC_VENDOR, HSL_DVSEC_ID);
	if (!dvsec)
		return -ENODEV;

	hdev = hsl_device_alloc(pdev);
	if (IS_ERR(hdev))
		return PTR_ERR(hdev);
	hdev->dvsec = dvsec;

	ret = hsl_dvsec_read(hdev);
	if (!ret)
		ret = hsl_map(hdev);
	if (!ret)
		ret = hsl_bring_up(hdev);
	if (ret) {
		hsl_device_put(hdev);
		return ret;
	}

	/* For hsl_slot_reset(): the core saves nothing when a link goes down. */
	pci_save_state(pdev);
	pci_set_drvdata(pdev, hdev);
	dev_info(&hdev->dev, "%u queues, %u contexts, %u of %u vectors, HSL %u.%u\n",
		 hdev->limits.nr_queues, hdev->limits.nr_contexts, hdev->nr_vectors,
		 hdev->limits.nr_vectors, hdev->limits.version >> 8,
		 hdev->limits.version & 0xff);
	return 0;
}

/*
 * Open files outlive this. Each step makes the next one safe: nobody new comes
 * in; queues stop and their doorbell mappings go; the address spaces are let
 * go; pages of device memory go to the host; the registers go.
 */
static void hsl_remove(struct pci_dev *pdev)
{
	struct hsl_device *hdev = pci_get_drvdata(pdev);

	hsl_ports_del(hdev);
	hsl_device_del(hdev);
	hsl_device_claim(hdev);
	hsl_device_kill_contexts(hdev, false);
	hsl_hw_stop(hdev);
	hsl_device_yield(hdev, HSL_GONE);
	cancel_work_sync(&hdev->reset_work);
	hsl_sva_remove(hdev);
	hsl_memory_exit(hdev);
	hsl_peers_leave(hdev);
	hsl_irq_exit(hdev);
	hsl_fltq_exit(hdev);
	hsl_evq_exit(hdev);
	pci_clear_master(pdev);
	hsl_device_put(hdev);
}

/* The function is about to be reset: sysfs, VFIO, a bus reset above us. */
static void hsl_reset_prepare(struct pci_dev *pdev)
{
	struct hsl_device *hdev = pci_get_drvdata(pdev);

	hsl_device_claim(hdev);
	hsl_device_kill_contexts(hdev, false);
	hsl_hw_stop(hdev);
	hsl_memory_suspend(hdev);
}

/* Registers are there again and hold their reset values. */
static int hsl_restart(struct hsl_device *hdev)
{
	struct hsl_limits lim;
	int ret;

	memset(&lim, 0, sizeof(lim));
	pci_set_master(hdev->pdev);
	ret = hsl_hw_limits(hdev, &lim);
	if (!ret && memcmp(&lim, &hdev->limits, sizeof(lim))) {
		dev_err(&hdev->dev, "the device came back with other limits\n");
		ret = -ENODEV;
	}
	if (!ret)
		ret = hsl_hw_start(hdev);
	return ret;
}

static void hsl_reset_done(struct pci_dev *pdev)
{
	struct hsl_device *hdev = pci_get_drvdata(pdev);
	int ret = hsl_restart(hdev);

	if (ret)
		dev_err(&hdev->dev, "not usable after the reset: %pe\n", ERR_PTR(ret));
	hsl_memory_resume(hdev, !ret);
	hsl_device_yield(hdev, ret ? HSL_BROKEN : HSL_ALIVE);
	if (!ret)
		dev_info(&hdev->dev, "reset, generation %u\n", hdev->generation);
}

/* What the device worked on and what its memory had is no more. */
static void hsl_lose_all(struct hsl_device *hdev)
{
	hsl_device_kill_contexts(hdev, false);
	hsl_evq_stop(hdev);
	hsl_fltq_stop(hdev);
	hsl_memory_lost(hdev);
}

static pci_ers_result_t hsl_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	struct hsl_device *hdev = pci_get_drvdata(pdev);

	if (state == pci_channel_io_normal)
		return PCI_ERS_RESULT_CAN_RECOVER;

	/*
	 * HSL_BROKEN and not HSL_CLAIMED in between: recovery that gives up
	 * half way does not tell us.
	 */
	dev_err(&hdev->dev, "bus error, every open file is dead\n");
	hsl_device_claim(hdev);
	hsl_lose_all(hdev);
	hsl_device_yield(hdev, HSL_BROKEN);
	return state == pci_channel_io_perm_failure ? PCI_ERS_RESULT_DISCONNECT :
						      PCI_ERS_RESULT_NEED_RESET;
}

static pci_ers_result_t hsl_slot_reset(struct pci_dev *pdev)
{
	struct hsl_device *hdev = pci_get_drvdata(pdev);
	bool alive = hsl_device_claim(hdev) == HSL_ALIVE;
	int ret;

	pci_restore_state(pdev);
	pci_save_state(pdev);
	/*
	 * Somebody else on this bus wanted the reset, after an error that was none for
	 * us; or we have been reset and opened again since the error.
	 */
	if (alive)
		hsl_lose_all(hdev);
	ret = hsl_restart(hdev);
	hsl_memory_resume(hdev, !ret);
	hsl_device_yield(hdev, ret ? HSL_BROKEN : HSL_ALIVE);
	return ret ? PCI_ERS_RESULT_DISCONNECT : PCI_ERS_RESULT_RECOVERED;
}

static void hsl_resume(struct pci_dev *pdev)
{
	struct hsl_device *hdev = pci_get_drvdata(pdev);

	dev_info(&hdev->dev, "recovered from a bus error, generation %u\n", hdev->generation);
}

static const struct pci_error_handlers hsl_error_handlers = {
	.error_detected = hsl_error_detected,
	.slot_reset = hsl_slot_reset,
	.resume = hsl_resume,
	.reset_prepare = hsl_reset_prepare,
	.reset_done = hsl_reset_done,
};

static const struct pci_device_id hsl_ids[] = {
	{ PCI_DEVICE_CLASS(HSL_PCI_CLASS, 0xffffff) },
	{ }
};
MODULE_DEVICE_TABLE(pci, hsl_ids);

static struct pci_driver hsl_driver = {
	.name = KBUILD_MODNAME,
	.id_table = hsl_ids,
	.probe = hsl_probe,
	.remove = hsl_remove,
	.err_handler = &hsl_error_handlers,
};

static int __init hsl_init(void)
{
	int ret;

	ret = hsl_sva_param();
	if (!ret)
		ret = hsl_memory_param();
	if (ret)
		return ret;

	ret = hsl_hmm_init();
	if (ret)
		return ret;
	ret = hsl_chardev_init();
	if (ret) {
		hsl_hmm_exit();
		return ret;
	}

	hsl_debugfs_init();
	ret = pci_register_driver(&hsl_driver);
	if (ret) {
		hsl_debugfs_exit();
		hsl_chardev_exit();
		hsl_hmm_exit();
	}
	return ret;
}
module_init(hsl_init);

static void __exit hsl_exit(void)
{
	pci_unregister_driver(&hsl_driver);
	hsl_debugfs_exit();
	hsl_chardev_exit();
	hsl_hmm_exit();
	hsl_mm_exit();
	hsl_node_exit();
}
module_exit(hsl_exit);

MODULE_DESCRIPTION("HSL-like accelerator endpoint");
MODULE_VERSION("0.1.0");	/* that of libhsl, userlib/Makefile */
MODULE_LICENSE("GPL");

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/pci_test.c"
#endif
