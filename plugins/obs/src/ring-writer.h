/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes a stream, as long as no other process does.
 *
 * Two threads use it. The attendant takes the lock, makes segments, gives signs of life and tidies
 * up. The render thread, which is whoever has OBS's graphics context, only copies into mapped
 * memory; when a frame does not fit, it says so and drops frames until the attendant has offered a
 * larger segment. Neither waits for the other.
 */
#ifndef SDV2_OBS_RING_WRITER_H
#define SDV2_OBS_RING_WRITER_H

#include <stdatomic.h>

#include "descriptor.h"
#include "platform.h"
#include "sdv2_ring.h"

typedef enum writer_status {
    WRITER_IDLE = 0, /* nobody wants to write */
    WRITER_LIVE,
    WRITER_TAKEN,  /* another process writes the stream: see `owner_pid` */
    WRITER_FAILED /* see `problem` */
} writer_status;

/* One segment, mapped. One without a mapping stands for "write no more". */
typedef struct write_view {
    platform_mapping mapping;
    sdv2_ring_writer writer;
    char segment[SEGMENT_NAME_BYTES];
    bool is_file;
} write_view;

typedef struct ring_writer {
    /* The attendant's. */
    char run_dir[PLATFORM_PATH_BYTES];
    char stream[STREAM_NAME_BYTES];
    char run_dir_of_lock[PLATFORM_PATH_BYTES]; /* place of the stream while `lock` is held */
    char stream_of_lock[STREAM_NAME_BYTES];
    platform_lock *lock;
    write_view *newest; /* the last one offered */
    uint64_t generation;
    uint64_t start_ns;
    uint64_t last_wanted_ns;
    uint64_t next_attempt_ns;
    uint64_t failed_bytes; /* no memory for so many; not tried again for a while */

    /* Handed over. */
    _Atomic(write_view *) offered;
    _Atomic(write_view *) retired;
    _Atomic uint64_t wanted_bytes; /* payload of the last frame the render thread had; 0 = none */
    _Atomic uint64_t last_frame_ns;
    _Atomic uint64_t last_tick_ns;

    /* The render thread's. */
    write_view *current;

    /* For people. */
    _Atomic int status;
    _Atomic uint32_t owner_pid;
    _Atomic(const char *) problem; /* static text */
} ring_writer;

void ring_writer_init(ring_writer *writer);

/* Nobody else uses the writer any more: the stream is closed and nothing is left of it. */
void ring_writer_free(ring_writer *writer);

/* Attendant: the stream to write from now on; "" = none. The one before is closed. */
void ring_writer_point(ring_writer *writer, const char *run_dir, const char *stream);

/* Attendant, 20 times a second. */
void ring_writer_tend(ring_writer *writer, uint64_t now_ns);

/* Render thread, once per frame: goes over to another segment if there is one; true when frames
 * begin anew for readers. */
bool ring_writer_switch(ring_writer *writer, uint64_t now_ns);

/* Render thread: room for a frame, NULL = not now; the attendant sees to it. */
void *ring_writer_begin(ring_writer *writer, uint64_t payload_bytes, uint64_t now_ns);

/* Render thread: what was begun is the newest frame. */
void ring_writer_commit(ring_writer *writer, const sdv2_ring_slot *header, uint64_t now_ns);

#endif
