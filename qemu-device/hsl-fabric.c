/*
 * HSL-like accelerator endpoint: the fabric that joins devices
 *
 * Nodes and perhaps a switch, links between their ports, and the state of each.
 * A transfer is arithmetic: the packets of a piece of work are counted at both
 * ends of every link that they cross. Only where the host has asked for damage
 * is a packet looked at: it is copied, a bit of it turned, its CRC found wrong,
 * and sent again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/crc32c.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"
#include "hsl-internal.h"
#include "trace.h"

/* What a packet has besides its payload is this and a CRC. */
#define HSL_PACKET_HEADER   (HSL_PACKET_OVERHEAD - sizeof(uint32_t))

#define HSL_TRAINING_NS     (1 * SCALE_MS)
/* What a link waits for credits before it gives up */
#define HSL_STARVING_NS     (100 * SCALE_MS)
#define HSL_MAX_DELAY_NS    NANOSECONDS_PER_SECOND
#define HSL_MAX_STEPS       1000
#define HSL_MAX_LANES       64

static const char *const hsl_state_names[HSL_LINK_NR] = {
    "down", "training", "active", "degraded", "error",
};

static const char *const hsl_reason_names[] = {
    "-", "disabled", "no-partner", "cut", "no-lanes", "replays", "starved",
};

/* States. All with the lock held. */

static void hsl_link_tell(HslLink *l)
{
    for (int i = 0; i < 2; i++) {
        HslState *s = l->fabric->vertices[l->end[i].vertex].dev;

        if (s) {
            qatomic_or(&s->port_tell, BIT(l->end[i].port));
            qatomic_set(&s->bql_work, true);
            qemu_event_set(&s->wake);
        }
    }
}

static void hsl_link_set(HslLink *l, enum hsl_link_state state,
                         enum hsl_link_reason reason)
{
    enum hsl_link_state was = hsl_link_state(l);

    qatomic_set(&l->status, state | reason << 8);
    if (state == was) {
        return;
    }
    trace_hsl_link(l->end[0].vertex, l->end[0].port, l->end[1].vertex,
                   l->end[1].port, hsl_state_names[state],
                   hsl_reason_names[reason]);
    qatomic_inc(&l->fabric->version);
    hsl_link_tell(l);
}

static bool hsl_link_up(const HslLink *l)
{
    enum hsl_link_state state = hsl_link_state(l);

    return state == HSL_LINK_ACTIVE || state == HSL_LINK_DEGRADED;
}

static bool hsl_end_there(const HslLink *l, int i)
{
    unsigned vertex = l->end[i].vertex;

    return vertex == HSL_SWITCH || l->fabric->vertices[vertex].dev;
}

/* Something has changed of what the state depends on */
static void hsl_link_update(HslLink *l, bool retrain)
{
    enum hsl_link_reason reason = HSL_LINK_NO_REASON;
    enum hsl_link_state state = hsl_link_state(l);

    if (l->end[0].disabled || l->end[1].disabled) {
        reason = HSL_LINK_DISABLED;
    } else if (!hsl_end_there(l, 0) || !hsl_end_there(l, 1)) {
        reason = HSL_LINK_NO_PARTNER;
    } else if (l->cut) {
        reason = HSL_LINK_CUT;
    } else if (!l->lanes_good) {
        reason = HSL_LINK_NO_LANES;
    }
    if (reason) {
        timer_del(l->timer);
        hsl_link_set(l, HSL_LINK_DOWN, reason);
    } else if (state == HSL_LINK_DOWN || retrain) {
        timer_mod(l->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                            HSL_TRAINING_NS);
        hsl_link_set(l, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    } else if (hsl_link_up(l) && l->credits) {
        timer_del(l->timer);
    } else if (hsl_link_up(l) && !timer_pending(l->timer)) {
        timer_mod(l->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                            HSL_STARVING_NS);
    }
}

static void hsl_link_count(HslEnd *e, enum hsl_port_counter c, uint64_t n)
{
    qatomic_add(&e->counters[c], n);
}

/* It has trained, or starved */
static void hsl_link_timer(void *opaque)
{
    HslLink *l = opaque;

    QEMU_LOCK_GUARD(&l->fabric->lock);
    if (hsl_link_up(l) && !l->credits) {
        hsl_link_set(l, HSL_LINK_ERROR, HSL_LINK_STARVED);
    }
    if (hsl_link_state(l) != HSL_LINK_TRAINING) {
        return;
    }
    if (l->trainings++) {
        hsl_link_count(&l->end[0], HSL_PORT_RETRAINS, 1);
        hsl_link_count(&l->end[1], HSL_PORT_RETRAINS, 1);
    }
    hsl_link_set(l, l->lanes_good == l->lanes ? HSL_LINK_ACTIVE :
                                                HSL_LINK_DEGRADED,
                 HSL_LINK_NO_REASON);
    hsl_link_update(l, false);
}

/* Members. With the BQL held. */

bool hsl_fabric_check(HslFabric *f, uint32_t node, Error **errp)
{
    if (node >= f->nodes) {
        error_setg(errp, "node must be 0 to %u in this fabric", f->nodes - 1);
        return false;
    }
    if (f->vertices[node].dev) {
        error_setg(errp, "node %u of this fabric is another device", node);
        return false;
    }
    return true;
}

static void hsl_fabric_update(HslFabric *f, uint32_t node)
{
    const HslVertex *v = &f->vertices[node];

    for (unsigned i = 0; i < v->nr_ports; i++) {
        hsl_link_update(&f->links[v->ports[i].link], false);
    }
}

/* A reset of the device: its ports are on */
void hsl_fabric_enable(HslFabric *f, uint32_t node)
{
    const HslVertex *v = &f->vertices[node];

    QEMU_LOCK_GUARD(&f->lock);
    for (unsigned i = 0; i < v->nr_ports; i++) {
        f->links[v->ports[i].link].end[v->ports[i].end].disabled = false;
    }
    hsl_fabric_update(f, node);
}

void hsl_fabric_join(HslFabric *f, uint32_t node, HslState *s)
{
    qemu_mutex_lock(&f->lock);
    qatomic_store_release(&f->vertices[node].dev, s);
    qemu_mutex_unlock(&f->lock);
    hsl_fabric_enable(f, node);
}

/* When it returns no other device accesses the memory of this one any more */
void hsl_fabric_leave(HslFabric *f, uint32_t node)
{
    qemu_mutex_lock(&f->lock);
    qatomic_set(&f->vertices[node].dev, NULL);
    hsl_fabric_update(f, node);
    qemu_mutex_unlock(&f->lock);
    hsl_fabric_barrier(f, NULL);
}

/* Wait for the piece of work that each member may be at */
void hsl_fabric_barrier(HslFabric *f, HslState *except)
{
    for (unsigned i = 0; i < f->nodes; i++) {
        HslState *s = f->vertices[i].dev;

        if (s && s != except) {
            hsl_lock(s);
            hsl_unlock(s);
        }
    }
}

void hsl_fabric_port_ctrl(HslFabric *f, uint32_t node, unsigned port,
                          uint32_t val)
{
    HslVertex *v = &f->vertices[node];
    HslLink *l = &f->links[v->ports[port].link];

    QEMU_LOCK_GUARD(&f->lock);
    l->end[v->ports[port].end].disabled = !(val & HSL_PORT_ENABLE);
    hsl_link_update(l, val & HSL_PORT_RETRAIN);
}

/* Routes */

/*
 * Breadth first, by ports in their order: the first way found has the fewest
 * links, and of these the lowest first port. @soon: count links that may carry
 * packets again before long.
 */
static void hsl_fabric_search(HslFabric *f, unsigned from, bool soon,
                              HslPath *paths)
{
    struct {
        uint8_t parent, link, end, hops;
        bool seen;
    } at[HSL_VERTICES] = { 0 };
    uint8_t queue[HSL_VERTICES];
    unsigned head = 0, tail = 0;

    at[from].seen = true;
    queue[tail++] = from;
    while (head < tail) {
        unsigned v = queue[head++];

        for (unsigned p = 0; p < f->vertices[v].nr_ports; p++) {
            unsigned n = f->vertices[v].ports[p].link;
            unsigned near = f->vertices[v].ports[p].end;
            const HslLink *l = &f->links[n];
            unsigned to = l->end[!near].vertex;

            if (at[to].seen ||
                !((hsl_link_up(l) && (l->credits || soon)) ||
                  (soon && hsl_link_state(l) == HSL_LINK_TRAINING))) {
                continue;
            }
            at[to].seen = true;
            at[to].parent = v;
            at[to].link = n;
            at[to].end = near;
            at[to].hops = at[v].hops + 1;
            queue[tail++] = to;
        }
    }
    for (unsigned to = 0; to < f->nodes; to++) {
        if (soon) {
            paths[to].training = at[to].seen;
            continue;
        }
        paths[to].hops = at[to].hops;
        for (unsigned v = to, i = at[to].hops; i > 0; v = at[v].parent) {
            const HslLink *l = &f->links[at[v].link];

            i--;
            paths[to].hop[i].link = at[v].link;
            paths[to].hop[i].end = at[v].end;
            paths[to].hop[i].trainings = l->trainings;
            paths[to].hop[i].credits = l->credits;
            paths[to].hop[i].speed = (uint64_t)l->lanes_good * l->rate;
            paths[to].hop[i].latency = (uint64_t)l->latency + l->delay;
            paths[to].delay += l->delay;
        }
    }
}

/* Ways from @node to all others; returns the version that they are of */
uint32_t hsl_fabric_paths(HslFabric *f, uint32_t node, HslPath *paths)
{
    HslPath found[HSL_MAX_NODES];

    QEMU_LOCK_GUARD(&f->lock);
    memset(found, 0, sizeof(found));
    hsl_fabric_search(f, node, false, found);
    hsl_fabric_search(f, node, true, found);
    for (unsigned to = 0; to < f->nodes; to++) {
        found[to].since = paths[to].since;
        if (memcmp(&found[to], &paths[to], sizeof(found[to]))) {
            found[to].since = f->version;
            paths[to] = found[to];
        }
    }
    return f->version;
}

/* Transfers */

static uint64_t hsl_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

/* 1 to 2 * @mean - 1 */
static uint64_t hsl_random_gap(uint64_t *state, uint64_t mean)
{
    return 1 + hsl_random(state) % (2 * mean - 1);
}

/* Packets up to the next damaged one, itself included: rate on average */
static uint64_t hsl_gap(const HslLink *l, HslEnd *e)
{
    return l->crc_rate ? hsl_random_gap(&e->random, l->crc_rate) : 0;
}

/* Packet @seq arrives with a bit turned. Is it found? */
static bool hsl_packet_damaged(HslEnd *from, uint32_t seq,
                               const uint8_t *payload, size_t len)
{
    uint8_t packet[HSL_PACKET_HEADER + HSL_PACKET] = { 0 };
    uint64_t bit;
    uint32_t crc;

    stl_le_p(packet, seq);
    stl_le_p(packet + 4, len);
    memcpy(packet + HSL_PACKET_HEADER, payload, len);
    len += HSL_PACKET_HEADER;
    crc = crc32c(0xffffffff, packet, len);
    bit = hsl_random(&from->random) % (len * 8);
    packet[bit / 8] ^= BIT(bit % 8);
    return crc32c(0xffffffff, packet, len) != crc;
}

static void hsl_link_packets(HslEnd *from, HslEnd *to, uint64_t packets,
                             uint64_t bytes)
{
    hsl_link_count(from, HSL_PORT_TX_PACKETS, packets);
    hsl_link_count(from, HSL_PORT_TX_BYTES, bytes);
    hsl_link_count(to, HSL_PORT_RX_PACKETS, packets);
    hsl_link_count(to, HSL_PORT_RX_BYTES, bytes);
}

/*
 * Of @bytes in packets, some are damaged: go from one of those to the next, and
 * count what was sent again. False: one of them came damaged however often it
 * was sent, and the link is in ERROR.
 */
static bool hsl_link_replay(HslLink *l, HslEnd *from, HslEnd *to,
                            uint64_t bytes, const uint8_t *payload,
                            size_t stride, uint64_t *replays)
{
    uint64_t packets = DIV_ROUND_UP(bytes, HSL_PACKET), at = 0, tried = -1ull;
    unsigned times = 0;
    uint32_t seq;

    QEMU_LOCK_GUARD(&l->fabric->lock);
    for (;;) {
        if (l->crc_all) {
            l->crc_all--;
        } else if (!from->gap) {
            break;
        } else if (from->gap > packets - at) {
            from->gap -= packets - at;
            break;
        } else {
            at += from->gap - 1;
            from->gap = hsl_gap(l, from);
        }
        /* Sent once more it has the number that it had. */
        seq = qatomic_read(&from->counters[HSL_PORT_TX_PACKETS]) + at;
        if (!hsl_packet_damaged(from, seq, payload + at * stride,
                                MIN(HSL_PACKET, bytes - at * HSL_PACKET))) {
            continue;
        }
        hsl_link_count(to, HSL_PORT_CRC_ERRORS, 1);
        times = at == tried ? times + 1 : 1;
        tried = at;
        if (times > HSL_MAX_REPLAYS) {
            hsl_link_packets(from, to, at, at * HSL_PACKET);
            hsl_link_set(l, HSL_LINK_ERROR, HSL_LINK_REPLAYS);
            return false;
        }
        hsl_link_count(from, HSL_PORT_REPLAYS, 1);
        (*replays)++;
    }
    if (!l->crc_rate && !l->crc_all) {
        qatomic_set(&l->damage, false);
    }
    return true;
}

/* Commands whose packet has come; see below */
static void hsl_schedule_run(HslFabric *f, uint64_t packets);

/*
 * Carry @bytes along @path, to its end or from there. What they are matters
 * only when they are damaged: @payload, packet by packet @stride bytes on.
 * @replay_ps: how much longer what was sent again takes in the model; NULL:
 * nobody asks.
 */
bool hsl_fabric_move(HslFabric *f, const HslPath *path, uint64_t bytes,
                     bool there, const uint8_t *payload, size_t stride,
                     uint64_t *replay_ps)
{
    uint64_t packets = DIV_ROUND_UP(bytes, HSL_PACKET);

    for (unsigned i = 0; i < path->hops; i++) {
        unsigned hop = there ? i : path->hops - 1 - i;
        HslLink *l = &f->links[path->hop[hop].link];
        unsigned near = path->hop[hop].end;
        HslEnd *from = &l->end[there ? near : !near];
        HslEnd *to = &l->end[there ? !near : near];
        uint64_t replays = 0;

        if (unlikely(qatomic_read(&l->damage)) &&
            !hsl_link_replay(l, from, to, bytes, payload, stride, &replays)) {
            return false;
        }
        if (unlikely(replays) && replay_ps) {
            *replay_ps += hsl_model_replay(path, hop, replays);
        }
        hsl_link_packets(from, to, packets, bytes);
    }
    if (unlikely(qatomic_read(&f->scheduled))) {
        hsl_schedule_run(f, packets);
    }
    return true;
}

/* Topology */

static bool hsl_fabric_link(HslFabric *f, unsigned a, unsigned port_a,
                            unsigned b, unsigned port_b, HslLink **lp,
                            Error **errp)
{
    const unsigned vertex[2] = { a, b }, port[2] = { port_a, port_b };
    HslLink *l = &f->links[f->nr_links];

    if (f->nr_links == HSL_MAX_LINKS) {
        error_setg(errp, "a fabric has at most %d links", HSL_MAX_LINKS);
        return false;
    }
    if (port_a >= HSL_MAX_PORTS || port_b >= HSL_MAX_PORTS) {
        error_setg(errp, "a node or switch has at most %d ports",
                   HSL_MAX_PORTS);
        return false;
    }
    *l = (HslLink) {
        .fabric = f,
        .lanes = f->lanes,
        .rate = f->rate,
        .latency = f->latency,
        .credits = f->credits,
        .status = HSL_LINK_DOWN | HSL_LINK_NO_PARTNER << 8,
    };
    for (int i = 0; i < 2; i++) {
        HslVertex *v = &f->vertices[vertex[i]];

        l->end[i].vertex = vertex[i];
        l->end[i].port = port[i];
        v->ports[port[i]].link = f->nr_links;
        v->ports[port[i]].end = i;
        v->nr_ports = MAX(v->nr_ports, port[i] + 1);
    }
    f->nr_links++;
    if (lp) {
        *lp = l;
    }
    return true;
}

/* "3", or "s" for the switch */
static bool hsl_vertex_parse(HslFabric *f, const char *text, const char **end,
                             unsigned *vertex)
{
    unsigned int n;

    if (*text == 's') {
        *vertex = HSL_SWITCH;
        *end = text + 1;
        return true;
    }
    if (!g_ascii_isdigit(*text) || qemu_strtoui(text, end, 10, &n) ||
        n >= f->nodes) {
        return false;
    }
    *vertex = n;
    return true;
}

/* "A-B" */
static bool hsl_pair_parse(HslFabric *f, const char *text, const char **end,
                           unsigned *a, unsigned *b)
{
    return hsl_vertex_parse(f, text, &text, a) && *text == '-' &&
           hsl_vertex_parse(f, text + 1, end, b) && *a != *b;
}

static bool hsl_list_entry(HslFabric *f, const char *text, Error **errp)
{
    g_auto(GStrv) part = g_strsplit(text, ":", -1);
    const char *end;
    unsigned a, b;
    HslLink *l;

    if (!part[0] || !hsl_pair_parse(f, part[0], &end, &a, &b) || *end) {
        error_setg(errp, "'%s' in links is not A-B with nodes 0 to %u, or s "
                   "for the switch", text, f->nodes - 1);
        return false;
    }
    if (!hsl_fabric_link(f, a, f->vertices[a].nr_ports, b,
                         f->vertices[b].nr_ports, &l, errp)) {
        return false;
    }
    for (int i = 1; part[i]; i++) {
        uint32_t *to = g_str_has_prefix(part[i], "lanes=") ? &l->lanes :
                       g_str_has_prefix(part[i], "rate=") ? &l->rate :
                       g_str_has_prefix(part[i], "latency=") ? &l->latency :
                       NULL;
        unsigned int val;

        if (!to || qemu_strtoui(strchr(part[i], '=') + 1, NULL, 10, &val)) {
            error_setg(errp, "'%s' in links is not lanes=N, rate=N or "
                       "latency=N", part[i]);
            return false;
        }
        *to = val;
    }
    if (l->lanes < 1 || l->lanes > HSL_MAX_LANES || !l->rate) {
        error_setg(errp, "'%s' in links: lanes must be 1 to %d, rate not 0",
                   text, HSL_MAX_LANES);
        return false;
    }
    return true;
}

static bool hsl_fabric_build(HslFabric *f, Error **errp)
{
    const unsigned n = f->nodes;

    switch (f->topology) {
    case HSL_FABRIC_TOPOLOGY_MESH:
        for (unsigned a = 0; a < n; a++) {
            for (unsigned b = a + 1; b < n; b++) {
                if (!hsl_fabric_link(f, a, b - 1, b, a, NULL, errp)) {
                    return false;
                }
            }
        }
        return true;
    case HSL_FABRIC_TOPOLOGY_RING:
        /* Two nodes are each other's next and previous: one link */
        for (unsigned a = 0; a < (n == 2 ? 1 : n); a++) {
            if (!hsl_fabric_link(f, a, 0, (a + 1) % n, n == 2 ? 0 : 1, NULL,
                                 errp)) {
                return false;
            }
        }
        return true;
    case HSL_FABRIC_TOPOLOGY_SWITCH:
        for (unsigned a = 0; a < n; a++) {
            if (!hsl_fabric_link(f, a, 0, HSL_SWITCH, a, NULL, errp)) {
                return false;
            }
        }
        return true;
    default:
        break;
    }

    g_auto(GStrv) entry = g_strsplit(f->list ?: "", ",", -1);

    for (int i = 0; entry[i]; i++) {
        if (!hsl_list_entry(f, entry[i], errp)) {
            return false;
        }
    }
    if (!f->nr_links) {
        error_setg(errp, "topology list needs links, as in 0-1,1-2:lanes=8");
        return false;
    }
    return true;
}

static void hsl_fabric_complete(UserCreatable *uc, Error **errp)
{
    HslFabric *f = HSL_FABRIC(uc);
    static uint32_t fabrics;

    if (f->nodes < 2 || f->nodes > HSL_MAX_NODES) {
        error_setg(errp, "nodes must be 2 to %d", HSL_MAX_NODES);
    } else if (f->lanes < 1 || f->lanes > HSL_MAX_LANES) {
        error_setg(errp, "lanes must be 1 to %d", HSL_MAX_LANES);
    } else if (!f->rate || !f->credits) {
        error_setg(errp, "rate and credits must not be 0");
    } else if (f->list && f->topology != HSL_FABRIC_TOPOLOGY_LIST) {
        error_setg(errp, "links are for topology list");
    } else if (hsl_fabric_build(f, errp)) {
        for (unsigned i = 0; i < f->nr_links; i++) {
            f->links[i].lanes_good = f->links[i].lanes;
            f->links[i].timer = timer_new_ns(QEMU_CLOCK_VIRTUAL,
                                             hsl_link_timer, &f->links[i]);
        }
        f->id = ++fabrics;
        f->complete = true;
    }
}

static bool hsl_fabric_prepare_delete(UserCreatable *uc, Error **errp)
{
    HslFabric *f = HSL_FABRIC(uc);

    for (unsigned i = 0; i < f->nodes && i < HSL_MAX_NODES; i++) {
        if (f->vertices[i].dev) {
            error_setg(errp, "node %u of the fabric is in use", i);
            return false;
        }
    }
    return true;
}

/* Injection */

#define HSL_COMMANDS \
    "cut A-B, mend A-B, lanes A-B N, crc A-B RATE SEED, crc-all A-B N, " \
    "credits A-B N, delay A-B NS, partition A,B|C,D, " \
    "schedule SEED STEPS PACKETS; a link may be 'all', the switch is s"

static void hsl_link_name(const HslLink *l, GString *out)
{
    for (int i = 0; i < 2; i++) {
        if (l->end[i].vertex == HSL_SWITCH) {
            g_string_append_c(out, 's');
        } else {
            g_string_append_printf(out, "%u", l->end[i].vertex);
        }
        if (!i) {
            g_string_append_c(out, '-');
        }
    }
}

/* The links that @text means; several may join the same two */
static bool hsl_links_parse(HslFabric *f, const char *text, bool *which,
                            Error **errp)
{
    bool all = !strcmp(text, "all"), any = false;
    unsigned a = 0, b = 0;
    const char *end = "";

    if (all || (hsl_pair_parse(f, text, &end, &a, &b) && !*end)) {
        for (unsigned i = 0; i < f->nr_links; i++) {
            unsigned x = f->links[i].end[0].vertex;
            unsigned y = f->links[i].end[1].vertex;

            which[i] = all || (x == a && y == b) || (x == b && y == a);
            any |= which[i];
        }
    }
    if (!any) {
        g_autoptr(GString) names = g_string_new(NULL);

        for (unsigned i = 0; i < f->nr_links; i++) {
            g_string_append(names, i ? ", " : "");
            hsl_link_name(&f->links[i], names);
        }
        error_setg(errp, "there is no link '%s'; there are: %s", text,
                   names->str);
    }
    return any;
}

static bool hsl_partition(HslFabric *f, const char *text, Error **errp)
{
    g_auto(GStrv) group = g_strsplit(text, "|", -1);
    int side[HSL_VERTICES];
    unsigned v;

    if (g_strv_length(group) < 2) {
        error_setg(errp, "partition needs two sides, as in 0,1|2,3");
        return false;
    }
    memset(side, -1, sizeof(side));
    for (int i = 0; group[i]; i++) {
        g_auto(GStrv) member = g_strsplit(group[i], ",", -1);

        for (int j = 0; member[j]; j++) {
            const char *end;

            if (!hsl_vertex_parse(f, member[j], &end, &v) || *end ||
                side[v] >= 0) {
                error_setg(errp, "'%s' in partition is not a node 0 to %u or "
                           "s, once", member[j], f->nodes - 1);
                return false;
            }
            side[v] = i;
        }
    }
    if (f->vertices[HSL_SWITCH].nr_ports && side[HSL_SWITCH] < 0) {
        error_setg(errp, "partition has to say which side the switch is on, "
                   "as in 0,1,s|2,3");
        return false;
    }
    for (unsigned i = 0; i < f->nr_links; i++) {
        HslLink *l = &f->links[i];
        int a = side[l->end[0].vertex], b = side[l->end[1].vertex];

        if (a >= 0 && b >= 0 && a != b) {
            l->cut = true;
            hsl_link_update(l, false);
        }
    }
    return true;
}

static bool hsl_schedule_start(HslFabric *f, char **word, Error **errp)
{
    uint64_t seed, steps, every;

    if (qemu_strtou64(word[1], NULL, 0, &seed) ||
        qemu_strtou64(word[2], NULL, 0, &steps) || steps > HSL_MAX_STEPS ||
        qemu_strtou64(word[3], NULL, 0, &every) || !every ||
        every > UINT32_MAX) {
        error_setg(errp, "'%s %s %s' of schedule: SEED is a number of 64 bits, "
                   "STEPS up to %d, PACKETS 1 to 4294967295", word[1], word[2],
                   word[3], HSL_MAX_STEPS);
        return false;
    }
    f->seed = f->random = seed;
    f->steps = steps;
    f->steps_done = 0;
    f->every = every;
    f->packets = 0;
    f->next = hsl_random_gap(&f->random, every);
    g_string_truncate(f->log, 0);
    qatomic_set(&f->scheduled, steps);
    return true;
}

static bool hsl_inject(HslFabric *f, char **word, Error **errp)
{
    const unsigned nr = g_strv_length(word);
    const char *command = nr ? word[0] : "";
    static const struct {
        const char *name;
        unsigned words;
    } commands[] = {
        { "cut", 2 }, { "mend", 2 }, { "lanes", 3 }, { "crc", 4 },
        { "crc-all", 3 }, { "credits", 3 }, { "delay", 3 }, { "partition", 2 },
        { "schedule", 4 },
    };
    bool which[HSL_MAX_LINKS] = { 0 };
    uint64_t n = 0, seed = 0;
    unsigned c = 0;

    while (c < ARRAY_SIZE(commands) && strcmp(commands[c].name, command)) {
        c++;
    }
    if (c == ARRAY_SIZE(commands) || nr != commands[c].words) {
        error_setg(errp, "'%s' with %u arguments is not one of: "
                   HSL_COMMANDS, command, nr ? nr - 1 : 0);
        return false;
    }
    if (!strcmp(command, "partition")) {
        return hsl_partition(f, word[1], errp);
    }
    if (!strcmp(command, "schedule")) {
        return hsl_schedule_start(f, word, errp);
    }
    if (!hsl_links_parse(f, word[1], which, errp)) {
        return false;
    }
    if ((nr > 2 && qemu_strtou64(word[2], NULL, 0, &n)) || n > UINT32_MAX ||
        (nr > 3 && qemu_strtou64(word[3], NULL, 0, &seed))) {
        error_setg(errp, "'%s' of %s: RATE and N are numbers up to 4294967295, "
                   "SEED is one of 64 bits", word[2], command);
        return false;
    }
    if (!strcmp(command, "credits") && n > f->credits) {
        error_setg(errp, "a link of %u credits has not %" PRIu64, f->credits,
                   n);
        return false;
    }
    if (!strcmp(command, "delay") && n > HSL_MAX_DELAY_NS) {
        error_setg(errp, "a delay is up to %" PRIu64 " ns",
                   (uint64_t)HSL_MAX_DELAY_NS);
        return false;
    }
    for (unsigned i = 0; i < f->nr_links; i++) {
        if (which[i] && !strcmp(command, "lanes") && n > f->links[i].lanes) {
            error_setg(errp, "a link of %u lanes has not %" PRIu64 " that work",
                       f->links[i].lanes, n);
            return false;
        }
    }
    for (unsigned i = 0; i < f->nr_links; i++) {
        HslLink *l = &f->links[i];
        uint32_t lanes = l->lanes_good;

        if (!which[i]) {
            continue;
        }
        if (!strcmp(command, "lanes")) {
            l->lanes_good = n;
        } else if (!strcmp(command, "crc")) {
            l->crc_rate = n;
            for (int e = 0; e < 2; e++) {
                l->end[e].random = seed ^ (e * 0x9e3779b97f4a7c15ull);
                l->end[e].gap = hsl_gap(l, &l->end[e]);
            }
        } else if (!strcmp(command, "crc-all")) {
            l->crc_all = n;
        } else if (!strcmp(command, "credits")) {
            qatomic_set(&l->credits, n);
        } else if (!strcmp(command, "delay")) {
            qatomic_set(&l->delay, n);
        } else if (!strcmp(command, "cut")) {
            l->cut = true;
        } else {
            l->cut = false;
            l->lanes_good = l->lanes;
            l->crc_rate = l->crc_all = 0;
            l->end[0].gap = l->end[1].gap = 0;
            qatomic_set(&l->credits, f->credits);
            qatomic_set(&l->delay, 0);
        }
        qatomic_set(&l->damage, l->crc_rate || l->crc_all);
        /* Out of ERROR leads only what the driver writes */
        hsl_link_update(l, l->lanes_good != lanes &&
                           hsl_link_state(l) != HSL_LINK_ERROR);
    }
    /* Ways are looked for anew */
    qatomic_inc(&f->version);
    return true;
}

/*
 * One command of the schedule: which it is depends on the seed and on how many
 * there were. None takes a link away for good, so that there always are packets
 * to go on with.
 */
static void hsl_schedule_step(HslFabric *f)
{
    const HslLink *l = &f->links[hsl_random(&f->random) % f->nr_links];
    unsigned what = hsl_random(&f->random) % 6;
    uint64_t n = hsl_random(&f->random);
    uint32_t lanes = l->lanes;
    g_autoptr(GString) name = g_string_new(NULL);
    g_auto(GStrv) command = g_new0(char *, 3);

    /* The name may mean others too */
    for (unsigned i = 0; i < f->nr_links; i++) {
        lanes = MIN(lanes, f->links[i].lanes);
    }
    hsl_link_name(l, name);
    switch (what) {
    case 0:
        command[0] = g_strdup_printf("cut %s", name->str);
        command[1] = g_strdup_printf("mend %s", name->str);
        break;
    case 1:
        command[0] = g_strdup_printf("mend %s", name->str);
        break;
    case 2:
        command[0] = g_strdup_printf("lanes %s %" PRIu64, name->str,
                                     1 + n % lanes);
        break;
    case 3:
        command[0] = g_strdup_printf("crc %s %" PRIu64 " %" PRIu64, name->str,
                                     20 + n % 200, n);
        break;
    case 4:
        command[0] = g_strdup_printf("credits %s %" PRIu64, name->str,
                                     1 + n % f->credits);
        break;
    default:
        command[0] = g_strdup_printf("delay %s %" PRIu64, name->str, n % 20000);
        break;
    }
    for (int i = 0; command[i]; i++) {
        g_auto(GStrv) word = g_strsplit(command[i], " ", -1);

        trace_hsl_inject(command[i]);
        hsl_inject(f, word, &error_abort);
        g_string_append_printf(f->log, "%" PRIu64 " %s\n", f->next, command[i]);
    }
}

/* So many more packets have gone over the fabric. From an engine. */
static void hsl_schedule_run(HslFabric *f, uint64_t packets)
{
    QEMU_LOCK_GUARD(&f->lock);
    f->packets += packets;
    while (f->steps_done < f->steps && f->packets >= f->next) {
        hsl_schedule_step(f);
        f->steps_done++;
        f->next += hsl_random_gap(&f->random, f->every);
    }
    if (f->steps_done == f->steps) {
        qatomic_set(&f->scheduled, false);
    }
}

static void hsl_inject_set(Object *obj, const char *value, Error **errp)
{
    HslFabric *f = HSL_FABRIC(obj);
    g_auto(GStrv) word = g_strsplit_set(value, " ", -1);

    if (!f->complete) {
        error_setg(errp, "the fabric is not there yet");
        return;
    }
    trace_hsl_inject(value);
    QEMU_LOCK_GUARD(&f->lock);
    hsl_inject(f, word, errp);
}

static char *hsl_inject_get(Object *obj, Error **errp)
{
    HslFabric *f = HSL_FABRIC(obj);
    GString *out = g_string_new(NULL);

    QEMU_LOCK_GUARD(&f->lock);
    for (unsigned i = 0; i < f->nr_links; i++) {
        const HslLink *l = &f->links[i];

        hsl_link_name(l, out);
        g_string_append_printf(out, " %s %s lanes %u/%u crc %" PRIu64
                               " crc-all %" PRIu64 " credits %u/%u delay %u"
                               "%s\n",
                               hsl_state_names[hsl_link_state(l)],
                               hsl_reason_names[hsl_link_reason(l)],
                               l->lanes_good, l->lanes, l->crc_rate,
                               l->crc_all, l->credits, f->credits, l->delay,
                               l->cut ? " cut" : "");
    }
    return g_string_free(out, false);
}

static char *hsl_schedule_get(Object *obj, Error **errp)
{
    HslFabric *f = HSL_FABRIC(obj);

    QEMU_LOCK_GUARD(&f->lock);
    return g_strdup_printf("seed %" PRIu64 " steps %u/%u every %u packets\n%s",
                           f->seed, f->steps_done, f->steps, f->every,
                           f->log->str);
}

/* Properties */

static void hsl_fabric_get_u32(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    uint32_t *field = (void *)HSL_FABRIC(obj) + (uintptr_t)opaque;
    uint32_t val = *field;

    visit_type_uint32(v, name, &val, errp);
}

static bool hsl_fabric_fixed(HslFabric *f, Error **errp)
{
    if (f->complete) {
        error_setg(errp, "a fabric is not changed once it is there");
    }
    return f->complete;
}

static void hsl_fabric_set_u32(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    HslFabric *f = HSL_FABRIC(obj);
    uint32_t *field = (void *)f + (uintptr_t)opaque, val;

    if (visit_type_uint32(v, name, &val, errp) && !hsl_fabric_fixed(f, errp)) {
        *field = val;
    }
}

static int hsl_fabric_get_topology(Object *obj, Error **errp)
{
    return HSL_FABRIC(obj)->topology;
}

static void hsl_fabric_set_topology(Object *obj, int val, Error **errp)
{
    if (!hsl_fabric_fixed(HSL_FABRIC(obj), errp)) {
        HSL_FABRIC(obj)->topology = val;
    }
}

static char *hsl_fabric_get_links(Object *obj, Error **errp)
{
    return g_strdup(HSL_FABRIC(obj)->list);
}

static void hsl_fabric_set_links(Object *obj, const char *val, Error **errp)
{
    HslFabric *f = HSL_FABRIC(obj);

    if (!hsl_fabric_fixed(f, errp)) {
        g_free(f->list);
        f->list = g_strdup(val);
    }
}

static void hsl_fabric_init(Object *obj)
{
    HslFabric *f = HSL_FABRIC(obj);

    f->lanes = 16;
    f->rate = 32000;
    f->latency = 100;
    f->credits = 64;
    f->version = 1;
    f->log = g_string_new(NULL);
    qemu_mutex_init(&f->lock);
}

static void hsl_fabric_finalize(Object *obj)
{
    HslFabric *f = HSL_FABRIC(obj);

    for (unsigned i = 0; i < f->nr_links; i++) {
        timer_free(f->links[i].timer);
    }
    qemu_mutex_destroy(&f->lock);
    g_string_free(f->log, true);
    g_free(f->list);
}

static void hsl_fabric_add_u32(ObjectClass *klass, const char *name,
                               size_t offset, const char *description)
{
    object_class_property_add(klass, name, "uint32", hsl_fabric_get_u32,
                              hsl_fabric_set_u32, NULL, (void *)offset);
    object_class_property_set_description(klass, name, description);
}

static void hsl_fabric_class_init(ObjectClass *klass, const void *data)
{
    UserCreatableClass *uc = USER_CREATABLE_CLASS(klass);

    uc->complete = hsl_fabric_complete;
    uc->prepare_delete = hsl_fabric_prepare_delete;
    hsl_fabric_add_u32(klass, "nodes", offsetof(HslFabric, nodes),
                       "number of nodes, 2 to 16");
    hsl_fabric_add_u32(klass, "lanes", offsetof(HslFabric, lanes),
                       "lanes of a link");
    hsl_fabric_add_u32(klass, "rate", offsetof(HslFabric, rate),
                       "Mbit/s per lane");
    hsl_fabric_add_u32(klass, "latency", offsetof(HslFabric, latency),
                       "nanoseconds from end to end");
    hsl_fabric_add_u32(klass, "credits", offsetof(HslFabric, credits),
                       "packets that may be under way unacknowledged");
    object_class_property_add_enum(klass, "topology", "HslFabricTopology",
                                   &HslFabricTopology_lookup,
                                   hsl_fabric_get_topology,
                                   hsl_fabric_set_topology);
    object_class_property_add_str(klass, "links", hsl_fabric_get_links,
                                  hsl_fabric_set_links);
    object_class_property_add_str(klass, "inject", hsl_inject_get,
                                  hsl_inject_set);
    object_class_property_set_description(klass, "inject",
        "fault injection: " HSL_COMMANDS "; read: the state of all links");
    object_class_property_add_str(klass, "schedule", hsl_schedule_get, NULL);
    object_class_property_set_description(klass, "schedule",
        "what the command schedule has done so far: packets, command");
}

static const TypeInfo hsl_fabric_types[] = {
    {
        .name = TYPE_HSL_FABRIC,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(HslFabric),
        .instance_init = hsl_fabric_init,
        .instance_finalize = hsl_fabric_finalize,
        .class_init = hsl_fabric_class_init,
        .interfaces = (const InterfaceInfo[]) {
            { TYPE_USER_CREATABLE },
            { },
        },
    },
};

DEFINE_TYPES(hsl_fabric_types)
