/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sender.h"

#include <string.h>
#include <util/platform.h>

#define NS_PER_S UINT64_C(1000000000)
#define PAUSE_NS (NS_PER_S / 2)

bool sender_init(sender *out) {
    bool has_shaders;

    ring_writer_init(&out->writer);
    obs_enter_graphics();
    has_shaders = ring_effect_init(&out->shaders);
    obs_leave_graphics();
    return has_shaders;
}

void sender_free(sender *out) {
    obs_enter_graphics();
    capture_free(&out->capture);
    ring_effect_free(&out->shaders);
    obs_leave_graphics();
    ring_writer_free(&out->writer);
}

void sender_tick(sender *out) {
    uint64_t now_ns = platform_now_ns();

    cost_end_frame(&out->cost);
    if (ring_writer_switch(&out->writer, now_ns))
        out->is_beginning = true;
    out->was_tried = false;
    out->is_captured = false;
    if (now_ns - out->second_began_ns >= NS_PER_S) {
        atomic_store(&out->fps, out->num_this_second);
        out->num_this_second = 0;
        out->second_began_ns = now_ns;
    }
}

static uint64_t interval_ns(const sender *out) {
    int limit = atomic_load(&out->fps_limit);
    return limit > 0 ? NS_PER_S / (uint64_t)limit : 0;
}

/* Frames further apart than this are not of one stream: what waits is old, the host begins anew. */
static uint64_t pause_ns(const sender *out) { return PAUSE_NS + 2 * interval_ns(out); }

static bool is_due(sender *out, uint64_t now_ns) {
    uint64_t interval = interval_ns(out);

    /* A quarter early is on time: a limit of OBS's own rate must lose nothing to jitter. */
    if (now_ns + interval / 4 < out->next_due_ns)
        return false;
    /* After a pause the grid begins anew. */
    out->next_due_ns = interval + (out->next_due_ns + interval > now_ns ? out->next_due_ns
                                                                         : now_ns);
    return true;
}

static void copy_rows(uint8_t *to, const capture_pixels *pixels, uint32_t width, uint32_t height) {
    size_t row_bytes = (size_t)width * 4, row;

    if (pixels->stride == row_bytes) {
        memcpy(to, pixels->rows, row_bytes * height);
        return;
    }
    for (row = 0; row < height; ++row)
        memcpy(to + row * row_bytes, pixels->rows + row * pixels->stride, row_bytes);
}

static void publish(sender *out, const capture_pixels *pixels, alpha_mode alpha) {
    uint32_t width = out->capture.width, height = out->capture.height;
    uint64_t payload_bytes = (uint64_t)width * height * 4, now_ns = platform_now_ns();
    uint8_t *slot = ring_writer_begin(&out->writer, payload_bytes, now_ns);
    bool begins = out->is_beginning || now_ns - out->last_sent_ns > pause_ns(out);
    sdv2_ring_slot header = {
        .payload_bytes = payload_bytes,
        .row_stride = (uint64_t)width * 4,
        .width = width,
        .height = height,
        .pixel_format = SDV2_RING_RGBA8,
        .alpha = (uint8_t)alpha, /* the numbers are the same */
        .orientation = SDV2_RING_TOP_FIRST,
        .primaries = 1,
        .transfer = 13,
        .full_range = 1,
        .flags = begins ? SDV2_RING_FRAME_DISCONTINUITY : 0,
        .dropped_before = out->num_dropped,
        .capture_ts_ns = (int64_t)pixels->rendered_ns,
    };

    if (slot == NULL) {
        ++out->num_dropped;
        return;
    }
    copy_rows(slot, pixels, width, height);
    ring_writer_commit(&out->writer, &header, platform_now_ns());
    out->is_beginning = false;
    out->last_sent_ns = now_ns;
    out->num_dropped = 0;
    ++out->num_this_second;
}

static void send(sender *out) {
    alpha_mode alpha = (alpha_mode)atomic_load(&out->alpha);
    bool is_low_load = atomic_load(&out->is_low_load);
    uint64_t begin_ns = os_gettime_ns();
    capture_pixels pixels;

    if (!capture_stage(&out->capture, &out->shaders, alpha, platform_now_ns()) ||
        !capture_begin_read(&out->capture, is_low_load, pause_ns(out), &pixels))
        return;
    out->driver_ns += os_gettime_ns() - begin_ns;
    publish(out, &pixels, alpha);
    capture_end_read(&out->capture);
}

void sender_capture(sender *out, obs_source_t *target, obs_source_t *parent) {
    uint32_t width = obs_source_get_base_width(target);
    uint32_t height = obs_source_get_base_height(target);
    uint64_t now_ns, begin_ns;

    out->was_tried = true;
    now_ns = platform_now_ns();
    atomic_store(&out->width, width);
    atomic_store(&out->height, height);
    if (width == 0 || height == 0 || width > SDV2_RING_MAX_SIDE_PX ||
        height > SDV2_RING_MAX_SIDE_PX || !is_due(out, now_ns))
        return;
    /* No room yet: this says what is wanted, and the attendant sees to it. */
    if (ring_writer_begin(&out->writer, (uint64_t)width * height * 4, now_ns) == NULL) {
        ++out->num_dropped;
        return;
    }
    out->is_captured = capture_render(&out->capture, target, parent, width, height);
    begin_ns = os_gettime_ns(); /* what the target costs is not our doing */
    if (out->is_captured)
        send(out);
    cost_add(&out->cost, begin_ns, os_gettime_ns());
}

bool sender_draw(sender *out) {
    uint64_t begin_ns = os_gettime_ns();

    if (!out->is_captured)
        return false;
    capture_draw(&out->capture);
    cost_add(&out->cost, begin_ns, os_gettime_ns());
    return true;
}
