/*
 * HSL-like accelerator endpoint: ports, routes and the memory of peers
 *
 * A piece of work that leads into a peer's memory goes there through the peer's
 * own pointer, under this device's lock alone: a device that leaves the fabric
 * is taken out of it first, and then waits once for the lock of every other
 * member (hsl_fabric_leave()), so that no piece of work is left that has seen
 * it. Routes are remembered with the version of the fabric that they are of.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/log.h"
#include "qemu/range.h"
#include "qapi/error.h"
#include "migration/blocker.h"
#include "migration/vmstate.h"
#include "hsl-internal.h"
#include "trace.h"

#define HSL_PEER_CTRL_BITS  (HSL_PEER_VALID | HSL_PEER_PCIE | HSL_PEER_VIA_HOST)

uint32_t hsl_nr_ports(const HslState *s)
{
    return s->fabric ? s->fabric->vertices[s->node].nr_ports : 0;
}

/* Before anything else: what the properties say is possible */
bool hsl_link_check(HslState *s, Error **errp)
{
    if (!s->fabric) {
        if (s->node != HSL_NODE_NONE) {
            error_setg(errp, "node needs a fabric");
        }
        return s->node == HSL_NODE_NONE;
    }
    if (s->node == HSL_NODE_NONE) {
        error_setg(errp, "a device in a fabric needs a node, 0 to %u",
                   s->fabric->nodes - 1);
        return false;
    }
    if (!hsl_fabric_check(s->fabric, s->node, errp)) {
        return false;
    }
    error_setg(&s->migration_blocker,
               "hsl: node %u of a fabric, whose links are not migrated",
               s->node);
    return migrate_add_blocker(&s->migration_blocker, errp) == 0;
}

void hsl_link_unblock(HslState *s)
{
    migrate_del_blocker(&s->migration_blocker);
}

void hsl_link_join(HslState *s)
{
    if (s->fabric) {
        s->joined = true;
        hsl_fabric_join(s->fabric, s->node, s);
    }
}

void hsl_link_leave(HslState *s)
{
    if (s->joined) {
        hsl_fabric_leave(s->fabric, s->node);
        hsl_lock(s);
        s->joined = false;
        hsl_unlock(s);
    }
    hsl_link_unblock(s);
}

void hsl_link_reset(HslState *s)
{
    hsl_lock(s);
    memset(s->peers, 0, sizeof(s->peers));
    hsl_peers_update(s);
    qatomic_set(&s->port_tell, 0);
    hsl_unlock(s);
    if (s->joined) {
        hsl_fabric_enable(s->fabric, s->node);
    }
}

/* The way to @node, if there is one now; NULL: there is no such node */
static const HslPath *hsl_path(HslState *s, uint32_t node)
{
    if (!s->joined || node >= s->fabric->nodes) {
        return NULL;
    }
    if (unlikely(s->paths_version != qatomic_read(&s->fabric->version))) {
        s->paths_version = hsl_fabric_paths(s->fabric, s->node, s->paths);
    }
    return &s->paths[node];
}

/* PEER blocks. With the lock held. */

void hsl_peers_update(HslState *s)
{
    s->peers_valid = 0;
    memset(s->peer_ways, 0, sizeof(s->peer_ways));
    for (int i = 0; i < HSL_MAX_PEERS; i++) {
        const HslPeer *p = &s->peers[i];

        if (!(p->ctrl & HSL_PEER_VALID)) {
            continue;
        }
        s->peers_valid |= BIT(i);
        if (p->node < HSL_MAX_NODES) {
            s->peer_ways[p->node] |= p->ctrl;
        }
    }
}

static bool hsl_peer_sane(HslState *s, const HslPeer *p)
{
    if (!p->size || ((p->base | p->size) & ~HSL_PAGE_MASK) ||
        p->base + (p->size - 1) < p->base ||
        (p->node != HSL_NODE_NONE &&
         (!s->fabric || p->node >= s->fabric->nodes || p->node == s->node))) {
        return false;
    }
    for (int i = 0; i < HSL_MAX_PEERS; i++) {
        const HslPeer *other = &s->peers[i];

        if (other != p && (other->ctrl & HSL_PEER_VALID) &&
            p->base <= other->base + (other->size - 1) &&
            other->base <= p->base + (p->size - 1)) {
            return false;
        }
    }
    return true;
}

/* After a load */
bool hsl_peers_sane(HslState *s)
{
    for (int i = 0; i < HSL_MAX_PEERS; i++) {
        if ((s->peers[i].ctrl & HSL_PEER_VALID) &&
            !hsl_peer_sane(s, &s->peers[i])) {
            return false;
        }
    }
    return true;
}

/* The block that @gpa is in; *@len ends with it, or before the next one */
const HslPeer *hsl_peer_at(HslState *s, hwaddr gpa, uint64_t *len)
{
    for (uint32_t v = s->peers_valid; v; v &= v - 1) {
        const HslPeer *p = &s->peers[ctz32(v)];

        if (gpa - p->base < p->size) {
            *len = MIN(*len, p->size - (gpa - p->base));
            return p;
        }
        if (gpa < p->base) {
            *len = MIN(*len, p->base - gpa);
        }
    }
    return NULL;
}

/*
 * Map @offset in a peer's memory, by the first way that is allowed and open.
 * The peer is that of a block, or without one that of a leaf.
 */
HslXlate hsl_peer_map(HslQueue *q, HslMap *map, const HslPeer *peer,
                      uint64_t offset, uint64_t len, HslWait *wait)
{
    HslState *s, *owner = NULL;
    uint32_t node = peer ? peer->node : map->at.node - 1;
    uint32_t ways = peer ? peer->ctrl : 0;
    const HslPath *path;
    uint64_t size;

    /* Page tables are not at peers */
    if (!q) {
        return HSL_X_BUS_ERROR;
    }
    s = q->s;
    path = hsl_path(s, node);
    if (path) {
        ways = s->peer_ways[node];
        owner = qatomic_load_acquire(&s->fabric->vertices[node].dev);
        if (!owner) {
            return HSL_X_UNREACHABLE;
        }
    } else if (node != HSL_NODE_NONE) {
        return HSL_X_BUS_ERROR;
    }

    if (path && path->hops && (q->routes & HSL_ROUTE_LINK)) {
        /* Not rings: a visit to a queue that waits begins anew with them */
        if (unlikely(path->delay) && wait != &q->wait &&
            hsl_delayed(s, wait, path->delay)) {
            return HSL_X_WAIT;
        }
        map->way = HSL_WAY_LINK;
        map->node = node;
    } else if ((ways & HSL_PEER_PCIE) && (q->routes & HSL_ROUTE_PCIE)) {
        map->way = HSL_WAY_PCIE;
    } else if ((ways & HSL_PEER_VIA_HOST) && (q->routes & HSL_ROUTE_VIA_HOST)) {
        map->way = HSL_WAY_VIA_HOST;
    } else if (path && path->training && (q->routes & HSL_ROUTE_LINK)) {
        /* It is over soon, however often that is looked for */
        wait->retries++;
        hsl_backoff(s, wait);
        return HSL_X_WAIT;
    } else {
        return HSL_X_UNREACHABLE;
    }

    if (owner) {
        size = owner->local.cache.len;
        if (offset >= size) {
            return HSL_X_BUS_ERROR;
        }
        map->owner = owner;
        map->win = &owner->local;
        map->in = offset;
    } else if (map->win) {
        map->in = map->at.gpa - map->win->base;
        size = map->win->cache.len;
    } else {
        return HSL_X_BUS_ERROR;
    }
    map->len = MIN(len, size - map->in);
    map->ptr = map->win->cache.ptr + map->in;
    return owner && unlikely(owner->nr_poisoned) ? hsl_mem_check(s, map) :
                                                   HSL_X_OK;
}

/*
 * Before @len bytes of @map are accessed: if the way is the link, they cross it
 * now. @wait is the one that it was mapped with; @flow notes what it takes,
 * NULL: nobody asks. HSL_X_GONE: the route has changed meanwhile, look again.
 */
HslXlate hsl_map_carry(HslState *s, const HslMap *map, uint64_t len, bool write,
                       const uint8_t *payload, size_t stride, HslWait *wait,
                       HslFlow *flow)
{
    const HslPath *path;
    uint64_t replay_ps = 0;

    if (map->way != HSL_WAY_LINK) {
        return HSL_X_OK;
    }
    path = &s->paths[map->node];
    if (!path->hops) {
        return HSL_X_GONE;
    }
    /* The next one is held up anew */
    wait->until = 0;
    if (!hsl_fabric_move(s->fabric, path, len, write, payload, stride,
                         flow ? &replay_ps : NULL)) {
        return HSL_X_LINK_ERROR;
    }
    if (unlikely(flow)) {
        hsl_model_link(flow, path, map->node, write, len, replay_ps);
    }
    return HSL_X_OK;
}

/*
 * The device that is @node now, NULL: none. It stays until the lock is let go,
 * or the BQL.
 */
HslState *hsl_link_device(HslState *s, uint32_t node)
{
    return s->joined && node < s->fabric->nodes ?
           qatomic_load_acquire(&s->fabric->vertices[node].dev) : NULL;
}

/*
 * A message of @len bytes to @node and as much back, by the link. HSL_X_OK:
 * both have crossed it, and *@owner is the device there.
 */
HslXlate hsl_link_message(HslQueue *q, uint32_t node, const uint8_t *payload,
                          size_t len, HslWait *wait, HslFlow *flow,
                          HslState **owner)
{
    HslState *s = q->s;
    const HslPath *path = hsl_path(s, node);
    uint64_t replay_ps;

    *owner = hsl_link_device(s, node);
    if (!path || !*owner || !(q->routes & HSL_ROUTE_LINK) ||
        (!path->hops && !path->training)) {
        return HSL_X_UNREACHABLE;
    }
    if (!path->hops) {
        wait->retries++;
        hsl_backoff(s, wait);
        return HSL_X_WAIT;
    }
    if (unlikely(path->delay) && hsl_delayed(s, wait, path->delay)) {
        return HSL_X_WAIT;
    }
    wait->until = 0;
    for (int there = 1; there >= 0; there--) {
        replay_ps = 0;
        if (!hsl_fabric_move(s->fabric, path, len, there, payload, len,
                             flow ? &replay_ps : NULL)) {
            return HSL_X_LINK_ERROR;
        }
        if (unlikely(flow)) {
            hsl_model_link(flow, path, node, there, len, replay_ps);
        }
    }
    return HSL_X_OK;
}

/* Registers */

bool hsl_link_addr(hwaddr addr)
{
    return addr >= HSL_REG_PORTS && addr < HSL_REG_PEER(HSL_MAX_PEERS);
}

static uint64_t hsl_port_read(HslState *s, unsigned port, hwaddr reg)
{
    const HslFabric *f = s->fabric;
    const HslVertex *v;
    const HslLink *l;
    const HslEnd *own, *other;
    enum hsl_link_state state;

    if (port >= hsl_nr_ports(s)) {
        return 0;
    }
    v = &f->vertices[s->node];
    l = &f->links[v->ports[port].link];
    own = &l->end[v->ports[port].end];
    other = &l->end[!v->ports[port].end];
    state = hsl_link_state(l);

    switch (reg) {
    case HSL_PORT_CTRL:
        return own->disabled ? 0 : HSL_PORT_ENABLE;
    case HSL_PORT_STATE:
        return state;
    case HSL_PORT_REASON:
        return hsl_link_reason(l);
    case HSL_PORT_NEIGHBOUR:
        return other->port << 8 | (other->vertex == HSL_SWITCH ?
                                   HSL_NEIGHBOUR_SWITCH : other->vertex);
    case HSL_PORT_WIDTH:
        return state == HSL_LINK_ACTIVE || state == HSL_LINK_DEGRADED ?
               qatomic_read(&l->lanes_good) : 0;
    case HSL_PORT_WIDTH_MAX:
        return l->lanes;
    case HSL_PORT_RATE:
        return l->rate;
    case HSL_PORT_LATENCY:
        return MIN((uint64_t)l->latency + qatomic_read(&l->delay),
                   UINT32_MAX);
    case HSL_PORT_CREDITS:
        return qatomic_read(&l->credits);
    case HSL_PORT_COUNTER(0) ... HSL_PORT_COUNTER(HSL_PORT_CNT_NR) - 1:
        return qatomic_read(&own->counters[(reg - HSL_PORT_COUNTERS) / 8]) >>
               (reg & 4 ? 32 : 0);
    }
    return 0;
}

static uint64_t hsl_route_read(HslState *s, uint32_t node)
{
    const HslPath *path = hsl_path(s, node);
    const HslLink *l;

    if (!path) {
        return HSL_ROUTE_NONE;
    }
    if (node == s->node) {
        return 0;
    }
    if (!path->hops) {
        return HSL_ROUTE_NONE;
    }
    l = &s->fabric->links[path->hop[0].link];
    return path->hops | l->end[path->hop[0].end].port << 8;
}

static uint64_t hsl_peer_read(HslState *s, unsigned n, hwaddr reg)
{
    const HslPeer *p = &s->peers[n];

    switch (reg) {
    case HSL_PEER_BASE:
        return p->base;
    case HSL_PEER_BASE + 4:
        return p->base >> 32;
    case HSL_PEER_SIZE:
        return p->size;
    case HSL_PEER_SIZE + 4:
        return p->size >> 32;
    case HSL_PEER_NODE:
        return p->node;
    case HSL_PEER_CTRL:
        return p->ctrl;
    }
    return 0;
}

/* With the lock held */
uint64_t hsl_link_read(HslState *s, hwaddr addr, unsigned size)
{
    if (addr >= HSL_REG_PEERS) {
        addr -= HSL_REG_PEERS;
        return hsl_peer_read(s, addr / HSL_PEER_STRIDE, addr % HSL_PEER_STRIDE);
    }
    if (addr >= HSL_REG_ROUTE(HSL_MAX_NODES)) {
        return 0;
    }
    if (addr >= HSL_REG_ROUTES) {
        return hsl_route_read(s, (addr - HSL_REG_ROUTES) / 4);
    }
    addr -= HSL_REG_PORTS;
    return hsl_port_read(s, addr / HSL_PORT_STRIDE, addr % HSL_PORT_STRIDE);
}

/* Takes effect between two pieces of work; nothing of a block is cached */
static void hsl_peer_write(HslState *s, unsigned n, hwaddr reg, uint64_t val,
                           unsigned size)
{
    HslPeer *p = &s->peers[n];

    if (reg == HSL_PEER_CTRL) {
        val &= HSL_PEER_CTRL_BITS;
        if ((val & HSL_PEER_VALID) && !(p->ctrl & HSL_PEER_VALID) &&
            !hsl_peer_sane(s, p)) {
            qemu_log_mask(LOG_GUEST_ERROR, "hsl: peer block %u refused: base "
                          "0x%" PRIx64 " size 0x%" PRIx64 " node %u\n", n,
                          p->base, p->size, p->node);
            val &= ~HSL_PEER_VALID;
        }
        p->ctrl = val;
        hsl_peers_update(s);
        trace_hsl_peer(n, p->base, p->size, p->node, p->ctrl);
        return;
    }
    if (p->ctrl & HSL_PEER_VALID) {
        qemu_log_mask(LOG_GUEST_ERROR, "hsl: peer block %u is valid, write to "
                      "0x%" HWADDR_PRIx " ignored\n", n, reg);
        return;
    }
    switch (reg) {
    case HSL_PEER_BASE:
    case HSL_PEER_BASE + 4:
        hsl_set64(&p->base, reg, val, size);
        break;
    case HSL_PEER_SIZE:
    case HSL_PEER_SIZE + 4:
        hsl_set64(&p->size, reg, val, size);
        break;
    case HSL_PEER_NODE:
        p->node = val;
        break;
    }
}

/* Without the lock */
void hsl_link_write(HslState *s, hwaddr addr, uint64_t val, unsigned size)
{
    if (addr >= HSL_REG_PEERS) {
        addr -= HSL_REG_PEERS;
        hsl_lock(s);
        hsl_peer_write(s, addr / HSL_PEER_STRIDE, addr % HSL_PEER_STRIDE, val,
                       size);
        hsl_unlock(s);
        return;
    }
    addr -= HSL_REG_PORTS;
    if (s->joined && addr / HSL_PORT_STRIDE < hsl_nr_ports(s) &&
        addr % HSL_PORT_STRIDE == HSL_PORT_CTRL) {
        hsl_fabric_port_ctrl(s->fabric, s->node, addr / HSL_PORT_STRIDE, val);
    }
}

const VMStateDescription vmstate_hsl_peer = {
    .name = "hsl/peer",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(base, HslPeer),
        VMSTATE_UINT64(size, HslPeer),
        VMSTATE_UINT32(node, HslPeer),
        VMSTATE_UINT32(ctrl, HslPeer),
        VMSTATE_END_OF_LIST()
    },
};
