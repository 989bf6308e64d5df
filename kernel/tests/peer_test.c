// SPDX-License-Identifier: GPL-2.0
/* Which ways lead to a peer, from buses that are made up. */
#include <linux/pci_regs.h>

#include "tests/fake.h"

#define HSL_TEST_ACS	0x100	/* of the only extended capability, if there is one */

/* A port, and the bus below it */
struct hsl_test_port {
	struct pci_dev pdev;
	struct pci_bus bus;
	u8 config[PCI_CFG_SPACE_EXP_SIZE];
};

static int hsl_test_config_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	struct hsl_test_port *port = bus->sysdata;

	*val = 0;
	memcpy(val, port->config + where, size);
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops hsl_test_pci_ops = { .read = hsl_test_config_read };

/* A port of this type below @above, which is NULL for the root; with ACS as given, 0: without */
static struct hsl_test_port *hsl_test_port(struct kunit *test, struct hsl_test_port *above, u8 type, u16 acs)
{
	struct hsl_test_port *port = kunit_kzalloc(test, sizeof(*port), GFP_KERNEL);
	struct pci_bus *on = kunit_kzalloc(test, sizeof(*on), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, port);
	KUNIT_ASSERT_NOT_NULL(test, on);
	/* The bus it is on: a view of the one that is below @above, which reads this port. */
	on->self = above ? &above->pdev : NULL;
	on->parent = above ? above->pdev.bus : NULL;
	on->ops = &hsl_test_pci_ops;
	on->sysdata = port;
	port->pdev.bus = on;
	port->pdev.pcie_cap = 0x40;
	port->pdev.pcie_flags_reg = type << 4;
	port->pdev.cfg_size = PCI_CFG_SPACE_EXP_SIZE;
	port->bus.self = &port->pdev;
	port->bus.parent = on;
	if (acs) {
		*(u32 *)(port->config + HSL_TEST_ACS) = PCI_EXT_CAP_ID_ACS | 1 << 16;
		*(u16 *)(port->config + HSL_TEST_ACS + PCI_ACS_CTRL) = acs;
	}
	return port;
}

static struct pci_dev *hsl_test_card(struct kunit *test, struct hsl_test_port *slot)
{
	struct pci_dev *pdev = kunit_kzalloc(test, sizeof(*pdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pdev);
	pdev->bus = &slot->bus;
	return pdev;
}

/* Two root ports; below the first a switch with two slots, below one of these another switch. */
static void hsl_test_pcie_why(struct kunit *test)
{
	struct hsl_test_port *root = hsl_test_port(test, NULL, PCI_EXP_TYPE_ROOT_PORT, 0);
	struct hsl_test_port *other = hsl_test_port(test, NULL, PCI_EXP_TYPE_ROOT_PORT, 0);
	struct hsl_test_port *up = hsl_test_port(test, root, PCI_EXP_TYPE_UPSTREAM, 0);
	struct hsl_test_port *slot = hsl_test_port(test, up, PCI_EXP_TYPE_DOWNSTREAM, 0);
	/* Source validation sends nothing anywhere else; redirection and egress control do. */
	struct hsl_test_port *valid = hsl_test_port(test, up, PCI_EXP_TYPE_DOWNSTREAM, PCI_ACS_SV);
	struct hsl_test_port *redir = hsl_test_port(test, up, PCI_EXP_TYPE_DOWNSTREAM, PCI_ACS_RR);
	struct hsl_test_port *egress = hsl_test_port(test, up, PCI_EXP_TYPE_DOWNSTREAM, PCI_ACS_EC);
	struct hsl_test_port *up2 = hsl_test_port(test, slot, PCI_EXP_TYPE_UPSTREAM, 0);
	struct hsl_test_port *slot2 = hsl_test_port(test, up2, PCI_EXP_TYPE_DOWNSTREAM, 0);
	struct hsl_test_port *redir2 = hsl_test_port(test, up2, PCI_EXP_TYPE_DOWNSTREAM, PCI_ACS_RR);
	struct pci_dev *alone = hsl_test_card(test, other), *a = hsl_test_card(test, valid);
	struct pci_dev *b = hsl_test_card(test, redir), *c = hsl_test_card(test, egress);
	struct pci_dev *d = hsl_test_card(test, slot2), *e = hsl_test_card(test, slot2);
	struct pci_dev *f = hsl_test_card(test, redir2);

	KUNIT_EXPECT_EQ(test, hsl_pcie_why(alone, a), HSL_WHY_NO_SWITCH);
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(a, alone), HSL_WHY_NO_SWITCH);
	/* What counts is where it comes from: it is redirected on its way up. */
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(a, b), HSL_WHY_OPEN);
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(b, a), HSL_WHY_ACS);
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(c, a), HSL_WHY_ACS);
	/* Through two switches, and within the lower one */
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(d, a), HSL_WHY_OPEN);
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(a, d), HSL_WHY_OPEN);
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(d, e), HSL_WHY_OPEN);
	KUNIT_EXPECT_EQ(test, hsl_pcie_why(f, a), HSL_WHY_ACS);
	KUNIT_EXPECT_PTR_EQ(test, hsl_shared_switch(d, e), &up2->pdev);
	KUNIT_EXPECT_PTR_EQ(test, hsl_shared_switch(d, a), &up->pdev);
	KUNIT_EXPECT_NULL(test, hsl_shared_switch(d, alone));
}

/* Whoever knows better says so; else a real one does not, for all that is known. */
static void hsl_test_bridge_forwards(struct kunit *test)
{
	int saved = via_host;

	via_host = 0;
	KUNIT_EXPECT_FALSE(test, hsl_bridge_forwards(false));
	KUNIT_EXPECT_FALSE(test, hsl_bridge_forwards(true));
	via_host = 1;
	KUNIT_EXPECT_TRUE(test, hsl_bridge_forwards(false));
	KUNIT_EXPECT_TRUE(test, hsl_bridge_forwards(true));
	via_host = -1;
	KUNIT_EXPECT_FALSE(test, hsl_bridge_forwards(false));
	KUNIT_EXPECT_TRUE(test, hsl_bridge_forwards(true));
	via_host = saved;
}

static void hsl_test_same_fabric(struct kunit *test)
{
	struct hsl_device *a = hsl_fake_device(test), *b = hsl_fake_device(test);

	KUNIT_EXPECT_FALSE(test, hsl_same_fabric(a, b));
	a->limits.node = 0;
	KUNIT_EXPECT_FALSE(test, hsl_same_fabric(a, b));
	KUNIT_EXPECT_FALSE(test, hsl_same_fabric(b, a));
	b->limits.node = 1;
	KUNIT_EXPECT_TRUE(test, hsl_same_fabric(a, b));
	KUNIT_EXPECT_FALSE(test, hsl_same_fabric(a, a));
	b->limits.fabric = 1;
	KUNIT_EXPECT_FALSE(test, hsl_same_fabric(a, b));
}

static void hsl_test_link_why(struct kunit *test)
{
	struct hsl_device *a = hsl_fake_device(test), *b = hsl_fake_device(test);
	u32 hops = 7;

	guard(mutex)(&a->lock);
	KUNIT_EXPECT_EQ(test, hsl_link_why(a, b, &hops), HSL_WHY_NO_FABRIC);
	KUNIT_EXPECT_EQ(test, hops, 0);
	a->limits.node = 0;
	b->limits.node = 4;
	hsl_write(a, HSL_REG_ROUTE(4), 3 | 1 << 8);
	KUNIT_EXPECT_EQ(test, hsl_link_why(a, b, &hops), HSL_WHY_OPEN);
	KUNIT_EXPECT_EQ(test, hops, 3);
	hsl_write(a, HSL_REG_ROUTE(4), HSL_ROUTE_NONE);
	KUNIT_EXPECT_EQ(test, hsl_link_why(a, b, &hops), HSL_WHY_NO_PATH);
	KUNIT_EXPECT_EQ(test, hops, 0);
	a->state = HSL_CLAIMED;
	KUNIT_EXPECT_EQ(test, hsl_link_why(a, b, &hops), HSL_WHY_RESET);
}

static void hsl_test_peer_routes(struct kunit *test)
{
	struct hsl_peer_info info = {
		.mem_size = 4096, .why = { HSL_WHY_OPEN, HSL_WHY_ACS, HSL_WHY_OPEN },
	};

	hsl_peer_routes(&info, HSL_ROUTE_ALL);
	KUNIT_EXPECT_EQ(test, info.routes, HSL_ROUTE_LINK | HSL_ROUTE_VIA_HOST);
	KUNIT_EXPECT_EQ(test, info.why[1], HSL_WHY_ACS);

	/* Closed for a reason of its own it keeps that one. */
	info.routes = 0;
	hsl_peer_routes(&info, HSL_ROUTE_VIA_HOST);
	KUNIT_EXPECT_EQ(test, info.routes, HSL_ROUTE_VIA_HOST);
	KUNIT_EXPECT_EQ(test, info.why[0], HSL_WHY_POLICY);
	KUNIT_EXPECT_EQ(test, info.why[1], HSL_WHY_ACS);

	info.mem_size = 0;
	info.routes = 0;
	hsl_peer_routes(&info, HSL_ROUTE_ALL);
	KUNIT_EXPECT_EQ(test, info.routes, 0);
	KUNIT_EXPECT_EQ(test, info.why[0], HSL_WHY_NO_MEMORY);
	KUNIT_EXPECT_EQ(test, info.why[1], HSL_WHY_NO_MEMORY);
	KUNIT_EXPECT_EQ(test, info.why[2], HSL_WHY_NO_MEMORY);
}

static struct kunit_case hsl_peer_cases[] = {
	KUNIT_CASE(hsl_test_pcie_why),
	KUNIT_CASE(hsl_test_bridge_forwards),
	KUNIT_CASE(hsl_test_same_fabric),
	KUNIT_CASE(hsl_test_link_why),
	KUNIT_CASE(hsl_test_peer_routes),
	{}
};

static struct kunit_suite hsl_peer_suite = {
	.name = "hsl_peer",
	.test_cases = hsl_peer_cases,
};

kunit_test_suite(hsl_peer_suite);
