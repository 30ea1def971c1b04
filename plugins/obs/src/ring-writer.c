/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ring-writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hosts.h"
#include "ring-leftovers.h"

#define NS_PER_MS UINT64_C(1000000)
#define NUM_SLOTS 4
#define RETRY_INTERVAL_NS (500 * NS_PER_MS)
/* A render thread that has had nothing to send for so long lets others write; a scene switch is
 * shorter. One that stands still altogether (a modal dialog, a debugger) keeps its ring. */
#define IDLE_AFTER_NS (2000 * NS_PER_MS)

void ring_writer_init(ring_writer *writer) { memset(writer, 0, sizeof *writer); }

static void path_of(const ring_writer *writer, const char *suffix,
                    char path[PLATFORM_PATH_BYTES]) {
    hosts_path(writer->run_dir_of_lock, writer->stream_of_lock, suffix, path);
}

static platform_segment place_of(const ring_writer *writer, const char *name, bool is_file) {
    platform_segment segment = {name, is_file ? writer->run_dir_of_lock : NULL};
    return segment;
}

/* Nobody reads or writes `view` on our side any more. */
static void end_view(const ring_writer *writer, write_view *view, uint64_t state) {
    platform_segment segment;

    if (view == NULL)
        return;
    if (view->mapping.address != NULL) {
        sdv2_ring_end(&view->writer, state);
        segment = place_of(writer, view->segment, view->is_file);
        platform_unlink(&segment);
        platform_unmap(&view->mapping);
    }
    free(view);
}

static bool is_empty(const write_view *view) {
    return view == NULL || view->mapping.address == NULL;
}

static void offer(ring_writer *writer, write_view *view) {
    write_view *unused = atomic_exchange(&writer->offered, view);
    end_view(writer, unused, is_empty(view) ? SDV2_RING_STATE_CLOSED : SDV2_RING_STATE_SUPERSEDED);
    writer->newest = view;
}

/* ---- attendant: life of the stream -------------------------------------------------------- */

static void say(ring_writer *writer, writer_status status, const char *problem) {
    atomic_store(&writer->problem, problem);
    atomic_store(&writer->status, (int)status);
}

static bool take_lock(ring_writer *writer, uint64_t now_ns) {
    char path[PLATFORM_PATH_BYTES];

    if (!platform_is_private_dir(writer->run_dir)) {
        say(writer, WRITER_FAILED, "the run directory is not this user's own");
        return false;
    }
    hosts_path(writer->run_dir, writer->stream, ".lock", path);
    writer->lock = platform_lock_take(path);
    if (writer->lock == NULL) {
        atomic_store(&writer->owner_pid, ring_owner_pid(writer->run_dir, writer->stream));
        say(writer, WRITER_TAKEN, NULL);
        return false;
    }
    memcpy(writer->run_dir_of_lock, writer->run_dir, sizeof writer->run_dir_of_lock);
    memcpy(writer->stream_of_lock, writer->stream, sizeof writer->stream_of_lock);
    writer->start_ns = now_ns;
    writer->generation = ring_clear_leftovers(writer->run_dir, writer->stream);
    return true;
}

/* Whether hosts of this directory keep their segments in it: the output ring of ours does. */
static bool is_file_dir(const ring_writer *writer) {
    char path[PLATFORM_PATH_BYTES], text[DESCRIPTOR_MAX_BYTES], output[STREAM_NAME_BYTES];
    descriptor found;
    long length;
    int name_bytes = (int)strlen(writer->stream_of_lock) - (int)strlen("-in");

    snprintf(output, sizeof output, "%.*s-out", name_bytes, writer->stream_of_lock);
    hosts_path(writer->run_dir_of_lock, output, ".json", path);
    length = platform_read_private_file(path, text, sizeof text);
    return length > 0 && descriptor_parse(text, (size_t)length, output, &found) == NULL &&
           found.is_file;
}

/* Names are written down before they exist: whenever OBS is killed, the next writer finds them. */
static bool write_pending(const ring_writer *writer, const char *name) {
    char path[PLATFORM_PATH_BYTES], text[2 * SEGMENT_NAME_BYTES + 2];
    int length;

    if (!is_empty(writer->newest))
        length = snprintf(text, sizeof text, "%s\n%s", writer->newest->segment, name);
    else
        length = snprintf(text, sizeof text, "%s", name);
    path_of(writer, ".pending", path);
    return platform_write_private_file(path, text, (size_t)length);
}

static bool write_descriptor(const ring_writer *writer, const write_view *view,
                             const sdv2_ring_identity *identity) {
    char path[PLATFORM_PATH_BYTES], text[DESCRIPTOR_MAX_BYTES];
    descriptor named = {.generation = identity->generation,
                        .pid = identity->pid,
                        .is_file = view->is_file};
    size_t length;

    memcpy(named.segment, view->segment, sizeof named.segment);
    memcpy(named.uuid, identity->uuid, sizeof named.uuid);
    length = descriptor_print(&named, writer->stream_of_lock, identity->unix_ns, text,
                              sizeof text);
    path_of(writer, ".json", path);
    return length > 0 && platform_write_private_file(path, text, length);
}

static void name_segment(const uint8_t random[10], char name[SEGMENT_NAME_BYTES]) {
    size_t index;

    memcpy(name, "lfr.", 4);
    for (index = 0; index < 10; ++index)
        snprintf(name + 4 + 2 * index, 3, "%02x", random[index]);
}

/* NULL when `view` is a ready segment that the descriptor points to. */
static const char *make_segment(ring_writer *writer, uint64_t capacity, uint64_t now_ns,
                                write_view *view) {
    uint64_t bytes = sdv2_ring_segment_bytes(NUM_SLOTS, capacity);
    sdv2_ring_identity identity = {.stream = writer->stream_of_lock,
                                   .generation = writer->generation + 1,
                                   .pid = platform_pid(),
                                   .start_ns = writer->start_ns,
                                   .now_ns = now_ns,
                                   .unix_ns = platform_unix_ns()};
    uint8_t random[26];
    platform_segment segment;
    const char *problem;

    if (bytes == 0)
        return "the picture is too large";
    if (!platform_random(random, sizeof random))
        return "the system gives no random numbers";
    memcpy(identity.uuid, random, sizeof identity.uuid);
    name_segment(random + 16, view->segment);
    if (!write_pending(writer, view->segment))
        return "the run directory cannot be written";
    view->is_file = is_file_dir(writer);
    segment = place_of(writer, view->segment, view->is_file);
    problem = platform_create(&segment, bytes, &view->mapping);
    if (problem != NULL)
        return problem;
    sdv2_ring_init(&view->writer, view->mapping.address, NUM_SLOTS, bytes, &identity, 0);
    if (!write_descriptor(writer, view, &identity))
        return "the run directory cannot be written";
    writer->generation = identity.generation;
    return NULL;
}

static void grow(ring_writer *writer, uint64_t capacity, uint64_t now_ns) {
    write_view *view = calloc(1, sizeof *view);
    char path[PLATFORM_PATH_BYTES];
    const char *problem = view != NULL ? make_segment(writer, capacity, now_ns, view)
                                       : "memory is full";
    if (problem != NULL) {
        end_view(writer, view, SDV2_RING_STATE_CLOSED);
        writer->failed_bytes = capacity;
        writer->next_attempt_ns = now_ns + RETRY_INTERVAL_NS;
        say(writer, WRITER_FAILED, problem);
        return;
    }
    if (writer->newest == NULL) {
        path_of(writer, ".pending", path);
        platform_remove_file(path); /* else when the old segment comes back: both names count */
    }
    writer->failed_bytes = 0;
    offer(writer, view);
    say(writer, WRITER_LIVE, NULL);
}

/* The stream is gone, as a reader sees it: closed, no descriptor, no lock. */
static void close_stream(ring_writer *writer) {
    char path[PLATFORM_PATH_BYTES];

    path_of(writer, ".json", path);
    platform_remove_file(path);
    path_of(writer, ".pending", path);
    platform_remove_file(path);
    platform_lock_free(writer->lock);
    writer->lock = NULL;
    writer->newest = NULL;
}

/* The render thread has given `view` back. */
static void take_back(ring_writer *writer, write_view *view) {
    char path[PLATFORM_PATH_BYTES];
    bool is_over = is_empty(writer->newest), was_empty = is_empty(view);

    end_view(writer, view, is_over ? SDV2_RING_STATE_CLOSED : SDV2_RING_STATE_SUPERSEDED);
    if (is_over) {
        close_stream(writer);
    } else if (!was_empty) {
        path_of(writer, ".pending", path);
        platform_remove_file(path);
    }
}

/* Asks the render thread to give its segment back; `take_back` does the rest. */
static void begin_closing(ring_writer *writer) {
    write_view *nothing;

    if (writer->newest == NULL) {
        close_stream(writer);
        return;
    }
    if (is_empty(writer->newest))
        return; /* asked already */
    nothing = calloc(1, sizeof *nothing);
    if (nothing != NULL)
        offer(writer, nothing);
}

void ring_writer_point(ring_writer *writer, const char *run_dir, const char *stream) {
    snprintf(writer->run_dir, sizeof writer->run_dir, "%s", run_dir);
    snprintf(writer->stream, sizeof writer->stream, "%s", stream);
}

/* Whether frames come and the lock, if we hold one, is that of the stream they are for. */
static bool is_wanted(ring_writer *writer) {
    uint64_t last_frame_ns = atomic_load(&writer->last_frame_ns);
    uint64_t last_tick_ns = atomic_load(&writer->last_tick_ns);
    bool is_here = writer->lock == NULL ||
                   (strcmp(writer->stream, writer->stream_of_lock) == 0 &&
                    strcmp(writer->run_dir, writer->run_dir_of_lock) == 0);

    return is_here && writer->stream[0] != '\0' && last_frame_ns != 0 &&
           last_tick_ns < last_frame_ns + IDLE_AFTER_NS;
}

void ring_writer_tend(ring_writer *writer, uint64_t now_ns) {
    write_view *returned = atomic_exchange(&writer->retired, NULL);
    uint64_t wanted = atomic_load(&writer->wanted_bytes);

    if (returned != NULL)
        take_back(writer, returned);
    if (!is_wanted(writer)) {
        if (writer->lock != NULL)
            begin_closing(writer);
        say(writer, WRITER_IDLE, NULL);
        return;
    }
    if (writer->newest != NULL && is_empty(writer->newest))
        return; /* closing: open again when that is done */
    if (writer->lock == NULL) {
        if (now_ns < writer->next_attempt_ns)
            return;
        writer->next_attempt_ns = now_ns + RETRY_INTERVAL_NS;
        if (!take_lock(writer, now_ns))
            return;
        writer->failed_bytes = 0;
    }
    if (writer->newest != NULL)
        sdv2_ring_heartbeat(&writer->newest->writer, now_ns);
    /* Not before the last one is in use: a third name would be written down nowhere. */
    if ((writer->newest == NULL || wanted > writer->newest->writer.slot_capacity) &&
        atomic_load(&writer->offered) == NULL &&
        (wanted != writer->failed_bytes || now_ns >= writer->next_attempt_ns))
        grow(writer, wanted, now_ns);
}

void ring_writer_free(ring_writer *writer) {
    write_view *offered = atomic_exchange(&writer->offered, NULL);
    write_view *retired = atomic_exchange(&writer->retired, NULL);

    end_view(writer, offered, SDV2_RING_STATE_CLOSED);
    end_view(writer, retired, SDV2_RING_STATE_CLOSED);
    end_view(writer, writer->current, SDV2_RING_STATE_CLOSED);
    writer->current = NULL;
    if (writer->lock != NULL)
        close_stream(writer);
}

/* ---- render thread ----------------------------------------------------------------------- */

bool ring_writer_switch(ring_writer *writer, uint64_t now_ns) {
    write_view *next, *old = writer->current;
    bool begins;

    atomic_store(&writer->last_tick_ns, now_ns);
    /* The attendant has not taken the last one back yet: next frame. */
    if (atomic_load(&writer->retired) != NULL)
        return false;
    next = atomic_exchange(&writer->offered, NULL);
    if (next == NULL)
        return false;
    if (is_empty(next) && old == NULL) {
        atomic_store(&writer->retired, next); /* what was offered before was never in use */
        return false;
    }
    /* Frame numbers go on; nothing was published in the new segment. */
    if (!is_empty(next) && !is_empty(old))
        next->writer.frame = old->writer.frame;
    begins = !is_empty(next) && is_empty(old);
    writer->current = next;
    if (old != NULL)
        atomic_store(&writer->retired, old); /* the attendant may free it from here on */
    return begins;
}

void *ring_writer_begin(ring_writer *writer, uint64_t payload_bytes, uint64_t now_ns) {
    atomic_store(&writer->wanted_bytes, payload_bytes);
    atomic_store(&writer->last_frame_ns, now_ns);
    if (is_empty(writer->current))
        return NULL;
    return sdv2_ring_begin(&writer->current->writer, payload_bytes);
}

void ring_writer_commit(ring_writer *writer, const sdv2_ring_slot *header, uint64_t now_ns) {
    sdv2_ring_commit(&writer->current->writer, header, now_ns);
}
