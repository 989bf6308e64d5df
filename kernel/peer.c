// SPDX-License-Identifier: GPL-2.0
/*
 * Peers: which devices reach the memory of which others, and how.
 *
 * Every device is told where the memory of every other one lies on the bus
 * (HW 7.4), so that it knows a peer's address when a translation leads to one,
 * and which ways lead there. Which of them a queue may use is the queue's own
 * choice; which of them is open changes with the links, and the device knows.
 */
#include <linux/module.h>
#ifdef CONFIG_X86
#include <asm/cpufeature.h>
#endif

#include "hsl.h"

/* Outermost: taken before hsl_device.lock of any device. */
static DEFINE_MUTEX(hsl_peers_lock);
static LIST_HEAD(hsl_peers);	/* hsl_device.peer_node of all that are bound */

static int via_host = -1;
module_param(via_host, int, 0444);
MODULE_PARM_DESC(via_host, "Does the host bridge forward between devices? 0: no, 1: yes, -1: only a virtual one (default -1)");

static bool hsl_bridge_is_virtual(void)
{
#ifdef CONFIG_X86
	return boot_cpu_has(X86_FEATURE_HYPERVISOR);
#else
	return false;
#endif
}

static bool hsl_bridge_forwards(bool is_virtual)
{
	if (via_host >= 0)
		return via_host;
	/* On real ones the specification leaves it open, and some lose data. */
	return is_virtual;
}

/* Does a port send requests of one device to another up to the root first? (PCIe 6.0, 6.12) */
static bool hsl_port_redirects(struct pci_dev *port)
{
	int acs = pci_find_ext_capability(port, PCI_EXT_CAP_ID_ACS);
	u16 ctrl = 0;

	if (acs)
		pci_read_config_word(port, acs + PCI_ACS_CTRL, &ctrl);
	return ctrl & (PCI_ACS_RR | PCI_ACS_EC);
}

/* The nearest switch, named by its upstream port, that @pdev shares with @other */
static struct pci_dev *hsl_shared_switch(struct pci_dev *pdev, struct pci_dev *other)
{
	struct pci_dev *up, *p;

	for (up = pci_upstream_bridge(pdev); up; up = pci_upstream_bridge(up)) {
		if (!pci_is_pcie(up) || pci_pcie_type(up) != PCI_EXP_TYPE_UPSTREAM)
			continue;
		for (p = pci_upstream_bridge(other); p; p = pci_upstream_bridge(p))
			if (p == up)
				return up;
	}
	return NULL;
}

/* What crosses a switch does not leave it, unless it is told to. */
static enum hsl_route_why hsl_pcie_why(struct pci_dev *from, struct pci_dev *to)
{
	struct pci_dev *top = hsl_shared_switch(from, to), *p;

	if (!top)
		return HSL_WHY_NO_SWITCH;
	for (p = pci_upstream_bridge(from); p != top; p = pci_upstream_bridge(p))
		if (hsl_port_redirects(p))
			return HSL_WHY_ACS;
	return HSL_WHY_OPEN;
}

static bool hsl_has_memory(struct hsl_device *hdev)
{
	return hdev->mem_bar != HSL_BAR_NONE && hdev->limits.mem_size;
}

bool hsl_same_fabric(struct hsl_device *a, struct hsl_device *b)
{
	return a->limits.node != HSL_NODE_NONE && b->limits.node != HSL_NODE_NONE &&
	       a->limits.fabric == b->limits.fabric && a->limits.node != b->limits.node;
}

/* Caller: see "Registers may be touched" in hsl.h */
static void hsl_peer_write(struct hsl_device *hdev, u32 n)
{
	struct hsl_device *peer = hdev->peers[n];
	u32 reg = HSL_REG_PEER(n), ctrl = HSL_PEER_VALID;

	lockdep_assert_held(&hsl_peers_lock);

	hsl_write(hdev, reg + HSL_PEER_CTRL, 0);
	if (!peer)
		return;
	if (hsl_pcie_why(hdev->pdev, peer->pdev) == HSL_WHY_OPEN)
		ctrl |= HSL_PEER_PCIE;
	if (hsl_bridge_forwards(hsl_bridge_is_virtual()))
		ctrl |= HSL_PEER_VIA_HOST;
	hsl_write64(hdev, reg + HSL_PEER_BASE, pci_resource_start(peer->pdev, peer->mem_bar));
	hsl_write64(hdev, reg + HSL_PEER_SIZE, peer->limits.mem_size);
	hsl_write(hdev, reg + HSL_PEER_NODE,
		  hsl_same_fabric(hdev, peer) ? peer->limits.node : HSL_NODE_NONE);
	hsl_write(hdev, reg + HSL_PEER_CTRL, ctrl);
}

static void hsl_peers_write(struct hsl_device *hdev)
{
	u32 n;

	for (n = 0; n < HSL_MAX_PEERS; n++)
		hsl_peer_write(hdev, n);
}

/* Before the first context can run. The caller has claimed the device. */
void hsl_peers_start(struct hsl_device *hdev)
{
	guard(mutex)(&hsl_peers_lock);
	hsl_peers_write(hdev);
}

/* If it is being reset, hsl_peers_refresh() follows. */
static void hsl_peer_set(struct hsl_device *hdev, u32 n, struct hsl_device *peer)
{
	lockdep_assert_held(&hsl_peers_lock);

	hdev->peers[n] = peer;
	guard(mutex)(&hdev->lock);
	if (hdev->state == HSL_ALIVE)
		hsl_peer_write(hdev, n);
}

static void hsl_peer_introduce(struct hsl_device *hdev, struct hsl_device *peer)
{
	u32 n;

	if (!hsl_has_memory(peer))
		return;
	for (n = 0; n < HSL_MAX_PEERS; n++) {
		if (!hdev->peers[n]) {
			hsl_peer_set(hdev, n, peer);
			return;
		}
	}
	dev_warn_once(&hdev->dev, "more than %u peers: the others are reached as host memory is\n",
		      HSL_MAX_PEERS);
}

static void hsl_peer_forget(struct hsl_device *hdev, struct hsl_device *peer)
{
	u32 n;

	for (n = 0; n < HSL_MAX_PEERS; n++)
		if (hdev->peers[n] == peer)
			hsl_peer_set(hdev, n, NULL);
}

/* What changed while the device was being reset; called when that has ended. */
void hsl_peers_refresh(struct hsl_device *hdev)
{
	guard(mutex)(&hsl_peers_lock);
	guard(mutex)(&hdev->lock);
	if (hdev->state == HSL_ALIVE)
		hsl_peers_write(hdev);
}

/* The device can be opened from now on. */
void hsl_peers_join(struct hsl_device *hdev)
{
	struct hsl_device *other;

	guard(mutex)(&hsl_peers_lock);
	list_for_each_entry(other, &hsl_peers, peer_node) {
		hsl_peer_introduce(hdev, other);
		hsl_peer_introduce(other, hdev);
	}
	list_add_tail(&hdev->peer_node, &hsl_peers);
}

/* None of its memory is anybody's any more. */
void hsl_peers_leave(struct hsl_device *hdev)
{
	struct hsl_device *other;

	guard(mutex)(&hsl_peers_lock);
	list_del(&hdev->peer_node);
	list_for_each_entry(other, &hsl_peers, peer_node)
		hsl_peer_forget(other, hdev);
	memset(hdev->peers, 0, sizeof(hdev->peers));
}

/*
 * For users
 */

static u8 hsl_link_why(struct hsl_device *hdev, struct hsl_device *peer, u32 *hops)
{
	u32 route;

	lockdep_assert_held(&hdev->lock);

	*hops = 0;
	if (!hsl_same_fabric(hdev, peer))
		return HSL_WHY_NO_FABRIC;
	if (hdev->state != HSL_ALIVE)
		return HSL_WHY_RESET;
	route = hsl_read(hdev, HSL_REG_ROUTE(peer->limits.node));
	if (route == HSL_ROUTE_NONE)
		return HSL_WHY_NO_PATH;
	*hops = HSL_ROUTE_HOPS(route);
	return HSL_WHY_OPEN;
}

/* What is open of @wanted; without memory there is nothing to be reached. */
static void hsl_peer_routes(struct hsl_peer_info *info, u32 wanted)
{
	unsigned int n;

	for (n = 0; n < 3; n++) {
		if (!info->mem_size)
			info->why[n] = HSL_WHY_NO_MEMORY;
		if (info->why[n] == HSL_WHY_OPEN && !(wanted & 1u << n))
			info->why[n] = HSL_WHY_POLICY;
		if (info->why[n] == HSL_WHY_OPEN)
			info->routes |= 1u << n;
	}
}

static void hsl_peer_describe(struct hsl_device *hdev, struct hsl_device *peer, u32 wanted,
			      struct hsl_peer_info *info)
{
	memset(info, 0, sizeof(*info));
	info->index = peer->minor;
	info->node = peer->limits.node;
	info->mem_size = hsl_has_memory(peer) ? peer->limits.mem_size : 0;

	scoped_guard(mutex, &hdev->lock)
		info->why[0] = hsl_link_why(hdev, peer, &info->hops);
	info->why[1] = hsl_pcie_why(hdev->pdev, peer->pdev);
	if (!hsl_bridge_forwards(hsl_bridge_is_virtual()))
		info->why[2] = HSL_WHY_NO_BRIDGE;
	hsl_peer_routes(info, wanted);
}

ssize_t hsl_peers_show(struct hsl_device *hdev, char *buf)
{
	static const char *const routes[] = { "link", "pcie", "via-host" };
	static const char *const why[] = {
		[HSL_WHY_OPEN] = "open",
		[HSL_WHY_NO_MEMORY] = "the peer has no memory",
		[HSL_WHY_NO_FABRIC] = "not in one fabric",
		[HSL_WHY_NO_PATH] = "no path of links that are up",
		[HSL_WHY_NO_SWITCH] = "no PCIe switch above both",
		[HSL_WHY_ACS] = "ACS sends what crosses the switch to the root",
		[HSL_WHY_NO_BRIDGE] = "the host bridge is not known to forward, see via_host",
		[HSL_WHY_RESET] = "being reset",
		[HSL_WHY_POLICY] = "not allowed",
	};
	struct hsl_peer_info info;
	struct hsl_device *peer;
	unsigned int n;
	int len = 0;

	guard(mutex)(&hsl_peers_lock);
	list_for_each_entry(peer, &hsl_peers, peer_node) {
		if (peer == hdev)
			continue;
		hsl_peer_describe(hdev, peer, HSL_ROUTE_ALL, &info);
		len += sysfs_emit_at(buf, len, "%s hops %u", dev_name(&peer->dev), info.hops);
		for (n = 0; n < ARRAY_SIZE(routes); n++)
			len += sysfs_emit_at(buf, len, "%s %s: %s", n ? "," : ";", routes[n],
					     why[info.why[n]]);
		len += sysfs_emit_at(buf, len, "\n");
	}
	return len;
}

int hsl_ioctl_peers(struct hsl_ucmd *ucmd)
{
	struct hsl_device *hdev = ucmd->ctx->hdev, *peer;
	struct hsl_peers *cmd = ucmd->cmd;
	u32 n = 0, room = min(cmd->nr, HSL_MAX_DEVICES);
	struct hsl_peer_info *info;
	int ret;

	if (cmd->routes & ~HSL_ROUTE_ALL)
		return -EOPNOTSUPP;
	info = kvcalloc(room, sizeof(*info), GFP_KERNEL_ACCOUNT);
	if (!info)
		return -ENOMEM;
	scoped_guard(mutex, &hsl_peers_lock) {
		list_for_each_entry(peer, &hsl_peers, peer_node) {
			if (peer == hdev)
				continue;
			if (n < room)
				hsl_peer_describe(hdev, peer, cmd->routes ?: HSL_ROUTE_ALL, &info[n]);
			n++;
		}
	}
	ret = copy_to_user(u64_to_user_ptr(cmd->peers), info, min(n, room) * sizeof(*info));
	kvfree(info);
	if (ret)
		return -EFAULT;
	cmd->nr = n;
	return hsl_ucmd_respond(ucmd);
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/peer_test.c"
#endif
