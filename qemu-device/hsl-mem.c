/*
 * HSL-like accelerator endpoint: device memory and its poison
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "migration/vmstate.h"
#include "hsl-internal.h"
#include "trace.h"

bool hsl_mem_init(HslState *s, Error **errp)
{
    uint64_t size;

    if (s->memdev) {
        s->mem = host_memory_backend_get_memory(s->memdev);
        host_memory_backend_set_mapped(s->memdev, true);
        vmstate_register_ram(s->mem, DEVICE(s));
    } else if (s->memsize) {
        if (!memory_region_init_ram(&s->mem_bar, OBJECT(s), "hsl-mem",
                                    s->memsize, errp)) {
            return false;
        }
        s->mem = &s->mem_bar;
    }
    if (!s->mem) {
        return true;
    }

    /* The device reaches it by offset, wherever the BAR is, if anywhere */
    size = memory_region_size(s->mem);
    memory_region_init_alias(&s->mem_alias, OBJECT(s), "hsl-mem-local", s->mem,
                             0, size);
    address_space_init(&s->mem_as, &s->mem_alias, "hsl-mem-local");
    if (address_space_cache_init(&s->local.cache, &s->mem_as, 0, size,
                                 true) != size || !s->local.cache.ptr) {
        hsl_mem_exit(s);
        error_setg(errp, "device memory is not RAM");
        return false;
    }
    s->mem_pages = size >> HSL_PAGE_ORDER;
    s->poison = bitmap_new(s->mem_pages);
    s->poison_tell = bitmap_new(s->mem_pages);
    return true;
}

void hsl_mem_exit(HslState *s)
{
    if (!s->mem) {
        return;
    }
    hsl_lock(s);
    address_space_cache_destroy(&s->local.cache);
    s->local.cache.ptr = NULL;
    s->local.cache.len = 0;
    hsl_unlock(s);
    address_space_destroy(&s->mem_as);
    if (s->memdev) {
        vmstate_unregister_ram(s->mem, DEVICE(s));
        host_memory_backend_set_mapped(s->memdev, false);
    }
    s->mem = NULL;
}

/* What an unplugged device's engine may still look at */
void hsl_mem_free(HslState *s)
{
    g_free(s->poison);
    g_free(s->poison_tell);
}

/*
 * Some of the device memory that @map is in is poisoned: end it before what is.
 * The device is a peer, perhaps, whose lock is not held: hsl_poison_set() waits
 * for what may have looked too early.
 */
HslXlate hsl_mem_check(HslState *s, HslMap *map)
{
    uint64_t offset = map->win->cache.xlat + map->in, page, bad;

    page = offset >> HSL_PAGE_ORDER;
    bad = find_next_bit(map->owner->poison,
                        ((offset + map->len - 1) >> HSL_PAGE_ORDER) + 1, page);
    if (bad == page) {
        s->counters[HSL_CNT_POISONED]++;
        return HSL_X_POISON;
    }
    map->len = MIN(map->len, (bad << HSL_PAGE_ORDER) - offset);
    return HSL_X_OK;
}

/* All poison is there before and after; whoever comes to it anew is told */
void hsl_mem_reset(HslState *s)
{
    if (s->mem && s->nr_poisoned) {
        bitmap_copy(s->poison_tell, s->poison, s->mem_pages);
        s->poison_told = false;
        qatomic_set(&s->bql_work, true);
    }
}

static void hsl_poison_get(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    uint64_t n = HSL(obj)->nr_poisoned;

    visit_type_uint64(v, name, &n, errp);
}

static void hsl_poison_set(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    HslState *s = HSL(obj);
    uint64_t offset;

    if (!visit_type_uint64(v, name, &offset, errp)) {
        return;
    }
    if (!s->mem) {
        error_setg(errp, "the device has no memory to poison");
        return;
    }
    if (offset >= memory_region_size(s->mem)) {
        error_setg(errp, "0x%" PRIx64 " is outside of device memory, which has "
                   "0x%" PRIx64 " bytes", offset, memory_region_size(s->mem));
        return;
    }
    if (offset & ~HSL_PAGE_MASK) {
        error_setg(errp, "0x%" PRIx64 " is not the start of a page of 0x%llx "
                   "bytes", offset, HSL_PAGE_SIZE);
        return;
    }
    trace_hsl_poison(offset);
    hsl_lock(s);
    s->nr_poisoned += !test_and_set_bit(offset >> HSL_PAGE_ORDER, s->poison);
    set_bit(offset >> HSL_PAGE_ORDER, s->poison_tell);
    s->poison_told = false;
    qatomic_set(&s->bql_work, true);
    hsl_unlock(s);
    qemu_event_set(&s->wake);
    if (s->joined) {
        hsl_fabric_barrier(s->fabric, s);
    }
}

void hsl_mem_class_init(ObjectClass *klass)
{
    object_class_property_add(klass, "poison", "uint64", hsl_poison_get,
                              hsl_poison_set, NULL, NULL);
    object_class_property_set_description(klass, "poison",
        "write an offset in device memory: its page loses its contents; "
        "read: the number of such pages");
}

static int hsl_poison_post_load(void *opaque, int version_id)
{
    HslState *s = opaque;

    s->nr_poisoned = bitmap_count_one(s->poison, s->mem_pages);
    s->poison_told = false;
    qatomic_set(&s->bql_work, true);
    return 0;
}

static bool hsl_poison_needed(void *opaque)
{
    return HSL(opaque)->nr_poisoned;
}

/* Before a load: what the state does not name is not poisoned */
void hsl_mem_pre_load(HslState *s)
{
    if (s->mem) {
        bitmap_zero(s->poison, s->mem_pages);
        bitmap_zero(s->poison_tell, s->mem_pages);
        s->nr_poisoned = 0;
    }
}

const VMStateDescription vmstate_hsl_poison = {
    .name = "hsl/poison",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = hsl_poison_needed,
    .post_load = hsl_poison_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_INT32_EQUAL(mem_pages, HslState),
        VMSTATE_BITMAP(poison, HslState, 1, mem_pages),
        VMSTATE_BITMAP(poison_tell, HslState, 1, mem_pages),
        VMSTATE_END_OF_LIST()
    },
};
