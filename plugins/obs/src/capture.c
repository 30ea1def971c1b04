/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture.h"

static void free_stages(capture *taken) {
    int index;

    for (index = 0; index < 2; ++index) {
        gs_stagesurface_destroy(taken->stages[index]);
        taken->stages[index] = NULL;
        taken->stage_ns[index] = 0;
    }
}

void capture_free(capture *taken) {
    gs_texrender_destroy(taken->picture);
    gs_texrender_destroy(taken->exported);
    free_stages(taken);
}

static bool begin(gs_texrender_t **render, uint32_t width, uint32_t height) {
    struct vec4 nothing;

    if (*render == NULL)
        *render = gs_texrender_create(GS_RGBA, GS_ZS_NONE);
    if (*render == NULL)
        return false;
    gs_texrender_reset(*render);
    if (!gs_texrender_begin_with_color_space(*render, width, height, GS_CS_SRGB))
        return false;
    vec4_zero(&nothing);
    gs_clear(GS_CLEAR_COLOR, &nothing, 0.0f, 0);
    gs_ortho(0.0f, (float)width, 0.0f, (float)height, -100.0f, 100.0f);
    return true;
}

bool capture_render(capture *taken, obs_source_t *target, obs_source_t *parent, uint32_t width,
                    uint32_t height) {
    uint32_t flags = obs_source_get_output_flags(target);
    bool is_plain = (flags & (OBS_SOURCE_CUSTOM_DRAW | OBS_SOURCE_ASYNC)) == 0;

    if (taken->width != width || taken->height != height) {
        free_stages(taken);
        taken->width = width;
        taken->height = height;
    }
    if (!begin(&taken->picture, width, height))
        return false;
    /* Blending and choice of call as obs_source_process_filter_begin has them. */
    gs_blend_state_push();
    gs_blend_function_separate(GS_BLEND_SRCALPHA, GS_BLEND_INVSRCALPHA, GS_BLEND_ONE,
                               GS_BLEND_INVSRCALPHA);
    if (target == parent && is_plain)
        obs_source_default_render(target);
    else
        obs_source_video_render(target);
    gs_blend_state_pop();
    gs_texrender_end(taken->picture);
    return true;
}

void capture_draw(const capture *taken) {
    gs_effect_t *effect = obs_get_base_effect(OBS_EFFECT_DEFAULT);
    gs_texture_t *texture = gs_texrender_get_texture(taken->picture);
    const bool was_srgb = gs_framebuffer_srgb_enabled();

    gs_enable_framebuffer_srgb(true);
    gs_blend_state_push();
    gs_blend_function(GS_BLEND_ONE, GS_BLEND_INVSRCALPHA);
    gs_effect_set_texture_srgb(gs_effect_get_param_by_name(effect, "image"), texture);
    while (gs_effect_loop(effect, "Draw"))
        gs_draw_sprite(texture, 0, taken->width, taken->height);
    gs_blend_state_pop();
    gs_enable_framebuffer_srgb(was_srgb);
}

/* The texture to send: as rendered when alpha is ignored (then it is over black already). */
static gs_texture_t *export_picture(capture *taken, const ring_effect *shaders, alpha_mode alpha) {
    gs_texture_t *picture = gs_texrender_get_texture(taken->picture);

    if (alpha == ALPHA_IGNORE || !begin(&taken->exported, taken->width, taken->height))
        return picture;
    ring_effect_export(shaders, picture, alpha, taken->width, taken->height);
    gs_texrender_end(taken->exported);
    return gs_texrender_get_texture(taken->exported);
}

bool capture_stage(capture *taken, const ring_effect *shaders, alpha_mode alpha, uint64_t now_ns) {
    int next = 1 - taken->staged;

    if (taken->stages[next] == NULL)
        taken->stages[next] = gs_stagesurface_create(taken->width, taken->height, GS_RGBA);
    if (taken->stages[next] == NULL)
        return false;
    gs_stage_texture(taken->stages[next], export_picture(taken, shaders, alpha));
    taken->stage_ns[next] = now_ns;
    taken->staged = next;
    return true;
}

bool capture_begin_read(capture *taken, bool is_low_load, uint64_t pause_ns,
                        capture_pixels *pixels) {
    uint64_t newest_ns = taken->stage_ns[taken->staged];
    uint8_t *rows;

    taken->mapped = is_low_load ? 1 - taken->staged : taken->staged;
    pixels->rendered_ns = taken->stage_ns[taken->mapped];
    if (pixels->rendered_ns == 0 || newest_ns - pixels->rendered_ns > pause_ns ||
        !gs_stagesurface_map(taken->stages[taken->mapped], &rows, &pixels->stride))
        return false;
    pixels->rows = rows;
    return true;
}

void capture_end_read(capture *taken) { gs_stagesurface_unmap(taken->stages[taken->mapped]); }
