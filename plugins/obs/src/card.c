/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "card.h"

#include <string.h>

#define MIN_FONT_PX 8
#define MAX_FONT_PX 96
#define GLYPH_WIDTH 0.55f /* of the height; a guess that card_draw mends */
#define BACKGROUND 0xFF20201Cu /* ABGR */
#define MARGIN 0.08f

static obs_data_t *settings_of(const char *text, int font_px) {
    obs_data_t *settings = obs_data_create(), *font = obs_data_create();

    obs_data_set_string(font, "face", "Sans Serif");
    obs_data_set_int(font, "size", font_px);
    obs_data_set_obj(settings, "font", font);
    obs_data_set_string(settings, "text", text);
    obs_data_release(font);
    return settings;
}

void card_init(card *made) {
    obs_data_t *settings = settings_of(" ", MIN_FONT_PX);

    made->text = obs_source_create_private("text_ft2_source_v2", "sdv2 card", settings);
    made->shown = bstrdup(" ");
    obs_data_release(settings);
}

void card_free(card *made) {
    obs_source_release(made->text);
    bfree(made->shown);
}

/* The font that fills the card: much larger, thin strokes would be lost when it is scaled down. */
static int fit_font(const char *text, uint32_t width) {
    size_t longest = 1, line;
    int font_px;

    for (; *text != '\0'; text += line + (text[line] == '\n')) {
        line = strcspn(text, "\n");
        longest = line > longest ? line : longest;
    }
    font_px = (int)((float)width * (1.0f - 2.0f * MARGIN) / ((float)longest * GLYPH_WIDTH));
    font_px = font_px < MAX_FONT_PX ? font_px : MAX_FONT_PX;
    return font_px > MIN_FONT_PX ? font_px : MIN_FONT_PX;
}

void card_write(card *made, const char *text, uint32_t width) {
    int font_px = fit_font(text, width);
    obs_data_t *settings;

    if (made->text == NULL || (font_px == made->font_px && strcmp(made->shown, text) == 0))
        return;
    bfree(made->shown);
    made->shown = bstrdup(text);
    made->font_px = font_px;
    settings = settings_of(text, font_px);
    obs_source_update(made->text, settings);
    obs_data_release(settings);
}

static void draw_background(uint32_t width, uint32_t height) {
    gs_effect_t *solid = obs_get_base_effect(OBS_EFFECT_SOLID);
    struct vec4 colour;

    vec4_from_rgba_srgb(&colour, BACKGROUND);
    gs_effect_set_vec4(gs_effect_get_param_by_name(solid, "color"), &colour);
    while (gs_effect_loop(solid, "Solid"))
        gs_draw_sprite(NULL, 0, width, height);
}

void card_draw(const card *made, uint32_t width, uint32_t height) {
    const bool was_srgb = gs_framebuffer_srgb_enabled();
    float text_width, text_height, scale, high;

    gs_enable_framebuffer_srgb(true);
    draw_background(width, height);
    gs_enable_framebuffer_srgb(was_srgb);
    text_width = made->text != NULL ? (float)obs_source_get_width(made->text) : 0.0f;
    text_height = made->text != NULL ? (float)obs_source_get_height(made->text) : 0.0f;
    if (text_width < 1.0f || text_height < 1.0f)
        return;
    scale = (float)width * (1.0f - 2.0f * MARGIN) / text_width;
    high = (float)height * (1.0f - 2.0f * MARGIN) / text_height;
    scale = high < scale ? high : scale;
    gs_matrix_push();
    gs_matrix_translate3f(((float)width - text_width * scale) / 2.0f,
                          ((float)height - text_height * scale) / 2.0f, 0.0f);
    gs_matrix_scale3f(scale, scale, 1.0f);
    obs_source_video_render(made->text);
    gs_matrix_pop();
}
