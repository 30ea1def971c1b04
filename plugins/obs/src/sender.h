/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a source's picture to the input ring of a host. Whoever has the graphics context uses it:
 * the render thread, or one that takes a screenshot. Half of `writer` is the attendant's. */
#ifndef SDV2_OBS_SENDER_H
#define SDV2_OBS_SENDER_H

#include "capture.h"
#include "cost.h"
#include "ring-writer.h"

typedef struct sender {
    ring_writer writer;
    ring_effect shaders;
    capture capture;
    cost cost;
    uint64_t driver_ns; /* of it, until the graphics driver had the pixels in memory */

    /* Settings. */
    _Atomic bool is_low_load;
    _Atomic int alpha;     /* alpha_mode */
    _Atomic int fps_limit; /* 0 = every frame */

    /* Per frame of OBS. */
    bool was_tried;
    bool is_captured;

    /* Per life. */
    bool is_beginning; /* the next frame sent is the first of its ring */
    uint64_t next_due_ns;
    uint64_t last_sent_ns;
    uint32_t num_dropped; /* since the last frame sent */
    uint64_t second_began_ns;
    uint32_t num_this_second;

    /* For people. */
    _Atomic uint32_t width;
    _Atomic uint32_t height;
    _Atomic uint32_t fps;
} sender;

/* `out` is zeroed. False when the shaders do not compile. */
bool sender_init(sender *out);
void sender_free(sender *out);

/* Another frame of OBS begins. */
void sender_tick(sender *out);

/* Renders and sends `target`, as it is below the filter whose parent is `parent`, if that is due.
 * To be called once in a frame of OBS, by the first view that renders it. */
void sender_capture(sender *out, obs_source_t *target, obs_source_t *parent);

/* Draws what was rendered in this frame of OBS; false when nothing was. */
bool sender_draw(sender *out);

#endif
