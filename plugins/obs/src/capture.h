/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A source's picture on its way from the graphics card to memory. The render thread's, in the
 * graphics context. */
#ifndef SDV2_OBS_CAPTURE_H
#define SDV2_OBS_CAPTURE_H

#include "effect.h"

typedef struct capture {
    gs_texrender_t *picture;  /* as OBS rendered it: premultiplied */
    gs_texrender_t *exported; /* with another kind of alpha */
    gs_stagesurf_t *stages[2];
    uint64_t stage_ns[2]; /* when the picture there was rendered, 0 = none waits there */
    int staged;           /* index of the last one staged */
    int mapped;           /* index of the one being read */
    uint32_t width;
    uint32_t height;
} capture;

/* Pixels in memory, RGBA8, until capture_end_read. */
typedef struct capture_pixels {
    const uint8_t *rows;
    uint32_t stride;
    uint64_t rendered_ns;
} capture_pixels;

void capture_free(capture *taken);

/* `target`, as it is below the filter whose parent is `parent`, is in `picture`. False = not. */
bool capture_render(capture *taken, obs_source_t *target, obs_source_t *parent, uint32_t width,
                    uint32_t height);

/* Draws what was rendered, as the source itself would have been. */
void capture_draw(const capture *taken);

/* What was rendered is on its way to memory. */
bool capture_stage(capture *taken, const ring_effect *shaders, alpha_mode alpha, uint64_t now_ns);

/* The pixels staged last, or, with `is_low_load`, those before: then the graphics card has had a
 * frame's time to bring them, and nobody waits. False when there are none, or only some older than
 * the pause. */
bool capture_begin_read(capture *taken, bool is_low_load, uint64_t pause_ns,
                        capture_pixels *pixels);
void capture_end_read(capture *taken);

#endif
