/*
 * HSL-like accelerator endpoint: the device without a guest
 *
 * Queues run on bus addresses here, which without an IOMMU are physical, or on
 * page tables of the device, or with page tables of an IOMMU made by hand.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "libqos/pci-pc.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "../../hw/hsl/hsl_hw.h"

#define DEVFN           QPCI_DEVFN(4, 0)
#define ECAM            0xb0000000ull
#define TIMEOUT_MS      20000

/* Guest memory, by hand */
#define SQ              0x1000000ull
#define CQ              0x1100000ull
#define CTL             0x1200000ull
#define EVQ             0x1300000ull
#define FLTQ            0x1400000ull
#define TABLES          0x1800000ull    /* page tables of the device */
#define QSTRIDE         0x10000ull      /* between the rings of two queues */
#define SRC             0x2000000ull
#define DST             0x3000000ull
#define SHARE_RINGS     0x4000000ull    /* of test_priority() */

#define UNDER_WAY       16              /* descriptors of a queue (HW 4.2) */

typedef struct Hsl {
    QTestState *qts;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar ctrl, db, mem;
    uint64_t config;            /* by ECAM */
    uint64_t ctrl_addr, mem_addr;
    uint64_t mem_size;
} Hsl;

static uint32_t ecam_readl(Hsl *h, unsigned offset)
{
    return qtest_readl(h->qts, h->config + offset);
}

static unsigned ext_cap(Hsl *h, unsigned id)
{
    unsigned pos = 0x100;

    while (pos) {
        uint32_t header = ecam_readl(h, pos);

        if ((header & 0xffff) == id) {
            return pos;
        }
        pos = header >> 20;
    }
    return 0;
}

static void hsl_attach(Hsl *h, QTestState *qts, bool program)
{
    QPCIDevice *host;

    h->qts = qts;
    h->config = ECAM + (DEVFN << 12);
    h->bus = qpci_new_pc(qts, NULL);
    host = qpci_device_find(h->bus, 0);
    if (program) {
        qpci_config_writel(host, 0x64, 0);
        qpci_config_writel(host, 0x60, ECAM | 1);
    }
    g_free(host);
    h->dev = qpci_device_find(h->bus, DEVFN);
    g_assert_nonnull(h->dev);
    if (program) {
        qpci_device_enable(h->dev);
        h->ctrl = qpci_iomap(h->dev, 0, NULL);
        h->db = qpci_iomap(h->dev, 2, NULL);
        h->ctrl_addr = qpci_config_readl(h->dev, PCI_BASE_ADDRESS_0) & ~0xf;
        if (qpci_config_readl(h->dev, PCI_BASE_ADDRESS_4)) {
            h->mem = qpci_iomap(h->dev, 4, &h->mem_size);
            h->mem_addr = qpci_config_readl(h->dev, PCI_BASE_ADDRESS_4) & ~0xf;
        }
    }
}

static void hsl_start(Hsl *h, const char *props)
{
    hsl_attach(h, qtest_initf("-machine q35 -m 256M -nodefaults "
                              "-device hsl,id=hsl,addr=4.0,memsize=64M%s",
                              props), true);
}

static void hsl_quit(Hsl *h)
{
    g_free(h->dev);
    qpci_free_pc(h->bus);
    qtest_quit(h->qts);
}

static uint32_t reg(Hsl *h, uint64_t offset)
{
    return qpci_io_readl(h->dev, h->ctrl, offset);
}

static void set(Hsl *h, uint64_t offset, uint32_t val)
{
    qpci_io_writel(h->dev, h->ctrl, offset, val);
}

static uint64_t reg64(Hsl *h, uint64_t offset)
{
    return qpci_io_readq(h->dev, h->ctrl, offset);
}

static void set64(Hsl *h, uint64_t offset, uint64_t val)
{
    qpci_io_writeq(h->dev, h->ctrl, offset, val);
}

static uint32_t q_status(Hsl *h, int q)
{
    return reg(h, HSL_REG_Q(q) + HSL_Q_STATUS);
}

/* Waits for a condition that the engine thread brings about */
#define wait_for(cond) do {                                             \
    int64_t end_ = g_get_monotonic_time() + TIMEOUT_MS * 1000ll;        \
    while (!(cond)) {                                                   \
        g_assert_cmpint(g_get_monotonic_time(), <, end_);               \
        g_usleep(100);                                                  \
    }                                                                   \
} while (0)

static void context_on(Hsl *h, int c)
{
    set(h, HSL_REG_CTX(c) + HSL_CTX_XLATE, HSL_XLATE_BUS);
    set(h, HSL_REG_CTX(c) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(h, HSL_REG_CTX(c) + HSL_CTX_CTRL), ==, HSL_CTX_VALID);
}

static void queue_config(Hsl *h, int q, unsigned order)
{
    uint64_t r = HSL_REG_Q(q);

    qtest_memset(h->qts, CQ + q * QSTRIDE, 0, 32 << order);
    qtest_memset(h->qts, CTL + q * QSTRIDE, 0, sizeof(struct hsl_q_ctl));
    set(h, r + HSL_Q_CONTEXT, 0);
    set(h, r + HSL_Q_VECTOR, HSL_VECTOR_NONE);
    set64(h, r + HSL_Q_SQ_BASE, SQ + q * QSTRIDE);
    set64(h, r + HSL_Q_CQ_BASE, CQ + q * QSTRIDE);
    set64(h, r + HSL_Q_CTL_BASE, CTL + q * QSTRIDE);
    set(h, r + HSL_Q_SQ_ORDER, order);
    set(h, r + HSL_Q_CQ_ORDER, order);
    set64(h, r + HSL_Q_OPS, reg64(h, HSL_REG_OPS));
    set(h, r + HSL_Q_COALESCE_COUNT, 0);
    set(h, r + HSL_Q_COALESCE_USECS, 0);
    set(h, r + HSL_Q_PRIORITY, 0);
}

static void queue_run(Hsl *h, int q)
{
    set(h, HSL_REG_Q(q) + HSL_Q_CTRL, HSL_Q_RUN);
}

static void queue_on(Hsl *h, int q, unsigned order)
{
    queue_config(h, q, order);
    queue_run(h, q);
    g_assert_cmphex(q_status(h, q), ==, HSL_Q_RUNNING);
}

static void up(Hsl *h, unsigned order)
{
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(h, 0);
    queue_on(h, 0, order);
}

static void put_desc(Hsl *h, int q, unsigned order, uint32_t index,
                     const struct hsl_desc *d)
{
    struct hsl_desc le = *d;

    le.len = cpu_to_le32(d->len);
    le.user_data = cpu_to_le64(d->user_data);
    le.dst = cpu_to_le64(d->dst);
    le.src = cpu_to_le64(d->src);
    le.operand[0] = cpu_to_le64(d->operand[0]);
    le.operand[1] = cpu_to_le64(d->operand[1]);
    qtest_memwrite(h->qts, SQ + q * QSTRIDE + (index & ((1 << order) - 1)) * 64,
                   &le, sizeof(le));
}

static void doorbell(Hsl *h, int q, uint32_t tail)
{
    qpci_io_writel(h->dev, h->db, q * HSL_DB_STRIDE + HSL_DB_TAIL, tail);
}

static void submit(Hsl *h, int q, uint32_t tail)
{
    qtest_writel(h->qts,
                 CTL + q * QSTRIDE + offsetof(struct hsl_q_ctl, sq_tail), tail);
    doorbell(h, q, tail);
}

static bool get_cqe(Hsl *h, int q, unsigned order, uint32_t index,
                    struct hsl_cqe *c)
{
    qtest_memread(h->qts, CQ + q * QSTRIDE + (index & ((1 << order) - 1)) * 32,
                  c, sizeof(*c));
    c->user_data = le64_to_cpu(c->user_data);
    c->result = le64_to_cpu(c->result);
    c->addr = le64_to_cpu(c->addr);
    c->bytes = le32_to_cpu(c->bytes);
    c->lap = le16_to_cpu(c->lap);
    return c->lap == (uint16_t)((index >> order) + 1);
}

/* One descriptor on queue 0, its completion; @index counts them */
static struct hsl_cqe run_one(Hsl *h, unsigned order, uint32_t *index,
                              struct hsl_desc d)
{
    struct hsl_cqe c;

    d.user_data = 0xabc000 + *index;
    put_desc(h, 0, order, *index, &d);
    submit(h, 0, *index + 1);
    wait_for(get_cqe(h, 0, order, *index, &c));
    g_assert_cmphex(c.user_data, ==, d.user_data);
    (*index)++;
    qtest_writel(h->qts, CTL + offsetof(struct hsl_q_ctl, cq_head), *index);
    return c;
}

static void random_fill(Hsl *h, uint64_t addr, uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf[i] = g_test_rand_int();
    }
    qtest_memwrite(h->qts, addr, buf, len);
}

/* Identity */

static void test_identity(void)
{
    Hsl h;
    unsigned dvsec;

    hsl_start(&h, "");
    g_assert_cmphex(qpci_config_readl(h.dev, PCI_CLASS_REVISION) >> 8, ==,
                    HSL_PCI_CLASS);
    g_assert_cmphex(qpci_config_readw(h.dev, PCI_VENDOR_ID), ==, 0x1234);
    g_assert_cmphex(qpci_config_readw(h.dev, PCI_DEVICE_ID), ==, 0x4853);
    g_assert_cmpint(qpci_find_capability(h.dev, PCI_CAP_ID_EXP, 0), !=, 0);
    g_assert_cmpint(qpci_find_capability(h.dev, PCI_CAP_ID_MSIX, 0), !=, 0);
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_ERR), !=, 0);
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_ATS), !=, 0);
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_PASID), !=, 0);
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_PRI), !=, 0);

    dvsec = ext_cap(&h, PCI_EXT_CAP_ID_DVSEC);
    g_assert_cmpint(dvsec, !=, 0);
    g_assert_cmphex(ecam_readl(&h, dvsec + 4), ==, HSL_DVSEC_VENDOR |
                    HSL_DVSEC_REV << 16 | HSL_DVSEC_LEN << 20);
    g_assert_cmphex(ecam_readl(&h, dvsec + 8), ==,
                    HSL_DVSEC_ID | HSL_VERSION << 16);
    g_assert_cmphex(ecam_readl(&h, dvsec + HSL_DVSEC_CAPS), ==,
                    reg(&h, HSL_REG_CAPS));
    g_assert_cmphex(ecam_readl(&h, dvsec + HSL_DVSEC_CTRL_BAR), ==,
                    0x00040200);
    hsl_quit(&h);
}

static void test_unlike(void)
{
    Hsl h;
    unsigned dvsec;

    hsl_start(&h, ",vendor-id=0x1b36,device-id=0x77,queues=3,contexts=2,"
                  "memsize=0,pri=off,ops=0x103,ring-order=4,max-xfer=8192,"
                  "device-xlate=off,timed=off");
    g_assert_cmphex(qpci_config_readl(h.dev, PCI_VENDOR_ID), ==, 0x00771b36);
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_PRI), ==, 0);
    dvsec = ext_cap(&h, PCI_EXT_CAP_ID_DVSEC);
    g_assert_cmphex(ecam_readl(&h, dvsec + HSL_DVSEC_CTRL_BAR), ==,
                    0x00ff0200);
    g_assert_cmpint(reg(&h, HSL_REG_NR_QUEUES), ==, 3);
    g_assert_cmpint(reg(&h, HSL_REG_NR_CONTEXTS), ==, 2);
    g_assert_cmpint(reg(&h, HSL_REG_RING_ORDER), ==, 4);
    g_assert_cmpint(reg(&h, HSL_REG_MAX_XFER), ==, 8192);
    g_assert_cmphex(reg64(&h, HSL_REG_OPS), ==, 0x103);
    g_assert_cmpint(reg64(&h, HSL_REG_MEM_SIZE), ==, 0);
    g_assert_cmphex(reg(&h, HSL_REG_CAPS), ==, HSL_CAP_XLATE_BUS |
                    HSL_CAP_XLATE_IOMMU | HSL_CAP_ORACLE);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_XLATE, HSL_XLATE_DEVICE);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL), ==, HSL_CTX_ERROR);
    hsl_quit(&h);

    hsl_start(&h, ",iommu-xlate=off");
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_PRI), ==, 0);
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_PASID), ==, 0);
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_ATS), !=, 0);
    g_assert_cmphex(reg(&h, HSL_REG_CAPS), ==, HSL_CAP_XLATE_BUS |
                    HSL_CAP_XLATE_DEVICE | HSL_CAP_MEM | HSL_CAP_ORACLE |
                    HSL_CAP_TIMED);
    hsl_quit(&h);
}

static void test_memdev(void)
{
    Hsl h;
    struct hsl_cqe c;
    uint32_t i = 0;

    hsl_start(&h, ",memdev=m0,memsize=1M "
                  "-object memory-backend-ram,id=m0,size=16M");
    g_assert_cmpint(reg64(&h, HSL_REG_MEM_SIZE), ==, 16 * MiB);
    g_assert_cmpint(h.mem_size, ==, 16 * MiB);
    up(&h, 3);
    qtest_memset(h.qts, SRC, 0x5a, 4096);
    c = run_one(&h, 3, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = h.mem_addr + 16 * MiB - 4096, .src = SRC,
        .len = 4096 });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmphex(qpci_io_readl(h.dev, h.mem, 16 * MiB - 4), ==, 0x5a5a5a5a);
    hsl_quit(&h);
}

/* Registers */

static void test_registers(void)
{
    Hsl h;

    hsl_start(&h, "");
    g_assert_cmphex(reg(&h, HSL_REG_MAGIC), ==, HSL_MAGIC);
    g_assert_cmphex(reg(&h, HSL_REG_VERSION), ==, HSL_VERSION);
    g_assert_cmpint(reg(&h, HSL_REG_NR_QUEUES), >=, 256);
    g_assert_cmpint(reg64(&h, HSL_REG_MEM_SIZE), ==, h.mem_size);
    g_assert_cmphex(reg(&h, HSL_REG_CTRL), ==, 0);
    g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==, HSL_STATUS_READY);

    /* Read-only ones stay, undefined ones read 0 */
    set(&h, HSL_REG_MAGIC, 0);
    set(&h, HSL_REG_NR_QUEUES, 1);
    set(&h, 0xff0, 0xffffffff);
    g_assert_cmphex(reg(&h, HSL_REG_MAGIC), ==, HSL_MAGIC);
    g_assert_cmpint(reg(&h, HSL_REG_NR_QUEUES), >=, 256);
    g_assert_cmphex(reg(&h, 0xff0), ==, 0);

    /* 64-bit registers by halves and as a whole */
    set(&h, HSL_REG_Q(5) + HSL_Q_SQ_BASE, 0x89abcdef);
    set(&h, HSL_REG_Q(5) + HSL_Q_SQ_BASE + 4, 0x01234567);
    g_assert_cmphex(reg64(&h, HSL_REG_Q(5) + HSL_Q_SQ_BASE), ==,
                    0x0123456789abcdefull);
    set64(&h, HSL_REG_Q(5) + HSL_Q_OPS, 0x1122334455667788ull);
    g_assert_cmphex(reg(&h, HSL_REG_Q(5) + HSL_Q_OPS), ==, 0x55667788);
    g_assert_cmphex(reg(&h, HSL_REG_Q(5) + HSL_Q_OPS + 4), ==, 0x11223344);
    g_assert_cmphex(reg(&h, HSL_REG_Q(5) + HSL_Q_VECTOR), ==, HSL_VECTOR_NONE);

    /* PASID has 20 bits; a valid context is not rewritten */
    set(&h, HSL_REG_CTX(7) + HSL_CTX_PASID, 0xfff12345);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(7) + HSL_CTX_PASID), ==, 0x12345);
    context_on(&h, 7);
    set(&h, HSL_REG_CTX(7) + HSL_CTX_PASID, 1);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(7) + HSL_CTX_PASID), ==, 0x12345);

    /* No IOMMU, a top table that is none: refused, and it says so */
    set(&h, HSL_REG_CTX(8) + HSL_CTX_XLATE, HSL_XLATE_IOMMU);
    set(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL), ==, HSL_CTX_ERROR);
    set(&h, HSL_REG_CTX(8) + HSL_CTX_XLATE, HSL_XLATE_DEVICE);
    set64(&h, HSL_REG_CTX(8) + HSL_CTX_ROOT, TABLES + 8);
    set(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL), ==, HSL_CTX_ERROR);
    set64(&h, HSL_REG_CTX(8) + HSL_CTX_ROOT, 1ull << 52);
    set(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL), ==, HSL_CTX_ERROR);
    set(&h, HSL_REG_CTX(8) + HSL_CTX_XLATE, 0xffffffff);
    set(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(8) + HSL_CTX_CTRL), ==, HSL_CTX_ERROR);
    hsl_quit(&h);
}

/* What is written to a block that does not run is what is read of it */
static void test_read_back(void)
{
    static const unsigned context[] = { HSL_CTX_XLATE, HSL_CTX_PASID };
    static const unsigned context64[] = { HSL_CTX_ROOT };
    static const unsigned queue[] = {
        HSL_Q_CONTEXT, HSL_Q_VECTOR, HSL_Q_SQ_ORDER, HSL_Q_CQ_ORDER,
        HSL_Q_COALESCE_COUNT, HSL_Q_COALESCE_USECS, HSL_Q_PRIORITY,
        HSL_Q_ROUTES,
    };
    static const unsigned queue64[] = {
        HSL_Q_SQ_BASE, HSL_Q_CQ_BASE, HSL_Q_CTL_BASE, HSL_Q_OPS,
    };
    static const unsigned ring[] = {
        HSL_REG_EVQ_ORDER, HSL_REG_EVQ_VECTOR,
        HSL_REG_FLTQ_ORDER, HSL_REG_FLTQ_VECTOR,
    };
    static const unsigned ring64[] = { HSL_REG_EVQ_BASE, HSL_REG_FLTQ_BASE };
    const struct {
        uint64_t base;
        const unsigned *reg, *reg64;
        unsigned nr, nr64;
    } blocks[] = {
        { HSL_REG_CTX(3), context, context64, ARRAY_SIZE(context),
          ARRAY_SIZE(context64) },
        { HSL_REG_Q(6), queue, queue64, ARRAY_SIZE(queue),
          ARRAY_SIZE(queue64) },
        { 0, ring, ring64, ARRAY_SIZE(ring), ARRAY_SIZE(ring64) },
    };
    Hsl h;

    hsl_start(&h, "");
    for (unsigned b = 0; b < ARRAY_SIZE(blocks); b++) {
        /* Each another value, so that none is taken for its neighbour */
        for (unsigned i = 0; i < blocks[b].nr; i++) {
            set(&h, blocks[b].base + blocks[b].reg[i], i + 1);
        }
        for (unsigned i = 0; i < blocks[b].nr64; i++) {
            set64(&h, blocks[b].base + blocks[b].reg64[i],
                  0x1234567890000ull + (i << 12));
        }
        for (unsigned i = 0; i < blocks[b].nr; i++) {
            g_assert_cmphex(reg(&h, blocks[b].base + blocks[b].reg[i]), ==,
                            i + 1);
        }
        for (unsigned i = 0; i < blocks[b].nr64; i++) {
            g_assert_cmphex(reg64(&h, blocks[b].base + blocks[b].reg64[i]), ==,
                            0x1234567890000ull + (i << 12));
        }
    }
    g_assert_cmphex(reg(&h, HSL_REG_Q(6) + HSL_Q_CTRL), ==, 0);
    g_assert_cmphex(reg(&h, HSL_REG_EVQ_CTRL), ==, 0);
    g_assert_cmphex(reg(&h, HSL_REG_FLTQ_CTRL), ==, 0);
    hsl_quit(&h);
}

static void test_limits(void)
{
    const unsigned order = 3;
    uint64_t ctrl_size, db_size, errors = HSL_REG_COUNTER(HSL_CNT_QUEUE_ERRORS);
    uint32_t i = 0, max;
    Hsl h;

    hsl_start(&h, ",vectors=5,queues=9");
    g_assert_cmpint(reg(&h, HSL_REG_NR_VECTORS), ==, 5);
    /* This maps the BARs once more */
    qpci_iomap(h.dev, 0, &ctrl_size);
    qpci_iomap(h.dev, 2, &db_size);
    g_assert_cmpint(ctrl_size, ==, HSL_CTRL_BAR_SIZE);
    g_assert_cmpint(db_size, ==, 16 * HSL_DB_STRIDE);
    hsl_quit(&h);

    /* An event queue of another size, or nowhere; one that is on stays */
    hsl_start(&h, "");
    max = reg(&h, HSL_REG_EVQ_ORDER_MAX);
    g_assert_cmpint(max, >, reg(&h, HSL_REG_FLTQ_ORDER_MIN));
    set64(&h, HSL_REG_EVQ_BASE, EVQ);
    set(&h, HSL_REG_EVQ_ORDER, 0);
    set(&h, HSL_REG_EVQ_CTRL, HSL_EVQ_ENABLE);
    g_assert_cmphex(reg(&h, HSL_REG_EVQ_CTRL), ==, 0);
    set(&h, HSL_REG_EVQ_ORDER, max + 1);
    set(&h, HSL_REG_EVQ_CTRL, HSL_EVQ_ENABLE);
    g_assert_cmphex(reg(&h, HSL_REG_EVQ_CTRL), ==, 0);
    set(&h, HSL_REG_EVQ_ORDER, max);
    set64(&h, HSL_REG_EVQ_BASE, EVQ + 2048);
    set(&h, HSL_REG_EVQ_CTRL, HSL_EVQ_ENABLE);
    g_assert_cmphex(reg(&h, HSL_REG_EVQ_CTRL), ==, 0);
    set64(&h, HSL_REG_EVQ_BASE, EVQ);
    set(&h, HSL_REG_EVQ_CTRL, HSL_EVQ_ENABLE);
    g_assert_cmphex(reg(&h, HSL_REG_EVQ_CTRL), ==, HSL_EVQ_ENABLE);
    set64(&h, HSL_REG_EVQ_BASE, 0);
    set(&h, HSL_REG_EVQ_ORDER, 1);
    g_assert_cmphex(reg64(&h, HSL_REG_EVQ_BASE), ==, EVQ);
    g_assert_cmpint(reg(&h, HSL_REG_EVQ_ORDER), ==, max);

    /* Heads and tails; a queue that runs, or has failed, is not started */
    up(&h, order);
    for (int j = 0; j < 13; j++) {
        run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    }
    queue_run(&h, 0);
    g_assert_cmpint(reg(&h, HSL_REG_Q(0) + HSL_Q_SQ_HEAD), ==, 13);
    g_assert_cmpint(reg(&h, HSL_REG_Q(0) + HSL_Q_CQ_TAIL), ==, 13);
    g_assert_cmpint(reg64(&h, errors), ==, 0);
    doorbell(&h, 0, 999);
    wait_for(q_status(&h, 0) == (HSL_Q_FAILED | HSL_QERR_DOORBELL << 8));
    g_assert_cmpint(reg64(&h, errors), ==, 1);
    queue_config(&h, 0, order);
    queue_run(&h, 0);
    g_assert_cmphex(q_status(&h, 0), ==,
                    HSL_Q_FAILED | HSL_QERR_DOORBELL << 8);
    /* One that did not start is none that failed while running */
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    queue_config(&h, 0, order);
    set(&h, HSL_REG_Q(0) + HSL_Q_PRIORITY, 4);
    queue_run(&h, 0);
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_FAILED | HSL_QERR_CONFIG << 8);
    g_assert_cmpint(reg64(&h, errors), ==, 1);
    hsl_quit(&h);
}

/* Operations */

static uint32_t crc32c_ref(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

static void test_ops(void)
{
    const unsigned order = 3;
    const size_t n = 200000;
    g_autofree uint8_t *a = g_malloc(n), *b = g_malloc(n);
    struct hsl_cqe c;
    uint32_t i = 0;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);

    c = run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);

    random_fill(&h, SRC + 13, a, n);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = DST + 5001, .src = SRC + 13, .len = n });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(c.bytes, ==, n);
    qtest_memread(h.qts, DST + 5001, b, n);
    g_assert_cmpmem(a, n, b, n);

    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COMPARE, .dst = DST + 5001, .src = SRC + 13, .len = n });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(c.result, ==, n);
    qtest_writeb(h.qts, DST + 5001 + 123456, ~a[123456]);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COMPARE, .dst = DST + 5001, .src = SRC + 13, .len = n });
    g_assert_cmpint(c.result, ==, 123456);
    g_assert_cmpint(c.bytes, ==, 123456);

    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = SRC + 13, .len = n, .operand[0] = 77 });
    g_assert_cmphex(c.result, ==, crc32c_ref(77, a, n));

    /* Overlaps, both ways */
    for (int back = 0; back < 2; back++) {
        uint64_t dst = SRC + 13 + (back ? 4097 : 0);
        uint64_t src = SRC + 13 + (back ? 0 : 4097);
        size_t len = n - 4097;

        qtest_memwrite(h.qts, SRC + 13, a, n);
        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = dst, .src = src, .len = len });
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        qtest_memread(h.qts, dst, b, len);
        g_assert_cmpmem(a + (src - SRC - 13), len, b, len);
    }

    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = DST + 4091, .len = 8195,
        .operand[0] = 0x0807060504030201ull });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    qtest_memread(h.qts, DST + 4091, b, 8195);
    for (int j = 0; j < 8195; j++) {
        g_assert_cmpint(b[j], ==, j % 8 + 1);
    }

    qtest_writeq(h.qts, DST, 0x1111111122222222ull);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = DST, .len = 8, .operand[0] = 5 });
    g_assert_cmphex(c.result, ==, 0x1111111122222222ull);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = DST + 4, .len = 4,
        .operand[0] = 0xf0000000 });
    g_assert_cmphex(c.result, ==, 0x11111111);
    g_assert_cmphex(qtest_readq(h.qts, DST), ==, 0x0111111122222227ull);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_CAS, .dst = DST, .len = 4,
        .operand = { 0x22222227, 9 } });
    g_assert_cmphex(c.result, ==, 0x22222227);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_CAS, .dst = DST, .len = 8, .operand = { 1, 2 } });
    g_assert_cmphex(c.result, ==, 0x0111111100000009ull);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_SWAP, .dst = DST, .len = 8, .operand[0] = 3 });
    g_assert_cmphex(c.result, ==, 0x0111111100000009ull);
    g_assert_cmphex(qtest_readq(h.qts, DST), ==, 3);

    /* Device memory is memory */
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = h.mem_addr + h.mem_size - n, .src = SRC + 13,
        .len = n });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    qtest_memread(h.qts, SRC + 13, a, n);
    qpci_memread(h.dev, h.mem, h.mem_size - n, b, n);
    g_assert_cmpmem(a, n, b, n);

    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_OPS)), ==, i);
    g_assert_cmpint(reg64(&h, HSL_REG_Q(0) + HSL_Q_COUNTER(HSL_CNT_OPS)), ==,
                    i);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_DOORBELLS)), ==, i);
    hsl_quit(&h);
}

/* Hostile descriptors: each completes with its status, the next one runs */
static void test_bad_descriptors(void)
{
    const unsigned order = 4;
    struct hsl_cqe c;
    uint32_t i = 0;
    Hsl h;
    const struct hsl_desc invalid[] = {
        { .op = HSL_OP_NR },
        { .op = 0xff },
        { .op = HSL_OP_NOP, .flags = 0x80 },
        { .op = HSL_OP_NOP, .reserved0 = 1 },
        { .op = HSL_OP_NOP, .reserved1[0] = 1 },
        { .op = HSL_OP_NOP, .reserved1[1] = 1ull << 63 },
        { .op = HSL_OP_NOP, .len = 1 },
        { .op = HSL_OP_COPY, .dst = DST, .src = SRC, .len = 0x40000001 },
        { .op = HSL_OP_COPY, .dst = -8ull, .src = SRC, .len = 16 },
        { .op = HSL_OP_COPY, .dst = DST, .src = -8ull, .len = 16 },
        { .op = HSL_OP_ATOMIC_ADD, .dst = DST, .len = 2 },
        { .op = HSL_OP_ATOMIC_ADD, .dst = DST + 4, .len = 8 },
        { .op = HSL_OP_ATOMIC_CAS, .dst = DST + 2, .len = 4 },
        { .op = HSL_OP_ATOMIC_SWAP, .dst = DST, .len = 0 },
    };

    hsl_start(&h, "");
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(&h, 0);
    queue_config(&h, 0, order);
    set64(&h, HSL_REG_Q(0) + HSL_Q_OPS, BIT(HSL_OP_NOP) | BIT(HSL_OP_COPY) |
          BIT(HSL_OP_ATOMIC_ADD) | BIT(HSL_OP_ATOMIC_CAS) |
          BIT(HSL_OP_ATOMIC_SWAP));
    queue_run(&h, 0);

    for (int j = 0; j < ARRAY_SIZE(invalid); j++) {
        c = run_one(&h, order, &i, invalid[j]);
        g_assert_cmpint(c.status, ==, HSL_ST_INVALID);
        g_assert_cmpint(c.bytes, ==, 0);
    }
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = DST, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_NOT_PERMITTED);

    /* This device's own registers, and nothing at all */
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = h.ctrl_addr + HSL_REG_CTRL, .src = SRC,
        .len = 4 });
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    g_assert_cmphex(c.addr, ==, h.ctrl_addr + HSL_REG_CTRL);
    g_assert_cmpint(c.access, ==, HSL_ACCESS_WRITE);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = DST, .src = 1ull << 45, .len = 4096 });
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    g_assert_cmpint(c.access, ==, 0);
    /* The end of RAM: what lies before it is done and counted */
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = DST, .src = 256 * MiB - 10000,
        .len = 20000 });
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    g_assert_cmpint(c.bytes, ==, 10000);
    g_assert_cmphex(c.addr, ==, 256 * MiB);

    c = run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmphex(reg(&h, HSL_REG_CTRL), ==, HSL_CTRL_ENABLE);
    hsl_quit(&h);
}

static void evq_on(Hsl *h, uint64_t base, unsigned order)
{
    set64(h, HSL_REG_EVQ_BASE, base);
    set(h, HSL_REG_EVQ_ORDER, order);
    set(h, HSL_REG_EVQ_VECTOR, 0);
    set(h, HSL_REG_EVQ_CTRL, HSL_EVQ_ENABLE);
}

static struct hsl_hw_event get_event(Hsl *h, uint32_t index)
{
    struct hsl_hw_event ev;

    wait_for((int32_t)(reg(h, HSL_REG_EVQ_TAIL) - index) > 0);
    qtest_memread(h->qts, EVQ + (index & 63) * sizeof(ev), &ev, sizeof(ev));
    set(h, HSL_REG_EVQ_HEAD, index + 1);
    return ev;
}

/* Queues */

static void expect_refused(Hsl *h, unsigned offset, uint64_t val, bool wide,
                           enum hsl_q_error error)
{
    set(h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    g_assert_cmphex(q_status(h, 0), ==, HSL_Q_STOPPED);
    queue_config(h, 0, 4);
    if (wide) {
        set64(h, HSL_REG_Q(0) + offset, val);
    } else {
        set(h, HSL_REG_Q(0) + offset, val);
    }
    queue_run(h, 0);
    g_assert_cmphex(q_status(h, 0), ==, HSL_Q_FAILED | error << 8);
}

static void test_queue_refused(void)
{
    Hsl h;

    hsl_start(&h, "");
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    evq_on(&h, EVQ, 6);
    context_on(&h, 0);
    expect_refused(&h, HSL_Q_SQ_ORDER, 0, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_SQ_ORDER, 31, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_SQ_ORDER, 0xffffffff, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_CQ_ORDER, 3, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_SQ_BASE, SQ + 32, true, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_SQ_BASE, -64ull, true, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_CQ_BASE, CQ + 8, true, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_CTL_BASE, CTL + 64, true, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_VECTOR, 4096, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_OPS, 1ull << 40, true, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_PRIORITY, 4, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_COALESCE_USECS, 2000000, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_COALESCE_COUNT, 2, false, HSL_QERR_CONFIG);
    expect_refused(&h, HSL_Q_CONTEXT, 1, false, HSL_QERR_CONTEXT);
    expect_refused(&h, HSL_Q_CONTEXT, 0xffffffff, false, HSL_QERR_CONTEXT);

    /* Of none of these there is an event, unlike of the next one */
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    queue_on(&h, 0, 4);
    doorbell(&h, 0, 999);
    wait_for(reg(&h, HSL_REG_EVQ_TAIL) == 1);
    g_assert_cmpint(get_event(&h, 0).code, ==, HSL_QERR_DOORBELL);
    g_assert_cmpint(reg(&h, HSL_REG_EVQ_LOST), ==, 0);
    hsl_quit(&h);
}

/* Many laps of a small ring, in bursts as large as the ring */
static void test_wrap(void)
{
    const unsigned order = 2;
    uint32_t head = 0, tail = 0;
    struct hsl_cqe c;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    while (head < 400) {
        unsigned burst = g_test_rand_int_range(1, 5);

        for (unsigned j = 0; j < burst; j++, tail++) {
            put_desc(&h, 0, order, tail, &(struct hsl_desc) {
                .op = HSL_OP_ATOMIC_ADD, .dst = DST, .len = 8,
                .operand[0] = 1, .user_data = tail,
                .flags = HSL_DESC_F_FENCE });
        }
        submit(&h, 0, tail);
        for (; head != tail; head++) {
            wait_for(get_cqe(&h, 0, order, head, &c));
            g_assert_cmpint(c.user_data, ==, head);
            g_assert_cmpint(c.result, ==, head);
        }
        qtest_writel(h.qts, CTL + offsetof(struct hsl_q_ctl, cq_head), head);
    }
    wait_for(qtest_readl(h.qts, CTL) == tail);
    g_assert_cmpint(qtest_readq(h.qts, DST), ==, tail);
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_RUNNING);
    hsl_quit(&h);
}

/* Work is found without a doorbell while awake, with one when asked for */
static void test_db_needed(void)
{
    const unsigned order = 4;
    struct hsl_cqe c;
    uint64_t ctl = CTL;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    for (uint32_t i = 0; i < 200; i++) {
        put_desc(&h, 0, order, i, &(struct hsl_desc) { .op = HSL_OP_NOP });
        qtest_writel(h.qts, ctl + offsetof(struct hsl_q_ctl, sq_tail), i + 1);
        wait_for(get_cqe(&h, 0, order, i, &c) ||
                 qtest_readl(h.qts,
                             ctl + offsetof(struct hsl_q_ctl, db_needed)));
        if (!get_cqe(&h, 0, order, i, &c)) {
            doorbell(&h, 0, i + 1);
        }
        wait_for(get_cqe(&h, 0, order, i, &c));
        qtest_writel(h.qts, ctl + offsetof(struct hsl_q_ctl, cq_head), i + 1);
    }
    hsl_quit(&h);
}

static void test_bad_doorbell(void)
{
    const unsigned order = 4;
    const uint32_t bad[] = { 17, 0x80000000, 0xffffffff, 0xfffffff0 };
    uint32_t i = 0;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    queue_on(&h, 1, order);
    for (int j = 0; j < ARRAY_SIZE(bad); j++) {
        doorbell(&h, 1, bad[j]);
        wait_for(q_status(&h, 1) == (HSL_Q_FAILED | HSL_QERR_DOORBELL << 8));
        g_assert_cmpint(run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_NOP }).status, ==, HSL_ST_OK);
        set(&h, HSL_REG_Q(1) + HSL_Q_CTRL, 0);
        queue_on(&h, 1, order);
    }

    /* Other offsets, sizes and queues that do not exist do nothing */
    qpci_io_writeb(h.dev, h.db, HSL_DB_STRIDE, 17);
    qpci_io_writew(h.dev, h.db, HSL_DB_STRIDE, 17);
    qpci_io_writeq(h.dev, h.db, HSL_DB_STRIDE, 17);
    qpci_io_writel(h.dev, h.db, HSL_DB_STRIDE + 4, 17);
    qpci_io_writel(h.dev, h.db, HSL_DB_STRIDE + 0xffc, 17);
    g_assert_cmpint(qpci_io_readl(h.dev, h.db, HSL_DB_STRIDE), ==, 0);
    g_assert_cmpint(run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_NOP }).status, ==, HSL_ST_OK);
    g_assert_cmphex(q_status(&h, 1), ==, HSL_Q_RUNNING);
    hsl_quit(&h);
}

/* A tail word that lies */
static void test_bad_tail_word(void)
{
    Hsl h;

    hsl_start(&h, "");
    up(&h, 4);
    qtest_writel(h.qts, CTL + offsetof(struct hsl_q_ctl, sq_tail), 1000);
    doorbell(&h, 0, 0);
    wait_for(q_status(&h, 0) == (HSL_Q_FAILED | HSL_QERR_DOORBELL << 8));
    hsl_quit(&h);
}

/* Signals: queue 0 rings queue 1 */

static bool signal_entry(Hsl *h, int n, uint32_t user, uint32_t node,
                         uint32_t queue)
{
    uint64_t r = HSL_REG_SIGNAL(n);

    set(h, r + HSL_SIGNAL_CTRL, 0);
    set(h, r + HSL_SIGNAL_USER, user);
    set(h, r + HSL_SIGNAL_NODE, node);
    set(h, r + HSL_SIGNAL_QUEUE, queue);
    set(h, r + HSL_SIGNAL_CTRL, HSL_SIGNAL_VALID);
    return reg(h, r + HSL_SIGNAL_CTRL) == HSL_SIGNAL_VALID;
}

static enum hsl_status signal_send(Hsl *h, unsigned order, uint32_t *index,
                                   uint64_t entry, uint32_t tail)
{
    struct hsl_cqe c = run_one(h, order, index, (struct hsl_desc) {
        .op = HSL_OP_SIGNAL, .operand = { entry, tail } });

    g_assert_cmpint(c.bytes, ==, 0);
    g_assert_cmphex(c.addr, ==, 0);
    return c.status;
}

static void test_signal_table(void)
{
    const uint64_t last = HSL_REG_SIGNAL(HSL_MAX_SIGNALS - 1);
    const unsigned order = 4;
    uint32_t i = 0;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    /* A queue that does not run, or is not there, on this node or another */
    g_assert_false(signal_entry(&h, 0, 0, HSL_NODE_NONE, 1));
    g_assert_false(signal_entry(&h, 0, 0, HSL_NODE_NONE, 0xffffffff));
    g_assert_false(signal_entry(&h, 0, 0, 0, 0));
    g_assert_true(signal_entry(&h, 255, 7, HSL_NODE_NONE, 0));
    g_assert_cmphex(reg(&h, last + HSL_SIGNAL_USER), ==, 7);
    g_assert_cmphex(reg(&h, last + HSL_SIGNAL_NODE), ==, HSL_NODE_NONE);
    /* While it is valid it stays as it is */
    set(&h, last + HSL_SIGNAL_USER, 0);
    set(&h, last + HSL_SIGNAL_QUEUE, 3);
    g_assert_cmphex(reg(&h, last + HSL_SIGNAL_USER), ==, 7);
    g_assert_cmphex(reg(&h, last + HSL_SIGNAL_QUEUE), ==, 0);
    /* Nothing is behind the table */
    set(&h, HSL_REG_SIGNAL(HSL_MAX_SIGNALS), 1);
    g_assert_cmphex(reg(&h, HSL_REG_SIGNAL(HSL_MAX_SIGNALS)), ==, 0);

    /* Not there, not valid, of another context */
    g_assert_cmpint(signal_send(&h, order, &i, 256, 1), ==,
                    HSL_ST_NOT_PERMITTED);
    g_assert_cmpint(signal_send(&h, order, &i, 1ull << 32, 1), ==,
                    HSL_ST_NOT_PERMITTED);
    g_assert_cmpint(signal_send(&h, order, &i, 0, 1), ==,
                    HSL_ST_NOT_PERMITTED);
    g_assert_cmpint(signal_send(&h, order, &i, 255, 1), ==,
                    HSL_ST_NOT_PERMITTED);
    g_assert_cmpint(run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_SIGNAL, .operand = { 255, 1ull << 32 } }).status, ==,
        HSL_ST_INVALID);
    g_assert_cmpint(run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_SIGNAL, .len = 1, .operand = { 255, 1 } }).status, ==,
        HSL_ST_INVALID);

    set(&h, HSL_REG_CTRL, HSL_CTRL_RESET);
    for (uint64_t r = HSL_REG_SIGNAL(0); r < last + HSL_SIGNAL_STRIDE; r += 4) {
        g_assert_cmphex(reg(&h, r), ==, 0);
    }
    hsl_quit(&h);
}

static void test_signal(void)
{
    const unsigned order = 4;
    const uint64_t words = CTL + QSTRIDE;
    const uint32_t bad[] = { 17, 0x80000000, 0xffffffff, 0xfffffff0 };
    uint32_t i = 0, n = 0;
    struct hsl_cqe c;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    queue_on(&h, 1, order);
    g_assert_true(signal_entry(&h, 3, 0, HSL_NODE_NONE, 1));
    for (int j = 0; j < ARRAY_SIZE(bad); j++) {
        g_assert_cmpint(signal_send(&h, order, &i, 3, bad[j]), ==,
                        HSL_ST_INVALID);
    }
    g_assert_cmphex(q_status(&h, 1), ==, HSL_Q_RUNNING);
    g_assert_cmpint(reg64(&h, HSL_REG_Q(1) +
                              HSL_Q_COUNTER(HSL_CNT_DOORBELLS)), ==, 0);

    /* sq_tail of queue 1 stays 0, many rings long */
    while (n < 100) {
        unsigned batch = 1 + n % 16;

        for (unsigned j = 0; j < batch; j++) {
            put_desc(&h, 1, order, n + j, &(struct hsl_desc) {
                .op = HSL_OP_ATOMIC_ADD, .dst = DST, .len = 8,
                .operand = { 1 }, .user_data = n + j,
                .flags = HSL_DESC_F_FENCE });
        }
        n += batch;
        /* Also one that has been passed: no harm */
        g_assert_cmpint(signal_send(&h, order, &i, 3, n - batch), ==,
                        HSL_ST_OK);
        g_assert_cmpint(signal_send(&h, order, &i, 3, n), ==, HSL_ST_OK);
        wait_for(get_cqe(&h, 1, order, n - 1, &c));
        g_assert_cmpint(c.user_data, ==, n - 1);
        qtest_writel(h.qts, words + offsetof(struct hsl_q_ctl, cq_head), n);
    }
    g_assert_cmpint(qtest_readq(h.qts, DST), ==, n);
    /* A submission goes on from there, and the stale word is no error then */
    put_desc(&h, 1, order, n, &(struct hsl_desc) { .op = HSL_OP_NOP });
    submit(&h, 1, n + 1);
    wait_for(get_cqe(&h, 1, order, n, &c));
    g_assert_cmphex(q_status(&h, 1), ==, HSL_Q_RUNNING);
    /* Back to a word that was good once is none any more */
    qtest_writel(h.qts, words + offsetof(struct hsl_q_ctl, sq_tail), 1);
    doorbell(&h, 1, n + 1);
    wait_for(q_status(&h, 1) == (HSL_Q_FAILED | HSL_QERR_DOORBELL << 8));

    /* The run has ended, and the next one is another */
    g_assert_cmpint(signal_send(&h, order, &i, 3, n), ==,
                    HSL_ST_NOT_PERMITTED);
    set(&h, HSL_REG_Q(1) + HSL_Q_CTRL, 0);
    queue_on(&h, 1, order);
    put_desc(&h, 1, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
    g_assert_cmpint(signal_send(&h, order, &i, 3, 1), ==,
                    HSL_ST_NOT_PERMITTED);
    g_assert_false(get_cqe(&h, 1, order, 0, &c));
    g_assert_true(signal_entry(&h, 3, 0, HSL_NODE_NONE, 1));
    g_assert_cmpint(signal_send(&h, order, &i, 3, 1), ==, HSL_ST_OK);
    wait_for(get_cqe(&h, 1, order, 0, &c));
    hsl_quit(&h);
}

static void test_bad_rings(void)
{
    const struct { unsigned offset; enum hsl_q_error error; } rings[] = {
        { HSL_Q_SQ_BASE, HSL_QERR_BUS },
        { HSL_Q_CQ_BASE, HSL_QERR_BUS },
        { HSL_Q_CTL_BASE, HSL_QERR_BUS },
    };
    const unsigned order = 4;
    uint32_t i = 0;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    for (int j = 0; j < ARRAY_SIZE(rings); j++) {
        for (int own = 0; own < 2; own++) {
            queue_config(&h, 1, order);
            set64(&h, HSL_REG_Q(1) + rings[j].offset,
                  own ? h.ctrl_addr : 1ull << 44);
            put_desc(&h, 1, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
            queue_run(&h, 1);
            submit(&h, 1, 1);
            wait_for(q_status(&h, 1) ==
                     (HSL_Q_FAILED | rings[j].error << 8));
            set(&h, HSL_REG_Q(1) + HSL_Q_CTRL, 0);
            g_assert_cmphex(q_status(&h, 1), ==, HSL_Q_STOPPED);
        }
    }
    g_assert_cmpint(run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_NOP }).status, ==, HSL_ST_OK);
    hsl_quit(&h);
}

static void test_cq_overflow(void)
{
    const unsigned order = 2;
    struct hsl_cqe c;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    for (uint32_t i = 0; i < 4; i++) {
        put_desc(&h, 0, order, i, &(struct hsl_desc) { .op = HSL_OP_NOP });
    }
    submit(&h, 0, 4);
    for (uint32_t i = 0; i < 4; i++) {
        wait_for(get_cqe(&h, 0, order, i, &c));
    }
    /* None consumed: a fifth would overwrite the first */
    submit(&h, 0, 5);
    wait_for(q_status(&h, 0) == (HSL_Q_FAILED | HSL_QERR_CQ_OVERFLOW << 8));
    for (uint32_t i = 0; i < 4; i++) {
        g_assert_true(get_cqe(&h, 0, order, i, &c));
    }
    hsl_quit(&h);
}

static void test_many_queues(void)
{
    const unsigned order = 3, nr = 256;
    Hsl h;
    struct hsl_cqe c;

    hsl_start(&h, "");
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(&h, 0);
    /* The rings of all, at 4 KiB each, do not fit the stride of the others */
    for (unsigned q = 0; q < nr; q++) {
        uint64_t r = HSL_REG_Q(q), base = 0x4000000 + q * 0x1000;

        qtest_memset(h.qts, base, 0, 0x1000);
        set64(&h, r + HSL_Q_SQ_BASE, base);
        set64(&h, r + HSL_Q_CQ_BASE, base + 0x800);
        set64(&h, r + HSL_Q_CTL_BASE, base + 0xc00);
        set(&h, r + HSL_Q_SQ_ORDER, order);
        set(&h, r + HSL_Q_CQ_ORDER, order);
        set64(&h, r + HSL_Q_OPS, BIT(HSL_OP_ATOMIC_ADD));
        set(&h, r + HSL_Q_PRIORITY, q % 4);
        queue_run(&h, q);
        for (int i = 0; i < 8; i++) {
            struct hsl_desc d = { .op = HSL_OP_ATOMIC_ADD,
                .len = cpu_to_le32(8), .dst = cpu_to_le64(DST),
                .operand[0] = cpu_to_le64(1) };

            qtest_memwrite(h.qts, base + i * 64, &d, sizeof(d));
        }
    }
    qtest_writeq(h.qts, DST, 0);
    for (unsigned q = 0; q < nr; q++) {
        doorbell(&h, q, 8);
    }
    for (unsigned q = 0; q < nr; q++) {
        for (int i = 0; i < 8; i++) {
            wait_for((qtest_memread(h.qts, 0x4000000 + q * 0x1000 + 0x800 +
                                    i * 32, &c, sizeof(c)),
                      le16_to_cpu(c.lap) == 1));
            g_assert_cmpint(c.status, ==, HSL_ST_OK);
        }
    }
    g_assert_cmpint(qtest_readq(h.qts, DST), ==, nr * 8);
    hsl_quit(&h);
}

/* Events and interrupts */

static void test_events(void)
{
    const unsigned order = 4;
    struct hsl_hw_event ev;
    uint32_t i = 0, tail;
    Hsl h;

    hsl_start(&h, ",queues=2");
    up(&h, order);
    evq_on(&h, EVQ, 3);
    g_assert_cmpint(reg(&h, HSL_REG_EVQ_CTRL), ==, HSL_EVQ_ENABLE);

    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = 1ull << 40, .src = SRC, .len = 8 });
    wait_for(reg(&h, HSL_REG_EVQ_TAIL) == 1);
    qtest_memread(h.qts, EVQ, &ev, sizeof(ev));
    g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_PAGE_FAULT);
    g_assert_cmpint(ev.code, ==, HSL_ST_BUS_ERROR);
    g_assert_cmpint(ev.access, ==, HSL_ACCESS_WRITE);
    g_assert_cmphex(le64_to_cpu(ev.addr), ==, 1ull << 40);
    g_assert_cmphex(le64_to_cpu(ev.user_data), ==, 0xabc000);

    /* Faults without end are counted as lost, not written over others */
    for (int j = 0; j < 12; j++) {
        run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = 1ull << 40, .src = SRC, .len = 8 });
    }
    wait_for(reg(&h, HSL_REG_EVQ_LOST) + reg(&h, HSL_REG_EVQ_TAIL) == 13);
    /* one context has half of the room for them; */
    tail = reg(&h, HSL_REG_EVQ_TAIL);
    g_assert_cmpint(tail, ==, 3);
    context_on(&h, 1);
    queue_config(&h, 1, order);
    set(&h, HSL_REG_Q(1) + HSL_Q_CONTEXT, 1);
    queue_run(&h, 1);
    put_desc(&h, 1, order, 0, &(struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = 1ull << 40, .src = SRC, .len = 8 });
    submit(&h, 1, 1);
    wait_for(reg(&h, HSL_REG_EVQ_TAIL) == tail + 1);
    qtest_memread(h.qts, EVQ + tail * sizeof(ev), &ev, sizeof(ev));
    g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_PAGE_FAULT);
    g_assert_cmpint(le32_to_cpu(ev.context), ==, 1);
    /* and there is room for the failure of a queue */
    doorbell(&h, 1, 999);
    wait_for(reg(&h, HSL_REG_EVQ_TAIL) == tail + 2);
    qtest_memread(h.qts, EVQ + (tail + 1) * sizeof(ev), &ev, sizeof(ev));
    g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_QUEUE_ERROR);
    g_assert_cmpint(ev.code, ==, HSL_QERR_DOORBELL);
    g_assert_cmpint(le32_to_cpu(ev.queue), ==, 1);

    /* A head that was never produced is refused, and one that goes back */
    set(&h, HSL_REG_EVQ_HEAD, 100);
    g_assert_cmpint(reg(&h, HSL_REG_EVQ_HEAD), ==, 0);
    set(&h, HSL_REG_EVQ_HEAD, 5);
    set(&h, HSL_REG_EVQ_HEAD, 2);
    g_assert_cmpint(reg(&h, HSL_REG_EVQ_HEAD), ==, 5);
    /* What has been read counts no more */
    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = 1ull << 40, .src = SRC, .len = 8 });
    wait_for(reg(&h, HSL_REG_EVQ_TAIL) == tail + 3);

    /* An event queue in this device's own registers */
    set(&h, HSL_REG_EVQ_CTRL, 0);
    evq_on(&h, h.ctrl_addr, 3);
    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = 1ull << 40, .src = SRC, .len = 8 });
    wait_for(reg(&h, HSL_REG_STATUS) & HSL_STATUS_EVQ_ERROR);
    g_assert_cmpint(run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_NOP }).status, ==, HSL_ST_OK);
    /* What comes while it is off is lost as well */
    set(&h, HSL_REG_EVQ_CTRL, 0);
    tail = reg(&h, HSL_REG_EVQ_LOST);
    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = 1ull << 40, .src = SRC, .len = 8 });
    wait_for(reg(&h, HSL_REG_EVQ_LOST) == tail + 1);
    hsl_quit(&h);
}

static void msix_entry(Hsl *h, int n, uint64_t addr, uint32_t data)
{
    uint64_t e = HSL_MSIX_TABLE + n * 16;

    set(h, e, addr);
    set(h, e + 4, addr >> 32);
    set(h, e + 8, data);
    set(h, e + 12, 0);
}

static void test_interrupts(void)
{
    const unsigned order = 4;
    uint64_t event = CTL + offsetof(struct hsl_q_ctl, cq_event);
    uint64_t irqs = HSL_REG_COUNTER(HSL_CNT_INTERRUPTS);
    uint32_t i = 0;
    Hsl h;

    hsl_start(&h, "");
    /* This maps the BAR once more */
    qpci_msix_enable(h.dev);
    h.ctrl = h.dev->msix_table_bar;
    h.ctrl_addr = qpci_config_readl(h.dev, PCI_BASE_ADDRESS_0) & ~0xf;
    /* Messages to memory, where they can be seen */
    msix_entry(&h, 1, DST, 0x1234);
    msix_entry(&h, 2, h.ctrl_addr + HSL_REG_CTRL, HSL_CTRL_RESET);
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(&h, 0);
    queue_config(&h, 0, order);
    set(&h, HSL_REG_Q(0) + HSL_Q_VECTOR, 1);
    qtest_writel(h.qts, event, 2);
    queue_run(&h, 0);

    /* At the completion asked for, once */
    for (int j = 0; j < 6; j++) {
        run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
        if (j < 2) {
            g_assert_cmpint(reg64(&h, irqs), ==, 0);
        } else {
            wait_for(reg64(&h, irqs) == 1);
        }
    }
    wait_for(qtest_readl(h.qts, DST) == 0x1234);

    /* Gathered until the count or, by the virtual clock, the time */
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    queue_config(&h, 0, order);
    set(&h, HSL_REG_Q(0) + HSL_Q_VECTOR, 1);
    set(&h, HSL_REG_Q(0) + HSL_Q_COALESCE_COUNT, 3);
    set(&h, HSL_REG_Q(0) + HSL_Q_COALESCE_USECS, 500);
    queue_run(&h, 0);
    i = 0;
    run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    g_assert_cmpint(reg64(&h, irqs), ==, 1);
    run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    wait_for(reg64(&h, irqs) == 2);
    qtest_writel(h.qts, event, i);
    run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    wait_for(qtest_readl(h.qts, CTL + offsetof(struct hsl_q_ctl, db_needed)));
    g_assert_cmpint(reg64(&h, irqs), ==, 2);
    qtest_clock_step(h.qts, 600 * 1000);
    wait_for(reg64(&h, irqs) == 3);

    /* A message addressed to this device's own reset does not reset it */
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    queue_config(&h, 0, order);
    set(&h, HSL_REG_Q(0) + HSL_Q_VECTOR, 2);
    set(&h, HSL_REG_Q(0) + HSL_Q_COALESCE_COUNT, 0);
    queue_run(&h, 0);
    i = 0;
    run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    wait_for(reg64(&h, irqs) == 4);
    g_assert_cmphex(reg(&h, HSL_REG_CTRL), ==, HSL_CTRL_ENABLE);
    hsl_quit(&h);
}

/* A message that is masked shows in the PBA, and goes when it no longer is */
static void test_pending(void)
{
    const unsigned order = 4;
    uint32_t i = 0;
    Hsl h;

    hsl_start(&h, "");
    qpci_msix_enable(h.dev);
    h.ctrl = h.dev->msix_table_bar;
    msix_entry(&h, 1, DST, 0x1234);
    set(&h, HSL_MSIX_TABLE + 16 + 12, 1);
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(&h, 0);
    queue_config(&h, 0, order);
    set(&h, HSL_REG_Q(0) + HSL_Q_VECTOR, 1);
    queue_run(&h, 0);
    g_assert_cmphex(reg(&h, HSL_MSIX_PBA), ==, 0);
    run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
    wait_for(reg64(&h, HSL_REG_COUNTER(HSL_CNT_INTERRUPTS)) == 1);
    wait_for(reg(&h, HSL_MSIX_PBA) == BIT(1));
    g_assert_cmphex(qtest_readl(h.qts, DST), ==, 0);
    set(&h, HSL_MSIX_TABLE + 16 + 12, 0);
    g_assert_cmphex(qtest_readl(h.qts, DST), ==, 0x1234);
    g_assert_cmphex(reg(&h, HSL_MSIX_PBA), ==, 0);
    hsl_quit(&h);
}

/* Who got how much of the engine: each operation draws a number */
static void test_priority(void)
{
    const unsigned order = 10, n = 1 << 10;
    uint64_t drawn[4] = { 0 };
    struct hsl_cqe c;
    Hsl h;

    hsl_start(&h, "");
    context_on(&h, 0);
    /* All are there before any runs */
    for (int q = 0; q < 4; q++) {
        queue_config(&h, q, order);
        set64(&h, HSL_REG_Q(q) + HSL_Q_SQ_BASE, SHARE_RINGS + q * n * 64);
        set64(&h, HSL_REG_Q(q) + HSL_Q_CQ_BASE, SHARE_RINGS + (4 + q) * n * 64);
        qtest_memset(h.qts, SHARE_RINGS + (4 + q) * n * 64, 0, n * 32);
        set(&h, HSL_REG_Q(q) + HSL_Q_PRIORITY, q);
        for (int i = 0; i < n; i++) {
            struct hsl_desc d = {
                .op = HSL_OP_ATOMIC_ADD, .len = cpu_to_le32(8),
                .dst = cpu_to_le64(DST), .operand[0] = cpu_to_le64(1),
            };

            qtest_memwrite(h.qts, SHARE_RINGS + (q * n + i) * 64, &d,
                           sizeof(d));
        }
        qtest_writel(h.qts, CTL + q * QSTRIDE +
                     offsetof(struct hsl_q_ctl, sq_tail), n);
        queue_run(&h, q);
    }
    qtest_writeq(h.qts, DST, 0);
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    wait_for(qtest_readq(h.qts, DST) == 4 * n);

    /* As long as all had work left: of 15 shares 1, 2, 4 and 8 */
    for (int q = 0; q < 4; q++) {
        for (int i = 0; i < n; i++) {
            qtest_memread(h.qts, SHARE_RINGS + (4 + q) * n * 64 + i * 32, &c,
                          sizeof(c));
            g_assert_cmpint(c.status, ==, HSL_ST_OK);
            drawn[q] += le64_to_cpu(c.result) < n * 15 / 8;
        }
    }
    g_test_message("shares %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
                   drawn[0], drawn[1], drawn[2], drawn[3]);
    for (int q = 0; q < 4; q++) {
        g_assert_cmpint(drawn[q], >=, (n / 8 << q) * 3 / 4);
        g_assert_cmpint(drawn[q], <=, (n / 8 << q) * 5 / 4);
    }
    hsl_quit(&h);
}

/* Ends */

static void test_context_off(void)
{
    const unsigned order = 4;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL, 0);
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_FAILED | HSL_QERR_CONTEXT << 8);
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    queue_run(&h, 0);
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_FAILED | HSL_QERR_CONTEXT << 8);
    hsl_quit(&h);
}

static void expect_reset(Hsl *h, uint32_t generation)
{
    g_assert_cmpint(reg(h, HSL_REG_GENERATION), ==, generation + 1);
    g_assert_cmphex(reg(h, HSL_REG_CTRL), ==, 0);
    g_assert_cmphex(q_status(h, 0), ==, HSL_Q_STOPPED);
    g_assert_cmphex(reg64(h, HSL_REG_Q(0) + HSL_Q_SQ_BASE), ==, 0);
    g_assert_cmphex(reg(h, HSL_REG_CTX(0) + HSL_CTX_CTRL), ==, 0);
    g_assert_cmpint(reg64(h, HSL_REG_COUNTER(HSL_CNT_OPS)), ==, 0);
}

static void test_reset(void)
{
    const unsigned order = 4;
    uint32_t i, generation;
    uint32_t bars[6];
    unsigned exp;
    Hsl h;

    hsl_start(&h, "");
    for (int round = 0; round < 2; round++) {
        generation = reg(&h, HSL_REG_GENERATION);
        up(&h, order);
        i = 0;
        run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
        /* Something under way */
        put_desc(&h, 0, order, i, &(struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = SRC, .len = 200 * MiB });
        submit(&h, 0, i + 1);
        if (round == 0) {
            set(&h, HSL_REG_CTRL, HSL_CTRL_RESET);
            expect_reset(&h, generation);
            continue;
        }
        for (int b = 0; b < 6; b++) {
            bars[b] = qpci_config_readl(h.dev, PCI_BASE_ADDRESS_0 + 4 * b);
        }
        exp = qpci_find_capability(h.dev, PCI_CAP_ID_EXP, 0);
        qpci_config_writew(h.dev, exp + PCI_EXP_DEVCTL,
                           PCI_EXP_DEVCTL_BCR_FLR);
        for (int b = 0; b < 6; b++) {
            qpci_config_writel(h.dev, PCI_BASE_ADDRESS_0 + 4 * b, bars[b]);
        }
        qpci_device_enable(h.dev);
        expect_reset(&h, generation);
    }
    hsl_quit(&h);
}

/* No bus mastering, no access */
static void test_bus_master(void)
{
    const unsigned order = 4;
    struct hsl_cqe c;
    uint16_t cmd;
    Hsl h;

    hsl_start(&h, "");
    up(&h, order);
    wait_for(qtest_readl(h.qts, CTL + offsetof(struct hsl_q_ctl, db_needed)));
    cmd = qpci_config_readw(h.dev, PCI_COMMAND);
    qpci_config_writew(h.dev, PCI_COMMAND, cmd & ~PCI_COMMAND_MASTER);
    put_desc(&h, 0, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
    submit(&h, 0, 1);
    g_usleep(50000);
    g_assert_false(get_cqe(&h, 0, order, 0, &c));
    qpci_config_writew(h.dev, PCI_COMMAND, cmd);
    wait_for(get_cqe(&h, 0, order, 0, &c));
    hsl_quit(&h);
}

static void test_unplug(void)
{
    const unsigned order = 4;
    QTestState *qts;
    Hsl h;

    qts = qtest_init("-machine q35 -m 256M -nodefaults "
                     "-device hsl,id=hsl,addr=4.0,memsize=64M "
                     "-device pcie-root-port,id=rp,addr=5.0,chassis=1");
    hsl_attach(&h, qts, true);
    /* Realize and unrealize while another one works */
    up(&h, order);
    for (int i = 0; i < 3; i++) {
        put_desc(&h, 0, order, i, &(struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = SRC, .len = 100 * MiB });
        submit(&h, 0, i + 1);
        qtest_qmp_device_add(qts, "hsl", "h2", "{'bus': 'rp'}");
        qtest_qmp_assert_success(qts, "{'execute': 'device_del', "
                                 "'arguments': {'id': 'h2'}}");
        qtest_system_reset_nowait(qts);
        /* The event of the reset may come before or after this one */
        qtest_qmp_eventwait(qts, "DEVICE_DELETED");
        wait_for(!qpci_config_readw(h.dev, PCI_COMMAND));
        g_free(h.dev);
        qpci_free_pc(h.bus);
        hsl_attach(&h, qts, true);
        up(&h, order);
    }
    hsl_quit(&h);
}

static unsigned ecam_cap(QTestState *qts, uint64_t function, uint8_t id)
{
    unsigned cap = qtest_readb(qts, function + PCI_CAPABILITY_LIST);

    while (qtest_readb(qts, function + cap) != id) {
        cap = qtest_readb(qts, function + cap + 1);
        g_assert_cmpint(cap, !=, 0);
    }
    return cap;
}

/* A device in a slot, with the registers of its port by ECAM */

#define SLOT_PORT       (ECAM + (QPCI_DEVFN(5, 0) << 12))
#define SLOT_FUNCTION   (ECAM + (1 << 20))

/* Where the port's slot control is; written so, it pulls the device out */
static uint64_t slot_control(Hsl *h)
{
    return SLOT_PORT + PCI_EXP_SLTCTL +
           ecam_cap(h->qts, SLOT_PORT, PCI_CAP_ID_EXP);
}

#define SLOT_OFF        (PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PWR_IND_OFF)

static void slot_start(Hsl *h, const char *more)
{
    const uint32_t ctrl = 0xe0000000, db = 0xe0100000;
    QPCIDevice *host;

    *h = (Hsl) {
        .qts = qtest_initf("-machine q35 -m 256M -nodefaults -global "
                           "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
                           "-device pcie-root-port,id=rp,addr=5.0,chassis=1,"
                           "slot=1 -device hsl,id=hsl,bus=rp,memsize=0 %s",
                           more),
        .config = SLOT_FUNCTION,
    };
    h->bus = qpci_new_pc(h->qts, NULL);
    host = qpci_device_find(h->bus, 0);
    qpci_config_writel(host, 0x64, 0);
    qpci_config_writel(host, 0x60, ECAM | 1);
    g_free(host);

    /* The port: bus 1 behind it, 2 MiB of memory space */
    qtest_writel(h->qts, SLOT_PORT + PCI_PRIMARY_BUS, 0x00010100);
    qtest_writel(h->qts, SLOT_PORT + PCI_MEMORY_BASE, 0xe010e000);
    qtest_writew(h->qts, SLOT_PORT + PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    /* The device */
    g_assert_cmphex(qtest_readl(h->qts, SLOT_FUNCTION), ==, 0x48531234);
    qtest_writel(h->qts, SLOT_FUNCTION + PCI_BASE_ADDRESS_0, ctrl);
    qtest_writel(h->qts, SLOT_FUNCTION + PCI_BASE_ADDRESS_2, db);
    qtest_writew(h->qts, SLOT_FUNCTION + PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    h->dev = g_new0(QPCIDevice, 1);
    h->dev->bus = h->bus;
    h->ctrl.addr = ctrl;
    h->db.addr = db;
    qtest_writew(h->qts, SLOT_FUNCTION + PCI_MSIX_FLAGS +
                 ecam_cap(h->qts, SLOT_FUNCTION, PCI_CAP_ID_MSIX),
                 PCI_MSIX_FLAGS_ENABLE);
    qtest_writew(h->qts, slot_control(h), PCI_EXP_SLTCTL_PWR_IND_ON);
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
}

static void slot_expect_gone(Hsl *h)
{
    QDict *status;

    qtest_qmp_eventwait(h->qts, "DEVICE_DELETED");
    g_assert_cmphex(qtest_readl(h->qts, SLOT_FUNCTION), ==, 0xffffffff);
    status = qtest_qmp_assert_success_ref(h->qts,
                                          "{'execute': 'query-status'}");
    g_assert_true(qdict_get_bool(status, "running"));
    qobject_unref(status);
}

/*
 * An interrupt may be addressed to the register of the slot that pulls the
 * device out: it unrealizes the device from the device's own engine, which has
 * more to tell at that time.
 */
static void test_unplug_by_interrupt(void)
{
    const unsigned order = 4;
    Hsl h;

    slot_start(&h, "");
    context_on(&h, 0);
    /* All is found, and told of, in one pass of the engine */
    qtest_writew(h.qts, SLOT_FUNCTION + PCI_COMMAND, PCI_COMMAND_MEMORY);
    for (int q = 0; q < 3; q++) {
        msix_entry(&h, q + 1, slot_control(&h), SLOT_OFF);
        queue_config(&h, q, order);
        set(&h, HSL_REG_Q(q) + HSL_Q_VECTOR, q + 1);
        queue_run(&h, q);
        put_desc(&h, q, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
        submit(&h, q, 1);
    }
    qtest_writew(h.qts, SLOT_FUNCTION + PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    slot_expect_gone(&h);
    hsl_quit(&h);
}

/*
 * So may an event be, when the ring lies on the port's configuration space: the
 * entry over the slot control says that by its PASID, others leave alone what
 * is needed until then.
 */
static void test_unplug_by_event(void)
{
    const unsigned order = 4, nr = 6;
    const int q = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    unsigned index, field;
    Hsl h;

    slot_start(&h, "");
    index = (slot_control(&h) - SLOT_PORT) / sizeof(struct hsl_hw_event);
    field = (slot_control(&h) - SLOT_PORT) % sizeof(struct hsl_hw_event);
    g_assert_cmpint(field, ==, offsetof(struct hsl_hw_event, pasid));
    g_assert_cmpint(index, <, nr);
    msix_entry(&h, 0, DST, 0x1234);
    /* The queue's number is the command of the port, user_data its buses */
    set(&h, HSL_REG_CTX(1) + HSL_CTX_PASID, SLOT_OFF);
    context_on(&h, 1);
    qtest_writew(h.qts, SLOT_FUNCTION + PCI_COMMAND, PCI_COMMAND_MEMORY);
    queue_config(&h, q, order);
    set(&h, HSL_REG_Q(q) + HSL_Q_CONTEXT, 1);
    queue_run(&h, q);
    for (unsigned i = 0; i < nr; i++) {
        put_desc(&h, q, order, i, &(struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = 1ull << 45, .len = 8,
            .user_data = 0x00010100 });
    }
    submit(&h, q, nr);
    evq_on(&h, SLOT_PORT, 7);
    qtest_writew(h.qts, SLOT_FUNCTION + PCI_COMMAND, q);
    slot_expect_gone(&h);
    g_assert_cmphex(qtest_readl(h.qts, DST), ==, 0);
    hsl_quit(&h);
}

static char *migrate_file(void)
{
    return g_strdup_printf("%s/hsl-test-%d.mig", g_get_tmp_dir(), getpid());
}

/* How the migration of @qts has ended */
static bool migrate_done(QTestState *qts)
{
    QDict *status = qtest_qmp_assert_success_ref(qts, "{'execute': "
                                                 "'query-migrate'}");
    g_autofree char *s = g_strdup(qdict_get_try_str(status, "status"));

    qobject_unref(status);
    g_assert_cmpstr(s, !=, "failed");
    return !g_strcmp0(s, "completed");
}

static void migrate_save(Hsl *h, const char *file)
{
    g_autofree char *uri = g_strdup_printf("file:%s", file);

    qtest_qmp_assert_success(h->qts, "{'execute': 'migrate', 'arguments': "
                             "{'uri': %s}}", uri);
    wait_for(migrate_done(h->qts));
}

/* Stopped already: go on elsewhere, with the same addresses */
static Hsl migrate_with(Hsl *h, const char *devices)
{
    g_autofree char *file = migrate_file();
    Hsl to = *h;

    migrate_save(h, file);
    hsl_attach(&to, qtest_initf("-machine q35 -m 256M -nodefaults %s"
                                "-device hsl,id=hsl,addr=4.0,memsize=64M "
                                "-incoming file:%s", devices, file), false);
    wait_for(({
        QDict *d = qtest_qmp_assert_success_ref(to.qts,
                                                "{'execute': 'query-status'}");
        bool run = qdict_get_bool(d, "running");

        if (!run && !g_strcmp0(qdict_get_str(d, "status"), "paused")) {
            qtest_qmp_assert_success(to.qts, "{'execute': 'cont'}");
        }
        qobject_unref(d);
        run;
    }));
    unlink(file);
    return to;
}

static Hsl migrate(Hsl *h)
{
    return migrate_with(h, "");
}

/*
 * A state in which the big-endian words @from stand once; with the word @n of
 * them changed to @val it is to be refused.
 */
static void expect_not_loaded(const char *file, const uint32_t *from,
                              unsigned nr, unsigned n, uint32_t val)
{
    g_autofree char *bad = g_strdup_printf("%s.bad", file);
    g_autofree char *uri = g_strdup_printf("file:%s", bad);
    g_autofree uint32_t *be = g_new(uint32_t, nr);
    g_autofree char *state = NULL;
    QTestState *qts;
    char *at, *end;
    gsize len;

    for (unsigned i = 0; i < nr; i++) {
        be[i] = cpu_to_be32(from[i]);
    }
    g_assert_true(g_file_get_contents(file, &state, &len, NULL));
    end = state + len;
    at = memmem(state, len, be, nr * 4);
    g_assert_nonnull(at);
    g_assert_null(memmem(at + 1, end - at - 1, be, nr * 4));
    stl_be_p(at + n * 4, val);
    g_assert_true(g_file_set_contents(bad, state, len, NULL));

    qts = qtest_init("-machine q35 -m 256M -nodefaults "
                     "-device hsl,id=hsl,addr=4.0,memsize=64M "
                     "-incoming defer");
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-incoming', "
                             "'arguments': {'uri': %s, "
                             "'exit-on-error': false}}", uri);
    wait_for(({
        QDict *d = qtest_qmp_assert_success_ref(qts, "{'execute': "
                                                "'query-migrate'}");
        bool failed = !g_strcmp0(qdict_get_try_str(d, "status"), "failed");

        g_assert_cmpstr(qdict_get_try_str(d, "status"), !=, "completed");
        qobject_unref(d);
        failed;
    }));
    unlink(bad);
    qtest_quit(qts);
}

/* A state that would lead the device out of its arrays */
static void test_migrate_refused(void)
{
    const uint32_t queue[] = { 0, 29, SQ >> 32, SQ };
    const uint32_t evq[] = { EVQ >> 32, EVQ, 77, 28, 0, 0, 0 };
    const uint32_t context[] = { HSL_XLATE_IOMMU, 0xabcde, 0x12, 0x34567000 };
    g_autofree char *file = migrate_file();
    Hsl h;

    hsl_start(&h, "");
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(&h, 0);
    queue_config(&h, 0, 4);
    set(&h, HSL_REG_Q(0) + HSL_Q_VECTOR, 29);
    queue_run(&h, 0);
    set64(&h, HSL_REG_EVQ_BASE, EVQ);
    set(&h, HSL_REG_EVQ_ORDER, 77);
    set(&h, HSL_REG_EVQ_VECTOR, 28);
    /* What is not used yet may say anything */
    set(&h, HSL_REG_Q(1) + HSL_Q_VECTOR, 4096);
    set(&h, HSL_REG_Q(1) + HSL_Q_CONTEXT, 4096);
    set(&h, HSL_REG_CTX(1) + HSL_CTX_XLATE, context[0]);
    set(&h, HSL_REG_CTX(1) + HSL_CTX_PASID, context[1]);
    set64(&h, HSL_REG_CTX(1) + HSL_CTX_ROOT,
          (uint64_t)context[2] << 32 | context[3]);
    qtest_qmp_assert_success(h.qts, "{'execute': 'stop'}");
    migrate_save(&h, file);
    expect_not_loaded(file, queue, ARRAY_SIZE(queue), 0, 256);
    expect_not_loaded(file, queue, ARRAY_SIZE(queue), 1, 32);
    /* Unread are more than there are */
    expect_not_loaded(file, evq, ARRAY_SIZE(evq), 5, 1);
    expect_not_loaded(file, evq, ARRAY_SIZE(evq), 4, HSL_EVQ_ENABLE);
    /* A PASID of 21 bits */
    expect_not_loaded(file, context, ARRAY_SIZE(context), 1, 1 << 20);
    unlink(file);
    hsl_quit(&h);
}

/* Stop in the middle of a long operation, go on elsewhere */
static void test_migrate(void)
{
    const unsigned order = 6, nr = 40;
    const uint32_t len = 96 * MiB;
    g_autofree uint8_t *page = g_malloc(4096);
    struct hsl_cqe c;
    uint64_t before;
    Hsl h, h2;

    hsl_start(&h, "");
    up(&h, order);
    for (uint64_t a = 0; a < len; a += 4096) {
        memset(page, a >> 12, 4096);
        memcpy(page, &a, sizeof(a));
        qtest_memwrite(h.qts, SRC + a, page, 4096);
    }
    /* Far more than is done by the time of the stop */
    for (unsigned i = 0; i < nr; i++) {
        put_desc(&h, 0, order, i, &(struct hsl_desc) {
            .op = i & 1 ? HSL_OP_COMPARE : HSL_OP_COPY,
            .dst = SRC + len, .src = SRC, .len = len,
            .user_data = 42 + i,
            .flags = HSL_DESC_F_FENCE | HSL_DESC_F_TIMED });
    }
    submit(&h, 0, nr);
    qtest_qmp_assert_success(h.qts, "{'execute': 'stop'}");
    /* Nothing moves while it is stopped */
    before = reg64(&h, HSL_REG_COUNTER(HSL_CNT_ATC_HITS));
    g_assert_false(get_cqe(&h, 0, order, nr - 1, &c));
    g_usleep(20000);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_ATC_HITS)), ==, before);
    h2 = migrate(&h);
    for (unsigned i = 0; i < nr; i++) {
        wait_for(get_cqe(&h2, 0, order, i, &c));
        g_assert_cmpint(c.user_data, ==, 42 + i);
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        g_assert_cmpint(c.bytes, ==, len);
        g_assert_cmpint(c.result, ==, i & 1 ? len : 0);
        /* Nothing of it is lost: both operands, and the longer of two equal */
        g_assert_cmpint(HSL_TIME_MODEL(c.addr), ==,
                        2 * HSL_MODEL_HOST_LATENCY +
                        DIV_ROUND_UP(len * 1000ull, HSL_MODEL_HOST_RATE));
        g_assert_cmpint(HSL_TIME_REAL(c.addr), >, 0);
    }
    for (uint64_t a = 0; a < len; a += 4096) {
        uint64_t got;

        qtest_memread(h2.qts, SRC + len + a, &got, sizeof(got));
        g_assert_cmpint(got, ==, a);
    }
    hsl_quit(&h2);
    hsl_quit(&h);
}

/* Entries, good and left behind, and a tail that the word in memory lags */
static void test_signal_migrate(void)
{
    const unsigned order = 4;
    uint32_t i = 0, n = 40;
    struct hsl_cqe c;
    Hsl h, h2;

    hsl_start(&h, "");
    up(&h, order);
    queue_on(&h, 1, order);
    queue_on(&h, 2, order);
    g_assert_true(signal_entry(&h, 0, 0, HSL_NODE_NONE, 1));
    g_assert_true(signal_entry(&h, 1, 0, HSL_NODE_NONE, 2));
    set(&h, HSL_REG_Q(2) + HSL_Q_CTRL, 0);
    queue_on(&h, 2, order);
    for (uint32_t j = 0; j < n; j++) {
        put_desc(&h, 1, order, j, &(struct hsl_desc) { .op = HSL_OP_NOP });
        g_assert_cmpint(signal_send(&h, order, &i, 0, j + 1), ==, HSL_ST_OK);
        wait_for(get_cqe(&h, 1, order, j, &c));
        qtest_writel(h.qts, CTL + QSTRIDE + offsetof(struct hsl_q_ctl, cq_head),
                     j + 1);
    }
    qtest_qmp_assert_success(h.qts, "{'execute': 'stop'}");
    h2 = migrate(&h);
    put_desc(&h2, 1, order, n, &(struct hsl_desc) { .op = HSL_OP_NOP });
    g_assert_cmpint(signal_send(&h2, order, &i, 1, 1), ==,
                    HSL_ST_NOT_PERMITTED);
    g_assert_cmpint(signal_send(&h2, order, &i, 0, n + 1), ==, HSL_ST_OK);
    wait_for(get_cqe(&h2, 1, order, n, &c));
    g_assert_cmphex(q_status(&h2, 1), ==, HSL_Q_RUNNING);
    hsl_quit(&h2);
    hsl_quit(&h);
}

/* Page tables of the device */

typedef struct Pt {
    Hsl *h;
    uint64_t root, next;
} Pt;

static uint64_t pt_table(Pt *pt)
{
    uint64_t table = pt->next;

    qtest_memset(pt->h->qts, table, 0, 4096);
    pt->next += 4096;
    return table;
}

/* Where the entry of @va in the table of @level is; tables come as needed */
static uint64_t pt_entry(Pt *pt, uint64_t va, int level)
{
    uint64_t table = pt->root;

    for (int l = HSL_PT_LEVELS - 1; ; l--) {
        uint64_t at = table + (va >> (12 + 9 * l) & 511) * 8, pte;

        if (l == level) {
            return at;
        }
        pte = qtest_readq(pt->h->qts, at);
        if (!(pte & HSL_PTE_VALID)) {
            pte = pt_table(pt) | HSL_PTE_VALID;
            qtest_writeq(pt->h->qts, at, pte);
        }
        table = pte & HSL_PTE_ADDR;
    }
}

static void pt_set(Pt *pt, uint64_t va, int level, uint64_t pte)
{
    qtest_writeq(pt->h->qts, pt_entry(pt, va, level), pte);
}

#define PTE_RO      (HSL_PTE_VALID | HSL_PTE_LEAF)
#define PTE_RW      (PTE_RO | HSL_PTE_WRITE)

static void fltq_on(Hsl *h, uint64_t base, unsigned order)
{
    set64(h, HSL_REG_FLTQ_BASE, base);
    set(h, HSL_REG_FLTQ_ORDER, order);
    set(h, HSL_REG_FLTQ_VECTOR, 0);
    set(h, HSL_REG_FLTQ_CTRL, HSL_FLTQ_ENABLE);
}

static void pt_context_on(Hsl *h, Pt *pt, int c)
{
    set(h, HSL_REG_CTX(c) + HSL_CTX_XLATE, HSL_XLATE_DEVICE);
    set64(h, HSL_REG_CTX(c) + HSL_CTX_ROOT, pt->root);
    set(h, HSL_REG_CTX(c) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(h, HSL_REG_CTX(c) + HSL_CTX_CTRL), ==, HSL_CTX_VALID);
}

/* A context with page tables, in which the rings are where they are */
static void pt_up(Hsl *h, Pt *pt, unsigned order)
{
    *pt = (Pt) { .h = h, .next = TABLES };
    pt->root = pt_table(pt);
    for (uint64_t va = SQ; va < SQ + 4 * MiB; va += 2 * MiB) {
        pt_set(pt, va, 1, va | PTE_RW);
    }
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    fltq_on(h, FLTQ, 8);
    pt_context_on(h, pt, 0);
    queue_on(h, 0, order);
}

static void invalidate(Hsl *h, int c, uint64_t start, uint64_t last)
{
    set64(h, HSL_REG_INV(c) + HSL_INV_START, start);
    set64(h, HSL_REG_INV(c) + HSL_INV_LAST, last);
    wait_for(!(reg(h, HSL_REG_INV(c) + HSL_INV_STATUS) & HSL_INV_BUSY));
}

static struct hsl_hw_fault get_fault(Hsl *h, uint32_t index)
{
    struct hsl_hw_fault f;

    wait_for((int32_t)(reg(h, HSL_REG_FLTQ_TAIL) - index) > 0);
    qtest_memread(h->qts, FLTQ + (index & 255) * sizeof(f), &f, sizeof(f));
    set(h, HSL_REG_FLTQ_HEAD, index + 1);
    g_assert_cmpuint(le16_to_cpu(f.lap), ==, (index >> 8) + 1);
    f.tag = le32_to_cpu(f.tag);
    f.context = le32_to_cpu(f.context);
    f.addr = le64_to_cpu(f.addr);
    f.pages = le32_to_cpu(f.pages);
    return f;
}

static void answer(Hsl *h, uint32_t tag, enum hsl_fault_code code)
{
    set64(h, HSL_REG_FAULT_RESPONSE, HSL_FAULT_RESPONSE(tag, code));
}

static void put_one(Hsl *h, unsigned order, uint32_t index, struct hsl_desc d)
{
    d.user_data = 0xabc000 + index;
    put_desc(h, 0, order, index, &d);
    submit(h, 0, index + 1);
}

static struct hsl_cqe get_one(Hsl *h, unsigned order, uint32_t index)
{
    struct hsl_cqe c;

    wait_for(get_cqe(h, 0, order, index, &c));
    qtest_writel(h->qts, CTL + offsetof(struct hsl_q_ctl, cq_head), index + 1);
    return c;
}

static void test_pt_walk(void)
{
    /* First and last entry of every table, and others */
    const uint64_t vas[] = {
        0, 0x1ff000, 0x3fe00000, 0x7fc0000000, 0xffffffffe000,
        0x123456789000, 0x7ffffffff000,
    };
    const unsigned order = 4;
    const size_t n = 8192;
    g_autofree uint8_t *a = g_malloc(n), *b = g_malloc(n);
    uint64_t walks, hits;
    struct hsl_cqe c;
    uint32_t i = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    random_fill(&h, SRC, a, n);
    pt_set(&pt, SRC, 0, SRC | PTE_RO);
    pt_set(&pt, SRC + 4096, 0, (SRC + 4096) | PTE_RO | HSL_PTE_SOFT);
    for (int j = 0; j < ARRAY_SIZE(vas); j++) {
        /* Two pages, the second before the first */
        pt_set(&pt, vas[j], 0, (DST + 4096) | PTE_RW);
        pt_set(&pt, vas[j] + 4096, 0, DST | PTE_RW);
        qtest_memset(h.qts, DST, 0, n);
        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = vas[j], .src = SRC, .len = n });
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        qtest_memread(h.qts, DST, b, n);
        g_assert_cmpmem(a, 4096, b + 4096, 4096);
        g_assert_cmpmem(a + 4096, 4096, b, 4096);
    }

    /* What was found is remembered */
    walks = reg64(&h, HSL_REG_COUNTER(HSL_CNT_WALKS));
    hits = reg64(&h, HSL_REG_COUNTER(HSL_CNT_ATC_HITS));
    g_assert_cmpint(walks, >=, ARRAY_SIZE(vas));
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = vas[3], .src = SRC, .len = n });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_WALKS)), ==, walks);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_ATC_HITS)), >, hits);

    /* 2 MiB, of host memory and of the device's */
    pt_set(&pt, 0x200000000000, 1, (DST & ~(2 * MiB - 1)) | PTE_RW);
    pt_set(&pt, 0x200000200000, 1, (h.mem_size - 2 * MiB) | PTE_RW |
                                   HSL_PTE_LOCAL);
    pt_set(&pt, 0x200000400000, 0, PTE_RW | HSL_PTE_LOCAL);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = 0x200000200000 - 4096, .src = SRC,
        .len = n });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    qtest_memread(h.qts, (DST & ~(2 * MiB - 1)) + 2 * MiB - 4096, b, 4096);
    g_assert_cmpmem(a, 4096, b, 4096);
    qpci_memread(h.dev, h.mem, h.mem_size - 2 * MiB, b, 4096);
    g_assert_cmpmem(a + 4096, 4096, b, 4096);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = 0x200000400000 - 4096, .src = SRC,
        .len = n });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    qpci_memread(h.dev, h.mem, h.mem_size - 4096, b, 4096);
    g_assert_cmpmem(a, 4096, b, 4096);
    qpci_memread(h.dev, h.mem, 0, b, 4096);
    g_assert_cmpmem(a + 4096, 4096, b, 4096);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COMPARE, .dst = 0x200000400000, .src = SRC + 4096,
        .len = 4096 });
    g_assert_cmpint(c.result, ==, 4096);

    /* Offsets in device memory do not need the BAR */
    qpci_config_writel(h.dev, PCI_BASE_ADDRESS_4, 0xfffffff0);
    qpci_config_writel(h.dev, PCI_BASE_ADDRESS_5, 0xffffffff);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_SWAP, .dst = 0x200000400000, .len = 8,
        .operand[0] = 1 });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpmem(&c.result, 8, a + 4096, 8);

    /* Beyond what the tables describe: no fault is recorded for that */
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = 0xfffffffff000, .len = 8192 });
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmphex(c.addr, ==, 1ull << 48);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, 0);
    hsl_quit(&h);
}

/* Tables that lie: the access ends with BUS_ERROR, and the next one works */
static void test_pt_malformed(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x300000000000;
    const struct {
        int level;
        uint64_t pte;
    } bad[] = {
        { 0, DST | PTE_RW | 1ull << 5 },
        { 0, DST | PTE_RW | 1ull << 11 },
        { 0, DST | PTE_RW | 1ull << 52 },
        { 0, DST | PTE_RW | 1ull << 63 },
        { 0, DST | HSL_PTE_VALID | HSL_PTE_WRITE },
        { 0, 1ull << 50 | PTE_RW },                     /* nothing there */
        { 0, 256 * MiB | PTE_RW },                      /* RAM ends */
        { 0, 256 * MiB | PTE_RW | HSL_PTE_LOCAL },
        { 0, HSL_PTE_ADDR | PTE_RW | HSL_PTE_LOCAL },
        { 1, DST | PTE_RW | 0x1000 },                   /* not 2 MiB aligned */
        { 1, 256 * MiB | PTE_RW | HSL_PTE_LOCAL },
        { 1, TABLES | HSL_PTE_VALID | HSL_PTE_WRITE },
        { 1, TABLES | HSL_PTE_VALID | HSL_PTE_LOCAL },
        { 1, TABLES | HSL_PTE_VALID | HSL_PTE_SOFT },
        { 1, TABLES | HSL_PTE_VALID | 1ull << 62 },
        { 1, 1ull << 51 | HSL_PTE_VALID },              /* nothing there */
        { 1, 256 * MiB | HSL_PTE_VALID },
        { 2, PTE_RW },
        { 3, PTE_RW },
        { 2, HSL_PTE_VALID | HSL_PTE_WRITE },
        { 3, HSL_PTE_ADDR | HSL_PTE_VALID },
    };
    struct hsl_cqe c;
    uint32_t i = 0;
    uint64_t at;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    pt_entry(&pt, va, 0);
    for (int j = 0; j < ARRAY_SIZE(bad) + 4; j++) {
        uint64_t was, pte = 0;
        int level = 3;

        if (j < ARRAY_SIZE(bad)) {
            level = bad[j].level;
            pte = bad[j].pte;
        } else if (j == ARRAY_SIZE(bad)) {
            pte = pt.root | HSL_PTE_VALID;              /* a loop */
        } else {
            level = j - ARRAY_SIZE(bad);                /* a table in MMIO */
            pte = h.ctrl_addr | HSL_PTE_VALID;
        }
        at = pt_entry(&pt, va, level);
        was = qtest_readq(h.qts, at);
        qtest_writeq(h.qts, at, pte);
        if (j == ARRAY_SIZE(bad)) {
            /* The walk comes back to the entry that it came from */
            uint64_t loop = va >> 39 & 511;

            g_assert_cmphex(at, ==, pt.root + loop * 8);
            c = run_one(&h, order, &i, (struct hsl_desc) {
                .op = HSL_OP_FILL, .len = 8,
                .dst = loop << 39 | loop << 30 | loop << 21 | loop << 12 });
        } else {
            c = run_one(&h, order, &i, (struct hsl_desc) {
                .op = HSL_OP_FILL, .dst = va, .len = 8 });
        }
        g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
        g_assert_cmpint(c.access, ==, HSL_ACCESS_WRITE);
        g_assert_cmpint(c.bytes, ==, 0);
        qtest_writeq(h.qts, at, was);
        invalidate(&h, 0, va, va + 4095);
        c = run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
    }
    pt_set(&pt, va, 0, DST | PTE_RW);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, 0);

    /* A top table that cannot be reached, and rings behind it */
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL, 0);
    pt.root = h.ctrl_addr;
    pt_context_on(&h, &pt, 0);
    queue_config(&h, 0, order);
    queue_run(&h, 0);
    wait_for(q_status(&h, 0) == (HSL_Q_FAILED | HSL_QERR_BUS << 8));
    hsl_quit(&h);
}

/* Faults */

static void test_faults(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000;
    struct hsl_hw_fault f;
    struct hsl_cqe c;
    uint32_t i = 0, n = 0, old;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);

    /* Mended page by page */
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 100, .len = 3 * 4096,
        .operand[0] = 0x1111111111111111 });
    for (int page = 0; page < 4; page++) {
        f = get_fault(&h, n++);
        g_assert_cmphex(f.addr, ==, va + page * 4096);
        g_assert_cmpint(f.pages, ==, 4 - page);
        g_assert_cmpint(f.access, ==, HSL_ACCESS_WRITE);
        g_assert_cmpint(f.context, ==, 0);
        pt_set(&pt, f.addr, 0, (DST + page * 4096) | PTE_RW);
        answer(&h, f.tag, HSL_FAULT_RETRY);
    }
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmphex(qtest_readl(h.qts, DST + 12384), ==, 0x11111111);

    /* Mended at once: no more of them are asked for */
    pt_set(&pt, va + 16 * 4096, 0, (DST + 4096) | PTE_RW);
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = va, .src = va + 0x100000, .len = 16384 });
    f = get_fault(&h, n++);
    g_assert_cmphex(f.addr, ==, va + 0x100000);
    g_assert_cmpint(f.pages, ==, 4);
    g_assert_cmpint(f.access, ==, 0);
    for (int page = 0; page < 4; page++) {
        pt_set(&pt, f.addr + page * 4096, 0, (SRC + page * 4096) | PTE_RO);
    }
    answer(&h, f.tag, HSL_FAULT_RETRY);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);

    /* A write to a page that is not for writing; refused, halfway */
    pt_set(&pt, va + 0x200000, 0, DST | PTE_RW);
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 0xff000, .len = 8192 });
    f = get_fault(&h, n++);
    g_assert_cmphex(f.addr, ==, va + 0xff000);
    pt_set(&pt, va + 0xff000, 0, DST | PTE_RW);
    answer(&h, f.tag, HSL_FAULT_RETRY);
    f = get_fault(&h, n++);
    g_assert_cmphex(f.addr, ==, va + 0x100000);
    g_assert_cmpint(f.access, ==, HSL_ACCESS_WRITE);
    answer(&h, f.tag, HSL_FAULT_REFUSED);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmphex(c.addr, ==, va + 0x100000);
    g_assert_cmpint(c.bytes, ==, 4096);
    g_assert_cmpint(c.access, ==, HSL_ACCESS_WRITE);

    /* Poison of the host's memory; the answer may come by halves */
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 0x300010, .len = 4096 });
    old = get_fault(&h, n++).tag;
    set(&h, HSL_REG_FAULT_RESPONSE, old);
    set(&h, HSL_REG_FAULT_RESPONSE + 4, HSL_FAULT_POISON);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_POISON);
    g_assert_cmphex(c.addr, ==, va + 0x300010);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_POISONED)), ==, 1);

    /* Answers to nothing, twice, and ones that are none */
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 0x300010, .len = 8 });
    f = get_fault(&h, n++);
    g_assert_cmphex(f.tag, !=, old);
    answer(&h, old, HSL_FAULT_REFUSED);
    answer(&h, f.tag + 1, HSL_FAULT_REFUSED);
    answer(&h, f.tag ^ 0x80000000, HSL_FAULT_POISON);
    qtest_memset(h.qts, DST, 0, 4096);
    pt_set(&pt, va + 0x300000, 0, DST | PTE_RO);
    g_usleep(20000);
    g_assert_false(get_cqe(&h, 0, order, i, &c));
    answer(&h, f.tag, HSL_FAULT_RETRY);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    answer(&h, f.tag, HSL_FAULT_REFUSED);
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 0x400000, .len = 8 });
    answer(&h, get_fault(&h, n++).tag, 77);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);

    /* "Look again", and nothing there, is not for ever */
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 0x400000, .len = 8 });
    for (int j = 0; !get_cqe(&h, 0, order, i, &c); j++) {
        g_assert_cmpint(j, <, 1000);
        if (reg(&h, HSL_REG_FLTQ_TAIL) != n) {
            answer(&h, get_fault(&h, n++).tag, HSL_FAULT_RETRY);
        } else {
            g_usleep(1000);
        }
    }
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, n);
    g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==, HSL_STATUS_READY);
    hsl_quit(&h);
}

/* How far an operation came, how many there are at a time, what a record has */
static void test_fault_details(void)
{
    const unsigned order = 5;
    const uint64_t va = 0x10000000000;
    const size_t n = 3 * 4096;
    g_autofree uint8_t *a = g_malloc(n);
    uint32_t i = 0, k = 0, crc, tags[UNDER_WAY];
    uint8_t record[sizeof(struct hsl_hw_fault)];
    struct hsl_cqe c;
    uint64_t walks;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    random_fill(&h, SRC, a, n);

    /* A checksum that faults says that of the bytes it has seen */
    pt_set(&pt, va, 0, SRC | PTE_RO);
    pt_set(&pt, va + 4096, 0, (SRC + 4096) | PTE_RO);
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va, .len = n, .operand[0] = 5 });
    answer(&h, get_fault(&h, k++).tag, HSL_FAULT_REFUSED);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmpint(c.bytes, ==, 8192);
    crc = c.result;
    g_assert_cmphex(crc, ==, crc32c_ref(5, a, 8192));
    pt_set(&pt, va + 8192, 0, (SRC + 8192) | PTE_RO);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 8192, .len = n - 8192,
        .operand[0] = crc });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmphex(c.result, ==, crc32c_ref(5, a, n));

    /* The rest of a record is zero, whatever was there */
    qtest_memset(h.qts, FLTQ + sizeof(record), 0xff, sizeof(record));
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 1 * GiB, .len = 8 });
    answer(&h, get_fault(&h, k++).tag, HSL_FAULT_REFUSED);
    get_one(&h, order, i++);
    qtest_memread(h.qts, FLTQ + sizeof(record), record, sizeof(record));
    for (int j = 0x10; j < 0x18; j++) {
        g_assert_cmphex(record[j], ==, 0);
    }
    g_assert_cmphex(record[0x1d], ==, 0);

    /* What an operation goes on to is read along */
    for (int j = 0; j < 32; j++) {
        pt_set(&pt, va + 2 * GiB + j * 4096, 0, (DST + j * 4096) | PTE_RW);
    }
    walks = reg64(&h, HSL_REG_COUNTER(HSL_CNT_WALKS));
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 2 * GiB, .len = 32 * 4096 });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_WALKS)) - walks, <=, 2);

    /* Twice as many as are under way at a time; each asks for its own page */
    for (int j = 0; j < 2 * UNDER_WAY; j++) {
        put_desc(&h, 0, order, i + j, &(struct hsl_desc) {
            .op = HSL_OP_CRC32C, .src = va + 3 * GiB + j * MiB, .len = 8 });
    }
    submit(&h, 0, i + 2 * UNDER_WAY);
    for (int round = 0; round < 2; round++) {
        for (int j = 0; j < UNDER_WAY; j++) {
            tags[j] = get_fault(&h, k++).tag;
        }
        g_usleep(20000);
        g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, k);
        g_assert_cmpint(reg(&h, HSL_REG_Q(0) + HSL_Q_SQ_HEAD), ==,
                        i + (round + 1) * UNDER_WAY);
        for (int j = 0; j < UNDER_WAY; j++) {
            answer(&h, tags[j], HSL_FAULT_REFUSED);
        }
    }
    for (int j = 0; j < 2 * UNDER_WAY; j++) {
        c = get_one(&h, order, i++);
        g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    }
    hsl_quit(&h);
}

/* Many wait for one page: one record, and each sees the answer */
static void test_fault_shared(void)
{
    const unsigned order = 5;
    const uint64_t va = 0x10000000000;
    struct hsl_hw_fault f;
    struct hsl_cqe c;
    uint32_t n = 0, tags[32];
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    for (int i = 0; i < 8; i++) {
        put_one(&h, order, i, (struct hsl_desc) {
            .op = HSL_OP_ATOMIC_ADD, .dst = va + 8, .len = 8,
            .operand[0] = 1 });
    }
    f = get_fault(&h, n++);
    g_assert_cmpint(f.access, ==, HSL_ACCESS_WRITE);
    qtest_memset(h.qts, DST, 0, 4096);
    pt_set(&pt, va, 0, DST | PTE_RW);
    g_usleep(20000);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, n);
    answer(&h, f.tag, HSL_FAULT_RETRY);
    for (int i = 0; i < 8; i++) {
        c = get_one(&h, order, i);
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
    }
    g_assert_cmpint(qtest_readq(h.qts, DST + 8), ==, 8);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, n);

    /* Refused for writing: who reads, asks for itself */
    for (int i = 8; i < 12; i++) {
        put_one(&h, order, i, (struct hsl_desc) {
            .op = i < 11 ? HSL_OP_FILL : HSL_OP_CRC32C,
            .dst = va + 4096, .src = va + 4096, .len = 8 });
        if (i == 8) {
            f = get_fault(&h, n++);
        }
    }
    g_usleep(20000);
    answer(&h, f.tag, HSL_FAULT_REFUSED);
    f = get_fault(&h, n++);
    g_assert_cmphex(f.addr, ==, va + 4096);
    g_assert_cmpint(f.access, ==, 0);
    pt_set(&pt, va + 4096, 0, DST | PTE_RO);
    answer(&h, f.tag, HSL_FAULT_RETRY);
    for (int i = 8; i < 12; i++) {
        c = get_one(&h, order, i);
        g_assert_cmpint(c.status, ==, c.user_data == 0xabc000 + 11 ?
                        HSL_ST_OK : HSL_ST_PAGE_FAULT);
    }

    /*
     * A context that faults without end has no more than half of what can be
     * outstanding, and another comes to its turn.
     */
    pt_context_on(&h, &pt, 1);
    for (int q = 1; q < 5; q++) {
        queue_config(&h, q, order);
        set(&h, HSL_REG_Q(q) + HSL_Q_CONTEXT, q == 4);
        queue_run(&h, q);
        for (int i = 0; i < 16; i++) {
            put_desc(&h, q, order, i, &(struct hsl_desc) {
                .op = HSL_OP_CRC32C, .src = va + (q * 64 + i) * 4096,
                .len = 8 });
        }
    }
    for (int q = 1; q < 4; q++) {
        submit(&h, q, 16);
    }
    for (int i = 0; i < 32; i++) {
        f = get_fault(&h, n++);
        g_assert_cmpint(f.context, ==, 0);
        tags[i] = f.tag;
    }
    g_usleep(20000);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, n);
    submit(&h, 4, 1);
    f = get_fault(&h, n++);
    g_assert_cmpint(f.context, ==, 1);
    answer(&h, f.tag, HSL_FAULT_REFUSED);
    wait_for(get_cqe(&h, 4, order, 0, &c));
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    /* The others' turn comes as well */
    for (int i = 0; i < 32; i++) {
        answer(&h, tags[i], HSL_FAULT_REFUSED);
    }
    for (int i = 0; i < 16; i++) {
        answer(&h, get_fault(&h, n++).tag, HSL_FAULT_REFUSED);
    }
    for (int q = 1; q < 4; q++) {
        for (int i = 0; i < 16; i++) {
            wait_for(get_cqe(&h, q, order, i, &c));
            g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
        }
    }
    hsl_quit(&h);
}

/* What ends while a fault is under way */
static void test_fault_stop(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000;
    const struct hsl_desc d = { .op = HSL_OP_FILL, .dst = va, .len = 8 };
    struct hsl_hw_fault f, g;
    struct hsl_cqe c;
    uint32_t n = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    queue_on(&h, 1, order);
    put_one(&h, order, 0, d);
    f = get_fault(&h, n++);
    put_desc(&h, 1, order, 0, &d);
    submit(&h, 1, 1);
    g_usleep(20000);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, n);

    /* The queue stops at once; the one that waited along asks itself */
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_STOPPED);
    g = get_fault(&h, n++);
    g_assert_cmphex(g.addr, ==, va);
    g_assert_cmphex(g.tag, !=, f.tag);
    answer(&h, f.tag, HSL_FAULT_REFUSED);
    g_usleep(20000);
    g_assert_false(get_cqe(&h, 1, order, 0, &c));
    pt_set(&pt, va, 0, DST | PTE_RW);
    answer(&h, g.tag, HSL_FAULT_RETRY);
    wait_for(get_cqe(&h, 1, order, 0, &c));
    g_assert_cmpint(c.status, ==, HSL_ST_OK);

    /* The context goes, and comes back */
    put_desc(&h, 1, order, 1, &(struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 4096, .len = 8 });
    submit(&h, 1, 2);
    f = get_fault(&h, n++);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL, 0);
    g_assert_cmphex(q_status(&h, 1), ==, HSL_Q_FAILED | HSL_QERR_CONTEXT << 8);
    set(&h, HSL_REG_Q(1) + HSL_Q_CTRL, 0);
    g_assert_cmphex(q_status(&h, 1), ==, HSL_Q_STOPPED);
    answer(&h, f.tag, HSL_FAULT_RETRY);
    pt_context_on(&h, &pt, 0);
    queue_on(&h, 0, order);
    put_one(&h, order, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 4096, .len = 8 });
    g = get_fault(&h, n++);
    answer(&h, f.tag, HSL_FAULT_REFUSED);
    g_usleep(20000);
    g_assert_false(get_cqe(&h, 0, order, 0, &c));

    /* Reset: the old answer does nothing to what comes then */
    set(&h, HSL_REG_CTRL, HSL_CTRL_RESET);
    pt_up(&h, &pt, order);
    put_one(&h, order, 0, d);
    f = get_fault(&h, 0);
    g_assert_cmphex(f.tag, !=, g.tag);
    answer(&h, g.tag, HSL_FAULT_REFUSED);
    answer(&h, f.tag, HSL_FAULT_POISON);
    c = get_one(&h, order, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_POISON);
    hsl_quit(&h);
}

/* Rings that are not there yet, and ones that will never be */
static void test_fault_rings(void)
{
    const struct {
        uint64_t va;
        enum hsl_q_error error;
    } rings[] = {
        { CTL, HSL_QERR_CTL_FAULT },
        { SQ, HSL_QERR_SQ_FAULT },
        { CQ, HSL_QERR_CQ_FAULT },
    };
    const unsigned order = 3;
    struct hsl_hw_fault f;
    struct hsl_cqe c;
    uint32_t n = 0;
    Hsl h;
    Pt pt = { .h = &h, .next = TABLES };

    hsl_start(&h, "");
    pt.root = pt_table(&pt);
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    fltq_on(&h, FLTQ, 8);
    for (int j = 0; j <= 2 * ARRAY_SIZE(rings); j++) {
        for (int k = 0; k < ARRAY_SIZE(rings); k++) {
            pt_set(&pt, rings[k].va, 0,
                   j == 2 * ARRAY_SIZE(rings) || j / 2 == k ?
                   0 : rings[k].va | PTE_RW);
        }
        pt_context_on(&h, &pt, 0);
        queue_config(&h, 0, order);
        put_desc(&h, 0, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
        queue_run(&h, 0);
        submit(&h, 0, 1);
        if (j < 2 * ARRAY_SIZE(rings)) {
            /* This one is never there */
            f = get_fault(&h, n++);
            g_assert_cmphex(f.addr, ==, rings[j / 2].va);
            g_assert_cmpint(f.pages, ==, 1);
            answer(&h, f.tag, j & 1 ? HSL_FAULT_POISON : HSL_FAULT_REFUSED);
            /* It may ask once more, for writing, if it was about to sleep */
            while (q_status(&h, 0) == HSL_Q_RUNNING) {
                if (reg(&h, HSL_REG_FLTQ_TAIL) != n) {
                    f = get_fault(&h, n++);
                    g_assert_cmphex(f.addr, ==, rings[j / 2].va);
                    g_assert_cmpint(n, <, 100);
                    answer(&h, f.tag,
                           j & 1 ? HSL_FAULT_POISON : HSL_FAULT_REFUSED);
                }
            }
            g_assert_cmphex(q_status(&h, 0), ==,
                            HSL_Q_FAILED | (j & 1 ? HSL_QERR_POISON :
                                                    rings[j / 2].error) << 8);
            set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
        } else {
            /* All come when they are asked for */
            while (!get_cqe(&h, 0, order, 0, &c)) {
                if (reg(&h, HSL_REG_FLTQ_TAIL) == n) {
                    continue;
                }
                f = get_fault(&h, n++);
                pt_set(&pt, f.addr, 0, f.addr | PTE_RW);
                answer(&h, f.tag, HSL_FAULT_RETRY);
            }
            g_assert_cmpint(c.status, ==, HSL_ST_OK);
        }
        set(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL, 0);
    }
    hsl_quit(&h);
}

static void test_fault_queue(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000;
    const struct hsl_desc d = { .op = HSL_OP_FILL, .dst = va, .len = 8 };
    unsigned min;
    struct hsl_cqe c;
    uint32_t i = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    min = reg(&h, HSL_REG_FLTQ_ORDER_MIN);
    g_assert_cmpint(min, >=, 1);
    fltq_on(&h, FLTQ, min - 1);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_CTRL), ==, 0);
    fltq_on(&h, FLTQ + 64, min);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_CTRL), ==, 0);
    pt_up(&h, &pt, order);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_CTRL), ==, HSL_FLTQ_ENABLE);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_ORDER), ==, 8);
    g_assert_cmphex(reg64(&h, HSL_REG_FLTQ_BASE), ==, FLTQ);
    g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==, HSL_STATUS_READY);

    /* Turned off with a fault under way, which nobody will answer; and off */
    put_one(&h, order, i, d);
    wait_for(reg(&h, HSL_REG_FLTQ_TAIL) == 1);
    set(&h, HSL_REG_FLTQ_CTRL, 0);
    for (int j = 0; j < 2; j++) {
        c = get_one(&h, order, i++);
        g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
        g_assert_cmphex(c.addr, ==, va);
        g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==,
                        HSL_STATUS_READY | HSL_STATUS_FLTQ_ERROR);
        put_one(&h, order, i, d);
    }
    get_one(&h, order, i++);

    /* Where nothing is, and in this device's own registers */
    for (int j = 0; j < 3; j++) {
        fltq_on(&h, j == 0 ? 1ull << 45 : j == 1 ? h.ctrl_addr : FLTQ, 8);
        g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==, HSL_STATUS_READY);
        put_one(&h, order, i, d);
        if (j == 2) {
            break;
        }
        c = get_one(&h, order, i++);
        g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
        g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==,
                        HSL_STATUS_READY | HSL_STATUS_FLTQ_ERROR);
        set(&h, HSL_REG_FLTQ_CTRL, 0);
    }
    /* These take writes from anywhere: the device answers itself, once */
    answer(&h, get_fault(&h, 0).tag, HSL_FAULT_REFUSED);
    get_one(&h, order, i++);
    set(&h, HSL_REG_FLTQ_CTRL, 0);
    fltq_on(&h, h.ctrl_addr + HSL_REG_FAULT_RESPONSE, 8);
    put_one(&h, order, i, d);
    wait_for(reg(&h, HSL_REG_FLTQ_TAIL) == 2);
    set(&h, HSL_REG_FLTQ_CTRL, 0);
    get_one(&h, order, i++);

    /*
     * A driver that forgets more faults than the ring has entries: what finds
     * no room waits for it.
     */
    fltq_on(&h, FLTQ, min);
    for (int j = 0; j < 1 << min; j++) {
        put_one(&h, order, i, d);
        wait_for(reg(&h, HSL_REG_FLTQ_TAIL) == j + 1);
        set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
        queue_on(&h, 0, order);
        i = 0;
    }
    put_one(&h, order, i, d);
    g_usleep(20000);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, 1 << min);
    set(&h, HSL_REG_FLTQ_HEAD, 1);
    wait_for(reg(&h, HSL_REG_FLTQ_TAIL) == (1 << min) + 1);
    pt_set(&pt, va, 0, DST | PTE_RW);
    answer(&h, qtest_readl(h.qts, FLTQ), HSL_FAULT_RETRY);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    hsl_quit(&h);
}

/* Off and on before the device has looked: the fault has come to its end */
static void test_fault_queue_anew(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000;
    struct hsl_cqe c;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    put_one(&h, order, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va, .len = 8 });
    wait_for(reg(&h, HSL_REG_FLTQ_TAIL) == 1);
    set(&h, HSL_REG_CTRL, 0);
    set(&h, HSL_REG_FLTQ_CTRL, 0);
    g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==,
                    HSL_STATUS_READY | HSL_STATUS_FLTQ_ERROR);
    fltq_on(&h, FLTQ, 8);
    g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==, HSL_STATUS_READY);
    set(&h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    c = get_one(&h, order, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmphex(c.addr, ==, va);
    g_assert_cmpint(reg(&h, HSL_REG_FLTQ_TAIL), ==, 0);
    hsl_quit(&h);
}

static void fail_set(Hsl *h, const char *what)
{
    qtest_qmp_assert_success(h->qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': '/machine/peripheral/hsl', "
                             "'property': 'x-fail', 'value': %s}}", what);
}

/* What is told to fail to write has written nothing */
static void test_fail_writes(void)
{
    const unsigned order = 4;
    uint32_t i = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    qtest_memset(h.qts, EVQ, 0, 4096);
    qtest_memset(h.qts, FLTQ, 0, 4096);
    pt_up(&h, &pt, order);
    evq_on(&h, EVQ, 4);
    fail_set(&h, "event-writes+fault-writes");
    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = 0x10000000000, .len = 8 });
    wait_for(reg(&h, HSL_REG_STATUS) == (HSL_STATUS_READY |
                                         HSL_STATUS_EVQ_ERROR |
                                         HSL_STATUS_FLTQ_ERROR));
    for (unsigned at = 0; at < 4096; at += 8) {
        g_assert_cmphex(qtest_readq(h.qts, EVQ + at), ==, 0);
        g_assert_cmphex(qtest_readq(h.qts, FLTQ + at), ==, 0);
    }
    hsl_quit(&h);
}

/* An event or fault queue that cannot be written is told of, once */
static void test_error_interrupts(void)
{
    const unsigned order = 4;
    struct hsl_desc d = {
        .op = HSL_OP_COPY, .dst = 1ull << 40, .src = SRC, .len = 8,
    };
    uint32_t i = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    qpci_msix_enable(h.dev);
    h.ctrl = h.dev->msix_table_bar;
    h.ctrl_addr = qpci_config_readl(h.dev, PCI_BASE_ADDRESS_0) & ~0xf;
    msix_entry(&h, 0, DST, 0x1234);
    up(&h, order);
    for (int j = 0; j < 2; j++) {
        evq_on(&h, h.ctrl_addr, 3);
        g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==, HSL_STATUS_READY);
        run_one(&h, order, &i, d);
        wait_for(qtest_readl(h.qts, DST) == 0x1234);
        g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==,
                        HSL_STATUS_READY | HSL_STATUS_EVQ_ERROR);
        qtest_writel(h.qts, DST, 0);
        run_one(&h, order, &i, d);
        run_one(&h, order, &i, (struct hsl_desc) { .op = HSL_OP_NOP });
        g_assert_cmphex(qtest_readl(h.qts, DST), ==, 0);
        set(&h, HSL_REG_EVQ_CTRL, 0);
    }
    hsl_quit(&h);

    hsl_start(&h, "");
    qpci_msix_enable(h.dev);
    h.ctrl = h.dev->msix_table_bar;
    h.ctrl_addr = qpci_config_readl(h.dev, PCI_BASE_ADDRESS_0) & ~0xf;
    msix_entry(&h, 0, DST, 0x1234);
    pt_up(&h, &pt, order);
    /* No room for the faults of descriptors: what comes is told by the error */
    evq_on(&h, EVQ, 1);
    i = 0;
    for (int j = 0; j < 3; j++) {
        set(&h, HSL_REG_FLTQ_CTRL, 0);
        if (j < 2) {
            fltq_on(&h, h.ctrl_addr, 8);
        } else {
            /* Off is no error until it is missed */
            fltq_on(&h, FLTQ, 8);
            set(&h, HSL_REG_FLTQ_CTRL, 0);
        }
        g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==, HSL_STATUS_READY);
        run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = 0x10000000000, .len = 8 });
        wait_for(qtest_readl(h.qts, DST) == 0x1234);
        g_assert_cmphex(reg(&h, HSL_REG_STATUS), ==,
                        HSL_STATUS_READY | HSL_STATUS_FLTQ_ERROR);
        qtest_writel(h.qts, DST, 0);
    }
    hsl_quit(&h);
}

/* Invalidation, and the oracle that looks whether it was obeyed */

static void test_invalidate(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000;
    const struct hsl_desc d = { .op = HSL_OP_ATOMIC_ADD, .dst = va + 8,
                                .len = 8, .operand[0] = 1 };
    const uint64_t breaches = HSL_REG_COUNTER(HSL_CNT_ORACLE_BREACHES);
    const uint64_t invs = HSL_REG_COUNTER(HSL_CNT_INVALIDATIONS);
    uint32_t i = 0;
    uint64_t n;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    set(&h, HSL_REG_ORACLE, 1);
    pt_up(&h, &pt, order);
    pt_context_on(&h, &pt, 1);
    qtest_memset(h.qts, DST, 0, 2 * 4096);
    qtest_memset(h.qts, SRC, 0, 2 * MiB);

    /* A page goes elsewhere; by several kinds of ranges, and by halves */
    for (int j = 0; j < 8; j++) {
        uint64_t old = DST + (~j & 1) * 4096, now = DST + (j & 1) * 4096;

        pt_set(&pt, va, 0, old | PTE_RW);
        invalidate(&h, 0, va, va);
        n = qtest_readq(h.qts, old + 8);
        run_one(&h, order, &i, d);
        run_one(&h, order, &i, d);
        g_assert_cmpint(qtest_readq(h.qts, old + 8), ==, n + 2);
        pt_set(&pt, va, 0, now | PTE_RW);
        n = qtest_readq(h.qts, now + 8);
        switch (j) {
        case 0:
            invalidate(&h, 0, 0, -1ull);
            break;
        case 1:
            invalidate(&h, 0, va + 4095, va + 4095);
            break;
        case 2:
            invalidate(&h, 0, va - 2 * MiB, va + 2 * MiB - 1);
            break;
        case 3:
            invalidate(&h, 0, va - 4096, va + 7);
            break;
        case 4:
            /* Another table, with another leaf */
            qtest_writeq(h.qts, pt_entry(&pt, va, 1), 0);
            pt_set(&pt, va, 0, now | PTE_RW);
            invalidate(&h, 0, va, va + 2 * MiB - 1);
            break;
        case 5:
            set(&h, HSL_REG_INV(0) + HSL_INV_START, va);
            set(&h, HSL_REG_INV(0) + HSL_INV_START + 4, va >> 32);
            set(&h, HSL_REG_INV(0) + HSL_INV_LAST, va);
            set(&h, HSL_REG_INV(0) + HSL_INV_LAST + 4, va >> 32);
            break;
        default:
            invalidate(&h, 0, va, va + 4095);
            break;
        }
        run_one(&h, order, &i, d);
        g_assert_cmpint(qtest_readq(h.qts, now + 8), ==, n + 1);
    }
    g_assert_cmphex(reg64(&h, HSL_REG_INV(0) + HSL_INV_START), ==, va);
    g_assert_cmphex(reg(&h, HSL_REG_INV(0) + HSL_INV_LAST + 4), ==,
                    (va + 4095) >> 32);

    /* 2 MiB, of which one page is named; the same address of another context */
    pt_set(&pt, va + 2 * MiB, 1, SRC | PTE_RW);
    n = qtest_readq(h.qts, SRC + 0x5008);
    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = va + 2 * MiB + 0x5008, .len = 8,
        .operand[0] = 1 });
    g_assert_cmpint(qtest_readq(h.qts, SRC + 0x5008), ==, n + 1);
    pt_set(&pt, va + 2 * MiB, 1, (DST & ~(2 * MiB - 1)) | PTE_RW);
    invalidate(&h, 1, va + 2 * MiB, va + 4 * MiB - 1);
    invalidate(&h, 0, va + 2 * MiB + 0x7000, va + 2 * MiB + 0x7fff);
    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = va + 2 * MiB + 0x5008, .len = 8,
        .operand[0] = 1 });
    g_assert_cmpint(qtest_readq(h.qts, SRC + 0x5008), ==, n + 1);

    /* What is no invalidation */
    n = reg64(&h, invs);
    g_assert_cmpint(n, >, 0);
    invalidate(&h, 0, va + 1, va);
    invalidate(&h, 2, va, va);
    invalidate(&h, 255, 0, -1ull);
    invalidate(&h, 1023, 0, -1ull);
    g_assert_cmpint(reg64(&h, invs), ==, n);
    g_assert_cmpint(reg64(&h, breaches), ==, 0);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_ORACLE_CHECKS)), >,
                    i);

    /* A device that ignores them: the leaf, then the table it came from */
    for (int j = 0; j < 2; j++) {
        g_assert_cmpint(reg64(&h, breaches), ==, 0);
        pt_set(&pt, va, 0, DST | PTE_RW);
        invalidate(&h, 0, va, va);
        run_one(&h, order, &i, d);
        qtest_qom_set_bool(h.qts, "/machine/peripheral/hsl",
                           "x-ignore-invalidations", true);
        if (j == 0) {
            qtest_writeq(h.qts, pt_entry(&pt, va, 0), 0);
        } else {
            qtest_writeq(h.qts, pt_entry(&pt, va, 1), 0);
        }
        invalidate(&h, 0, va, va + 8191);
        n = qtest_readq(h.qts, DST + 8);
        if (j == 0) {
            run_one(&h, order, &i, d);
            g_assert_cmpint(qtest_readq(h.qts, DST + 8), ==, n + 1);
        } else {
            /* This page was not asked for before */
            run_one(&h, order, &i, (struct hsl_desc) {
                .op = HSL_OP_ATOMIC_ADD, .dst = va + 4096 + 8, .len = 8,
                .operand[0] = 1 });
            g_assert_cmpint(qtest_readq(h.qts, DST + 8), ==, n + 1);
        }
        g_assert_cmpint(reg64(&h, breaches), >, 0);
        qtest_qom_set_bool(h.qts, "/machine/peripheral/hsl",
                           "x-ignore-invalidations", false);
        set(&h, HSL_REG_CTRL, HSL_CTRL_RESET);
        pt_up(&h, &pt, order);
        pt_set(&pt, va + 4096, 0, DST | PTE_RW);
        i = 0;
    }
    hsl_quit(&h);
}

/* Poison */

/* Entries that change under the device's eyes, which it never writes */
static void test_pt_entries(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000, pages = 512;
    uint64_t table[512];
    /* VALID is in the one half, what makes it a bus error in the other */
    const uint64_t there = SRC | PTE_RW, gone = 1ull << 40;
    g_autofree uint8_t *was = g_malloc(1 * MiB), *is = g_malloc(1 * MiB);
    unsigned found = 0, missed = 0;
    struct hsl_cqe c;
    uint32_t i = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    /* Faults end at once */
    set(&h, HSL_REG_FLTQ_CTRL, 0);
    pt_set(&pt, va, 0, there);
    for (int round = 0; round < 200; round++) {
        uint64_t first = pt_entry(&pt, va, 0);
        bool done = false;

        for (int j = 0; j < pages; j++) {
            table[j] = cpu_to_le64(round & 1 ? there : gone);
        }
        qtest_memwrite(h.qts, first, table, sizeof(table));
        invalidate(&h, 0, va, va + pages * 4096 - 1);
        put_one(&h, order, i, (struct hsl_desc) {
            .op = HSL_OP_CRC32C, .src = va + (round & 7) * 64 * 4096,
            .len = 8 });
        /* It looks before, in between or after this, and never at half of it */
        for (int j = 0; j < pages && !done; j += 8) {
            qtest_writeq(h.qts, first + j * 8, round & 1 ? gone : there);
            done = get_cqe(&h, 0, order, i, &c);
        }
        c = get_one(&h, order, i++);
        g_assert_true(c.status == HSL_ST_OK || c.status == HSL_ST_PAGE_FAULT);
        found += c.status == HSL_ST_OK;
        missed += c.status == HSL_ST_PAGE_FAULT;
    }
    g_test_message("%u there, %u not", found, missed);
    g_assert_cmpint(found, >, 0);
    g_assert_cmpint(missed, >, 0);

    /* Reading, writing, atomics, faults: the tables stay as they are */
    for (int j = 0; j < pages; j++) {
        pt_set(&pt, va + j * 4096, 0,
               j < 256 ? (DST + j * 4096) | PTE_RW : (DST + j * 4096) | PTE_RO);
    }
    pt_set(&pt, va + 2 * MiB, 1, DST | PTE_RW | HSL_PTE_SOFT);
    invalidate(&h, 0, 0, -1ull);
    qtest_memread(h.qts, TABLES, was, 1 * MiB);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = va, .src = va + 256 * 4096,
        .len = 256 * 4096 });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = va + 2 * MiB, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 300 * 4096, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    qtest_memread(h.qts, TABLES, is, 1 * MiB);
    g_assert_cmpmem(was, 1 * MiB, is, 1 * MiB);
    hsl_quit(&h);
}

/* Invalidations and answers come in between the pieces of a long operation */
static void test_pt_no_wait(void)
{
    const unsigned order = 4;
    const uint64_t from = 64 * MiB, to = 128 * MiB, len = 64 * MiB;
    bool seen = false;
    struct hsl_cqe c;
    uint32_t i = 0, waits = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    for (uint64_t a = from; a < to + len; a += 2 * MiB) {
        pt_set(&pt, a, 1, a | PTE_RW);
    }
    /* A fault that nobody answers keeps nobody */
    queue_on(&h, 1, order);
    put_desc(&h, 1, order, 0, &(struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = 1ull << 40, .len = 8 });
    submit(&h, 1, 1);
    get_fault(&h, 0);

    /* Once is enough: this process may lose its CPU for longer than that */
    for (int round = 0; round < 20 && !seen; round++) {
        uint32_t last = i + 8;

        for (uint32_t j = i; j < last; j++) {
            put_desc(&h, 0, order, j, &(struct hsl_desc) {
                .op = HSL_OP_COPY, .dst = to, .src = from, .len = len });
        }
        submit(&h, 0, last);
        wait_for(reg(&h, HSL_REG_Q(0) + HSL_Q_SQ_HEAD) == last);
        for (int j = 0; j < 4; j++) {
            invalidate(&h, 0, 1ull << 41, (1ull << 41) + 4095);
            answer(&h, 0xdead0000 + j, HSL_FAULT_RETRY);
        }
        seen = !get_cqe(&h, 0, order, i, &c);
        waits++;
        for (; i < last; i++) {
            c = get_one(&h, order, i);
            g_assert_cmpint(c.status, ==, HSL_ST_OK);
        }
    }
    g_test_message("round %u", waits);
    g_assert_true(seen);
    g_assert_false(get_cqe(&h, 1, order, 0, &c));
    hsl_quit(&h);
}

static void poison(Hsl *h, uint64_t offset, const char *refused)
{
    const char *fmt = "{'execute': 'qom-set', 'arguments': {"
                      "'path': '/machine/peripheral/hsl', "
                      "'property': 'poison', 'value': %" PRIu64 "}}";
    QDict *err;

    if (!refused) {
        qtest_qmp_assert_success(h->qts, fmt, offset);
        return;
    }
    err = qtest_qmp_assert_failure_ref(h->qts, fmt, offset);
    g_assert_nonnull(strstr(qdict_get_str(err, "desc"), refused));
    qobject_unref(err);
}

static uint64_t poisoned(Hsl *h)
{
    QDict *r = qtest_qmp(h->qts, "{'execute': 'qom-get', 'arguments': {"
                                 "'path': '/machine/peripheral/hsl', "
                                 "'property': 'poison'}}");
    uint64_t n = qdict_get_int(r, "return");

    qobject_unref(r);
    return n;
}

static void expect_poison_event(Hsl *h, uint32_t index, uint64_t offset)
{
    struct hsl_hw_event ev = get_event(h, index);

    g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_POISON);
    g_assert_cmphex(ev.queue, ==, 0xffffffff);
    g_assert_cmphex(ev.context, ==, 0xffffffff);
    g_assert_cmphex(le64_to_cpu(ev.addr), ==, offset);
}

static void test_poison(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000, bad = 0x205000;
    struct hsl_hw_event ev;
    struct hsl_cqe c;
    uint32_t i = 0;
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    poison(&h, h.mem_size, "outside of device memory");
    poison(&h, -4096ull, "outside of device memory");
    poison(&h, 0x1008, "not the start of a page");
    g_assert_cmpint(poisoned(&h), ==, 0);

    pt_up(&h, &pt, order);
    pt_set(&pt, va, 1, 0x200000 | PTE_RW | HSL_PTE_LOCAL);
    pt_set(&pt, SRC, 1, SRC | PTE_RW);
    pt_set(&pt, h.mem_addr + 0x200000, 1, (h.mem_addr + 0x200000) | PTE_RW);
    evq_on(&h, EVQ, 6);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va, .len = 2 * MiB });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);

    poison(&h, bad, NULL);
    g_assert_cmpint(poisoned(&h), ==, 1);
    expect_poison_event(&h, 0, bad);
    for (int j = 0; j < 2; j++) {
        /* By offset and by bus address */
        uint64_t at = j ? h.mem_addr + 0x200000 : va;

        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = at, .len = 2 * MiB });
        g_assert_cmpint(c.status, ==, HSL_ST_POISON);
        g_assert_cmphex(c.addr, ==, at + 0x5000);
        g_assert_cmpint(c.bytes, ==, 0x5000);
        g_assert_cmpint(c.access, ==, HSL_ACCESS_WRITE);
        ev = get_event(&h, 1 + 2 * j);
        g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_PAGE_FAULT);
        g_assert_cmpint(ev.code, ==, HSL_ST_POISON);
        g_assert_cmphex(le64_to_cpu(ev.addr), ==, at + 0x5000);
        /* From the end: what lies behind it is done */
        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = at + 64, .src = at, .len = 0x8000 });
        g_assert_cmpint(c.status, ==, HSL_ST_POISON);
        g_assert_cmpint(c.access & HSL_ACCESS_BACKWARD, !=, 0);
        g_assert_cmpint(c.bytes, <=, 0x2040);
        g_assert_cmpint(c.bytes, >, 0x1000);
        get_event(&h, 2 + 2 * j);
        /* The neighbours */
        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_CRC32C, .src = at, .len = 0x5000 });
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = SRC, .src = at + 0x6000,
            .len = 0x1fa000 });
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
    }
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = va + 0x5ff8, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_POISON);
    g_assert_cmphex(c.addr, ==, va + 0x5ff8);
    get_event(&h, 5);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_POISONED)), ==, 5);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_FAULTS)), ==, 0);

    /* A queue without context of its own tables, with a ring in poison */
    context_on(&h, 3);
    queue_config(&h, 1, order);
    set(&h, HSL_REG_Q(1) + HSL_Q_CONTEXT, 3);
    set64(&h, HSL_REG_Q(1) + HSL_Q_CQ_BASE, h.mem_addr + bad);
    put_desc(&h, 1, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
    queue_run(&h, 1);
    submit(&h, 1, 1);
    wait_for(q_status(&h, 1) == (HSL_Q_FAILED | HSL_QERR_POISON << 8));
    ev = get_event(&h, 6);
    g_assert_cmpint(ev.code, ==, HSL_QERR_POISON);

    /* A page table in poison */
    qtest_writeq(h.qts, pt_entry(&pt, va + 2 * MiB, 1),
                 (h.mem_addr + bad) | HSL_PTE_VALID);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 2 * MiB, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_POISON);
    get_event(&h, 7);

    /* It survives the reset, and who comes then is told of all of it */
    poison(&h, 0, NULL);
    expect_poison_event(&h, 8, 0);
    set(&h, HSL_REG_CTRL, HSL_CTRL_RESET);
    g_assert_cmpint(poisoned(&h), ==, 2);
    poison(&h, 0x1000, NULL);
    pt_up(&h, &pt, order);
    evq_on(&h, EVQ, 6);
    expect_poison_event(&h, 0, 0);
    expect_poison_event(&h, 1, 0x1000);
    expect_poison_event(&h, 2, bad);
    /* What finds no room comes when there is some */
    set(&h, HSL_REG_EVQ_CTRL, 0);
    evq_on(&h, EVQ, 2);
    for (int j = 0; j < 10; j++) {
        poison(&h, 0x10000 + j * 4096, NULL);
    }
    for (int j = 0; j < 10; j++) {
        wait_for(reg(&h, HSL_REG_EVQ_TAIL) > j);
        qtest_memread(h.qts, EVQ + (j & 3) * sizeof(ev), &ev, sizeof(ev));
        g_assert_cmphex(le64_to_cpu(ev.addr), ==, 0x10000 + j * 4096);
        set(&h, HSL_REG_EVQ_HEAD, j + 1);
    }
    g_assert_cmpint(poisoned(&h), ==, 13);
    hsl_quit(&h);

    hsl_start(&h, ",memsize=0");
    poison(&h, 0, "no memory");
    hsl_quit(&h);
}

/* A queue on tables of the device, a fault under way and a page poisoned */
static void test_pt_migrate(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000;
    struct hsl_hw_fault f, g;
    struct hsl_cqe c;
    Hsl h, to;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, order);
    evq_on(&h, EVQ, 6);
    poison(&h, 0x3000, NULL);
    expect_poison_event(&h, 0, 0x3000);
    pt_set(&pt, va, 0, DST | PTE_RW);
    pt_set(&pt, va + 0x2000, 0, 0x3000 | PTE_RW | HSL_PTE_LOCAL);
    put_one(&h, order, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va, .len = 3 * 4096, .operand[0] = 77 });
    f = get_fault(&h, 0);
    g_assert_cmphex(f.addr, ==, va + 4096);
    qtest_qmp_assert_success(h.qts, "{'execute': 'stop'}");

    to = migrate(&h);
    pt.h = &to;
    g_assert_cmpint(poisoned(&to), ==, 1);
    /* Asked for again; the old tag has been forgotten */
    g = get_fault(&to, 1);
    g_assert_cmphex(g.addr, ==, va + 4096);
    g_assert_cmphex(g.tag, !=, f.tag);
    answer(&to, f.tag, HSL_FAULT_REFUSED);
    pt_set(&pt, va + 4096, 0, (DST + 4096) | PTE_RW);
    answer(&to, g.tag, HSL_FAULT_RETRY);
    c = get_one(&to, order, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_POISON);
    g_assert_cmpint(c.bytes, ==, 8192);
    g_assert_cmpint(qtest_readq(to.qts, DST + 8184), ==, 77);
    /* The poison was told before: what comes now is the completion's */
    g_assert_cmpint(le16_to_cpu(get_event(&to, 1).type), ==,
                    HSL_EV_PAGE_FAULT);
    hsl_quit(&to);
    hsl_quit(&h);
}

/* What waits in a slot was checked when it was fetched, by the source */
static void test_pt_migrate_refused(void)
{
    const uint64_t va = 0x10000000000;
    /* The length, user data and destination */
    const uint32_t slot[] = { 8, 0, 0xabc000, va >> 32, (uint32_t)va };
    g_autofree char *file = migrate_file();
    Hsl h;
    Pt pt;

    hsl_start(&h, "");
    pt_up(&h, &pt, 4);
    put_one(&h, 4, 0, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = va, .len = 8, .operand[0] = 77 });
    g_assert_cmphex(get_fault(&h, 0).addr, ==, va);
    qtest_qmp_assert_success(h.qts, "{'execute': 'stop'}");
    migrate_save(&h, file);
    expect_not_loaded(file, slot, ARRAY_SIZE(slot), 0, 1);
    expect_not_loaded(file, slot, ARRAY_SIZE(slot), 4, va + 4092 + 3);
    unlink(file);
    hsl_quit(&h);
}

/* An IOMMU below: VT-d in legacy mode, by hand */

#define VTD             0xfed90000ull
#define VTD_GCMD        0x18
#define VTD_GSTS        0x1c
#define VTD_RTADDR      0x20
#define VTD_IQT         0x88
#define VTD_IQA         0x90
#define VTD_ROOT        0x1c00000ull
#define VTD_QUEUE       0x1c10000ull
#define VTD_WAIT        0x1c11000ull
#define IOVA            0x40000000ull   /* behind it 2 MiB, page by page */

static uint64_t vtd_pte(uint64_t iova)
{
    return VTD_ROOT + 0x6000 + (iova >> 12 & 511) * 8;
}

static void vtd_command(Hsl *h, uint32_t bit)
{
    uint32_t on = qtest_readl(h->qts, VTD + VTD_GSTS) & 0x96ffffff;

    qtest_writel(h->qts, VTD + VTD_GCMD, on | 1u << bit);
    wait_for(qtest_readl(h->qts, VTD + VTD_GSTS) & 1u << bit);
}

/* The first 256 MiB are where they are, in large pages */
static void vtd_on(Hsl *h)
{
    uint64_t context = VTD_ROOT + 0x1000, l4 = VTD_ROOT + 0x2000;
    uint64_t l3 = VTD_ROOT + 0x3000, l2 = VTD_ROOT + 0x4000;
    uint64_t high = VTD_ROOT + 0x5000;
    unsigned ats = ext_cap(h, PCI_EXT_CAP_ID_ATS);

    qtest_memset(h->qts, VTD_ROOT, 0, 0x12000);
    qtest_writeq(h->qts, VTD_ROOT, context | 1);
    /* Address translation by 4 levels, device TLB allowed */
    qtest_writeq(h->qts, context + DEVFN * 16, l4 | 1 << 2 | 1);
    qtest_writeq(h->qts, context + DEVFN * 16 + 8, 1 << 8 | 2);
    qtest_writeq(h->qts, l4, l3 | 3);
    qtest_writeq(h->qts, l3, l2 | 3);
    qtest_writeq(h->qts, l3 + 8, high | 3);
    for (uint64_t a = 0; a < 256 * MiB; a += 2 * MiB) {
        qtest_writeq(h->qts, l2 + (a >> 21) * 8, a | 1 << 7 | 3);
    }
    qtest_writeq(h->qts, high, vtd_pte(0) | 3);
    qtest_writeq(h->qts, VTD + VTD_RTADDR, VTD_ROOT);
    vtd_command(h, 30);
    qtest_writeq(h->qts, VTD + VTD_IQA, VTD_QUEUE);
    vtd_command(h, 26);
    vtd_command(h, 31);
    qtest_writew(h->qts, ECAM + (DEVFN << 12) + ats + 6, 0x8000);
}

/* Of the IOMMU's cache, and of the device's for one page */
static void vtd_invalidate(Hsl *h, uint64_t iova)
{
    static const int nr = 3;
    uint64_t d[] = {
        0x2 | 1 << 4, 0,
        0x3 | (uint64_t)DEVFN << 32, iova,
        0x5 | 1 << 5 | 1ull << 32, VTD_WAIT,
    };
    uint32_t tail = qtest_readl(h->qts, VTD + VTD_IQT) >> 4;

    qtest_writel(h->qts, VTD_WAIT, 0);
    for (int i = 0; i < nr; i++) {
        qtest_writeq(h->qts, VTD_QUEUE + tail * 16, d[2 * i]);
        qtest_writeq(h->qts, VTD_QUEUE + tail * 16 + 8, d[2 * i + 1]);
        tail = (tail + 1) % 256;
    }
    qtest_writel(h->qts, VTD + VTD_IQT, tail << 4);
    wait_for(qtest_readl(h->qts, VTD_WAIT) == 1);
}

static void test_pt_iommu(void)
{
    const unsigned order = 4;
    const uint64_t va = 0x10000000000;
    const struct hsl_desc add = { .op = HSL_OP_ATOMIC_ADD, .dst = va + 8,
                                  .len = 8, .operand[0] = 1 };
    const uint64_t breaches = HSL_REG_COUNTER(HSL_CNT_ORACLE_BREACHES);
    const size_t n = 1 * MiB;
    g_autofree uint8_t *a = g_malloc(n), *b = g_malloc(n);
    struct hsl_hw_fault f;
    struct hsl_cqe c;
    uint32_t i = 0;
    uint64_t was;
    Hsl h;
    Pt pt;

    hsl_attach(&h, qtest_init("-machine q35 -m 256M -nodefaults "
                              "-device intel-iommu,device-iotlb=on,aw-bits=48,"
                              "intremap=off "
                              "-device hsl,id=hsl,addr=4.0,memsize=64M,"
                              "iommu-xlate=off"), true);
    set(&h, HSL_REG_ORACLE, 1);
    /* No ATS, no bus addresses */
    set(&h, HSL_REG_CTX(0) + HSL_CTX_XLATE, HSL_XLATE_DEVICE);
    set64(&h, HSL_REG_CTX(0) + HSL_CTX_ROOT, TABLES);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL), ==, HSL_CTX_ERROR);
    vtd_on(&h);
    pt_up(&h, &pt, order);

    /* Pages that lie one after the other for nobody but the process */
    for (int j = 0; j < 256; j++) {
        uint64_t iova = IOVA + (j * 167 & 255) * 4096;

        pt_set(&pt, va + j * 4096, 0, iova | PTE_RW);
        qtest_writeq(h.qts, vtd_pte(iova), (DST + (j ^ 1) * 4096) | 3);
    }
    random_fill(&h, SRC, a, n);
    pt_set(&pt, SRC, 1, SRC | PTE_RO);
    for (int round = 0; round < 2; round++) {
        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = va, .src = SRC, .len = n });
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        for (int j = 0; j < 256; j++) {
            qtest_memread(h.qts, DST + (j ^ 1) * 4096, b, 4096);
            g_assert_cmpmem(a + j * 4096, 4096, b, 4096);
        }
        qtest_memset(h.qts, DST, 0, n);
    }
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_ATS_REQUESTS)), >, 0);

    /* Bus addresses that the IOMMU does not translate: pages, tables */
    pt_set(&pt, va + 2 * MiB, 0, (1ull << 40) | PTE_RW);
    pt_set(&pt, va + 2 * MiB + 4096, 0, 0xfee00000 | PTE_RW);
    qtest_writeq(h.qts, pt_entry(&pt, va + 4 * MiB, 1),
                 1ull << 40 | HSL_PTE_VALID);
    qtest_writeq(h.qts, pt_entry(&pt, va + 6 * MiB, 1),
                 0xfee00000 | HSL_PTE_VALID);
    for (int j = 0; j < 4; j++) {
        c = run_one(&h, order, &i, (struct hsl_desc) {
            .op = HSL_OP_CRC32C, .len = 8,
            .src = va + 2 * MiB + (j < 2 ? j * 4096 : (j - 1) * 2 * MiB) });
        g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    }
    /* and one it translates for reading only */
    pt_set(&pt, va + 3 * MiB, 0, (IOVA + 300 * 4096) | PTE_RW);
    qtest_writeq(h.qts, vtd_pte(IOVA + 300 * 4096), DST | 1);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 3 * MiB, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    c = run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 3 * MiB, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);

    /* A table of pages behind the IOMMU, and a fault in it */
    qtest_writeq(h.qts, vtd_pte(IOVA + 301 * 4096), (DST + n) | 3);
    qtest_memset(h.qts, DST + n, 0, 4096);
    qtest_writeq(h.qts, pt_entry(&pt, va + 8 * MiB, 1),
                 (IOVA + 301 * 4096) | HSL_PTE_VALID);
    put_one(&h, order, i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 8 * MiB + 4096, .len = 8 });
    f = get_fault(&h, 0);
    g_assert_cmphex(f.addr, ==, va + 8 * MiB + 4096);
    qtest_writeq(h.qts, DST + n + 8, SRC | PTE_RO);
    answer(&h, f.tag, HSL_FAULT_RETRY);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);

    /* The IOMMU takes a page away: its word alone is enough */
    qtest_memset(h.qts, DST, 0, 2 * 4096);
    for (int j = 0; j < 4; j++) {
        uint64_t now = DST + (j & 1) * 4096;

        qtest_writeq(h.qts, vtd_pte(IOVA), now | 3);
        vtd_invalidate(&h, IOVA);
        was = qtest_readq(h.qts, now + 8);
        run_one(&h, order, &i, add);
        g_assert_cmpint(qtest_readq(h.qts, now + 8), ==, was + 1);
    }
    /* and so is the driver's */
    pt_set(&pt, va, 0, (IOVA + 4096) | PTE_RW);
    qtest_writeq(h.qts, vtd_pte(IOVA + 4096), (DST + 2 * n) | 3);
    vtd_invalidate(&h, IOVA + 4096);
    invalidate(&h, 0, va, va + 4095);
    qtest_memset(h.qts, DST + 2 * n, 0, 4096);
    run_one(&h, order, &i, add);
    g_assert_cmpint(qtest_readq(h.qts, DST + 2 * n + 8), ==, 1);
    g_assert_cmpint(reg64(&h, breaches), ==, 0);

    /* The oracle judges both: a page of the bus that should be gone */
    qtest_qom_set_bool(h.qts, "/machine/peripheral/hsl",
                       "x-ignore-invalidations", true);
    qtest_writeq(h.qts, vtd_pte(IOVA + 4096), DST | 3);
    vtd_invalidate(&h, IOVA + 4096);
    run_one(&h, order, &i, add);
    g_assert_cmpint(qtest_readq(h.qts, DST + 2 * n + 8), ==, 2);
    was = reg64(&h, breaches);
    g_assert_cmpint(was, >, 0);
    /* and a table */
    vtd_invalidate(&h, IOVA + 301 * 4096);
    qtest_writeq(h.qts, DST + n + 16, (IOVA + 2 * 4096) | PTE_RO);
    run_one(&h, order, &i, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va + 8 * MiB + 8192, .len = 8 });
    g_assert_cmpint(reg64(&h, breaches), >, was);
    hsl_quit(&h);
}

/*
 * Processes: VT-d in scalable mode, by hand. Addresses of every PASID are those
 * of memory up to 256 MiB; behind IOVA there are 4 MiB, page by page.
 */

#define SM_PASID        5               /* and the one after it */
#define SM_PAGES        1024
#define SM_DIR          (VTD_ROOT + 0x2000)
#define SM_TABLE        (VTD_ROOT + 0x3000)
#define SM_L4           (VTD_ROOT + 0x4000)
#define SM_PAGE_TABLE   (VTD_ROOT + 0x8000)
#define SM_REQUESTS     0x1c20000ull    /* the page request queue */
#define SM_NR_REQUESTS  1024
#define VTD_PQH         0xc0
#define VTD_PQT         0xc8
#define VTD_PQA         0xd0
#define VTD_PRS         0xdc
#define VTD_PECTL       0xe0
#define FS_TABLE        (1 << 2 | 3)    /* for users, to be written */

typedef struct Prq {
    uint64_t addr;
    uint32_t pasid;
    uint16_t group;
    bool read, write, last;
} Prq;

static uint64_t sm_pte(uint64_t va)
{
    return SM_PAGE_TABLE + (va - IOVA) / 4096 * 8;
}

/* @n pages from @va on are those from @to on */
static void sm_map(Hsl *h, uint64_t va, uint64_t to, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        qtest_writeq(h->qts, sm_pte(va + i * 4096), (to + i * 4096) | FS_TABLE);
    }
}

#define SM_IOMMU        "-device intel-iommu,device-iotlb=on,aw-bits=48," \
                        "scalable-mode=on,fsts=on,svm=on,pasid-bits=20," \
                        "intremap=off "

/* @requests: pages that the device may have asked for at a time, 0: no PRI */
static void sm_up(Hsl *h, unsigned requests)
{
    uint64_t context = VTD_ROOT + 0x1000;
    uint64_t l3 = SM_L4 + 0x1000, l2 = SM_L4 + 0x2000, high = SM_L4 + 0x3000;
    uint64_t config = h->config;
    QTestState *qts = h->qts;

    qtest_memset(qts, VTD_ROOT, 0, 0x28000);
    qtest_writeq(qts, VTD_ROOT + ((config - ECAM) >> 20) * 16, context | 1);
    /* With a device TLB, PASIDs and page requests */
    qtest_writeq(qts, context + (config >> 12 & 0xff) * 32, SM_DIR | 0x1d);
    qtest_writeq(qts, SM_DIR, SM_TABLE | 1);
    /* Without a PASID: passed through */
    qtest_writeq(qts, SM_TABLE, 4 << 6 | 1);
    qtest_writeq(qts, SM_TABLE + 8, 1);
    for (int pasid = SM_PASID; pasid < SM_PASID + 2; pasid++) {
        /* First-stage tables for 48 bits */
        qtest_writeq(qts, SM_TABLE + pasid * 64, 1 << 6 | 2 << 2 | 1);
        qtest_writeq(qts, SM_TABLE + pasid * 64 + 8, pasid);
        qtest_writeq(qts, SM_TABLE + pasid * 64 + 16, SM_L4);
    }
    qtest_writeq(qts, SM_L4, l3 | FS_TABLE);
    qtest_writeq(qts, l3, l2 | FS_TABLE);
    qtest_writeq(qts, l3 + 8, high | FS_TABLE);
    for (uint64_t a = 0; a < 256 * MiB; a += 2 * MiB) {
        qtest_writeq(qts, l2 + (a >> 21) * 8, a | 1 << 7 | FS_TABLE);
    }
    for (int i = 0; i < SM_PAGES / 512; i++) {
        qtest_writeq(qts, high + i * 8, (SM_PAGE_TABLE + i * 4096) | FS_TABLE);
    }
    qtest_writeq(qts, VTD + VTD_RTADDR, VTD_ROOT | 1 << 10);
    vtd_command(h, 30);
    qtest_writeq(qts, VTD + VTD_IQA, VTD_QUEUE);
    vtd_command(h, 26);
    /* 2^(3 + 7) entries, no interrupts of it */
    qtest_writel(qts, VTD + VTD_PECTL, 1u << 31);
    qtest_writeq(qts, VTD + VTD_PQA, SM_REQUESTS | 3);
    vtd_command(h, 31);

    qtest_writew(qts, config + ext_cap(h, PCI_EXT_CAP_ID_PASID) + 6, 1);
    if (requests) {
        unsigned pri = ext_cap(h, PCI_EXT_CAP_ID_PRI);

        qtest_writel(qts, config + pri + 0xc, requests);
        qtest_writew(qts, config + pri + 4, 1);
    }
    qtest_writew(qts, config + ext_cap(h, PCI_EXT_CAP_ID_ATS) + 6, 0x8000);
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    for (int c = 0; c < 2; c++) {
        set(h, HSL_REG_CTX(c) + HSL_CTX_XLATE, HSL_XLATE_IOMMU);
        set(h, HSL_REG_CTX(c) + HSL_CTX_PASID, SM_PASID + c);
        set(h, HSL_REG_CTX(c) + HSL_CTX_CTRL, HSL_CTX_VALID);
        g_assert_cmphex(reg(h, HSL_REG_CTX(c) + HSL_CTX_CTRL), ==,
                        HSL_CTX_VALID);
    }
}

static void sm_start(Hsl *h, unsigned requests, const char *props)
{
    hsl_attach(h, qtest_initf("-machine q35 -m 256M -nodefaults " SM_IOMMU
                              "-device hsl,id=hsl,addr=4.0,memsize=64M%s",
                              props), true);
    sm_up(h, requests);
}

/* Pages that the device has asked for, and nobody has read yet */
static unsigned sm_nr_requests(Hsl *h)
{
    uint32_t head = qtest_readl(h->qts, VTD + VTD_PQH) / 32;
    uint32_t tail = qtest_readl(h->qts, VTD + VTD_PQT) / 32;

    return (tail - head) % SM_NR_REQUESTS;
}

static Prq sm_request(Hsl *h)
{
    uint32_t head = qtest_readl(h->qts, VTD + VTD_PQH);
    uint64_t lo, hi;

    wait_for(sm_nr_requests(h));
    lo = qtest_readq(h->qts, SM_REQUESTS + head);
    hi = qtest_readq(h->qts, SM_REQUESTS + head + 8);
    qtest_writeq(h->qts, VTD + VTD_PQH, (head + 32) % (SM_NR_REQUESTS * 32));
    qtest_writel(h->qts, VTD + VTD_PRS, 1);
    /* A page request, with a PASID */
    g_assert_cmphex(lo & 0xffffffff, ==, 1 | 1 << 8 | DEVFN << 16);
    return (Prq) {
        .addr = hi & ~0xfffull, .pasid = lo >> 32 & 0xfffff,
        .group = hi >> 3 & 0x1ff, .read = hi & 1, .write = hi & 2,
        .last = hi & 4,
    };
}

/* A whole group: the pages of @want from @va on, and none else */
static uint16_t sm_group(Hsl *h, uint64_t va, uint32_t want)
{
    Prq p = { 0 };

    for (int i = 0; want >> i && i < 32; i++) {
        if (!(want & BIT(i))) {
            continue;
        }
        p = sm_request(h);
        g_assert_cmphex(p.addr, ==, va + i * 4096);
        g_assert_cmpint(p.last, ==, i == 31 || !(want >> (i + 1)));
    }
    return p.group;
}

static void sm_answer(Hsl *h, uint32_t pasid, uint16_t group, unsigned code)
{
    uint64_t d[] = {
        0x9 | 1 << 4 | code << 12 | DEVFN << 16 | (uint64_t)pasid << 32,
        group << 3,
        0x5 | 1 << 5 | 1ull << 32, VTD_WAIT,
    };
    uint32_t tail = qtest_readl(h->qts, VTD + VTD_IQT) >> 4;

    qtest_writel(h->qts, VTD_WAIT, 0);
    for (int i = 0; i < 2; i++) {
        qtest_writeq(h->qts, VTD_QUEUE + tail * 16, d[2 * i]);
        qtest_writeq(h->qts, VTD_QUEUE + tail * 16 + 8, d[2 * i + 1]);
        tail = (tail + 1) % 256;
    }
    qtest_writel(h->qts, VTD + VTD_IQT, tail << 4);
    wait_for(qtest_readl(h->qts, VTD_WAIT) == 1);
}

static struct hsl_desc sm_read(uint64_t va, unsigned pages)
{
    return (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va, .len = pages * 4096,
    };
}

static void sm_queue_on(Hsl *h, int q, int context, unsigned order)
{
    queue_config(h, q, order);
    set(h, HSL_REG_Q(q) + HSL_Q_CONTEXT, context);
    queue_run(h, q);
    g_assert_cmphex(q_status(h, q), ==, HSL_Q_RUNNING);
}

static void test_ats(void)
{
    const unsigned order = 4;
    const uint64_t ats = HSL_REG_COUNTER(HSL_CNT_ATS_REQUESTS);
    const uint64_t asked = HSL_REG_COUNTER(HSL_CNT_PAGE_REQUESTS);
    const uint64_t limit = 1ull << 47;
    struct hsl_hw_event ev;
    struct hsl_cqe c;
    uint32_t i = 0;
    uint64_t was;
    Prq p;
    Hsl h;

    sm_start(&h, 512, "");
    evq_on(&h, EVQ, 10);
    queue_on(&h, 0, order);
    sm_map(&h, IOVA, SRC, 128);
    /* The rings are known, and that a piece asks for a page at least */
    c = run_one(&h, order, &i, sm_read(IOVA + 127 * 4096, 1));
    g_assert_cmpint(c.status, ==, HSL_ST_OK);

    /* 32 pages at once, no more, and each once */
    was = reg64(&h, ats);
    g_assert_cmpint(run_one(&h, order, &i, sm_read(IOVA, 64)).status, ==,
                    HSL_ST_OK);
    g_assert_cmpint(reg64(&h, ats) - was, ==, 2);
    g_assert_cmpint(run_one(&h, order, &i, sm_read(IOVA, 64)).status, ==,
                    HSL_ST_OK);
    g_assert_cmpint(reg64(&h, ats) - was, ==, 2);
    /* not beyond the end of the operation */
    g_assert_cmpint(run_one(&h, order, &i, sm_read(IOVA + 64 * 4096, 1)).status,
                    ==, HSL_ST_OK);
    g_assert_cmpint(run_one(&h, order, &i, sm_read(IOVA + 65 * 4096, 1)).status,
                    ==, HSL_ST_OK);
    g_assert_cmpint(reg64(&h, ats) - was, ==, 4);

    /* The upper half of addresses is asked for nowhere */
    was = reg64(&h, ats);
    c = run_one(&h, order, &i, sm_read(limit, 1));
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmphex(c.addr, ==, limit);
    c = run_one(&h, order, &i, sm_read(-8192ull, 1));
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmpint(reg64(&h, ats), ==, was);
    g_assert_cmpint(reg64(&h, asked), ==, 0);
    /* unlike the last page before it, */
    put_one(&h, order, i, sm_read(limit - 4096, 1));
    p = sm_request(&h);
    g_assert_cmphex(p.addr, ==, limit - 4096);
    g_assert_cmpint(p.pasid, ==, SM_PASID);
    sm_answer(&h, SM_PASID, p.group, 1);
    p = sm_request(&h);
    sm_answer(&h, SM_PASID, p.group, 1);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmpint(reg64(&h, asked), ==, 2);

    /* and the event of a fault names the PASID */
    wait_for(reg(&h, HSL_REG_EVQ_TAIL) == 3);
    for (int j = 0; j < 3; j++) {
        qtest_memread(h.qts, EVQ + j * sizeof(ev), &ev, sizeof(ev));
        g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_PAGE_FAULT);
        g_assert_cmpint(le32_to_cpu(ev.pasid), ==, SM_PASID);
        g_assert_cmpint(le32_to_cpu(ev.context), ==, 0);
    }
    sm_queue_on(&h, 1, 1, order);
    doorbell(&h, 1, 999);
    wait_for(reg(&h, HSL_REG_EVQ_TAIL) == 4);
    qtest_memread(h.qts, EVQ + 3 * sizeof(ev), &ev, sizeof(ev));
    g_assert_cmpint(le32_to_cpu(ev.pasid), ==, SM_PASID + 1);
    hsl_quit(&h);
}

static void test_page_requests(void)
{
    const unsigned order = 4;
    const uint64_t asked = HSL_REG_COUNTER(HSL_CNT_PAGE_REQUESTS);
    uint16_t group[4];
    struct hsl_cqe c;
    uint32_t i = 0;
    Prq p;
    Hsl h;

    sm_start(&h, 512, "");
    queue_on(&h, 0, order);
    sm_queue_on(&h, 1, 0, order);

    /*
     * Of 32 pages those that are missing, and three groups more, of which one
     * is not looked into
     */
    sm_map(&h, IOVA + 3 * 4096, SRC, 1);
    sm_map(&h, IOVA + 40 * 4096, SRC, 1);
    sm_map(&h, IOVA + 64 * 4096, SRC, 2);
    sm_map(&h, IOVA + 127 * 4096, SRC, 1);
    put_one(&h, order, i, sm_read(IOVA, 256));
    group[0] = sm_group(&h, IOVA, ~(1u << 3));
    group[1] = sm_group(&h, IOVA + 32 * 4096, ~0u);
    group[2] = sm_group(&h, IOVA + 64 * 4096, ~3u);
    group[3] = sm_group(&h, IOVA + 96 * 4096, ~(1u << 31));
    for (int j = 0; j < 4; j++) {
        for (int k = 0; k < j; k++) {
            g_assert_cmpint(group[j], !=, group[k]);
        }
    }
    /* no more, also not when the engine has been round once more */
    put_desc(&h, 1, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
    submit(&h, 1, 1);
    wait_for(get_cqe(&h, 1, order, 0, &c));
    g_assert_cmpint(sm_nr_requests(&h), ==, 0);
    g_assert_cmpint(reg64(&h, asked), ==, 31 + 32 + 30 + 31);

    /* The answer to a group is one to all that is asked for in it */
    sm_map(&h, IOVA, SRC, 128);
    for (int j = 0; j < 4; j++) {
        sm_answer(&h, SM_PASID, group[j], 0);
    }
    sm_map(&h, IOVA + 128 * 4096, SRC, 128);
    do {
        while (sm_nr_requests(&h)) {
            p = sm_request(&h);
            g_assert_cmphex(p.addr, >=, IOVA + 128 * 4096);
            g_assert_cmphex(p.addr, <, IOVA + 256 * 4096);
            if (p.last) {
                sm_answer(&h, SM_PASID, p.group, 0);
            }
        }
    } while (!get_cqe(&h, 0, order, i, &c));
    i++;
    qtest_writel(h.qts, CTL + offsetof(struct hsl_q_ctl, cq_head), i);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(c.bytes, ==, 256 * 4096);

    /* A page that is gone each time the device comes: 64 times, then no more */
    put_one(&h, order, i, sm_read(IOVA + 300 * 4096, 1));
    for (int j = 0; j < 64; j++) {
        p = sm_request(&h);
        g_assert_cmphex(p.addr, ==, IOVA + 300 * 4096);
        g_assert_true(p.last);
        g_assert_true(p.read && !p.write);
        g_assert_false(get_cqe(&h, 0, order, i, &c));
        sm_answer(&h, SM_PASID, p.group, 0);
    }
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmphex(c.addr, ==, IOVA + 300 * 4096);
    g_assert_cmpint(sm_nr_requests(&h), ==, 0);
    hsl_quit(&h);
}

/* Tables of the IOMMU in registers: what is there cannot be set */
static void test_tables_in_registers(void)
{
    const unsigned order = 4;
    Hsl h;

    sm_start(&h, 0, "");
    qtest_writeq(h.qts, SM_TABLE + (SM_PASID + 1) * 64 + 16, h.ctrl_addr);
    queue_config(&h, 1, order);
    set(&h, HSL_REG_Q(1) + HSL_Q_CONTEXT, 1);
    /* By the second entry, CAPS, which has the bits of one that is present */
    g_assert_cmphex(reg(&h, HSL_REG_CAPS) & 0x25, ==, 0x05);
    set64(&h, HSL_REG_Q(1) + HSL_Q_SQ_BASE, 1ull << 39);
    queue_run(&h, 1);
    submit(&h, 1, 1);
    wait_for((q_status(&h, 1) & 0xff) == HSL_Q_FAILED);
    hsl_quit(&h);
}

/* ATS where the IOMMU knows of no device TLBs: there are no contexts */
static void test_no_device_tlb(void)
{
    Hsl h;

    hsl_attach(&h, qtest_init("-machine q35 -m 256M -nodefaults "
                              "-device intel-iommu "
                              "-device hsl,id=hsl,addr=4.0,memsize=64M"), true);
    qtest_writew(h.qts, ECAM + (DEVFN << 12) +
                 ext_cap(&h, PCI_EXT_CAP_ID_ATS) + 6, 0x8000);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_XLATE, HSL_XLATE_BUS);
    set(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL, HSL_CTX_VALID);
    g_assert_cmphex(reg(&h, HSL_REG_CTX(0) + HSL_CTX_CTRL), ==, HSL_CTX_ERROR);
    hsl_quit(&h);
}

/* The index of a group is not another's as long as it has not been answered */
static void test_page_request_index(void)
{
    const unsigned order = 4, nr = 520;
    struct hsl_cqe c;
    uint16_t old;
    Prq p;
    Hsl h;

    sm_start(&h, 512, "");
    sm_queue_on(&h, 0, 0, order);
    sm_queue_on(&h, 1, 0, order);
    put_one(&h, order, 0, sm_read(IOVA, 1));
    old = sm_request(&h).group;
    for (unsigned j = 0; j < nr; j++) {
        struct hsl_desc d = sm_read(IOVA + (j + 1) * 4096, 1);

        put_desc(&h, 1, order, j, &d);
        submit(&h, 1, j + 1);
        p = sm_request(&h);
        g_assert_cmphex(p.addr, ==, d.src);
        g_assert_cmpint(p.group, !=, old);
        sm_map(&h, d.src, SRC, 1);
        sm_answer(&h, SM_PASID, p.group, 0);
        wait_for(get_cqe(&h, 1, order, j, &c));
        qtest_writel(h.qts, CTL + QSTRIDE +
                     offsetof(struct hsl_q_ctl, cq_head), j + 1);
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
    }
    g_assert_false(get_cqe(&h, 0, order, 0, &c));
    sm_map(&h, IOVA, SRC, 1);
    sm_answer(&h, SM_PASID, old, 0);
    g_assert_cmpint(get_one(&h, order, 0).status, ==, HSL_ST_OK);
    hsl_quit(&h);
}

/* What the IOMMU has said is asked for anew when the guest says whether to */
static void test_ats_off(void)
{
    const unsigned order = 4;
    const uint64_t ats = HSL_REG_COUNTER(HSL_CNT_ATS_REQUESTS);
    const uint64_t needed = CTL + offsetof(struct hsl_q_ctl, db_needed);
    const struct {
        unsigned cap;
        uint16_t on;
    } by[] = { { PCI_EXT_CAP_ID_ATS, 0x8000 }, { PCI_EXT_CAP_ID_PASID, 1 } };
    Hsl h;

    for (int j = 0; j < ARRAY_SIZE(by); j++) {
        uint32_t i = 0;
        uint64_t was, at;

        sm_start(&h, 512, "");
        at = h.config + ext_cap(&h, by[j].cap) + 6;
        queue_on(&h, 0, order);
        sm_map(&h, IOVA, SRC, 1);
        for (int round = 0; round < 2; round++) {
            was = reg64(&h, ats);
            g_assert_cmpint(run_one(&h, order, &i, sm_read(IOVA, 1)).status,
                            ==, HSL_ST_OK);
            g_assert_cmpint(reg64(&h, ats), >, was);
            wait_for(qtest_readl(h.qts, needed));
            qtest_writew(h.qts, at, 0);
            qtest_writew(h.qts, at, by[j].on);
        }
        wait_for(qtest_readl(h.qts, needed));
        qtest_writew(h.qts, at, 0);
        put_one(&h, order, i, (struct hsl_desc) { .op = HSL_OP_NOP });
        wait_for((q_status(&h, 0) & 0xff) == HSL_Q_FAILED);
        /* No further context may use it, whether its PASID is known or not */
        for (int c = 2; c < 4; c++) {
            set(&h, HSL_REG_CTX(c) + HSL_CTX_XLATE, HSL_XLATE_IOMMU);
            set(&h, HSL_REG_CTX(c) + HSL_CTX_PASID, SM_PASID + 2 * (c - 2));
            set(&h, HSL_REG_CTX(c) + HSL_CTX_CTRL, HSL_CTX_VALID);
            g_assert_cmphex(reg(&h, HSL_REG_CTX(c) + HSL_CTX_CTRL), ==,
                            HSL_CTX_ERROR);
        }
        /* Bus mastering has nothing to do with that */
        qtest_writew(h.qts, at, by[j].on);
        qtest_writew(h.qts, h.config + PCI_COMMAND, PCI_COMMAND_MEMORY);
        set(&h, HSL_REG_CTX(3) + HSL_CTX_CTRL, HSL_CTX_VALID);
        g_assert_cmphex(reg(&h, HSL_REG_CTX(3) + HSL_CTX_CTRL), ==,
                        HSL_CTX_VALID);
        hsl_quit(&h);
    }
}

/* A large page of which a part is not for memory is not cached as a whole */
static void test_msi_range(void)
{
    const unsigned order = 4;
    const uint64_t table = VTD_ROOT + 0xb000, msi = 0xfee00000;
    uint32_t i = 0;
    struct hsl_cqe c;
    Hsl h;

    sm_start(&h, 512, "");
    qtest_writeq(h.qts, SM_L4 + 0x1000 + 3 * 8, table | FS_TABLE);
    qtest_writeq(h.qts, table + (msi >> 21 & 511) * 8,
                 SRC | 1 << 7 | FS_TABLE);
    queue_on(&h, 0, order);
    c = run_one(&h, order, &i, sm_read(msi + 1 * MiB, 64));
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    c = run_one(&h, order, &i, sm_read(msi + 1 * MiB - 4096, 1));
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    c = run_one(&h, order, &i, sm_read(msi, 1));
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmphex(c.addr, ==, msi);
    hsl_quit(&h);
}

/*
 * The guest has turned off what contexts need, and is migrated. They keep their
 * state without bus mastering; without ATS they cannot.
 */
static void test_migrate_ats(void)
{
    const unsigned order = 4;
    const uint64_t needed = CTL + offsetof(struct hsl_q_ctl, db_needed);
    uint32_t i;
    Hsl h, to;
    Prq p;

    for (int round = 0; round < 2; round++) {
        sm_start(&h, 512, "");
        queue_on(&h, 0, order);
        sm_map(&h, IOVA, SRC, 1);
        i = 0;
        run_one(&h, order, &i, sm_read(IOVA, 1));
        wait_for(qtest_readl(h.qts, needed));
        if (round == 0) {
            qtest_writew(h.qts, h.config + PCI_COMMAND, PCI_COMMAND_MEMORY);
        } else {
            qtest_writew(h.qts, h.config + 6 +
                         ext_cap(&h, PCI_EXT_CAP_ID_ATS), 0);
        }
        qtest_qmp_assert_success(h.qts, "{'execute': 'stop'}");
        to = migrate_with(&h, SM_IOMMU);
        if (round == 0) {
            g_assert_cmphex(reg(&to, HSL_REG_CTX(0) + HSL_CTX_CTRL), ==,
                            HSL_CTX_VALID);
            qtest_writew(to.qts, to.config + PCI_COMMAND,
                         PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
            /* and hear what is answered to their page requests */
            put_one(&to, order, i, sm_read(IOVA, 2));
            p = sm_request(&to);
            g_assert_cmphex(p.addr, ==, IOVA + 4096);
            sm_map(&to, IOVA + 4096, SRC, 1);
            sm_answer(&to, SM_PASID, p.group, 0);
            g_assert_cmpint(get_one(&to, order, i).status, ==, HSL_ST_OK);
        } else {
            g_assert_cmphex(reg(&to, HSL_REG_CTX(0) + HSL_CTX_CTRL), ==,
                            HSL_CTX_ERROR);
            g_assert_cmphex(q_status(&to, 0), ==,
                            HSL_Q_FAILED | HSL_QERR_CONTEXT << 8);
        }
        hsl_quit(&to);
        hsl_quit(&h);
    }
}

/* One address space that faults without end leaves another one its share */
static void test_page_request_share(void)
{
    const unsigned order = 4;
    const uint64_t asked = HSL_REG_COUNTER(HSL_CNT_PAGE_REQUESTS);
    struct hsl_desc wanted;
    struct hsl_cqe c;
    Prq p = { 0 };
    Hsl h;

    sm_start(&h, 64, "");
    for (int q = 0; q < 3; q++) {
        sm_queue_on(&h, q, q / 2, order);
    }
    /* Of 64 it may have 32, whatever many queues want */
    for (int q = 0; q < 2; q++) {
        for (int j = 0; j < 4; j++) {
            struct hsl_desc d = sm_read(IOVA + (q * 4 + j) * 64 * 4096, 64);

            put_desc(&h, q, order, j, &d);
        }
        submit(&h, q, 4);
    }
    wait_for(sm_nr_requests(&h) == 32);
    for (int j = 0; j < 32; j++) {
        g_assert_cmpint(sm_request(&h).pasid, ==, SM_PASID);
    }
    /* and the next one half of what is left */
    wanted = sm_read(IOVA + 600 * 4096, 20);
    put_desc(&h, 2, order, 0, &wanted);
    submit(&h, 2, 1);
    for (int j = 0; j < 16; j++) {
        p = sm_request(&h);
        g_assert_cmpint(p.pasid, ==, SM_PASID + 1);
        g_assert_cmphex(p.addr, ==, IOVA + (600 + j) * 4096);
        g_assert_cmpint(p.last, ==, j == 15);
    }
    g_assert_cmpint(reg64(&h, asked), ==, 48);
    /* Served, it comes to its end, though the first one never is */
    sm_map(&h, IOVA + 600 * 4096, SRC, 20);
    sm_answer(&h, SM_PASID + 1, p.group, 0);
    do {
        while (sm_nr_requests(&h)) {
            p = sm_request(&h);
            g_assert_cmpint(p.pasid, ==, SM_PASID + 1);
            if (p.last) {
                sm_answer(&h, SM_PASID + 1, p.group, 0);
            }
        }
    } while (!get_cqe(&h, 2, order, 0, &c));
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    hsl_quit(&h);
}

/* What is there when the answer comes is asked for with it, and only then */
static void test_page_request_answer(void)
{
    const unsigned order = 4;
    const uint64_t ats = HSL_REG_COUNTER(HSL_CNT_ATS_REQUESTS);
    struct hsl_cqe c;
    uint32_t i = 0;
    uint16_t group[2];
    uint64_t was;
    Prq p;
    Hsl h;

    sm_start(&h, 512, "");
    queue_on(&h, 0, order);
    sm_map(&h, IOVA, SRC, 1);
    /* The rings are known */
    run_one(&h, order, &i, sm_read(IOVA, 1));

    put_one(&h, order, i, sm_read(IOVA + 4096, 1));
    p = sm_request(&h);
    sm_map(&h, IOVA + 4096, SRC + 4096, 1);
    was = reg64(&h, ats);
    sm_answer(&h, SM_PASID, p.group, 0);
    g_assert_cmpint(reg64(&h, ats), ==, was + 1);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(reg64(&h, ats), ==, was + 1);

    /* All of a group, also of one sent ahead */
    put_one(&h, order, i, sm_read(IOVA + 2 * 4096, 64));
    group[0] = sm_group(&h, IOVA + 2 * 4096, ~0u);
    group[1] = sm_group(&h, IOVA + 34 * 4096, ~0u);
    sm_map(&h, IOVA + 2 * 4096, SRC, 64);
    was = reg64(&h, ats);
    sm_answer(&h, SM_PASID, group[0], 0);
    sm_answer(&h, SM_PASID, group[1], 0);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(reg64(&h, ats), ==, was + 2);

    /* It says that a page is there, and it is not: no translation, once more */
    put_one(&h, order, i, sm_read(IOVA + 100 * 4096, 1));
    p = sm_request(&h);
    sm_answer(&h, SM_PASID, p.group, 0);
    p = sm_request(&h);
    g_assert_cmphex(p.addr, ==, IOVA + 100 * 4096);
    g_assert_false(get_cqe(&h, 0, order, i, &c));
    /* An answer that says no is believed, and the page is asked for alone */
    sm_answer(&h, SM_PASID, p.group, 1);
    p = sm_request(&h);
    sm_answer(&h, SM_PASID, p.group, 1);
    c = get_one(&h, order, i++);
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    hsl_quit(&h);
}

/* Those for whose page requests there is no room have it one after the other */
static void test_page_request_room(void)
{
    const unsigned order = 4, nr = 8;
    struct hsl_cqe c;
    uint64_t seen = 0;
    Hsl h;

    sm_start(&h, 1, "");
    for (int q = 0; q < 2; q++) {
        sm_queue_on(&h, q, q, order);
        for (int j = 0; j < nr; j++) {
            struct hsl_desc d = sm_read(IOVA + (q * nr + j) * 4096, 1);

            put_desc(&h, q, order, j, &d);
        }
        submit(&h, q, nr);
    }
    for (int j = 0; j < 2 * nr; j++) {
        Prq p = sm_request(&h);
        unsigned page = (p.addr - IOVA) / 4096;

        g_assert_cmpint(sm_nr_requests(&h), ==, 0);
        g_assert_true(p.last);
        g_assert_cmpint(p.pasid, ==, SM_PASID + page / nr);
        g_assert_false(seen & BIT(page));
        seen |= BIT(page);
        sm_map(&h, p.addr, SRC, 1);
        sm_answer(&h, p.pasid, p.group, 0);
    }
    for (int q = 0; q < 2; q++) {
        wait_for(get_cqe(&h, q, order, nr - 1, &c));
    }
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_PAGE_REQUESTS)), ==,
                    2 * nr);
    hsl_quit(&h);
}

/* A queue that stops while the IOMMU owes it an answer */
static void test_stopping(void)
{
    const unsigned order = 4;
    struct hsl_cqe c;
    uint64_t fetched, asked;
    Prq p;
    Hsl h;

    sm_start(&h, 512, "");
    sm_queue_on(&h, 0, 0, order);
    sm_queue_on(&h, 1, 0, order);
    put_desc(&h, 0, order, 0, &(struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = IOVA, .len = 4096, .operand[0] = -1ull });
    submit(&h, 0, 1);
    p = sm_request(&h);
    g_assert_true(p.write && p.last);
    set(&h, HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_STOPPING);
    g_assert_cmpint(reg(&h, HSL_REG_Q(0) + HSL_Q_CTRL), ==, 0);

    /* It accesses nothing: no descriptor, not the page that has come */
    qtest_memset(h.qts, SRC, 0, 4096);
    sm_map(&h, IOVA, SRC, 1);
    fetched = reg(&h, HSL_REG_Q(0) + HSL_Q_SQ_HEAD);
    put_desc(&h, 0, order, 1, &(struct hsl_desc) { .op = HSL_OP_NOP });
    submit(&h, 0, 2);
    put_desc(&h, 1, order, 0, &(struct hsl_desc) { .op = HSL_OP_NOP });
    submit(&h, 1, 1);
    wait_for(get_cqe(&h, 1, order, 0, &c));
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_STOPPING);
    g_assert_cmpint(reg(&h, HSL_REG_Q(0) + HSL_Q_SQ_HEAD), ==, fetched);

    /* The answer ends it, by itself, and nobody asks what has come */
    asked = reg64(&h, HSL_REG_COUNTER(HSL_CNT_ATS_REQUESTS));
    sm_answer(&h, SM_PASID, p.group, 0);
    g_assert_cmphex(q_status(&h, 0), ==, HSL_Q_STOPPED);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_ATS_REQUESTS)), ==,
                    asked);
    put_desc(&h, 1, order, 1, &(struct hsl_desc) { .op = HSL_OP_NOP });
    submit(&h, 1, 2);
    wait_for(get_cqe(&h, 1, order, 1, &c));
    g_assert_false(get_cqe(&h, 0, order, 0, &c));
    g_assert_cmphex(qtest_readq(h.qts, SRC), ==, 0);

    /* Nothing is owed: stopped at once */
    set(&h, HSL_REG_Q(1) + HSL_Q_CTRL, 0);
    g_assert_cmphex(q_status(&h, 1), ==, HSL_Q_STOPPED);
    hsl_quit(&h);
}

/*
 * The page request queue may lie on the configuration space of the port: a page
 * whose address says so over the slot control unplugs the device that asks for
 * it, in the middle of a group.
 */
static void test_unplug_by_request(void)
{
    const unsigned order = 4, entry = 32;
    const uint64_t va = (uint64_t)SLOT_OFF << 32;
    uint64_t at;
    Hsl h;

    slot_start(&h, SM_IOMMU);
    sm_up(&h, 512);
    at = slot_control(&h) - SLOT_PORT;
    g_assert_cmpint(at % entry, ==, 12);
    qtest_writeq(h.qts, VTD + VTD_PQA, SLOT_PORT);
    qtest_writeq(h.qts, VTD + VTD_PQT, at / entry * entry);
    queue_on(&h, 0, order);
    put_one(&h, order, 0, sm_read(va, 8));
    slot_expect_gone(&h);
    hsl_quit(&h);
}

static void test_no_pri(void)
{
    const unsigned order = 4;
    struct hsl_cqe c;
    uint32_t i = 0;
    Hsl h;

    sm_start(&h, 0, ",pri=off");
    g_assert_cmpint(ext_cap(&h, PCI_EXT_CAP_ID_PRI), ==, 0);
    queue_on(&h, 0, order);
    sm_map(&h, IOVA, SRC, 2);
    c = run_one(&h, order, &i, sm_read(IOVA, 4));
    g_assert_cmpint(c.status, ==, HSL_ST_PAGE_FAULT);
    g_assert_cmphex(c.addr, ==, IOVA + 2 * 4096);
    g_assert_cmpint(c.bytes, ==, 2 * 4096);
    g_assert_cmpint(reg64(&h, HSL_REG_COUNTER(HSL_CNT_PAGE_REQUESTS)), ==, 0);
    g_assert_cmpint(sm_nr_requests(&h), ==, 0);
    sm_map(&h, IOVA + 2 * 4096, SRC, 2);
    g_assert_cmpint(run_one(&h, order, &i, sm_read(IOVA, 4)).status, ==,
                    HSL_ST_OK);
    hsl_quit(&h);
}

/* The link: devices of one fabric. Node n has the rings of queue n. */

#define NET_ORDER       4
#define NET_MEM         (16 * MiB)
#define NET_MAX         4

typedef struct Net {
    QTestState *qts;
    QPCIBus *bus;
    unsigned nr;
    Hsl h[NET_MAX];
    uint32_t done[NET_MAX];     /* descriptors */
} Net;

static void net_device(Net *net, unsigned i)
{
    Hsl *h = &net->h[i];

    *h = (Hsl) { .qts = net->qts, .bus = net->bus };
    h->dev = qpci_device_find(net->bus, QPCI_DEVFN(4 + i, 0));
    g_assert_nonnull(h->dev);
    qpci_device_enable(h->dev);
    h->ctrl = qpci_iomap(h->dev, 0, NULL);
    h->db = qpci_iomap(h->dev, 2, NULL);
    h->mem = qpci_iomap(h->dev, 4, &h->mem_size);
    h->ctrl_addr = qpci_config_readl(h->dev, PCI_BASE_ADDRESS_0) & ~0xf;
    h->mem_addr = qpci_config_readl(h->dev, PCI_BASE_ADDRESS_4) & ~0xf;
}

/* @fabric: more of its properties, and further options */
static void net_start(Net *net, unsigned nodes, unsigned nr, const char *fabric)
{
    g_autoptr(GString) args = g_string_new("-machine q35 -m 256M -nodefaults ");

    g_string_append_printf(args, "-object hsl-fabric,id=f0,nodes=%u%s ", nodes,
                           fabric);
    for (unsigned i = 0; i < nr; i++) {
        g_string_append_printf(args, "-device hsl,id=hsl%u,addr=%u.0,"
                               "memsize=16M,fabric=f0,node=%u ", i, 4 + i, i);
    }
    *net = (Net) { .qts = qtest_init(args->str), .nr = nr };
    net->bus = qpci_new_pc(net->qts, NULL);
    for (unsigned i = 0; i < nr; i++) {
        net_device(net, i);
    }
}

static void net_quit(Net *net)
{
    for (unsigned i = 0; i < net->nr; i++) {
        g_free(net->h[i].dev);
    }
    qpci_free_pc(net->bus);
    qtest_quit(net->qts);
}

static void net_train(Net *net)
{
    qtest_clock_step(net->qts, 2 * 1000 * 1000);
}

static uint32_t port(Net *net, unsigned i, unsigned n, unsigned r)
{
    return reg(&net->h[i], HSL_REG_PORT(n) + r);
}

static uint64_t port_count(Net *net, unsigned i, unsigned n,
                           enum hsl_port_counter c)
{
    return reg64(&net->h[i], HSL_REG_PORT(n) + HSL_PORT_COUNTER(c));
}

static uint64_t count(Net *net, unsigned i, enum hsl_counter c)
{
    return reg64(&net->h[i], HSL_REG_COUNTER(c));
}

static uint32_t route(Net *net, unsigned i, unsigned to)
{
    return reg(&net->h[i], HSL_REG_ROUTE(to));
}

static void expect_port(Net *net, unsigned i, unsigned n,
                        enum hsl_link_state state, enum hsl_link_reason reason)
{
    g_assert_cmpint(port(net, i, n, HSL_PORT_STATE), ==, state);
    g_assert_cmpint(port(net, i, n, HSL_PORT_REASON), ==, reason);
}

#define INJECT "{'execute': 'qom-set', 'arguments': {'path': '/objects/f0', " \
               "'property': 'inject', 'value': %s}}"

static void inject(Net *net, const char *command)
{
    qtest_qmp_assert_success(net->qts, INJECT, command);
}

static void expect_failure(QDict *err, const char *text)
{
    const char *desc = qdict_get_str(err, "desc");

    if (!strstr(desc, text)) {
        g_test_message("'%s' is not in '%s'", text, desc);
    }
    g_assert_nonnull(strstr(desc, text));
    qobject_unref(err);
}

static char *links_of(Net *net)
{
    QDict *r = qtest_qmp(net->qts, "{'execute': 'qom-get', 'arguments': {"
                         "'path': '/objects/f0', 'property': 'inject'}}");
    char *text = g_strdup(qdict_get_str(r, "return"));

    qobject_unref(r);
    return text;
}

static void peer_set(Net *net, unsigned i, unsigned n, uint64_t base,
                     uint64_t size, uint32_t node, uint32_t ctrl)
{
    Hsl *h = &net->h[i];
    uint64_t r = HSL_REG_PEER(n);

    set(h, r + HSL_PEER_CTRL, 0);
    set64(h, r + HSL_PEER_BASE, base);
    set64(h, r + HSL_PEER_SIZE, size);
    set(h, r + HSL_PEER_NODE, node);
    set(h, r + HSL_PEER_CTRL, ctrl);
}

static uint32_t peer_ctrl(Net *net, unsigned i, unsigned n)
{
    return reg(&net->h[i], HSL_REG_PEER(n) + HSL_PEER_CTRL);
}

/* Bus addresses, and a block for the memory of every other device */
static void net_up(Net *net, unsigned i, uint32_t ctrl)
{
    Hsl *h = &net->h[i];

    net->done[i] = 0;
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(h, 0);
    queue_on(h, i, NET_ORDER);
    for (unsigned j = 0; j < net->nr; j++) {
        if (j != i) {
            peer_set(net, i, j, net->h[j].mem_addr, NET_MEM, j, ctrl);
            g_assert_cmphex(peer_ctrl(net, i, j), ==, ctrl);
        }
    }
}

static void net_put(Net *net, unsigned i, struct hsl_desc d)
{
    d.user_data = 0xabc000 + net->done[i];
    put_desc(&net->h[i], i, NET_ORDER, net->done[i], &d);
    submit(&net->h[i], i, net->done[i] + 1);
}

static bool net_look(Net *net, unsigned i, struct hsl_cqe *c)
{
    return get_cqe(&net->h[i], i, NET_ORDER, net->done[i], c);
}

static struct hsl_cqe net_get(Net *net, unsigned i)
{
    struct hsl_cqe c;

    wait_for(net_look(net, i, &c));
    net->done[i]++;
    qtest_writel(net->qts, CTL + i * QSTRIDE +
                 offsetof(struct hsl_q_ctl, cq_head), net->done[i]);
    return c;
}

static struct hsl_cqe net_run(Net *net, unsigned i, struct hsl_desc d)
{
    net_put(net, i, d);
    return net_get(net, i);
}

static void expect_ok(Net *net, unsigned i, struct hsl_desc d)
{
    struct hsl_cqe c = net_run(net, i, d);

    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(c.bytes, ==, d.len);
}

/* Device page tables of node 0, for the rings and what a test adds */
static void net_pt_up(Net *net, Pt *pt)
{
    Hsl *h = &net->h[0];

    net->done[0] = 0;
    pt_up(h, pt, NET_ORDER);
}

static uint64_t net_mem(Net *net, unsigned i, uint64_t offset)
{
    return net->h[i].mem_addr + offset;
}

/* Pages of @node's memory from @offset on, at @va of node 0 */
static void pt_pages(Pt *pt, uint64_t va, unsigned node, uint64_t offset,
                     unsigned pages)
{
    for (unsigned p = 0; p < pages; p++) {
        pt_set(pt, va + p * 4096, 0, (offset + p * 4096) | PTE_RW |
               HSL_PTE_LOCAL | HSL_PTE_NODE(node));
    }
}

static void routes_set(Net *net, unsigned i, uint32_t routes)
{
    Hsl *h = &net->h[i];

    set(h, HSL_REG_Q(i) + HSL_Q_CTRL, 0);
    queue_config(h, i, NET_ORDER);
    set(h, HSL_REG_Q(i) + HSL_Q_ROUTES, routes);
    queue_run(h, i);
    g_assert_cmphex(q_status(h, i), ==, HSL_Q_RUNNING);
    net->done[i] = 0;
}

static void expect_link_event(Hsl *h, uint32_t index, unsigned n,
                              enum hsl_link_state state,
                              enum hsl_link_reason reason)
{
    struct hsl_hw_event ev = get_event(h, index);

    g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_LINK);
    g_assert_cmpint(ev.code, ==, state);
    g_assert_cmpint(ev.access, ==, reason);
    g_assert_cmpint(le32_to_cpu(ev.queue), ==, n);
    g_assert_cmphex(le32_to_cpu(ev.context), ==, UINT32_MAX);
}

static void test_link_identity(void)
{
    unsigned dvsec;
    uint32_t fabric;
    Net net;
    Hsl h;

    net_start(&net, 3, 3, ",lanes=8,rate=16000,latency=250,credits=9");
    fabric = reg(&net.h[0], HSL_REG_FABRIC);
    g_assert_cmpint(fabric, !=, 0);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(reg(&net.h[i], HSL_REG_NODE), ==, i);
        g_assert_cmpint(reg(&net.h[i], HSL_REG_FABRIC), ==, fabric);
        g_assert_cmpint(reg(&net.h[i], HSL_REG_NR_PORTS), ==, 2);
        g_assert_cmphex(reg(&net.h[i], HSL_REG_CAPS) & HSL_CAP_LINK, !=, 0);
        for (unsigned p = 0; p < 2; p++) {
            unsigned to = p + (p >= i);

            g_assert_cmphex(port(&net, i, p, HSL_PORT_NEIGHBOUR), ==,
                            to | (i > to ? i - 1 : i) << 8);
            g_assert_cmpint(port(&net, i, p, HSL_PORT_CTRL), ==, 1);
            g_assert_cmpint(port(&net, i, p, HSL_PORT_WIDTH), ==, 0);
            g_assert_cmpint(port(&net, i, p, HSL_PORT_WIDTH_MAX), ==, 8);
            g_assert_cmpint(port(&net, i, p, HSL_PORT_RATE), ==, 16000);
            g_assert_cmpint(port(&net, i, p, HSL_PORT_LATENCY), ==, 250);
            g_assert_cmpint(port(&net, i, p, HSL_PORT_CREDITS), ==, 9);
        }
        /* A port that is not there */
        g_assert_cmpint(port(&net, i, 2, HSL_PORT_CTRL), ==, 0);
        g_assert_cmpint(port(&net, i, 15, HSL_PORT_WIDTH_MAX), ==, 0);
        set(&net.h[i], HSL_REG_PORT(2), 3);
        set(&net.h[i], HSL_REG_PORT(15), 3);
        set(&net.h[i], HSL_REG_ROUTE(0), 0);
    }
    net_quit(&net);

    hsl_start(&h, " -object hsl-fabric,id=f0,nodes=2 -device hsl,id=other,"
                  "addr=5.0,fabric=f0,node=1,memsize=1M");
    g_assert_cmphex(reg(&h, HSL_REG_NODE), ==, HSL_NODE_NONE);
    g_assert_cmpint(reg(&h, HSL_REG_FABRIC), ==, 0);
    g_assert_cmpint(reg(&h, HSL_REG_NR_PORTS), ==, 0);
    g_assert_cmphex(reg(&h, HSL_REG_CAPS) & HSL_CAP_LINK, ==, 0);
    g_assert_cmphex(reg(&h, HSL_REG_ROUTE(0)), ==, HSL_ROUTE_NONE);
    g_assert_cmphex(reg(&h, HSL_REG_PORT(0) + HSL_PORT_WIDTH_MAX), ==, 0);
    set(&h, HSL_REG_PORT(0), 3);
    /* The other one, in configuration space: its DVSEC has the ports */
    dvsec = ECAM + (QPCI_DEVFN(5, 0) << 12) + ext_cap(&h, PCI_EXT_CAP_ID_DVSEC);
    g_assert_cmpint(qtest_readb(h.qts, dvsec + HSL_DVSEC_NR_PORTS), ==, 1);
    g_assert_cmphex(qtest_readl(h.qts, dvsec + HSL_DVSEC_CAPS) & HSL_CAP_LINK,
                    !=, 0);
    hsl_quit(&h);
}

static void test_link_training(void)
{
    Net net;
    Hsl *h = &net.h[0];

    net_start(&net, 2, 2, "");
    /* This maps the BAR once more */
    qpci_msix_enable(h->dev);
    h->ctrl = h->dev->msix_table_bar;
    msix_entry(h, 0, DST, 0x4321);
    expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    g_assert_cmphex(route(&net, 0, 1), ==, HSL_ROUTE_NONE);
    g_assert_cmphex(route(&net, 0, 0), ==, 0);
    g_assert_cmphex(route(&net, 0, 2), ==, HSL_ROUTE_NONE);
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    evq_on(h, EVQ, 6);

    qtest_clock_step(net.qts, 900 * 1000);
    expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    net_train(&net);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    expect_port(&net, 1, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_WIDTH), ==, 16);
    g_assert_cmphex(route(&net, 0, 1), ==, 1);
    expect_link_event(h, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    wait_for(qtest_readl(net.qts, DST) == 0x4321);
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_RETRAINS), ==, 0);

    /* Anew, from the other end */
    set(&net.h[1], HSL_REG_PORT(0), HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
    g_assert_cmpint(port(&net, 1, 0, HSL_PORT_CTRL), ==, HSL_PORT_ENABLE);
    expect_link_event(h, 1, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    net_train(&net);
    expect_link_event(h, 2, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpint(port_count(&net, i, 0, HSL_PORT_RETRAINS), ==, 1);
    }
    g_assert_cmpint(reg(h, HSL_REG_EVQ_TAIL), ==, 3);

    /* While the event queue is off: the last state when it is on again */
    set(h, HSL_REG_EVQ_CTRL, 0);
    set(h, HSL_REG_PORT(0), 0);
    set(h, HSL_REG_PORT(0), HSL_PORT_ENABLE);
    net_train(&net);
    inject(&net, "cut 0-1");
    evq_on(h, EVQ, 6);
    expect_link_event(h, 0, 0, HSL_LINK_DOWN, HSL_LINK_CUT);
    g_assert_cmpint(reg(h, HSL_REG_EVQ_TAIL), ==, 1);
    net_quit(&net);
}

static void test_link_ports(void)
{
    g_autofree char *text = NULL;
    Net net;

    net_start(&net, 3, 2, "");
    net_train(&net);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    expect_port(&net, 0, 1, HSL_LINK_DOWN, HSL_LINK_NO_PARTNER);

    /* Off at either end, and at both */
    set(&net.h[1], HSL_REG_PORT(0), 0);
    expect_port(&net, 0, 0, HSL_LINK_DOWN, HSL_LINK_DISABLED);
    g_assert_cmphex(route(&net, 0, 1), ==, HSL_ROUTE_NONE);
    set(&net.h[0], HSL_REG_PORT(0), HSL_PORT_RETRAIN);
    expect_port(&net, 0, 0, HSL_LINK_DOWN, HSL_LINK_DISABLED);
    set(&net.h[1], HSL_REG_PORT(0), HSL_PORT_ENABLE);
    expect_port(&net, 1, 0, HSL_LINK_DOWN, HSL_LINK_DISABLED);
    set(&net.h[0], HSL_REG_PORT(0), HSL_PORT_ENABLE);
    expect_port(&net, 1, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    net_train(&net);
    expect_port(&net, 1, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);

    /* A reset turns ports on and does no more to links */
    set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_RESET);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    set(&net.h[0], HSL_REG_PORT(0), 0);
    set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_RESET);
    expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_CTRL), ==, HSL_PORT_ENABLE);
    net_train(&net);

    inject(&net, "cut 1-0");
    expect_port(&net, 0, 0, HSL_LINK_DOWN, HSL_LINK_CUT);
    set(&net.h[0], HSL_REG_PORT(0), HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
    expect_port(&net, 0, 0, HSL_LINK_DOWN, HSL_LINK_CUT);
    inject(&net, "cut 0-2");
    text = links_of(&net);
    g_assert_nonnull(strstr(text, "0-1 down cut lanes 16/16"));
    g_assert_nonnull(strstr(text, "0-2 down no-partner"));
    inject(&net, "mend all");
    expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    net_quit(&net);
}

static void test_link_lanes(void)
{
    Net net;
    Hsl *h = &net.h[0];

    net_start(&net, 2, 2, "");
    net_train(&net);
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    evq_on(h, EVQ, 6);
    expect_link_event(h, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    inject(&net, "lanes 0-1 3");
    expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_WIDTH), ==, 0);
    expect_link_event(h, 1, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    net_train(&net);
    expect_port(&net, 1, 0, HSL_LINK_DEGRADED, HSL_LINK_NO_REASON);
    expect_link_event(h, 2, 0, HSL_LINK_DEGRADED, HSL_LINK_NO_REASON);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_WIDTH), ==, 3);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_WIDTH_MAX), ==, 16);
    g_assert_cmphex(route(&net, 0, 1), ==, 1);
    net_up(&net, 0, HSL_PEER_VALID);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 0), .len = 5000 });
    /* The same again is no change */
    inject(&net, "lanes 0-1 3");
    expect_port(&net, 0, 0, HSL_LINK_DEGRADED, HSL_LINK_NO_REASON);
    inject(&net, "lanes 0-1 0");
    expect_port(&net, 0, 0, HSL_LINK_DOWN, HSL_LINK_NO_LANES);
    inject(&net, "lanes 0-1 16");
    expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
    net_train(&net);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    g_assert_cmpint(port_count(&net, 1, 0, HSL_PORT_RETRAINS), ==, 2);
    net_quit(&net);
}

static void test_link_topologies(void)
{
    Net net;

    net_start(&net, 4, 4, ",topology=ring");
    net_train(&net);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(reg(&net.h[i], HSL_REG_NR_PORTS), ==, 2);
        g_assert_cmphex(port(&net, i, 0, HSL_PORT_NEIGHBOUR), ==,
                        (i + 1) % 4 | 1 << 8);
        g_assert_cmphex(port(&net, i, 1, HSL_PORT_NEIGHBOUR), ==, (i + 3) % 4);
        g_assert_cmphex(route(&net, i, (i + 1) % 4), ==, 1);
        g_assert_cmphex(route(&net, i, (i + 3) % 4), ==, 1 | 1 << 8);
        /* Two ways as long: by the lowest port */
        g_assert_cmphex(route(&net, i, (i + 2) % 4), ==, 2);
    }
    inject(&net, "cut 1-2");
    g_assert_cmphex(route(&net, 0, 2), ==, 2 | 1 << 8);
    g_assert_cmphex(route(&net, 1, 2), ==, 3 | 1 << 8);
    inject(&net, "partition 0,1|2,3");
    g_assert_cmphex(route(&net, 0, 1), ==, 1);
    g_assert_cmphex(route(&net, 0, 2), ==, HSL_ROUTE_NONE);
    g_assert_cmphex(route(&net, 3, 2), ==, 1 | 1 << 8);
    inject(&net, "mend 0-3");
    net_train(&net);
    g_assert_cmphex(route(&net, 0, 2), ==, 2 | 1 << 8);
    net_quit(&net);

    net_start(&net, 2, 2, ",topology=ring");
    g_assert_cmpint(reg(&net.h[0], HSL_REG_NR_PORTS), ==, 1);
    net_quit(&net);

    net_start(&net, 16, 4, ",topology=switch");
    net_train(&net);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(reg(&net.h[i], HSL_REG_NR_PORTS), ==, 1);
        g_assert_cmphex(port(&net, i, 0, HSL_PORT_NEIGHBOUR), ==,
                        HSL_NEIGHBOUR_SWITCH | i << 8);
        g_assert_cmphex(route(&net, i, (i + 1) % 4), ==, 2);
        g_assert_cmphex(route(&net, i, 9), ==, HSL_ROUTE_NONE);
    }
    inject(&net, "cut 2-s");
    g_assert_cmphex(route(&net, 0, 2), ==, HSL_ROUTE_NONE);
    g_assert_cmphex(route(&net, 0, 3), ==, 2);
    net_quit(&net);

    net_start(&net, 3, 3, ",topology=list,links=0-1:lanes=4:rate=99:latency=7,,"
              "1-2,,0-1,,s-2");
    net_train(&net);
    g_assert_cmpint(reg(&net.h[0], HSL_REG_NR_PORTS), ==, 2);
    g_assert_cmpint(reg(&net.h[1], HSL_REG_NR_PORTS), ==, 3);
    g_assert_cmpint(reg(&net.h[2], HSL_REG_NR_PORTS), ==, 2);
    g_assert_cmpint(port(&net, 1, 0, HSL_PORT_WIDTH), ==, 4);
    g_assert_cmpint(port(&net, 1, 0, HSL_PORT_RATE), ==, 99);
    g_assert_cmpint(port(&net, 1, 0, HSL_PORT_LATENCY), ==, 7);
    g_assert_cmpint(port(&net, 1, 2, HSL_PORT_WIDTH), ==, 16);
    g_assert_cmphex(port(&net, 1, 2, HSL_PORT_NEIGHBOUR), ==, 1 << 8);
    g_assert_cmphex(route(&net, 0, 2), ==, 2);
    set(&net.h[0], HSL_REG_PORT(0), 0);
    g_assert_cmphex(route(&net, 0, 2), ==, 2 | 1 << 8);
    inject(&net, "cut 0-1");
    g_assert_cmphex(route(&net, 0, 2), ==, HSL_ROUTE_NONE);
    net_quit(&net);
}

static void test_link_refused(void)
{
    static const struct {
        const char *args, *text;
    } objects[] = {
        { "'nodes': 1", "nodes must be 2 to 16" },
        { "'nodes': 17", "nodes must be 2 to 16" },
        { "'nodes': 2, 'lanes': 0", "lanes must be 1 to 64" },
        { "'nodes': 2, 'rate': 0", "must not be 0" },
        { "'nodes': 2, 'links': '0-1'", "links are for topology list" },
        { "'nodes': 2, 'topology': 'list'", "" },
        { "'nodes': 2, 'topology': 'star'", "" },
        { "'nodes': 2, 'topology': 'list', 'links': '0-2'", "'0-2' in links" },
        { "'nodes': 2, 'topology': 'list', 'links': '1-1'", "'1-1' in links" },
        { "'nodes': 2, 'topology': 'list', 'links': '0-1,'", "'' in links" },
        { "'nodes': 2, 'topology': 'list', 'links': '0-1:width=2'",
          "'width=2' in links" },
        { "'nodes': 2, 'topology': 'list', 'links': '0-1:lanes=65'",
          "lanes must be" },
        { "'nodes': 2, 'topology': 'list', 'links': '0-1:lanes=x'",
          "'lanes=x'" },
    }, devices[] = {
        { "'fabric': 'f0', 'node': 0", "node 0 of this fabric is another" },
        { "'fabric': 'f0', 'node': 3", "node must be 0 to 2" },
        { "'fabric': 'f0'", "needs a node" },
        { "'node': 1", "node needs a fabric" },
        { "'fabric': 'f9', 'node': 1", "f9" },
    }, commands[] = {
        { "", "is not one of: cut A-B" },
        { "cut", "with 0 arguments is not one of" },
        { "explode 0-1", "'explode' with 1 arguments is not one of" },
        { "cut 0-0", "there is no link '0-0'; there are: 0-1, 0-2, 1-2" },
        { "cut 0-s", "there is no link '0-s'" },
        { "cut 0-1-2", "there is no link" },
        { "cut 0-99999999999999", "there is no link" },
        { "lanes 0-1 17", "a link of 16 lanes" },
        { "credits 0-1 65", "a link of 64 credits" },
        { "credits 0-1", "is not one of" },
        { "delay 0-1 1000000001", "a delay is up to 1000000000 ns" },
        { "schedule 1 1", "is not one of" },
        { "schedule x 1 1", "of schedule: SEED" },
        { "schedule 1 1001 1", "STEPS up to 1000" },
        { "schedule 1 1 0", "PACKETS 1 to" },
        { "lanes 0-1 x", "numbers" },
        { "crc 0-1 4294967296 1", "numbers" },
        { "crc 0-1 1 z", "numbers" },
        { "partition 0,1|1,2", "'1' in partition" },
        { "partition 0,7|1", "'7' in partition" },
    };
    g_autofree char *links = g_strdup("0-1");
    Net net;

    net_start(&net, 3, 2, " -device pcie-root-port,id=rp,addr=9.0,chassis=1");
    for (int i = 0; i < ARRAY_SIZE(objects); i++) {
        g_autofree char *cmd = g_strdup_printf("{'execute': 'object-add', "
            "'arguments': {'qom-type': 'hsl-fabric', 'id': 'x', %s}}",
            objects[i].args);

        expect_failure(qtest_qmp_assert_failure_ref(net.qts, cmd),
                       objects[i].text);
    }
    /* More ports than a node may have */
    for (int i = 0; i < 16; i++) {
        char *more = g_strdup_printf("%s,0-1", links);

        g_free(links);
        links = more;
    }
    expect_failure(qtest_qmp_assert_failure_ref(net.qts,
        "{'execute': 'object-add', 'arguments': {'qom-type': 'hsl-fabric', "
        "'id': 'x', 'nodes': 2, 'topology': 'list', 'links': %s}}", links),
        "at most 16 ports");
    for (int i = 0; i < ARRAY_SIZE(devices); i++) {
        g_autofree char *cmd = g_strdup_printf("{'execute': 'device_add', "
            "'arguments': {'driver': 'hsl', 'id': 'x', 'bus': 'rp', %s}}",
            devices[i].args);

        expect_failure(qtest_qmp_assert_failure_ref(net.qts, cmd),
                       devices[i].text);
    }
    for (int i = 0; i < ARRAY_SIZE(commands); i++) {
        expect_failure(qtest_qmp_assert_failure_ref(net.qts, INJECT,
                                                    commands[i].args),
                       commands[i].text);
    }
    expect_failure(qtest_qmp_assert_failure_ref(net.qts,
        "{'execute': 'object-del', 'arguments': {'id': 'f0'}}"), "in use");
    expect_failure(qtest_qmp_assert_failure_ref(net.qts,
        "{'execute': 'qom-set', 'arguments': {'path': '/objects/f0', "
        "'property': 'nodes', 'value': 9}}"), "not changed");
    net_train(&net);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    /* The switch has to be on a side */
    qtest_qmp_assert_success(net.qts, "{'execute': 'object-add', 'arguments': "
        "{'qom-type': 'hsl-fabric', 'id': 'f1', 'nodes': 2, "
        "'topology': 'switch'}}");
    expect_failure(qtest_qmp_assert_failure_ref(net.qts,
        "{'execute': 'qom-set', 'arguments': {'path': '/objects/f1', "
        "'property': 'inject', 'value': 'partition 0|1'}}"), "the switch");
    qtest_qmp_assert_success(net.qts, "{'execute': 'object-del', "
                             "'arguments': {'id': 'f1'}}");
    net_quit(&net);
}

/*
 * All operations between memory of the host (SRC, DST), of node 0 and of the
 * other nodes, at the addresses given
 */
static void run_link_ops(Net *net, uint64_t own, uint64_t peer, uint64_t far)
{
    const uint64_t at[] = { SRC + 5, own + 0x100003, peer + 0x200007,
                            far + 0x300000 };
    const size_t n = 150001;
    g_autofree uint8_t *a = g_malloc(n);
    struct hsl_cqe c;

    for (size_t i = 0; i < n; i++) {
        a[i] = g_test_rand_int();
    }
    for (int from = 0; from < ARRAY_SIZE(at); from++) {
        for (int to = 0; to < ARRAY_SIZE(at); to++) {
            uint64_t dst = at[to] + (from == to ? n : 0);

            a[0]++;
            qtest_memwrite(net->qts, DST, a, n);
            expect_ok(net, 0, (struct hsl_desc) {
                .op = HSL_OP_COPY, .dst = at[from], .src = DST, .len = n });
            expect_ok(net, 0, (struct hsl_desc) {
                .op = HSL_OP_COPY, .dst = dst, .src = at[from], .len = n });
            c = net_run(net, 0, (struct hsl_desc) {
                .op = HSL_OP_COMPARE, .dst = dst, .src = DST, .len = n });
            g_assert_cmpint(c.status, ==, HSL_ST_OK);
            g_assert_cmpint(c.result, ==, n);
            c = net_run(net, 0, (struct hsl_desc) {
                .op = HSL_OP_CRC32C, .src = dst, .len = n });
            g_assert_cmphex(c.result, ==, crc32c_ref(0, a, n));
        }
    }
    for (int to = 0; to < ARRAY_SIZE(at); to++) {
        uint64_t word = ROUND_UP(at[to], 8);

        expect_ok(net, 0, (struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = at[to], .len = 70000,
            .operand[0] = 0x0807060504030201ull });
        /* A difference, and where it is */
        expect_ok(net, 0, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = DST, .src = at[to], .len = 70000 });
        qtest_writeb(net->qts, DST + 66666, 0xff);
        c = net_run(net, 0, (struct hsl_desc) {
            .op = HSL_OP_COMPARE, .dst = DST, .src = at[to], .len = 70000 });
        g_assert_cmpint(c.result, ==, 66666);
        /* Onto itself, from the end */
        expect_ok(net, 0, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = at[to] + 4, .src = at[to],
            .len = 20000 });
        c = net_run(net, 0, (struct hsl_desc) {
            .op = HSL_OP_ATOMIC_SWAP, .dst = word, .len = 8,
            .operand[0] = 100 });
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        c = net_run(net, 0, (struct hsl_desc) {
            .op = HSL_OP_ATOMIC_ADD, .dst = word, .len = 8, .operand[0] = 11 });
        g_assert_cmpint(c.result, ==, 100);
        c = net_run(net, 0, (struct hsl_desc) {
            .op = HSL_OP_ATOMIC_CAS, .dst = word, .len = 4,
            .operand = { 111, 5 } });
        g_assert_cmpint(c.result, ==, 111);
        c = net_run(net, 0, (struct hsl_desc) {
            .op = HSL_OP_ATOMIC_ADD, .dst = word, .len = 8, .operand[0] = 0 });
        g_assert_cmpint(c.result, ==, 5);
    }
}

static void test_link_ops_bus(void)
{
    Net net;

    net_start(&net, 3, 3, ",topology=list,links=0-1,,1-2");
    net_train(&net);
    set(&net.h[0], HSL_REG_ORACLE, 1);
    net_up(&net, 0, HSL_PEER_VALID);
    run_link_ops(&net, net_mem(&net, 0, 0), net_mem(&net, 1, 0),
                 net_mem(&net, 2, 0));
    /* It is the peer's memory, as the peer sees it */
    qtest_memset(net.qts, SRC, 0x77, 4096);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = net_mem(&net, 2, NET_MEM - 4096), .src = SRC,
        .len = 4096 });
    g_assert_cmphex(qpci_io_readl(net.h[2].dev, net.h[2].mem, NET_MEM - 4), ==,
                    0x77777777);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), >, 0);
    g_assert_cmpint(count(&net, 0, HSL_CNT_UNREACHABLE), ==, 0);
    g_assert_cmpint(count(&net, 0, HSL_CNT_ORACLE_BREACHES), ==, 0);
    net_quit(&net);
}

static void test_link_ops_device(void)
{
    const uint64_t va = 0x10000000000;
    Net net;
    Pt pt;

    net_start(&net, 3, 3, ",topology=switch");
    net_train(&net);
    set(&net.h[0], HSL_REG_ORACLE, 1);
    net_pt_up(&net, &pt);
    for (uint64_t a = SRC; a < DST + 4 * MiB; a += 2 * MiB) {
        pt_set(&pt, a, 1, a | PTE_RW);
    }
    /* Node 0's by its own number, in small pages; the others' in large ones */
    pt_pages(&pt, va, 0, 0, 1024);
    for (uint64_t a = 0; a < 4 * MiB; a += 2 * MiB) {
        pt_set(&pt, va + 1 * GiB + a, 1, a | PTE_RW | HSL_PTE_LOCAL |
               HSL_PTE_NODE(1));
        pt_set(&pt, va + 2 * GiB + a, 1, (NET_MEM - 4 * MiB + a) | PTE_RW |
               HSL_PTE_LOCAL | HSL_PTE_NODE(2));
    }
    run_link_ops(&net, va, va + 1 * GiB, va + 2 * GiB);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 2 * GiB + 4 * MiB - 4096, .len = 4096,
        .operand[0] = 0x4242424242424242 });
    g_assert_cmphex(qpci_io_readl(net.h[2].dev, net.h[2].mem, NET_MEM - 4), ==,
                    0x42424242);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 8192, .len = 8, .operand[0] = 7 });
    g_assert_cmpint(qpci_io_readl(net.h[0].dev, net.h[0].mem, 8192), ==, 7);
    g_assert_cmpint(count(&net, 0, HSL_CNT_OWN_BYTES), >, 0);
    g_assert_cmpint(count(&net, 0, HSL_CNT_ORACLE_BREACHES), ==, 0);
    net_quit(&net);
}

static void test_link_counters(void)
{
    uint64_t host, own, bytes;
    Net net;

    net_start(&net, 3, 3, ",topology=list,links=0-1,,1-2");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);

    /* There, two links on; odd ends make one packet more per piece */
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = net_mem(&net, 2, 0), .src = SRC,
        .len = 65536 + 100 });
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 65636);
    g_assert_cmpint(count(&net, 0, HSL_CNT_HOST_BYTES), ==, 65636);
    for (unsigned i = 0; i < 2; i++) {
        unsigned out = i;       /* node 1 has its port to node 2 second */

        g_assert_cmpint(port_count(&net, i, out, HSL_PORT_TX_BYTES), ==, 65636);
        g_assert_cmpint(port_count(&net, i, out, HSL_PORT_TX_PACKETS), ==, 257);
        g_assert_cmpint(port_count(&net, i, out, HSL_PORT_RX_BYTES), ==, 0);
        g_assert_cmpint(port_count(&net, i + 1, 0, HSL_PORT_RX_BYTES), ==,
                        65636);
        g_assert_cmpint(port_count(&net, i + 1, 0, HSL_PORT_RX_PACKETS), ==,
                        257);
    }
    /* Back */
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = net_mem(&net, 0, 0),
        .src = net_mem(&net, 1, 0), .len = 1000 });
    g_assert_cmpint(port_count(&net, 1, 0, HSL_PORT_TX_BYTES), ==, 1000);
    g_assert_cmpint(port_count(&net, 1, 0, HSL_PORT_TX_PACKETS), ==, 4);
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_RX_BYTES), ==, 1000);
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_RX_PACKETS), ==, 4);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 66636);
    g_assert_cmpint(count(&net, 0, HSL_CNT_OWN_BYTES), ==, 1000);
    /* An atomic: one there, one back */
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = net_mem(&net, 1, 8), .len = 4 });
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_TX_PACKETS), ==, 258);
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_RX_PACKETS), ==, 5);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 66640);

    /* By halves; the counters of the port outlive a reset, those of HW 6 not */
    bytes = port_count(&net, 0, 0, HSL_PORT_TX_BYTES);
    g_assert_cmpint(reg(&net.h[0], HSL_REG_PORT(0) +
                        HSL_PORT_COUNTER(HSL_PORT_TX_BYTES)), ==, bytes);
    g_assert_cmpint(reg(&net.h[0], HSL_REG_PORT(0) +
                        HSL_PORT_COUNTER(HSL_PORT_TX_BYTES) + 4), ==, 0);
    host = count(&net, 0, HSL_CNT_HOST_BYTES);
    own = count(&net, 0, HSL_CNT_OWN_BYTES);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = DST, .len = 300 });
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = net_mem(&net, 0, 0), .len = 500 });
    g_assert_cmpint(count(&net, 0, HSL_CNT_HOST_BYTES), ==, host + 300);
    g_assert_cmpint(count(&net, 0, HSL_CNT_OWN_BYTES), ==, own + 500);
    set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_RESET);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 0);
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_TX_BYTES), ==, bytes);
    net_quit(&net);
}

/* One link after the other goes; what is left of the ring is taken */
static void test_link_reroute(void)
{
    const size_t n = 3 * MiB;
    g_autofree uint8_t *a = g_malloc(n), *b = g_malloc(n);
    struct hsl_cqe c;
    Net net;

    net_start(&net, 4, 4, ",topology=ring");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    random_fill(&net.h[0], SRC, a, n);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = net_mem(&net, 2, 0), .src = SRC, .len = n });
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_TX_BYTES), ==, n);
    g_assert_cmpint(port_count(&net, 1, 0, HSL_PORT_TX_BYTES), ==, n);
    inject(&net, "cut 1-2");
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = DST, .src = net_mem(&net, 2, 0), .len = n });
    g_assert_cmpint(port_count(&net, 0, 1, HSL_PORT_RX_BYTES), ==, n);
    g_assert_cmpint(port_count(&net, 2, 0, HSL_PORT_TX_BYTES), ==, n);
    g_assert_cmpint(port_count(&net, 3, 0, HSL_PORT_TX_BYTES), ==, n);
    qtest_memread(net.qts, DST, b, n);
    g_assert_cmpmem(a, n, b, n);

    /* While it runs: cut and mended at random, there is always a way */
    inject(&net, "mend all");
    net_train(&net);
    for (int round = 0; round < 4; round++) {
        qtest_memset(net.qts, DST, 0, n);
        net_put(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = DST, .src = net_mem(&net, 2, 0),
            .len = n });
        do {
            inject(&net, round & 1 ? "cut 0-1" : "cut 2-3");
            inject(&net, "mend all");
            net_train(&net);
        } while (!net_look(&net, 0, &c));
        c = net_get(&net, 0);
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        qtest_memread(net.qts, DST, b, n);
        g_assert_cmpmem(a, n, b, n);
    }
    net_quit(&net);
}

static void test_link_unreachable(void)
{
    struct hsl_desc d = { .op = HSL_OP_COPY, .src = SRC, .len = 8192 };
    struct hsl_hw_event ev;
    struct hsl_cqe c;
    uint64_t faults;
    Net net;

    net_start(&net, 2, 2, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    d.dst = net_mem(&net, 1, 0x1000);
    evq_on(&net.h[0], EVQ, 8);
    expect_link_event(&net.h[0], 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);

    /* The queue does not allow the one way there is */
    faults = count(&net, 0, HSL_CNT_FAULTS);
    routes_set(&net, 0, HSL_ROUTE_PCIE | HSL_ROUTE_VIA_HOST);
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    g_assert_cmphex(c.addr, ==, d.dst);
    g_assert_cmpint(c.access, ==, HSL_ACCESS_WRITE);
    g_assert_cmpint(c.bytes, ==, 0);
    wait_for(reg(&net.h[0], HSL_REG_EVQ_TAIL) == 2);
    qtest_memread(net.qts, EVQ + sizeof(ev), &ev, sizeof(ev));
    g_assert_cmpint(le16_to_cpu(ev.type), ==, HSL_EV_PAGE_FAULT);
    g_assert_cmpint(ev.code, ==, HSL_ST_PEER_UNREACHABLE);
    routes_set(&net, 0, 0);
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);

    /* The others, in their order */
    set(&net.h[0], HSL_REG_PEER(1) + HSL_PEER_CTRL,
        HSL_PEER_VALID | HSL_PEER_PCIE | HSL_PEER_VIA_HOST);
    routes_set(&net, 0, HSL_ROUTE_PCIE | HSL_ROUTE_VIA_HOST);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_PCIE_BYTES), ==, d.len);
    routes_set(&net, 0, HSL_ROUTE_VIA_HOST);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_VIA_HOST_BYTES), ==, d.len);
    routes_set(&net, 0, HSL_ROUTE_ALL);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, d.len);
    inject(&net, "cut 0-1");
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_PCIE_BYTES), ==, 2 * d.len);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, d.len);

    /* None is left. Reads, and what is done before. */
    set(&net.h[0], HSL_REG_PEER(1) + HSL_PEER_CTRL, HSL_PEER_VALID);
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = d.dst, .len = 100 });
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    g_assert_cmpint(c.access, ==, 0);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = d.dst, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    g_assert_cmpint(count(&net, 0, HSL_CNT_UNREACHABLE), ==, 5);
    g_assert_cmpint(count(&net, 0, HSL_CNT_FAULTS), ==, faults);

    /* Not a peer's any more: memory on the bus */
    set(&net.h[0], HSL_REG_PEER(1) + HSL_PEER_CTRL, 0);
    faults = count(&net, 0, HSL_CNT_HOST_BYTES);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_HOST_BYTES), ==, faults + 2 * d.len);
    net_quit(&net);
}

/* An operation that gets lost on the way says how far it came */
static void test_link_error(void)
{
    const uint64_t va = 0x10000000000;
    const struct hsl_desc d = {
        .op = HSL_OP_FILL, .dst = va, .len = 128 * KiB,
        .operand[0] = 0x3333333333333333 };
    struct hsl_cqe c;
    Net net;
    Pt pt;

    net_start(&net, 3, 3, ",topology=list,links=0-1,,0-2");
    net_train(&net);
    net_pt_up(&net, &pt);
    pt_pages(&pt, va, 1, 0x10000, 10);
    pt_pages(&pt, va + 10 * 4096, 2, 0x20000, 22);

    /* The one transfer arrives, the next never does */
    inject(&net, "crc-all 0-2 100");
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_LINK_ERROR);
    g_assert_cmpint(c.bytes, ==, 10 * 4096);
    g_assert_cmphex(c.addr, ==, va + 10 * 4096);
    g_assert_cmpint(c.access, ==, HSL_ACCESS_WRITE);
    expect_port(&net, 0, 1, HSL_LINK_ERROR, HSL_LINK_REPLAYS);
    expect_port(&net, 2, 0, HSL_LINK_ERROR, HSL_LINK_REPLAYS);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    g_assert_cmpint(port_count(&net, 0, 1, HSL_PORT_REPLAYS), ==, 16);
    g_assert_cmpint(port_count(&net, 2, 0, HSL_PORT_CRC_ERRORS), ==, 17);
    g_assert_cmpint(port_count(&net, 2, 0, HSL_PORT_RX_PACKETS), ==, 0);
    g_assert_cmphex(qpci_io_readl(net.h[1].dev, net.h[1].mem, 0x10000), ==,
                    0x33333333);
    g_assert_cmphex(qpci_io_readl(net.h[2].dev, net.h[2].mem, 0x20000), ==, 0);

    /* Now there is no way from the start, but some of it has been there */
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_LINK_ERROR);
    g_assert_cmpint(c.bytes, ==, 10 * 4096);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 10 * 4096, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    g_assert_cmpint(count(&net, 0, HSL_CNT_UNREACHABLE), ==, 3);

    /* Out of ERROR by RETRAIN only, and all is well */
    inject(&net, "crc-all 0-2 0");
    set(&net.h[2], HSL_REG_PORT(0), HSL_PORT_ENABLE);
    expect_port(&net, 2, 0, HSL_LINK_ERROR, HSL_LINK_REPLAYS);
    set(&net.h[2], HSL_REG_PORT(0), HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
    net_train(&net);
    expect_ok(&net, 0, d);
    g_assert_cmphex(qpci_io_readl(net.h[2].dev, net.h[2].mem,
                                  0x20000 + 22 * 4096 - 4), ==, 0x33333333);
    /* An atomic whose answer is lost has not happened */
    inject(&net, "crc 0-2 1 0");
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_SWAP, .dst = va + 10 * 4096, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_LINK_ERROR);
    g_assert_cmpint(c.bytes, ==, 0);
    g_assert_cmphex(qpci_io_readl(net.h[2].dev, net.h[2].mem, 0x20000), ==,
                    0x33333333);
    net_quit(&net);
}

static void test_link_replay(void)
{
    const size_t n = 2 * MiB;
    g_autofree uint8_t *a = g_malloc(n), *b = g_malloc(n);
    uint64_t errors[4], was = 0, now, back = 0;
    Net net;

    net_start(&net, 2, 2, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    random_fill(&net.h[0], SRC, a, n);
    for (int round = 0; round < 4; round++) {
        inject(&net, round < 2 ? "crc 0-1 20 7" : "crc 0-1 20 8");
        expect_ok(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = net_mem(&net, 1, 0), .src = SRC,
            .len = n });
        now = port_count(&net, 1, 0, HSL_PORT_CRC_ERRORS);
        errors[round] = now - was;
        was = now;
        g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_REPLAYS), ==, was);
        expect_ok(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = DST, .src = net_mem(&net, 1, 0),
            .len = n });
        g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_CRC_ERRORS), >, back);
        back = port_count(&net, 0, 0, HSL_PORT_CRC_ERRORS);
        g_assert_cmpint(port_count(&net, 1, 0, HSL_PORT_REPLAYS), ==, back);
        qtest_memread(net.qts, DST, b, n);
        g_assert_cmpmem(a, n, b, n);
        qtest_memset(net.qts, DST, 0, n);
    }
    /* One in twenty; of the same transfers the same */
    g_assert_cmpint(errors[0], ==, errors[1]);
    g_assert_cmpint(errors[2], ==, errors[3]);
    g_assert_cmpint(errors[0], !=, errors[2]);
    g_assert_cmpint(errors[0], >, n / 256 / 30);
    g_assert_cmpint(errors[0], <, n / 256 / 10);
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_TX_PACKETS), ==,
                    4 * n / 256);
    g_assert_cmpint(port_count(&net, 1, 0, HSL_PORT_RX_PACKETS), ==,
                    4 * n / 256);

    /* Sixteen times again is not once too often */
    inject(&net, "crc 0-1 0 0");
    inject(&net, "crc-all 0-1 16");
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 0), .len = 1000 });
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_REPLAYS), ==, was + 16);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    inject(&net, "crc-all 0-1 17");
    g_assert_cmpint(net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = net_mem(&net, 1, 0), .len = 1000 }).status,
        ==, HSL_ST_LINK_ERROR);
    expect_port(&net, 0, 0, HSL_LINK_ERROR, HSL_LINK_REPLAYS);
    net_quit(&net);
}

/* A signal that gets lost has rung nothing, and says so */
static void test_link_signal_lost(void)
{
    const struct hsl_desc d = { .op = HSL_OP_SIGNAL, .operand = { 9, 1 } };
    struct hsl_cqe c;
    Net net;

    net_start(&net, 2, 2, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    net_up(&net, 1, HSL_PEER_VALID);
    g_assert_true(signal_entry(&net.h[0], 9, 0, 1, 1));
    put_desc(&net.h[1], 1, NET_ORDER, 0, &(struct hsl_desc) {
        .op = HSL_OP_NOP });
    inject(&net, "crc-all 0-1 40");
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_LINK_ERROR);
    g_assert_cmphex(c.addr, ==, 0);
    g_assert_false(net_look(&net, 1, &c));
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    g_assert_cmphex(c.addr, ==, 0);

    inject(&net, "mend all");
    set(&net.h[0], HSL_REG_PORT(0), HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
    net_train(&net);
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    c = net_get(&net, 1);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    net_quit(&net);
}

/* What wants to go over a link in training waits unless there is another way */
static void test_link_wait(void)
{
    struct hsl_desc d = { .op = HSL_OP_COPY, .src = SRC, .len = 4096 };
    struct hsl_cqe c;
    Net net;

    net_start(&net, 3, 3, ",topology=list,links=0-1,,1-2");
    net_up(&net, 0, HSL_PEER_VALID);
    d.dst = net_mem(&net, 2, 0);
    net_put(&net, 0, d);
    g_usleep(150 * 1000);
    g_assert_false(net_look(&net, 0, &c));
    /* Others of the queue do not */
    d.dst = DST;
    d.user_data = 1;
    put_desc(&net.h[0], 0, NET_ORDER, 1, &d);
    submit(&net.h[0], 0, 2);
    c = net_get(&net, 0);
    g_assert_cmpint(c.user_data, ==, 1);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    net_train(&net);
    c = net_get(&net, 0);
    g_assert_cmpint(c.user_data, ==, 0xabc000);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 4096);

    /* It is over when the link does not come */
    d.dst = net_mem(&net, 2, 0);
    set(&net.h[1], HSL_REG_PORT(1), HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
    net_put(&net, 0, d);
    g_usleep(20 * 1000);
    g_assert_false(net_look(&net, 0, &c));
    inject(&net, "cut 1-2");
    c = net_get(&net, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);

    inject(&net, "mend 1-2");
    set(&net.h[0], HSL_REG_PEER(2) + HSL_PEER_CTRL,
        HSL_PEER_VALID | HSL_PEER_VIA_HOST);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_VIA_HOST_BYTES), ==, 4096);
    net_quit(&net);
}

static void test_link_poison(void)
{
    const uint64_t va = 0x10000000000;
    struct hsl_cqe c;
    Net net;
    Pt pt;

    net_start(&net, 2, 2, "");
    net_train(&net);
    qtest_qmp_assert_success(net.qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/machine/peripheral/hsl1', 'property': 'poison', "
        "'value': 12288}}");
    net_up(&net, 0, HSL_PEER_VALID | HSL_PEER_PCIE);
    for (int way = 0; way < 2; way++) {
        c = net_run(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = DST, .src = net_mem(&net, 1, 0),
            .len = 65536 });
        g_assert_cmpint(c.status, ==, HSL_ST_POISON);
        g_assert_cmpint(c.bytes, ==, 12288);
        g_assert_cmphex(c.addr, ==, net_mem(&net, 1, 12288));
        routes_set(&net, 0, HSL_ROUTE_PCIE);
    }
    g_assert_cmpint(count(&net, 0, HSL_CNT_POISONED), ==, 2);
    g_assert_cmpint(count(&net, 1, HSL_CNT_POISONED), ==, 0);
    /* The same page of its own is another */
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 0, 0), .len = 65536 });
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 16384), .len = 65536 });

    set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_RESET);
    net_pt_up(&net, &pt);
    pt_pages(&pt, va, 1, 0, 8);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va, .len = 32768 });
    g_assert_cmpint(c.status, ==, HSL_ST_POISON);
    g_assert_cmpint(c.bytes, ==, 12288);
    net_quit(&net);
}

/* Several devices and the host on one word */
static void test_link_atomics(void)
{
    const unsigned each = 500;
    uint64_t word;
    uint32_t sent[3] = { 0 }, left = 3 * each;
    struct hsl_cqe c;
    Net net;

    net_start(&net, 3, 3, "");
    net_train(&net);
    word = net_mem(&net, 2, 64);
    for (unsigned i = 0; i < 3; i++) {
        net_up(&net, i, HSL_PEER_VALID);
    }
    while (left) {
        for (unsigned i = 0; i < 3; i++) {
            while (sent[i] < each && sent[i] - net.done[i] < 8) {
                put_desc(&net.h[i], i, NET_ORDER, sent[i], &(struct hsl_desc) {
                    .op = HSL_OP_ATOMIC_ADD, .dst = word, .len = 8,
                    .operand[0] = 1ull << (20 * i) });
                sent[i]++;
            }
            submit(&net.h[i], i, sent[i]);
        }
        for (unsigned i = 0; i < 3; i++) {
            while (net.done[i] < sent[i] && net_look(&net, i, &c)) {
                g_assert_cmpint(net_get(&net, i).status, ==, HSL_ST_OK);
                left--;
            }
        }
    }
    g_assert_cmphex(qpci_io_readq(net.h[2].dev, net.h[2].mem, 64), ==,
                    each | (uint64_t)each << 20 | (uint64_t)each << 40);
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 8 * each);
    g_assert_cmpint(count(&net, 2, HSL_CNT_OWN_BYTES), ==, 8 * each);
    net_quit(&net);
}

static void test_link_bad_blocks(void)
{
    static const struct {
        uint64_t base, size;
        uint32_t node;
    } bad[] = {
        { 0x400000000, 0, 1 },
        { 0x400000800, 0x100000, 1 },
        { 0x400000000, 0x100800, 1 },
        { 0x400000000, -0x1000ull, 1 },
        { -0x1000ull, 0x2000, 1 },
        { 0x400000000, 0x100000, 0 },           /* itself */
        { 0x400000000, 0x100000, 4 },
        { 0x400000000, 0x100000, 0xfffffffe },
        { 0x300000000, 0x10000000, 1 },         /* overlaps, by its end, */
        { 0x30f000000, 0x1000, 2 },             /* within */
        { 0x2ff000000, 0x100000000, HSL_NODE_NONE },    /* and around */
    };
    const uint64_t ctrl = HSL_REG_PEER(31) + HSL_PEER_CTRL;
    struct hsl_cqe c;
    Net net;
    Hsl *h = &net.h[0];

    net_start(&net, 4, 2, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    peer_set(&net, 0, 5, 0x30f000000, 0x2000000, 1, HSL_PEER_VALID);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        peer_set(&net, 0, 31, bad[i].base, bad[i].size, bad[i].node,
                 HSL_PEER_VALID | HSL_PEER_PCIE | 0xfffffff0);
        g_assert_cmphex(reg(h, ctrl), ==, HSL_PEER_PCIE);
        g_assert_cmphex(reg64(h, HSL_REG_PEER(31) + HSL_PEER_BASE), ==,
                        bad[i].base);
        g_assert_cmphex(reg(h, HSL_REG_PEER(31) + HSL_PEER_SIZE + 4), ==,
                        bad[i].size >> 32);
    }
    /* All there is from the last page on; there is no 33rd block */
    peer_set(&net, 0, 31, 0x400000000, -0x400000000ull, 3, HSL_PEER_VALID);
    g_assert_cmphex(reg(h, ctrl), ==, HSL_PEER_VALID);
    set(h, HSL_REG_PEER(32) + HSL_PEER_CTRL, 1);
    g_assert_cmphex(reg(h, HSL_REG_PEER(32) + HSL_PEER_CTRL), ==, 0);
    /* Not changed while valid */
    set64(h, HSL_REG_PEER(5) + HSL_PEER_BASE, 0);
    set(h, HSL_REG_PEER(5) + HSL_PEER_NODE, 0);
    g_assert_cmphex(reg64(h, HSL_REG_PEER(5) + HSL_PEER_BASE), ==, 0x30f000000);
    g_assert_cmpint(reg(h, HSL_REG_PEER(5) + HSL_PEER_NODE), ==, 1);

    /* The block is larger than what is there; a node without device */
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = 0x30f000000 + NET_MEM - 100, .len = 200 });
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    g_assert_cmpint(c.bytes, ==, 100);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = 0x30f000000 - 8, .len = 16 });
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    g_assert_cmpint(c.bytes, ==, 0);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = 1ull << 45, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);

    /* A block within memory of the host ends where it says */
    peer_set(&net, 0, 6, DST + 0x3000, 0x2000, 1, HSL_PEER_VALID);
    g_assert_cmphex(peer_ctrl(&net, 0, 6), ==, HSL_PEER_VALID);
    qtest_memset(net.qts, DST, 0x11, 0x8000);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = DST, .len = 0x8000,
        .operand[0] = 0x2222222222222222 });
    g_assert_cmphex(qtest_readl(net.qts, DST + 0x2ffc), ==, 0x22222222);
    g_assert_cmphex(qtest_readl(net.qts, DST + 0x3000), ==, 0x11111111);
    g_assert_cmphex(qtest_readl(net.qts, DST + 0x4ffc), ==, 0x11111111);
    g_assert_cmphex(qtest_readl(net.qts, DST + 0x5000), ==, 0x22222222);
    g_assert_cmphex(qpci_io_readl(net.h[1].dev, net.h[1].mem, 0x1ffc), ==,
                    0x22222222);
    /* One around its own memory does not take that away */
    peer_set(&net, 0, 1, net_mem(&net, 0, 0), NET_MEM, 1, HSL_PEER_VALID);
    g_assert_cmphex(peer_ctrl(&net, 0, 1), ==, HSL_PEER_VALID);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 0, 0x100000), .len = 4096,
        .operand[0] = 9 });
    g_assert_cmpint(qpci_io_readl(h->dev, h->mem, 0x100000), ==, 9);
    g_assert_cmpint(count(&net, 0, HSL_CNT_OWN_BYTES), ==, 4096);

    /* A reset forgets them */
    set(h, HSL_REG_CTRL, HSL_CTRL_RESET);
    g_assert_cmphex(peer_ctrl(&net, 0, 5), ==, 0);
    g_assert_cmphex(reg64(h, HSL_REG_PEER(5) + HSL_PEER_BASE), ==, 0);
    net_quit(&net);
}

static void test_link_bad_leaves(void)
{
    const uint64_t va = 0x10000000000;
    const struct {
        int level;
        uint64_t pte;
        enum hsl_status status;
    } leaves[] = {
        { 0, DST | PTE_RW | HSL_PTE_NODE(1), HSL_ST_BUS_ERROR },
        { 0, DST | PTE_RW | HSL_PTE_NODE(0), HSL_ST_BUS_ERROR },
        { 0, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(4), HSL_ST_BUS_ERROR },
        { 0, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(254), HSL_ST_BUS_ERROR },
        { 0, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE_MASK, HSL_ST_BUS_ERROR },
        { 0, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(1) | 1ull << 60,
          HSL_ST_BUS_ERROR },
        { 0, NET_MEM | PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(1),
          HSL_ST_BUS_ERROR },
        { 0, HSL_PTE_ADDR | PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(1),
          HSL_ST_BUS_ERROR },
        { 0, NET_MEM | PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(0),
          HSL_ST_BUS_ERROR },
        { 0, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(3),
          HSL_ST_PEER_UNREACHABLE },
        { 1, 0x1000 | PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(1),
          HSL_ST_BUS_ERROR },
        { 1, NET_MEM | PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(1),
          HSL_ST_BUS_ERROR },
        { 2, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(1), HSL_ST_BUS_ERROR },
        { 1, HSL_PTE_VALID | HSL_PTE_NODE(1), HSL_ST_BUS_ERROR },
        { 0, (NET_MEM - 4096) | PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(1),
          HSL_ST_OK },
        { 0, (NET_MEM - 4096) | PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(0),
          HSL_ST_OK },
        /* A device without memory */
        { 0, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(2), HSL_ST_BUS_ERROR },
    };
    struct hsl_cqe c;
    Net net;
    Pt pt;
    Hsl h;

    net_start(&net, 4, 2, " -device hsl,addr=9.0,memsize=0,fabric=f0,node=2");
    net_train(&net);
    net_pt_up(&net, &pt);
    pt_entry(&pt, va, 0);
    for (int i = 0; i < ARRAY_SIZE(leaves); i++) {
        uint64_t at = pt_entry(&pt, va, leaves[i].level);
        uint64_t was = qtest_readq(net.qts, at);

        qtest_writeq(net.qts, at, leaves[i].pte);
        invalidate(&net.h[0], 0, va, va + 4095);
        c = net_run(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = va, .len = 4096 });
        g_assert_cmpint(c.status, ==, leaves[i].status);
        qtest_writeq(net.qts, at, was);
        invalidate(&net.h[0], 0, va, va + 4095);
    }
    /* A page table at a peer: walks have no ROUTES */
    peer_set(&net, 0, 0, net_mem(&net, 1, 0), NET_MEM, 1,
             HSL_PEER_VALID | HSL_PEER_PCIE | HSL_PEER_VIA_HOST);
    qtest_writeq(net.qts, pt_entry(&pt, va + 1 * GiB, 1),
                 net_mem(&net, 1, 0) | HSL_PTE_VALID);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va + 1 * GiB, .len = 8 });
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    /* A leaf that leads by the bus into a block is a peer's */
    pt_set(&pt, va, 0, net_mem(&net, 1, 0) | PTE_RW);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va, .len = 4096 });
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 2 * 4096);
    net_quit(&net);

    /* In no fabric there are no nodes, not even its own */
    hsl_start(&h, "");
    pt_up(&h, &pt, NET_ORDER);
    pt_set(&pt, va, 0, PTE_RW | HSL_PTE_LOCAL | HSL_PTE_NODE(0));
    put_one(&h, NET_ORDER, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = va, .len = 8 });
    g_assert_cmpint(get_one(&h, NET_ORDER, 0).status, ==, HSL_ST_BUS_ERROR);
    hsl_quit(&h);
}

/* Rings in the memory of a peer */
static void test_link_rings(void)
{
    const unsigned regs[] = { HSL_Q_SQ_BASE, HSL_Q_CQ_BASE, HSL_Q_CTL_BASE };
    uint64_t tx;
    Net net;
    Hsl *h = &net.h[0];

    net_start(&net, 2, 2, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    for (int j = 0; j < 2 * ARRAY_SIZE(regs); j++) {
        const struct hsl_desc d = { .op = HSL_OP_NOP };
        uint64_t base = 0x8000;
        int which = j / 2;

        inject(&net, "mend 0-1");
        net_train(&net);
        queue_config(h, 1, NET_ORDER);
        set64(h, HSL_REG_Q(1) + regs[which], net_mem(&net, 1, base));
        for (uint64_t a = 0; a < 4096; a += 4) {
            qpci_io_writel(net.h[1].dev, net.h[1].mem, base + a, 0);
        }
        if (which == 0) {
            qpci_memwrite(net.h[1].dev, net.h[1].mem, base, &d, sizeof(d));
        }
        put_desc(h, 1, NET_ORDER, 0, &d);
        tx = port_count(&net, 0, 0, HSL_PORT_TX_PACKETS) +
             port_count(&net, 0, 0, HSL_PORT_RX_PACKETS);
        /* A delay is for operands: the clock stands still here */
        inject(&net, j & 1 ? "cut 0-1" : "delay 0-1 1000000");
        queue_run(h, 1);
        if (which == 2) {
            qpci_io_writel(net.h[1].dev, net.h[1].mem,
                           base + offsetof(struct hsl_q_ctl, sq_tail), 1);
        }
        submit(h, 1, 1);
        if (j & 1) {
            wait_for(q_status(h, 1) == (HSL_Q_FAILED | HSL_QERR_PEER << 8));
        } else {
            wait_for(reg64(h, HSL_REG_Q(1) + HSL_Q_COUNTER(HSL_CNT_OPS)) == 1);
            g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_TX_PACKETS) +
                            port_count(&net, 0, 0, HSL_PORT_RX_PACKETS), >, tx);
        }
        set(h, HSL_REG_Q(1) + HSL_Q_CTRL, 0);
    }
    /* Operands are what HW 6 counts */
    g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 0);

    /* ROUTES is a register as the others */
    set(h, HSL_REG_CTRL, HSL_CTRL_RESET);
    g_assert_cmphex(reg(h, HSL_REG_Q(1) + HSL_Q_ROUTES), ==, HSL_ROUTE_ALL);
    set(h, HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(h, 0);
    queue_config(h, 1, NET_ORDER);
    set(h, HSL_REG_Q(1) + HSL_Q_ROUTES, 8);
    queue_run(h, 1);
    g_assert_cmphex(q_status(h, 1), ==, HSL_Q_FAILED | HSL_QERR_CONFIG << 8);
    net_quit(&net);
}

/* A peer is pulled out while it is being written to, and another one comes */
static void test_link_unplug(void)
{
    const uint64_t rp = ECAM + (QPCI_DEVFN(9, 0) << 12);
    const uint64_t base = 0x400000000;
    const uint64_t size = 256 * MiB;
    struct hsl_cqe c;
    QPCIDevice *host;
    uint64_t slot;
    Net net;

    net_start(&net, 2, 1, " -global "
              "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
              "-device pcie-root-port,id=rp,addr=9.0,chassis=1,slot=1");
    host = qpci_device_find(net.bus, 0);
    qpci_config_writel(host, 0x64, 0);
    qpci_config_writel(host, 0x60, ECAM | 1);
    g_free(host);
    qtest_writel(net.qts, rp + PCI_PRIMARY_BUS, 0x00010100);
    slot = rp + PCI_EXP_SLTCTL + ecam_cap(net.qts, rp, PCI_CAP_ID_EXP);
    net_up(&net, 0, HSL_PEER_VALID);
    peer_set(&net, 0, 1, base, size, 1, HSL_PEER_VALID);
    for (int round = 0; round < 20; round++) {
        expect_port(&net, 0, 0, HSL_LINK_DOWN, HSL_LINK_NO_PARTNER);
        c = net_run(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_FILL, .dst = base, .len = 8 });
        g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
        qtest_qmp_device_add(net.qts, "hsl", "h1", "{'bus': 'rp', "
                             "'fabric': 'f0', 'node': 1, 'memsize': %u}",
                             (unsigned)size);
        expect_port(&net, 0, 0, HSL_LINK_TRAINING, HSL_LINK_NO_REASON);
        net_train(&net);
        expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
        qtest_writew(net.qts, slot, PCI_EXP_SLTCTL_PWR_IND_ON);
        for (int i = 0; i < 4; i++) {
            struct hsl_desc d = { .op = HSL_OP_FILL, .dst = base, .len = size };

            put_desc(&net.h[0], 0, NET_ORDER, net.done[0] + i, &d);
        }
        submit(&net.h[0], 0, net.done[0] + 4);
        wait_for(count(&net, 0, HSL_CNT_LINK_BYTES) > 0);
        qtest_writew(net.qts, slot,
                     PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PWR_IND_OFF);
        qtest_qmp_eventwait(net.qts, "DEVICE_DELETED");
        for (int i = 0; i < 4; i++) {
            c = net_get(&net, 0);
            if (c.status != HSL_ST_PEER_UNREACHABLE) {
                g_assert_cmpint(c.status, ==, HSL_ST_LINK_ERROR);
                g_assert_cmpint(c.bytes, >, 0);
            }
            g_assert_cmpint(c.bytes, <, size);
            g_assert_cmphex(c.addr, ==, base + c.bytes);
        }
        set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_RESET);
        net_up(&net, 0, HSL_PEER_VALID);
        peer_set(&net, 0, 1, base, size, 1, HSL_PEER_VALID);
    }
    net_quit(&net);
}


/* One completion, however long links hold it up: the clock goes on meanwhile */
static struct hsl_cqe net_get_stepping(Net *net, unsigned i)
{
    struct hsl_cqe c;

    for (int n = 0; !net_look(net, i, &c); n++) {
        g_assert_cmpint(n, <, 100000);
        g_usleep(100);
        qtest_clock_step(net->qts, 100 * 1000);
    }
    return net_get(net, i);
}

/* What HW 7.6 says, from the registers of the ports */

typedef struct Run {
    double fixed, stream;       /* ns */
} Run;

/* @n bytes over links in a chain; node i has that to node i + 1 last */
static Run model_link(Net *net, unsigned from, unsigned to, uint64_t n,
                      bool asks)
{
    double packets = DIV_ROUND_UP(n, HSL_PACKET);
    double first = MIN(n, HSL_PACKET) + HSL_PACKET_OVERHEAD;
    Run r = { 0 };

    for (unsigned i = from; i < to; i++) {
        unsigned p = reg(&net->h[i], HSL_REG_NR_PORTS) - 1;
        double per_byte = 8000.0 / (port(net, i, p, HSL_PORT_WIDTH) *
                                (double)port(net, i, p, HSL_PORT_RATE));
        double latency = port(net, i, p, HSL_PORT_LATENCY);
        unsigned credits = port(net, i, p, HSL_PORT_CREDITS);
        double packet = (uint64_t)((HSL_PACKET + HSL_PACKET_OVERHEAD) *
                                   per_byte * 1000) / 1000.0;
        double stall = MAX(2 * latency + packet - credits * packet, 0) *
                       (((unsigned)packets - 1) / credits);
        double all = (n + packets * HSL_PACKET_OVERHEAD) * per_byte + stall;

        r.fixed += latency * (1 + asks) + first * per_byte;
        r.stream = MAX(r.stream, all - first * per_byte);
    }
    return r;
}

static Run model_memory(uint64_t n, unsigned latency, unsigned rate)
{
    return (Run) { .fixed = latency, .stream = n * 1000.0 / rate };
}

/* Up to one for rounding up, and sums rounded down to picoseconds */
static void expect_model(Net *net, unsigned i, struct hsl_desc d, Run a, Run b,
                         double more)
{
    double want = a.fixed + b.fixed + MAX(a.stream, b.stream) + more;
    struct hsl_cqe c;

    d.flags = HSL_DESC_F_TIMED;
    for (int twice = 0; twice < (more ? 1 : 2); twice++) {
        net_put(net, i, d);
        c = net_get_stepping(net, i);
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        g_assert_cmpfloat(HSL_TIME_MODEL(c.addr), >=, want - 0.1);
        g_assert_cmpfloat(HSL_TIME_MODEL(c.addr), <=, want + 1);
        g_assert_cmpint(HSL_TIME_REAL(c.addr), >, 0);
    }
}

static const Run none;

static void test_model(void)
{
    static const uint32_t sizes[] = {
        1, 8, 255, 256, 257, 4096, 65536, 65536 + 100, 1 * MiB,
    };
    static const char *const states[] = {
        "mend all", "lanes 0-1 3", "credits 1-2 2", "delay 0-1 3000",
        "credits all 1",
    };
    const Run word = model_memory(8, HSL_MODEL_HOST_LATENCY,
                                  HSL_MODEL_HOST_RATE);
    double again;
    struct hsl_cqe c;
    Net net;

    net_start(&net, 4, 4, ",topology=list,links=0-1,,1-2:lanes=4,,"
              "2-3:rate=8000:latency=900");
    net_train(&net);
    for (unsigned i = 0; i < 4; i++) {
        net_up(&net, i, HSL_PEER_VALID | HSL_PEER_PCIE | HSL_PEER_VIA_HOST);
    }
    for (int s = 0; s < ARRAY_SIZE(states); s++) {
        inject(&net, states[s]);
        net_train(&net);
        for (unsigned to = 1; to < 4; to++) {
            for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
                uint32_t n = sizes[i];
                uint64_t peer = net_mem(&net, to, 0);
                Run there = model_link(&net, 0, to, n, false);
                Run back = model_link(&net, 0, to, n, true);
                Run own = model_memory(n, HSL_MODEL_OWN_LATENCY,
                                       HSL_MODEL_OWN_RATE);
                Run host = model_memory(n, HSL_MODEL_HOST_LATENCY,
                                        HSL_MODEL_HOST_RATE);

                expect_model(&net, 0, (struct hsl_desc) {
                    .op = HSL_OP_FILL, .dst = peer, .len = n }, there, none, 0);
                expect_model(&net, 0, (struct hsl_desc) {
                    .op = HSL_OP_CRC32C, .src = peer, .len = n }, back, none,
                    0);
                expect_model(&net, 0, (struct hsl_desc) {
                    .op = HSL_OP_COPY, .dst = peer, .len = n,
                    .src = net_mem(&net, 0, 0) }, there, own, 0);
                expect_model(&net, 0, (struct hsl_desc) {
                    .op = HSL_OP_COPY, .dst = DST, .src = peer, .len = n },
                    back, host, 0);
            }
            /* An answer asks for nothing more */
            Run a = model_link(&net, 0, to, 8, false);

            expect_model(&net, 0, (struct hsl_desc) {
                .op = HSL_OP_ATOMIC_ADD, .dst = net_mem(&net, to, 64),
                .len = 8 }, a, (Run) { .fixed = a.fixed }, 0);
        }
    }

    /* Packets that are sent again, on the second link */
    inject(&net, "mend all");
    net_train(&net);
    inject(&net, "crc-all 1-2 3");
    again = 3 * (2.0 * port(&net, 1, 1, HSL_PORT_LATENCY) +
                 (HSL_PACKET + HSL_PACKET_OVERHEAD) * 8000.0 /
                 (4 * port(&net, 1, 1, HSL_PORT_RATE)));
    expect_model(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 3, 0), .len = 9000 },
        model_link(&net, 0, 3, 9000, false), none, again);

    /* Memory that no link leads to, and none at all */
    expect_model(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_ATOMIC_ADD, .dst = DST, .len = 8 }, word, none, 0);
    expect_model(&net, 0, (struct hsl_desc) { .op = HSL_OP_NOP }, none, none,
                 0);
    routes_set(&net, 0, HSL_ROUTE_PCIE);
    expect_model(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 0), .len = 100000 },
        model_memory(100000, HSL_MODEL_PCIE_LATENCY, HSL_MODEL_PCIE_RATE),
        none, 0);
    routes_set(&net, 0, HSL_ROUTE_VIA_HOST);
    expect_model(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 0), .len = 100000 },
        model_memory(100000, HSL_MODEL_VIA_HOST_LATENCY,
                     HSL_MODEL_VIA_HOST_RATE), none, 0);
    routes_set(&net, 0, HSL_ROUTE_LINK);

    /* A signal there and back */
    g_assert_true(signal_entry(&net.h[0], 0, 0, 2, 2));
    Run s = model_link(&net, 0, 2, 8, false);
    expect_model(&net, 0, (struct hsl_desc) { .op = HSL_OP_SIGNAL }, s, s, 0);

    /* Nobody asked; and what fails says where */
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = DST, .len = 8 });
    g_assert_cmphex(c.addr, ==, 0);
    inject(&net, "cut 0-1");
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 0), .len = 8,
        .flags = HSL_DESC_F_TIMED });
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    g_assert_cmphex(c.addr, ==, net_mem(&net, 1, 0));
    net_quit(&net);
}

/* A way that changes in the middle is two */
static void test_model_turn(void)
{
    const uint64_t va = 0x10000000000;
    const uint32_t n = 64 * 1024;
    double want;
    struct hsl_cqe c;
    Run own, link;
    Net net;
    Pt pt;

    net_start(&net, 2, 2, ",latency=300");
    net_train(&net);
    net_pt_up(&net, &pt);
    pt_pages(&pt, va, 0, 0, n / 4096);
    pt_pages(&pt, va + n, 1, 0, n / 4096);
    own = model_memory(n, HSL_MODEL_OWN_LATENCY, HSL_MODEL_OWN_RATE);
    link = model_link(&net, 0, 1, n, true);
    want = own.fixed + own.stream + link.fixed + link.stream;
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_CRC32C, .src = va, .len = 2 * n,
        .flags = HSL_DESC_F_TIMED });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpfloat(HSL_TIME_MODEL(c.addr), >=, want - 0.1);
    g_assert_cmpfloat(HSL_TIME_MODEL(c.addr), <=, want + 1);
    net_quit(&net);
}

/* More than 32 bits of ns; and a card that knows nothing of it */
static void test_model_ends(void)
{
    uint32_t i = 0;
    struct hsl_cqe c;
    Net net;
    Hsl h;

    net_start(&net, 2, 2, ",lanes=1,rate=1,latency=4294967295");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    c = net_run(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = net_mem(&net, 1, 0),
        .src = net_mem(&net, 1, 8 * MiB), .len = 8 * MiB,
        .flags = HSL_DESC_F_TIMED });
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmphex(HSL_TIME_MODEL(c.addr), ==, UINT32_MAX);
    g_assert_cmphex(reg(&net.h[0], HSL_REG_CAPS) & HSL_CAP_TIMED, !=, 0);
    net_quit(&net);

    hsl_start(&h, ",timed=off");
    g_assert_cmphex(reg(&h, HSL_REG_CAPS) & HSL_CAP_TIMED, ==, 0);
    up(&h, 4);
    c = run_one(&h, 4, &i, (struct hsl_desc) {
        .op = HSL_OP_NOP, .flags = HSL_DESC_F_TIMED });
    g_assert_cmpint(c.status, ==, HSL_ST_INVALID);
    hsl_quit(&h);
}

/* A link without credits: what is to go over it waits, but not for ever */
static void test_link_starved(void)
{
    const unsigned starving = 100 * 1000 * 1000;
    struct hsl_desc d = { .op = HSL_OP_COPY, .src = SRC, .len = 4096 };
    struct hsl_cqe c;
    Net net;

    net_start(&net, 3, 3, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    d.dst = net_mem(&net, 1, 0);

    /* Round about, while there is a way */
    inject(&net, "credits 0-1 0");
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_CREDITS), ==, 0);
    g_assert_cmpint(port(&net, 1, 0, HSL_PORT_CREDITS), ==, 0);
    g_assert_cmphex(route(&net, 0, 1), ==, 2 | 1 << 8);
    expect_ok(&net, 0, d);
    g_assert_cmpint(port_count(&net, 0, 0, HSL_PORT_TX_BYTES), ==, 0);
    g_assert_cmpint(port_count(&net, 0, 1, HSL_PORT_TX_BYTES), ==, 4096);

    /* Else it waits, and others of the queue do not */
    inject(&net, "cut 0-2");
    g_assert_cmphex(route(&net, 0, 1), ==, HSL_ROUTE_NONE);
    net_put(&net, 0, d);
    g_usleep(50 * 1000);
    g_assert_false(net_look(&net, 0, &c));
    put_desc(&net.h[0], 0, NET_ORDER, net.done[0] + 1, &(struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = DST, .src = SRC, .len = 8, .user_data = 1 });
    submit(&net.h[0], 0, net.done[0] + 2);
    c = net_get(&net, 0);
    g_assert_cmpint(c.user_data, ==, 1);
    g_assert_false(net_look(&net, 0, &c));
    inject(&net, "credits 0-1 1");
    c = net_get(&net, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_CREDITS), ==, 1);
    qtest_clock_step(net.qts, 2 * starving);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);

    /* Until the link gives up */
    inject(&net, "credits 0-1 0");
    net_put(&net, 0, d);
    qtest_clock_step(net.qts, starving - 1000);
    g_usleep(50 * 1000);
    g_assert_false(net_look(&net, 0, &c));
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    qtest_clock_step(net.qts, 2000);
    c = net_get(&net, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    expect_port(&net, 0, 0, HSL_LINK_ERROR, HSL_LINK_STARVED);
    expect_port(&net, 1, 0, HSL_LINK_ERROR, HSL_LINK_STARVED);

    /* To train it is not to feed it */
    set(&net.h[1], HSL_REG_PORT(0), HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
    net_train(&net);
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);
    g_assert_cmphex(route(&net, 0, 1), ==, HSL_ROUTE_NONE);
    qtest_clock_step(net.qts, starving);
    expect_port(&net, 0, 0, HSL_LINK_ERROR, HSL_LINK_STARVED);
    inject(&net, "mend 0-1");
    expect_port(&net, 0, 0, HSL_LINK_ERROR, HSL_LINK_STARVED);
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_CREDITS), ==, 64);
    set(&net.h[0], HSL_REG_PORT(0), HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
    net_train(&net);
    expect_ok(&net, 0, d);

    /* A stop and a reset do not wait for credits */
    inject(&net, "credits 0-1 0");
    net_put(&net, 0, d);
    g_usleep(10 * 1000);
    set(&net.h[0], HSL_REG_Q(0) + HSL_Q_CTRL, 0);
    g_assert_cmphex(q_status(&net.h[0], 0), ==, HSL_Q_STOPPED);
    routes_set(&net, 0, HSL_ROUTE_LINK);
    net_put(&net, 0, d);
    g_usleep(10 * 1000);
    set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_RESET);
    g_assert_cmphex(q_status(&net.h[0], 0), ==, HSL_Q_STOPPED);
    g_assert_false(net_look(&net, 0, &c));
    net_quit(&net);
}

/* A delayed link holds each piece of work up for as long, and nothing else */
static void test_link_delay(void)
{
    const unsigned ms = 1000 * 1000;
    struct hsl_desc d = { .op = HSL_OP_COPY, .src = SRC, .len = 128 * KiB };
    g_autofree char *text = NULL;
    unsigned ticks = 0;
    struct hsl_cqe c;
    Net net;

    net_start(&net, 3, 3, ",topology=list,links=0-1,,1-2");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    d.dst = net_mem(&net, 2, 0);
    inject(&net, "delay 0-1 3000000");
    inject(&net, "delay 1-2 1000000");
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_LATENCY), ==, 100 + 3 * ms);
    g_assert_cmpint(port(&net, 1, 1, HSL_PORT_LATENCY), ==, 100 + ms);
    text = links_of(&net);
    g_assert_nonnull(strstr(text, "delay 3000000"));
    expect_port(&net, 0, 0, HSL_LINK_ACTIVE, HSL_LINK_NO_REASON);

    /* Others of the queue are not held up */
    net_put(&net, 0, d);
    put_desc(&net.h[0], 0, NET_ORDER, net.done[0] + 1, &(struct hsl_desc) {
        .op = HSL_OP_COPY, .dst = DST, .src = SRC, .len = 8, .user_data = 1 });
    submit(&net.h[0], 0, net.done[0] + 2);
    c = net_get(&net, 0);
    g_assert_cmpint(c.user_data, ==, 1);
    /* Two pieces, one after the other, 4 ms each: no less */
    while (!net_look(&net, 0, &c)) {
        g_assert_cmpint(ticks, <, 100000);
        if (ticks < 40) {
            g_assert_cmpint(count(&net, 0, HSL_CNT_LINK_BYTES), ==, 0);
        }
        g_usleep(1000);
        qtest_clock_step(net.qts, ms / 10);
        ticks++;
    }
    g_assert_cmpint(ticks, >=, 80);
    c = net_get(&net, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    g_assert_cmpint(c.bytes, ==, d.len);

    /* What is held up does not hold up a reset; a link that goes, the others */
    net_put(&net, 0, d);
    g_usleep(10 * 1000);
    inject(&net, "cut 1-2");
    qtest_clock_step(net.qts, 4 * ms);
    c = net_get(&net, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    inject(&net, "mend all");
    g_assert_cmpint(port(&net, 0, 0, HSL_PORT_LATENCY), ==, 100);
    net_train(&net);
    expect_ok(&net, 0, d);
    inject(&net, "delay all 1000000000");
    net_put(&net, 0, d);
    g_usleep(10 * 1000);
    set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_RESET);
    g_assert_cmphex(q_status(&net.h[0], 0), ==, HSL_Q_STOPPED);
    net_quit(&net);
}

/* Page 0 is one like others */
static void test_link_delay_zero(void)
{
    struct hsl_cqe c;
    Net net;
    Pt pt;

    net_start(&net, 2, 2, "");
    net_train(&net);
    net_pt_up(&net, &pt);
    pt_pages(&pt, 0, 1, 0, 1);
    inject(&net, "delay 0-1 1000000");
    net_put(&net, 0, (struct hsl_desc) { .op = HSL_OP_CRC32C, .len = 4096 });
    c = net_get_stepping(&net, 0);
    g_assert_cmpint(c.status, ==, HSL_ST_OK);
    net_quit(&net);
}

static char *schedule_of(Net *net)
{
    QDict *r = qtest_qmp(net->qts, "{'execute': 'qom-get', 'arguments': {"
                         "'path': '/objects/f0', 'property': 'schedule'}}");
    char *text = g_strdup(qdict_get_str(r, "return"));

    qobject_unref(r);
    return text;
}

/*
 * The same transfers on a new fabric under a schedule; what it did, what state
 * that left behind, and the sum of what the model says
 */
static char *scheduled(const char *command, unsigned nodes)
{
    const uint32_t n = 600 * KiB;
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *log = NULL, *links = NULL;
    uint64_t model = 0;
    struct hsl_cqe c;
    Net net;

    net_start(&net, nodes, nodes, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    inject(&net, command);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t at = net_mem(&net, 1 + i % (nodes - 1), i * 8);

        qtest_memset(net.qts, SRC, i, n);
        net_put(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_COPY, .dst = at, .src = SRC, .len = n,
            .flags = HSL_DESC_F_TIMED });
        c = net_get_stepping(&net, 0);
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        model += HSL_TIME_MODEL(c.addr);
        net_put(&net, 0, (struct hsl_desc) {
            .op = HSL_OP_COMPARE, .dst = at, .src = SRC, .len = n });
        c = net_get_stepping(&net, 0);
        g_assert_cmpint(c.status, ==, HSL_ST_OK);
        g_assert_cmpint(c.result, ==, n);
    }
    net_train(&net);
    log = schedule_of(&net);
    links = links_of(&net);
    g_string_printf(text, "%s%s", log, links);
    /* Where there is a way round, the clock says when it is left again */
    if (nodes == 2) {
        g_string_append_printf(text, "model %" PRIu64 " errors %" PRIu64 "\n",
                               model, port_count(&net, 1, 0,
                                                 HSL_PORT_CRC_ERRORS));
        g_assert_cmpint(port_count(&net, 1, 0, HSL_PORT_CRC_ERRORS), >, 0);
    }
    net_quit(&net);
    return g_string_free(g_steal_pointer(&text), false);
}

static void test_link_schedule(void)
{
    static const char *const done[] = {
        "cut ", "mend ", "lanes ", "crc ", "credits ", "delay ",
    };

    for (unsigned nodes = 2; nodes <= NET_MAX; nodes++) {
        g_autofree char *a = scheduled("schedule 42 60 2000", nodes);
        g_autofree char *b = scheduled("schedule 42 60 2000", nodes);
        g_autofree char *c = scheduled("schedule 43 60 2000", nodes);

        g_assert_cmpstr(a, ==, b);
        g_assert_cmpstr(a, !=, c);
        g_assert_nonnull(strstr(a, "seed 42 steps 60/60 every 2000 packets\n"));
        for (int i = 0; i < ARRAY_SIZE(done); i++) {
            g_assert_nonnull(strstr(a, done[i]));
        }
    }
}

/* A schedule is taken back, and replaced, at any time */
static void test_link_schedule_ends(void)
{
    g_autofree char *none = NULL, *some = NULL, *stopped = NULL;
    Net net;

    net_start(&net, 2, 2, "");
    net_train(&net);
    net_up(&net, 0, HSL_PEER_VALID);
    none = schedule_of(&net);
    g_assert_cmpstr(none, ==, "seed 0 steps 0/0 every 0 packets\n");
    inject(&net, "schedule 7 1000 1");
    net_put(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 0), .len = 4096 });
    net_get_stepping(&net, 0);
    some = schedule_of(&net);
    g_assert_nonnull(strstr(some, "seed 7 steps 16/1000 every 1 packets\n1 "));
    inject(&net, "schedule 7 0 1");
    inject(&net, "mend all");
    net_train(&net);
    expect_ok(&net, 0, (struct hsl_desc) {
        .op = HSL_OP_FILL, .dst = net_mem(&net, 1, 0), .len = 65536 });
    stopped = schedule_of(&net);
    g_assert_cmpstr(stopped, ==, "seed 7 steps 0/0 every 1 packets\n");
    net_quit(&net);
}

/* All to all, while links come and go and packets are damaged */
static void test_link_storm(void)
{
    static const char *const commands[] = {
        "cut 0-1", "mend 0-1", "cut 2-3", "lanes 1-2 4", "mend all",
        "credits all 1", "credits 0-2 0", "delay all 5000", "delay 1-3 900000",
        "schedule 5 100 300",
        "crc all 50 1", "crc-all 0-3 20", "lanes 1-2 16", "crc all 0 0",
        "partition 0,1|2,3", "mend all",
    };
    struct hsl_cqe c;
    uint32_t ended = 0;
    Net net;

    net_start(&net, 4, 4, "");
    net_train(&net);
    for (unsigned i = 0; i < 4; i++) {
        net_up(&net, i, HSL_PEER_VALID);
        net_put(&net, i, (struct hsl_desc) { .op = HSL_OP_NOP });
    }
    for (int n = 0; ended < 600; n++) {
        if (n % 8 == 0) {
            inject(&net, commands[g_test_rand_int_range(
                   0, ARRAY_SIZE(commands))]);
            set(&net.h[n / 8 % 4], HSL_REG_PORT(n / 32 % 3),
                HSL_PORT_ENABLE | HSL_PORT_RETRAIN);
        }
        if (n % 16 == 5) {
            set(&net.h[n / 16 % 4], HSL_REG_PEER((n / 16 + 1) % 4) +
                HSL_PEER_CTRL, n & 32 ? HSL_PEER_VALID :
                                        HSL_PEER_VALID | HSL_PEER_PCIE);
        }
        net_train(&net);
        for (unsigned i = 0; i < 4; i++) {
            if (!net_look(&net, i, &c)) {
                continue;
            }
            c = net_get(&net, i);
            g_assert_true(c.status == HSL_ST_OK ||
                          c.status == HSL_ST_PEER_UNREACHABLE ||
                          c.status == HSL_ST_LINK_ERROR);
            ended++;
            net_put(&net, i, (struct hsl_desc) {
                .op = g_test_rand_bit() ? HSL_OP_COPY : HSL_OP_COMPARE,
                .dst = net_mem(&net, g_test_rand_int_range(0, 4), 0),
                .src = net_mem(&net, g_test_rand_int_range(0, 4), 8 * MiB),
                .len = g_test_rand_int_range(1, 2 * MiB) });
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(q_status(&net.h[i], i), ==, HSL_Q_RUNNING);
    }
    net_quit(&net);
}

/* Two devices in no fabric: by PCIe, as software says */
static void test_link_none(void)
{
    struct hsl_desc d = { .op = HSL_OP_FILL, .len = 8192, .operand[0] = 3 };
    struct hsl_cqe c;
    QDict *status;
    Net net;
    Hsl h, to;

    net_start(&net, 2, 0, " -device hsl,id=a,addr=4.0,memsize=16M "
              "-device hsl,id=b,addr=5.0,memsize=16M");
    net.nr = 2;
    net_device(&net, 0);
    net_device(&net, 1);
    set(&net.h[0], HSL_REG_CTRL, HSL_CTRL_ENABLE);
    context_on(&net.h[0], 0);
    queue_on(&net.h[0], 0, NET_ORDER);
    d.dst = net_mem(&net, 1, 4096);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_HOST_BYTES), ==, 8192);
    peer_set(&net, 0, 0, net_mem(&net, 1, 0), NET_MEM, 0, HSL_PEER_VALID);
    g_assert_cmphex(peer_ctrl(&net, 0, 0), ==, 0);
    peer_set(&net, 0, 0, net_mem(&net, 1, 0), NET_MEM, HSL_NODE_NONE,
             HSL_PEER_VALID);
    g_assert_cmphex(peer_ctrl(&net, 0, 0), ==, HSL_PEER_VALID);
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_PEER_UNREACHABLE);
    set(&net.h[0], HSL_REG_PEER(0) + HSL_PEER_CTRL,
        HSL_PEER_VALID | HSL_PEER_VIA_HOST);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_VIA_HOST_BYTES), ==, 8192);
    g_assert_cmpint(qpci_io_readl(net.h[1].dev, net.h[1].mem, 4096), ==, 3);
    set(&net.h[0], HSL_REG_PEER(0) + HSL_PEER_CTRL,
        HSL_PEER_VALID | HSL_PEER_VIA_HOST | HSL_PEER_PCIE);
    expect_ok(&net, 0, d);
    g_assert_cmpint(count(&net, 0, HSL_CNT_PCIE_BYTES), ==, 8192);
    /* Where nothing is */
    peer_set(&net, 0, 0, 0x700000000, NET_MEM, HSL_NODE_NONE,
             HSL_PEER_VALID | HSL_PEER_PCIE);
    d.dst = 0x700000000;
    c = net_run(&net, 0, d);
    g_assert_cmpint(c.status, ==, HSL_ST_BUS_ERROR);
    net_quit(&net);

    /* Such blocks are carried along by a migration */
    hsl_start(&h, "");
    set64(&h, HSL_REG_PEER(7) + HSL_PEER_BASE, 0x123000);
    set64(&h, HSL_REG_PEER(7) + HSL_PEER_SIZE, 0x4000);
    set(&h, HSL_REG_PEER(7) + HSL_PEER_NODE, HSL_NODE_NONE);
    set(&h, HSL_REG_PEER(7) + HSL_PEER_CTRL, HSL_PEER_VALID | HSL_PEER_PCIE);
    set(&h, HSL_REG_Q(3) + HSL_Q_ROUTES, HSL_ROUTE_PCIE);
    to = migrate(&h);
    g_assert_cmphex(reg64(&to, HSL_REG_PEER(7) + HSL_PEER_BASE), ==, 0x123000);
    g_assert_cmphex(reg(&to, HSL_REG_PEER(7) + HSL_PEER_CTRL), ==,
                    HSL_PEER_VALID | HSL_PEER_PCIE);
    g_assert_cmphex(reg(&to, HSL_REG_Q(3) + HSL_Q_ROUTES), ==, HSL_ROUTE_PCIE);
    hsl_quit(&to);
    hsl_quit(&h);

    /* A device in a fabric does not go at all */
    net_start(&net, 2, 1, "");
    status = qtest_qmp_assert_failure_ref(net.qts, "{'execute': 'migrate', "
                                          "'arguments': {'uri': "
                                          "'file:/dev/null'}}");
    expect_failure(status, "node 0 of a fabric");
    net_quit(&net);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/hsl/identity", test_identity);
    qtest_add_func("/hsl/unlike", test_unlike);
    qtest_add_func("/hsl/memdev", test_memdev);
    qtest_add_func("/hsl/registers", test_registers);
    qtest_add_func("/hsl/read-back", test_read_back);
    qtest_add_func("/hsl/limits", test_limits);
    qtest_add_func("/hsl/ops", test_ops);
    qtest_add_func("/hsl/bad-descriptors", test_bad_descriptors);
    qtest_add_func("/hsl/queue-refused", test_queue_refused);
    qtest_add_func("/hsl/wrap", test_wrap);
    qtest_add_func("/hsl/db-needed", test_db_needed);
    qtest_add_func("/hsl/bad-doorbell", test_bad_doorbell);
    qtest_add_func("/hsl/bad-tail-word", test_bad_tail_word);
    qtest_add_func("/hsl/signal-table", test_signal_table);
    qtest_add_func("/hsl/signal", test_signal);
    qtest_add_func("/hsl/signal-migrate", test_signal_migrate);
    qtest_add_func("/hsl/bad-rings", test_bad_rings);
    qtest_add_func("/hsl/cq-overflow", test_cq_overflow);
    qtest_add_func("/hsl/many-queues", test_many_queues);
    qtest_add_func("/hsl/events", test_events);
    qtest_add_func("/hsl/interrupts", test_interrupts);
    qtest_add_func("/hsl/error-interrupts", test_error_interrupts);
    qtest_add_func("/hsl/fail-writes", test_fail_writes);
    qtest_add_func("/hsl/pending", test_pending);
    qtest_add_func("/hsl/priority", test_priority);
    qtest_add_func("/hsl/context-off", test_context_off);
    qtest_add_func("/hsl/reset", test_reset);
    qtest_add_func("/hsl/bus-master", test_bus_master);
    qtest_add_func("/hsl/unplug", test_unplug);
    qtest_add_func("/hsl/unplug-by-interrupt", test_unplug_by_interrupt);
    qtest_add_func("/hsl/unplug-by-event", test_unplug_by_event);
    qtest_add_func("/hsl/migrate", test_migrate);
    qtest_add_func("/hsl/migrate-refused", test_migrate_refused);
    qtest_add_func("/hsl/pt-walk", test_pt_walk);
    qtest_add_func("/hsl/pt-malformed", test_pt_malformed);
    qtest_add_func("/hsl/faults", test_faults);
    qtest_add_func("/hsl/fault-details", test_fault_details);
    qtest_add_func("/hsl/fault-shared", test_fault_shared);
    qtest_add_func("/hsl/fault-stop", test_fault_stop);
    qtest_add_func("/hsl/fault-rings", test_fault_rings);
    qtest_add_func("/hsl/fault-queue", test_fault_queue);
    qtest_add_func("/hsl/fault-queue-anew", test_fault_queue_anew);
    qtest_add_func("/hsl/invalidate", test_invalidate);
    qtest_add_func("/hsl/pt-entries", test_pt_entries);
    qtest_add_func("/hsl/pt-no-wait", test_pt_no_wait);
    qtest_add_func("/hsl/poison", test_poison);
    qtest_add_func("/hsl/pt-migrate", test_pt_migrate);
    qtest_add_func("/hsl/pt-migrate-refused", test_pt_migrate_refused);
    qtest_add_func("/hsl/pt-iommu", test_pt_iommu);
    qtest_add_func("/hsl/ats", test_ats);
    qtest_add_func("/hsl/page-requests", test_page_requests);
    qtest_add_func("/hsl/page-request-index", test_page_request_index);
    qtest_add_func("/hsl/page-request-share", test_page_request_share);
    qtest_add_func("/hsl/page-request-answer", test_page_request_answer);
    qtest_add_func("/hsl/page-request-room", test_page_request_room);
    qtest_add_func("/hsl/tables-in-registers", test_tables_in_registers);
    qtest_add_func("/hsl/no-device-tlb", test_no_device_tlb);
    qtest_add_func("/hsl/ats-off", test_ats_off);
    qtest_add_func("/hsl/stopping", test_stopping);
    qtest_add_func("/hsl/msi-range", test_msi_range);
    qtest_add_func("/hsl/no-pri", test_no_pri);
    qtest_add_func("/hsl/migrate-ats", test_migrate_ats);
    qtest_add_func("/hsl/unplug-by-request", test_unplug_by_request);
    qtest_add_func("/hsl/link-identity", test_link_identity);
    qtest_add_func("/hsl/link-training", test_link_training);
    qtest_add_func("/hsl/link-ports", test_link_ports);
    qtest_add_func("/hsl/link-lanes", test_link_lanes);
    qtest_add_func("/hsl/link-topologies", test_link_topologies);
    qtest_add_func("/hsl/link-refused", test_link_refused);
    qtest_add_func("/hsl/link-ops-bus", test_link_ops_bus);
    qtest_add_func("/hsl/link-ops-device", test_link_ops_device);
    qtest_add_func("/hsl/link-counters", test_link_counters);
    qtest_add_func("/hsl/link-reroute", test_link_reroute);
    qtest_add_func("/hsl/link-unreachable", test_link_unreachable);
    qtest_add_func("/hsl/link-error", test_link_error);
    qtest_add_func("/hsl/link-replay", test_link_replay);
    qtest_add_func("/hsl/link-signal-lost", test_link_signal_lost);
    qtest_add_func("/hsl/link-wait", test_link_wait);
    qtest_add_func("/hsl/link-poison", test_link_poison);
    qtest_add_func("/hsl/link-atomics", test_link_atomics);
    qtest_add_func("/hsl/link-bad-blocks", test_link_bad_blocks);
    qtest_add_func("/hsl/link-bad-leaves", test_link_bad_leaves);
    qtest_add_func("/hsl/link-rings", test_link_rings);
    qtest_add_func("/hsl/link-unplug", test_link_unplug);
    qtest_add_func("/hsl/link-starved", test_link_starved);
    qtest_add_func("/hsl/link-delay", test_link_delay);
    qtest_add_func("/hsl/link-delay-zero", test_link_delay_zero);
    qtest_add_func("/hsl/link-schedule", test_link_schedule);
    qtest_add_func("/hsl/link-schedule-ends", test_link_schedule_ends);
    qtest_add_func("/hsl/model", test_model);
    qtest_add_func("/hsl/model-turn", test_model_turn);
    qtest_add_func("/hsl/model-ends", test_model_ends);
    qtest_add_func("/hsl/link-storm", test_link_storm);
    qtest_add_func("/hsl/link-none", test_link_none);
    return g_test_run();
}
