/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads a stream that may not exist yet, may stop and may come back.
 *
 * Two threads use it. The attendant looks for segments, maps them and unmaps them: files, locks,
 * JSON. The render thread, which is whoever has OBS's graphics context, only reads mapped memory. A
 * mapping goes from one to the other through `offered` and comes back through `retired`; neither
 * ever waits for the other.
 */
#ifndef SDV2_OBS_RING_READER_H
#define SDV2_OBS_RING_READER_H

#include <stdatomic.h>

#include "descriptor.h"
#include "platform.h"
#include "sdv2_ring.h"

typedef enum ring_status {
    RING_ABSENT = 0, /* no writer, or one that cannot be trusted: see `refusal` */
    RING_LIVE,
    RING_STALLED, /* the writer's process lives but has not given a sign for two seconds */
    RING_DEAD     /* the writer closed the stream or its process ended */
} ring_status;

/* One segment, mapped. One without a mapping stands for "there is nothing to read any more". */
typedef struct ring_view {
    platform_mapping mapping;
    sdv2_ring_reader reader;
    char segment[SEGMENT_NAME_BYTES];
} ring_view;

typedef struct ring_reader {
    /* The attendant's. */
    char run_dir[PLATFORM_PATH_BYTES];
    char stream[STREAM_NAME_BYTES];
    ring_view *newest; /* the last one offered; NULL = none or taken back */
    uint64_t last_frame;
    uint64_t last_new_ns;
    uint64_t next_probe_ns;
    uint64_t last_tend_ns;
    uint64_t watch_since_ns;
    bool is_writer_alive;

    /* Handed over. */
    _Atomic(ring_view *) offered;
    _Atomic(ring_view *) retired;

    /* The render thread's. */
    ring_view *current;

    /* For people. */
    _Atomic int status;
    _Atomic(const char *) refusal; /* static text, NULL = nothing was refused */
    _Atomic uint64_t num_refused;
} ring_reader;

void ring_reader_init(ring_reader *reader);

/* Nobody else uses the reader any more: everything is unmapped. */
void ring_reader_free(ring_reader *reader);

/* Attendant: the stream to read from now on; the picture stays until there is another one. */
void ring_reader_point(ring_reader *reader, const char *run_dir, const char *stream);

/* Attendant, 20 times a second: attach, re-attach, see who lives. */
void ring_reader_tend(ring_reader *reader, uint64_t now_ns);

/* Render thread, once per frame: goes over to a new segment if there is one. */
void ring_reader_switch(ring_reader *reader);

/* Render thread: whether there is a frame not taken yet; `header` says of what size. */
bool ring_reader_peek(ring_reader *reader, sdv2_ring_slot *header);

/* Render thread: as sdv2_ring_read_newest. */
sdv2_ring_result ring_reader_take(ring_reader *reader, sdv2_ring_slot *header, void *pixels,
                                  uint64_t pixel_stride, uint64_t pixels_bytes);

#endif
