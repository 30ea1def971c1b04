/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ring-reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hosts.h"

#define NS_PER_MS UINT64_C(1000000)
#define PROBE_INTERVAL_NS (100 * NS_PER_MS)
#define STALLED_AFTER_NS (2000 * NS_PER_MS)
#define TEND_GAP_NS (5000 * NS_PER_MS) /* we slept, not the writer */

void ring_reader_init(ring_reader *reader) { memset(reader, 0, sizeof *reader); }

static void free_view(ring_view *view) {
    if (view == NULL)
        return;
    platform_unmap(&view->mapping);
    free(view);
}

void ring_reader_free(ring_reader *reader) {
    free_view(atomic_exchange(&reader->offered, NULL));
    free_view(atomic_exchange(&reader->retired, NULL));
    free_view(reader->current);
    reader->current = NULL;
    reader->newest = NULL;
}

/* ---- attendant --------------------------------------------------------------------------- */

static void refuse(ring_reader *reader, const char *reason) {
    atomic_store(&reader->refusal, reason);
    atomic_fetch_add(&reader->num_refused, 1);
}

/* The render thread gets this one next; an offer it has not taken yet is replaced. */
static void offer(ring_reader *reader, ring_view *view) {
    reader->newest = view->mapping.address != NULL ? view : NULL;
    reader->last_frame = 0;
    free_view(atomic_exchange(&reader->offered, view));
}

static void withdraw(ring_reader *reader) {
    ring_view *nothing = calloc(1, sizeof *nothing);
    if (nothing != NULL)
        offer(reader, nothing);
}

void ring_reader_point(ring_reader *reader, const char *run_dir, const char *stream) {
    if (strcmp(reader->run_dir, run_dir) == 0 && strcmp(reader->stream, stream) == 0)
        return;
    snprintf(reader->run_dir, sizeof reader->run_dir, "%s", run_dir);
    snprintf(reader->stream, sizeof reader->stream, "%s", stream);
    reader->is_writer_alive = false;
    reader->next_probe_ns = 0;
    atomic_store(&reader->status, RING_ABSENT);
    atomic_store(&reader->refusal, NULL);
    if (reader->newest != NULL)
        withdraw(reader);
}

/* NULL when `view` is the mapped segment that the descriptor names. */
static const char *attach(const ring_reader *reader, const descriptor *named, ring_view *view) {
    platform_segment segment = {named->segment, named->is_file ? reader->run_dir : NULL};
    const sdv2_ring_segment *header;
    const char *refusal = platform_attach(&segment, SDV2_RING_MAX_SEGMENT_BYTES,
                                          &view->mapping);

    if (refusal != NULL)
        return refusal;
    refusal = sdv2_ring_check(view->mapping.address, view->mapping.bytes, &view->reader);
    if (refusal != NULL)
        return refusal;
    header = view->mapping.address;
    if (memcmp(header->uuid, named->uuid, sizeof named->uuid) != 0 ||
        strncmp(header->stream, reader->stream, sizeof header->stream) != 0)
        return "its segment is not the one that its descriptor means";
    memcpy(view->segment, named->segment, sizeof view->segment);
    return NULL;
}

/* The descriptor of the stream; false when there is none or it cannot be trusted. */
static bool read_descriptor(ring_reader *reader, descriptor *named) {
    char path[PLATFORM_PATH_BYTES], text[DESCRIPTOR_MAX_BYTES];
    const char *refusal;
    long length;

    hosts_path(reader->run_dir, reader->stream, ".json", path);
    length = platform_read_private_file(path, text, sizeof text);
    if (length < 0)
        return false;
    refusal = descriptor_parse(text, (size_t)length, reader->stream, named);
    if (refusal != NULL)
        refuse(reader, refusal);
    return refusal == NULL;
}

static void probe(ring_reader *reader) {
    char path[PLATFORM_PATH_BYTES];
    const char *refusal;
    descriptor named;
    ring_view *view;

    hosts_path(reader->run_dir, reader->stream, ".lock", path);
    reader->is_writer_alive = platform_is_private_dir(reader->run_dir) &&
                              platform_lock_is_held(path);
    /* What a dead writer left is not worth attaching to. */
    if (!reader->is_writer_alive || !read_descriptor(reader, &named))
        return;
    if (reader->newest != NULL && strcmp(reader->newest->segment, named.segment) == 0)
        return;
    view = calloc(1, sizeof *view);
    if (view == NULL)
        return;
    refusal = attach(reader, &named, view);
    if (refusal != NULL) {
        refuse(reader, refusal);
        free_view(view);
        return;
    }
    atomic_store(&reader->refusal, NULL);
    offer(reader, view);
}

static ring_status judge(const ring_reader *reader, uint64_t now_ns) {
    const sdv2_ring_segment *segment;
    uint64_t sign_ns, state;

    if (reader->newest == NULL)
        return RING_ABSENT;
    segment = reader->newest->mapping.address;
    state = sdv2_ring_load(&segment->state);
    if (state == SDV2_RING_STATE_CLOSED || !reader->is_writer_alive)
        return RING_DEAD;
    sign_ns = sdv2_ring_load(&segment->heartbeat_ns);
    if (sign_ns < reader->watch_since_ns || sign_ns > now_ns)
        sign_ns = reader->watch_since_ns;
    return now_ns - sign_ns > STALLED_AFTER_NS ? RING_STALLED : RING_LIVE;
}

/* Whether the descriptor should be read again: nothing new for 100 ms, or the segment is over. */
static bool is_quiet(ring_reader *reader, uint64_t now_ns) {
    const sdv2_ring_segment *segment;
    uint64_t frame;

    if (reader->newest == NULL)
        return true;
    segment = reader->newest->mapping.address;
    frame = sdv2_ring_load(&segment->publish_seq);
    if (frame != reader->last_frame) {
        reader->last_frame = frame;
        reader->last_new_ns = now_ns;
    }
    return sdv2_ring_load(&segment->state) != SDV2_RING_STATE_LIVE ||
           now_ns - reader->last_new_ns > PROBE_INTERVAL_NS;
}

void ring_reader_tend(ring_reader *reader, uint64_t now_ns) {
    ring_status status;

    free_view(atomic_exchange(&reader->retired, NULL));
    if (reader->stream[0] == '\0')
        return;
    if (now_ns - reader->last_tend_ns > TEND_GAP_NS)
        reader->watch_since_ns = now_ns;
    reader->last_tend_ns = now_ns;
    if (is_quiet(reader, now_ns) && now_ns >= reader->next_probe_ns) {
        reader->next_probe_ns = now_ns + PROBE_INTERVAL_NS;
        probe(reader);
    }
    status = judge(reader, now_ns);
    atomic_store(&reader->status, (int)status);
    if (status == RING_DEAD)
        withdraw(reader); /* the picture is a texture by now; the memory goes back */
}

/* ---- render thread ----------------------------------------------------------------------- */

void ring_reader_switch(ring_reader *reader) {
    ring_view *next;

    /* The attendant has not taken the last one back yet: next frame. */
    if (atomic_load(&reader->retired) != NULL)
        return;
    next = atomic_exchange(&reader->offered, NULL);
    if (next == NULL)
        return;
    if (reader->current != NULL)
        atomic_store(&reader->retired, reader->current);
    reader->current = next;
}

static bool can_read(const ring_reader *reader) {
    return reader->current != NULL && reader->current->mapping.address != NULL;
}

bool ring_reader_peek(ring_reader *reader, sdv2_ring_slot *header) {
    sdv2_ring_result result;

    if (!can_read(reader))
        return false;
    result = sdv2_ring_read_newest(&reader->current->reader, header, NULL, 0, 0);
    if (result == SDV2_RING_REFUSED)
        refuse(reader, "a frame of it cannot be trusted");
    return result == SDV2_RING_TOO_SMALL;
}

sdv2_ring_result ring_reader_take(ring_reader *reader, sdv2_ring_slot *header, void *pixels,
                                  uint64_t pixel_stride, uint64_t pixels_bytes) {
    if (!can_read(reader))
        return SDV2_RING_NONE;
    return sdv2_ring_read_newest(&reader->current->reader, header, pixels, pixel_stride,
                                 pixels_bytes);
}
