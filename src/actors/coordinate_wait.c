/* A coordinator's waiting: a sloppy write finds fewer nodes than it needs, and others are away. A node that
 * has just started, woken or come back into reach has none for a moment: its links are being made. So the
 * write waits, for a bounded part of its time, and goes on with the first node that comes. */
#include "actors/coordinate.h"
#include "actors/result.h"
#include "base/check.h"
#include "wire/unpack.h"

bool coordinate_may_wait(const struct turn *turn, const struct slot *slot)
{
    if (!slot->sloppy || slot->looked || turn->now_ns >= slot->wait_until_ns) return false;
    const uint64_t *list = ring_preference_list(turn->ring, slot->vnode);
    for (uint32_t i = 0; i < ring_nodes(turn->ring); i++)
        if (!peers_reachable(turn->peers, list[i])) return true;
    return false;
}

void coordinate_wait(struct coordinator *coordinator, struct turn *turn, struct slot *slot)
{
    if (slot->waits) return;
    slot->waits = true;
    coordinate_arm_deadline(coordinator, turn, slot, slot->wait_until_ns);
}

/* A write that was minted: it goes to whom it did not go to. */
static void send_again(struct coordinator *coordinator, struct turn *turn, struct slot *slot, uint64_t node)
{
    bool stand_in;
    uint32_t position = slot_position_of(slot, node, &stand_in);
    if (position == slot->n) {
        slot->next_fallback = slot->table_n < ring_nodes(turn->ring) ? slot->table_n : ring_nodes(turn->ring);
    } else {
        coordinate_send_merge(turn, slot, position, stand_in);
    }
    coordinate_step_writing(coordinator, turn, slot);
}

void coordinate_peer_back(struct coordinator *coordinator, struct turn *turn, struct slot *slot,
                          uint64_t node)
{
    if (slot->phase == SLOT_WRITING) {
        send_again(coordinator, turn, slot, node);
        return;
    }
    ProtobufCMessage *request;
    CHECK(unpack(&dynode__peer__mint__descriptor, buffer_bytes(&slot->mint), turn->arena, &request) ==
          STATUS_OK);
    coordinate_begin_writing(coordinator, turn, slot, (Dynode__Peer__Mint *)request);
}
