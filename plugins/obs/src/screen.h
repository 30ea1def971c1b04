/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two textures of a source: one is shown while the other is filled. A frame that the writer
 * overtook while it was copied is in the one that is not shown, so nobody ever sees it. */
#ifndef SDV2_OBS_SCREEN_H
#define SDV2_OBS_SCREEN_H

#include "effect.h"
#include "ring-reader.h"

typedef enum alpha_choice {
    ALPHA_AS_SENT = 0, /* what the frame's header says */
    ALPHA_CHOOSE_IGNORE,
    ALPHA_CHOOSE_STRAIGHT,
    ALPHA_CHOOSE_PREMULTIPLIED
} alpha_choice;

typedef struct screen_texture {
    gs_texture_t *texture;
    uint32_t width;
    uint32_t height;
    enum gs_color_format format;
} screen_texture;

/* The render thread's. */
typedef struct screen {
    screen_texture textures[2];
    int front; /* index of the one shown */
    bool has_picture;
    sdv2_ring_slot header; /* of the frame shown */
} screen;

/* In the graphics context, as all below. */
void screen_free(screen *shown);

/* True when a new whole frame of the reader is shown from now on. */
bool screen_take(screen *shown, ring_reader *reader);

void screen_draw(const screen *shown, const ring_effect *shaders, alpha_choice alpha,
                 uint32_t width, uint32_t height);

#endif
