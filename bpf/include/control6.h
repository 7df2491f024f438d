/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * control6.h: what user space must not do itself with handles, since it can't compare and swap; and what control.h does with
 * the sessions of handles. The request is the packet of a test-run; the answer is written into it.
 */
#ifndef ALGATE_CONTROL6_H
#define ALGATE_CONTROL6_H

/* Frees a handle that nobody has asked for lately; that none of the tables has it is the caller's to know. */
static __always_inline bool handle_free(__be32 handle, u32 idle, u32 now)
{
    struct address6 address;
    struct interned *row = addresses6.lookup(&handle);
    if (!row)
        return false;
    u64 seen = *(volatile u64 *)&row->word;
    if (seen >> 32 != HANDLE_LIVE || (s32)(now - (u32)seen) < (s32)idle)
        return false;
    if (__sync_val_compare_and_swap(&row->word, seen, handle_word(HANDLE_GONE, now)) != seen)
        return false;
    __builtin_memcpy(address.bytes, row->bytes, 16);
    askers_count(row, -1);
    struct mapping_key host = {.inside_ip = handle};
    u32 freed = POOL_FREED;
    handles.delete(&address);
    hosts.delete(&host);
    pool_count(freed, 1); /* before the number is given back: kept.h */
    addresses6.delete(&handle);
    handle_count(-1);
    return true;
}

static __always_inline int run_control6(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct control *c = data + ETH_HEADER;
    struct handle_request *r = data + ETH_HEADER;
    struct config *cfg = get_config();
    struct config6 *six = get_config6();
    if (!cfg || !six || (void *)&c->keys[0] > data_end || (void *)(r + 1) > data_end)
        return TC_ACT_SHOT;
    u32 now = now_tick();
    if (r->op == HANDLE_FREE) {
        r->count = handle_free(r->handle, r->idle, now);
        return TC_ACT_OK;
    }
    if (r->op != HANDLE_INTERN) {
        control_keys(skb, cfg, c, data_end, now);
        return TC_ACT_OK;
    }
    struct address6 address;
    __builtin_memcpy(address.bytes, r->bytes, 16);
    askers_nobody();
    r->handle = handle_want_host(&address, six->flags & SIX_HOST_64 && r->idle, now);
    r->error = r->handle ? 0 : -12; /* ENOMEM */
    return TC_ACT_OK;
}

#endif
