/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shaders: ring pixels to OBS's blending and back. */
#ifndef SDV2_OBS_EFFECT_H
#define SDV2_OBS_EFFECT_H

#include <obs-module.h>

typedef enum alpha_mode {
    ALPHA_IGNORE = 0,
    ALPHA_STRAIGHT,
    ALPHA_PREMULTIPLIED
} alpha_mode;

/* How the pixels of a ring frame are to be understood. */
typedef struct ring_pixels {
    alpha_mode alpha;
    bool is_encoded; /* sRGB levels that the texture unit does not decode (16 bit, float) */
    bool is_srgb_8;  /* 8 bit sRGB levels, which it does */
    bool is_grey;
    bool is_bottom_first;
} ring_pixels;

typedef struct ring_effect {
    gs_effect_t *effect;
    gs_eparam_t *image;
    gs_eparam_t *is_encoded;
    gs_eparam_t *is_grey;
    gs_eparam_t *is_opaque;
    gs_eparam_t *is_premultiplied;
} ring_effect;

/* In the graphics context. False when this system cannot compile it; OBS's log says why. */
bool ring_effect_init(ring_effect *shaders);
void ring_effect_free(ring_effect *shaders);

/* The texture over the present target, `width` by `height`, blended as OBS's own sources are. */
void ring_effect_draw(const ring_effect *shaders, gs_texture_t *texture, const ring_pixels *pixels,
                      uint32_t width, uint32_t height);

/* What OBS rendered (premultiplied, linear when sampled) as sRGB levels with this kind of alpha. */
void ring_effect_export(const ring_effect *shaders, gs_texture_t *texture, alpha_mode alpha,
                        uint32_t width, uint32_t height);

#endif
