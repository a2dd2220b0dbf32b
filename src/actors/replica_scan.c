#include "actors/replica_scan.h"

#include "version/object.h"
#include "wire/object_wire.h"

struct page {
    const Dynode__Peer__ScanShard *scan;
    struct turn *turn;
    struct arena scratch; /* one object at a time */
    Dynode__Peer__ScanAnswer *answer;
    struct bytes last; /* the store key last looked at */
    uint32_t visits;
    size_t bytes;
    bool full;
};

static bool is_wanted(struct page *page, struct bytes key, struct bytes value, struct store_place *place)
{
    const Dynode__Peer__ScanShard *scan = page->scan;
    const struct turn *turn = page->turn;
    struct bytes encoded;
    struct object object;
    if (!store_key_decode(key, place) || place->tag != scan->tag) return false;
    if (place->vnode != ring_vnode(turn->ring, place->hash)) return false; /* no key of ours: it has rotted */
    if (scan->primary_only && ring_preference_list(turn->ring, place->vnode)[0] != turn->self.node)
        return false;
    arena_reset(&page->scratch);
    if (object_unseal(key, value, &encoded) != STATUS_OK) return false;
    if (object_decode(encoded, &page->scratch, &object) != STATUS_OK) return false;
    return object_live_count(&object, turn->wall_ms) > 0;
}

static bool visit(void *context, struct bytes key, struct bytes value)
{
    struct page *page = context;
    Dynode__Peer__ScanAnswer *answer = page->answer;
    struct store_place place;
    /* The cursor names the last key that was looked at: the page begins after it. */
    if (bytes_equal(key, bytes_of(page->scan->cursor.data, page->scan->cursor.len))) return true;
    if (is_wanted(page, key, value, &place)) {
        answer->count++;
        if (!page->scan->count_only) {
            struct bytes copy = bytes_copy(page->turn->arena, place.key);
            answer->keys[answer->n_keys++] =
                (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)copy.data, .len = copy.size};
        }
    }
    page->visits++;
    page->bytes += key.size + value.size;
    page->full = answer->count >= page->scan->limit || page->visits >= SCAN_VISITS_MAX ||
                 page->bytes >= SCAN_BYTES_MAX;
    if (page->full) page->last = bytes_copy(page->turn->arena, key);
    return !page->full;
}

void replica_scan(struct turn *turn, const struct mail *mail)
{
    const Dynode__Peer__ScanShard *scan = mail->body;
    if (turn_is_late(turn, scan->deadline_ms)) {
        turn->counters->expired++;
        return;
    }
    Dynode__Peer__ScanAnswer *answer = ARENA_NEW(turn->arena, Dynode__Peer__ScanAnswer);
    dynode__peer__scan_answer__init(answer);
    struct page page = {.scan = scan, .turn = turn, .answer = answer};
    arena_init(&page.scratch, 0);
    uint32_t slots = scan->limit < SCAN_VISITS_MAX ? scan->limit : SCAN_VISITS_MAX;
    answer->keys = ARENA_ARRAY(turn->arena, ProtobufCBinaryData, slots + 1);
    enum status status = store_scan(turn->store, STORE_OBJECTS, bytes_of(scan->cursor.data, scan->cursor.len),
                                    bytes_of(NULL, 0), visit, &page);
    if (status == STATUS_STORE_BROKEN) turn->store_broken = true;
    answer->status = status;
    if (page.full)
        answer->cursor =
            (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)page.last.data, .len = page.last.size};
    arena_fini(&page.scratch);
    turn_send(turn, mail->from, mail->request, DYNODE__PEER__MESSAGE__BODY_SCAN_ANSWER, answer);
}
