/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "screen.h"

#define TRANSFER_LINEAR 8 /* ITU-T H.273 */

static enum gs_color_format format_of(uint32_t pixel_format) {
    switch (pixel_format) {
    case SDV2_RING_R8:
        return GS_R8;
    case SDV2_RING_BGRA8:
        return GS_BGRA;
    case SDV2_RING_RGBA16:
        return GS_RGBA16;
    case SDV2_RING_RGBA16F:
        return GS_RGBA16F;
    case SDV2_RING_RGBA32F:
        return GS_RGBA32F;
    default:
        return GS_RGBA;
    }
}

void screen_free(screen *shown) {
    gs_texture_destroy(shown->textures[0].texture);
    gs_texture_destroy(shown->textures[1].texture);
    shown->has_picture = false;
}

/* The texture has the size and format of the frame; false when there is no memory for it. */
static bool fit(screen_texture *back, const sdv2_ring_slot *header) {
    enum gs_color_format format = format_of(header->pixel_format);

    if (back->texture != NULL && back->width == header->width && back->height == header->height &&
        back->format == format)
        return true;
    gs_texture_destroy(back->texture);
    back->texture =
        gs_texture_create(header->width, header->height, format, 1, NULL, GS_DYNAMIC);
    back->width = header->width;
    back->height = header->height;
    back->format = format;
    return back->texture != NULL;
}

bool screen_take(screen *shown, ring_reader *reader) {
    screen_texture *back = &shown->textures[1 - shown->front];
    sdv2_ring_result result;
    sdv2_ring_slot header;
    uint32_t stride;
    uint8_t *pixels;

    if (!ring_reader_peek(reader, &header) || !fit(back, &header) ||
        !gs_texture_map(back->texture, &pixels, &stride))
        return false;
    /* Straight from shared memory into the texture. A frame of another size that came meanwhile
     * does not fit, or is checked against this room: it is taken at the next look. */
    result = ring_reader_take(reader, &header, pixels, stride, (uint64_t)stride * back->height);
    gs_texture_unmap(back->texture);
    if (result != SDV2_RING_NEW || header.width != back->width ||
        header.height != back->height || format_of(header.pixel_format) != back->format)
        return false;
    shown->front = 1 - shown->front;
    shown->header = header;
    shown->has_picture = true;
    return true;
}

static alpha_mode alpha_of(const sdv2_ring_slot *header, alpha_choice choice) {
    switch (choice) {
    case ALPHA_CHOOSE_IGNORE:
        return ALPHA_IGNORE;
    case ALPHA_CHOOSE_STRAIGHT:
        return ALPHA_STRAIGHT;
    case ALPHA_CHOOSE_PREMULTIPLIED:
        return ALPHA_PREMULTIPLIED;
    case ALPHA_AS_SENT:
        break;
    }
    if (header->alpha == SDV2_RING_ALPHA_STRAIGHT)
        return ALPHA_STRAIGHT;
    return header->alpha == SDV2_RING_ALPHA_PREMULTIPLIED ? ALPHA_PREMULTIPLIED : ALPHA_IGNORE;
}

void screen_draw(const screen *shown, const ring_effect *shaders, alpha_choice alpha,
                 uint32_t width, uint32_t height) {
    const screen_texture *front = &shown->textures[shown->front];
    bool is_8_bit = front->format == GS_RGBA || front->format == GS_BGRA;
    bool is_linear = shown->header.transfer == TRANSFER_LINEAR;
    ring_pixels pixels = {
        .alpha = alpha_of(&shown->header, alpha),
        .is_srgb_8 = is_8_bit && !is_linear,
        .is_encoded = !is_8_bit && !is_linear,
        .is_grey = front->format == GS_R8,
        .is_bottom_first = shown->header.orientation == SDV2_RING_BOTTOM_FIRST,
    };

    ring_effect_draw(shaders, front->texture, &pixels, width, height);
}
