// SPDX-License-Identifier: GPL-2.0
/*
 * Link ports: what they say in sysfs, and what is told when a link changes.
 * Links train, break and reroute by themselves (HW 7); the driver watches.
 */
#include <linux/kobject.h>

#include "hsl.h"

static const char *const hsl_link_states[HSL_LINK_NR] = {
	[HSL_LINK_DOWN] = "down",
	[HSL_LINK_TRAINING] = "training",
	[HSL_LINK_ACTIVE] = "active",
	[HSL_LINK_DEGRADED] = "degraded",
	[HSL_LINK_ERROR] = "error",
};

static const char *const hsl_link_reasons[] = {
	[HSL_LINK_NO_REASON] = "none",
	[HSL_LINK_DISABLED] = "disabled",
	[HSL_LINK_NO_PARTNER] = "no partner",
	[HSL_LINK_CUT] = "cut",
	[HSL_LINK_NO_LANES] = "no lanes",
	[HSL_LINK_REPLAYS] = "replays exhausted",
	[HSL_LINK_STARVED] = "starved",
};

struct hsl_port {
	struct kobject kobj;
	struct hsl_device *hdev;	/* whose embedded device is the kobject's parent */
	u32 nr;
};

struct hsl_port_attr {
	struct attribute attr;
	u32 reg;
	bool wide;
	ssize_t (*show)(u32 val, char *buf);	/* NULL: the number */
	void (*store)(struct hsl_port *port, u32 reg, u32 val);
};

static ssize_t hsl_port_state(u32 val, char *buf)
{
	return sysfs_emit(buf, "%s\n", val < HSL_LINK_NR ? hsl_link_states[val] : "unknown");
}

static ssize_t hsl_port_reason(u32 val, char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  val < ARRAY_SIZE(hsl_link_reasons) ? hsl_link_reasons[val] : "unknown");
}

static ssize_t hsl_port_neighbour(u32 val, char *buf)
{
	if (HSL_NEIGHBOUR_NODE(val) == HSL_NEIGHBOUR_SWITCH)
		return sysfs_emit(buf, "switch\n");
	return sysfs_emit(buf, "node %u port %u\n", HSL_NEIGHBOUR_NODE(val), HSL_NEIGHBOUR_PORT(val));
}

static ssize_t hsl_port_enabled(u32 val, char *buf)
{
	return sysfs_emit(buf, "%u\n", !!(val & HSL_PORT_ENABLE));
}

static void hsl_port_enable(struct hsl_port *port, u32 reg, u32 val)
{
	hsl_write(port->hdev, reg, val ? HSL_PORT_ENABLE : 0);
}

static void hsl_port_retrain(struct hsl_port *port, u32 reg, u32 val)
{
	hsl_write(port->hdev, reg, hsl_read(port->hdev, reg) | HSL_PORT_RETRAIN);
}

static ssize_t hsl_port_show(struct kobject *kobj, struct attribute *attr, char *buf)
{
	struct hsl_port_attr *a = container_of(attr, struct hsl_port_attr, attr);
	struct hsl_port *port = container_of(kobj, struct hsl_port, kobj);
	u32 reg = HSL_REG_PORT(port->nr) + a->reg;

	guard(mutex)(&port->hdev->lock);
	if (port->hdev->state != HSL_ALIVE)
		return -ENODEV;
	if (a->wide)
		return sysfs_emit(buf, "%llu\n", hsl_read64(port->hdev, reg));
	if (a->show)
		return a->show(hsl_read(port->hdev, reg), buf);
	return sysfs_emit(buf, "%u\n", hsl_read(port->hdev, reg));
}

static ssize_t hsl_port_store(struct kobject *kobj, struct attribute *attr, const char *buf,
			      size_t len)
{
	struct hsl_port_attr *a = container_of(attr, struct hsl_port_attr, attr);
	struct hsl_port *port = container_of(kobj, struct hsl_port, kobj);
	bool val;
	int ret;

	if (!a->store)
		return -EIO;
	ret = kstrtobool(buf, &val);
	if (ret)
		return ret;
	guard(mutex)(&port->hdev->lock);
	if (port->hdev->state != HSL_ALIVE)
		return -ENODEV;
	a->store(port, HSL_REG_PORT(port->nr) + a->reg, val);
	return len;
}

#define HSL_PORT_ATTR(_name, _mode, ...)					\
static struct hsl_port_attr hsl_port_attr_##_name = {				\
	.attr = { .name = __stringify(_name), .mode = _mode },			\
	__VA_ARGS__								\
}
#define HSL_PORT_COUNT(_name, _n)						\
	HSL_PORT_ATTR(_name, 0444, .reg = HSL_PORT_COUNTER(_n), .wide = true)

HSL_PORT_ATTR(state, 0444, .reg = HSL_PORT_STATE, .show = hsl_port_state);
HSL_PORT_ATTR(reason, 0444, .reg = HSL_PORT_REASON, .show = hsl_port_reason);
HSL_PORT_ATTR(neighbour, 0444, .reg = HSL_PORT_NEIGHBOUR, .show = hsl_port_neighbour);
HSL_PORT_ATTR(enable, 0644, .reg = HSL_PORT_CTRL, .show = hsl_port_enabled, .store = hsl_port_enable);
HSL_PORT_ATTR(retrain, 0200, .reg = HSL_PORT_CTRL, .store = hsl_port_retrain);
HSL_PORT_ATTR(width, 0444, .reg = HSL_PORT_WIDTH);
HSL_PORT_ATTR(width_max, 0444, .reg = HSL_PORT_WIDTH_MAX);
HSL_PORT_ATTR(rate, 0444, .reg = HSL_PORT_RATE);
HSL_PORT_ATTR(latency, 0444, .reg = HSL_PORT_LATENCY);
HSL_PORT_ATTR(credits, 0444, .reg = HSL_PORT_CREDITS);
HSL_PORT_COUNT(crc_errors, HSL_PORT_CRC_ERRORS);
HSL_PORT_COUNT(replays, HSL_PORT_REPLAYS);
HSL_PORT_COUNT(retrains, HSL_PORT_RETRAINS);
HSL_PORT_COUNT(tx_packets, HSL_PORT_TX_PACKETS);
HSL_PORT_COUNT(rx_packets, HSL_PORT_RX_PACKETS);
HSL_PORT_COUNT(tx_bytes, HSL_PORT_TX_BYTES);
HSL_PORT_COUNT(rx_bytes, HSL_PORT_RX_BYTES);

static struct attribute *hsl_port_attrs[] = {
	&hsl_port_attr_state.attr,
	&hsl_port_attr_reason.attr,
	&hsl_port_attr_neighbour.attr,
	&hsl_port_attr_enable.attr,
	&hsl_port_attr_retrain.attr,
	&hsl_port_attr_width.attr,
	&hsl_port_attr_width_max.attr,
	&hsl_port_attr_rate.attr,
	&hsl_port_attr_latency.attr,
	&hsl_port_attr_credits.attr,
	&hsl_port_attr_crc_errors.attr,
	&hsl_port_attr_replays.attr,
	&hsl_port_attr_retrains.attr,
	&hsl_port_attr_tx_packets.attr,
	&hsl_port_attr_rx_packets.attr,
	&hsl_port_attr_tx_bytes.attr,
	&hsl_port_attr_rx_bytes.attr,
	NULL
};
ATTRIBUTE_GROUPS(hsl_port);

static const struct sysfs_ops hsl_port_sysfs_ops = {
	.show = hsl_port_show,
	.store = hsl_port_store,
};

static void hsl_port_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct hsl_port, kobj));
}

static const struct kobj_type hsl_port_type = {
	.release = hsl_port_release,
	.sysfs_ops = &hsl_port_sysfs_ops,
	.default_groups = hsl_port_groups,
};

/* portN below the device, which is in sysfs already. Without them it works as well. */
void hsl_ports_add(struct hsl_device *hdev)
{
	struct hsl_port *port;
	u32 n;

	scoped_guard(mutex, &hdev->evq.lock)
		hdev->evq.uevents = true;
	for (n = 0; n < hdev->limits.nr_ports; n++) {
		port = kzalloc(sizeof(*port), GFP_KERNEL);
		if (!port)
			break;
		port->hdev = hdev;
		port->nr = n;
		if (kobject_init_and_add(&port->kobj, &hsl_port_type, &hdev->dev.kobj, "port%u", n)) {
			kobject_put(&port->kobj);
			break;
		}
		hdev->ports[n] = port;
	}
	if (n < hdev->limits.nr_ports)
		dev_warn(&hdev->dev, "no sysfs entries for ports %u to %u\n", n,
			 hdev->limits.nr_ports - 1);
}

/* Before the device leaves sysfs; on return nobody is in an attribute. */
void hsl_ports_del(struct hsl_device *hdev)
{
	u32 n;

	scoped_guard(mutex, &hdev->evq.lock)
		hdev->evq.uevents = false;
	for (n = 0; n < hdev->limits.nr_ports; n++) {
		if (!hdev->ports[n])
			continue;
		kobject_del(&hdev->ports[n]->kobj);
		kobject_put(&hdev->ports[n]->kobj);
		hdev->ports[n] = NULL;
	}
}

/* A link changed; whoever takes events says so. false: that made no sense. */
bool hsl_link_event(struct hsl_device *hdev, u32 port, u32 state, u32 reason)
{
	char text[48], *env[] = { text, NULL };

	if (port >= hdev->limits.nr_ports || state >= HSL_LINK_NR ||
	    reason >= ARRAY_SIZE(hsl_link_reasons))
		return false;

	if (state == HSL_LINK_ERROR || state == HSL_LINK_DOWN)
		dev_warn_ratelimited(&hdev->dev, "link of port %u is %s: %s\n", port,
				     hsl_link_states[state], hsl_link_reasons[reason]);
	else if (state == HSL_LINK_DEGRADED)
		dev_warn_ratelimited(&hdev->dev, "link of port %u has lost lanes\n", port);
	else
		dev_dbg(&hdev->dev, "link of port %u is %s\n", port, hsl_link_states[state]);

	snprintf(text, sizeof(text), "HSL_LINK=port%u:%s", port, hsl_link_states[state]);
	if (hdev->evq.uevents)
		kobject_uevent_env(&hdev->dev.kobj, KOBJ_CHANGE, env);
	return true;
}

#ifdef CONFIG_HSL_KUNIT_TEST
#include "tests/link_test.c"
#endif
