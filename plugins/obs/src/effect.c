/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "effect.h"

/* In the binary, not in data/: whoever copies only the module has a whole one. */
static const char source[] =
    "uniform float4x4 ViewProj;\n"
    "uniform texture2d image;\n"
    "uniform bool is_encoded;\n"
    "uniform bool is_grey;\n"
    "uniform bool is_opaque;\n"
    "uniform bool is_premultiplied;\n"
    "sampler_state linear_clamp { Filter = Linear; AddressU = Clamp; AddressV = Clamp; };\n"
    "struct Corner { float4 pos : POSITION; float2 uv : TEXCOORD0; };\n"
    "float to_linear(float u) {\n"
    "    return (u <= 0.04045) ? (u / 12.92) : pow((u + 0.055) / 1.055, 2.4);\n"
    "}\n"
    "float to_srgb(float u) {\n"
    "    return (u <= 0.0031308) ? (12.92 * u) : ((1.055 * pow(u, 1.0 / 2.4)) - 0.055);\n"
    "}\n"
    "float3 to_linear3(float3 v) {\n"
    "    return float3(to_linear(v.r), to_linear(v.g), to_linear(v.b));\n"
    "}\n"
    "float3 to_srgb3(float3 v) { return float3(to_srgb(v.r), to_srgb(v.g), to_srgb(v.b)); }\n"
    "Corner VSDefault(Corner corner) {\n"
    "    Corner out_corner;\n"
    "    out_corner.pos = mul(float4(corner.pos.xyz, 1.0), ViewProj);\n"
    "    out_corner.uv = corner.uv;\n"
    "    return out_corner;\n"
    "}\n"
    "float4 PSDraw(Corner corner) : TARGET {\n"
    "    float4 rgba = image.Sample(linear_clamp, corner.uv);\n"
    "    if (is_grey)\n"
    "        rgba = float4(rgba.r, rgba.r, rgba.r, 1.0);\n"
    "    if (is_opaque)\n"
    "        rgba.a = 1.0;\n"
    "    if (is_premultiplied)\n" /* multiplied as levels, so divided as levels */
    "        rgba.rgb = (rgba.a > 0.0) ? (rgba.rgb / rgba.a) : float3(0.0, 0.0, 0.0);\n"
    "    if (is_encoded)\n"
    "        rgba.rgb = to_linear3(rgba.rgb);\n"
    "    return float4(rgba.rgb * rgba.a, rgba.a);\n"
    "}\n"
    "float4 PSExport(Corner corner) : TARGET {\n"
    "    float4 rgba = image.Sample(linear_clamp, corner.uv);\n"
    "    float3 colour = (rgba.a > 0.0) ? (rgba.rgb / rgba.a) : float3(0.0, 0.0, 0.0);\n"
    "    colour = to_srgb3(saturate(colour));\n"
    "    if (is_premultiplied)\n"
    "        colour *= rgba.a;\n"
    "    return float4(colour, rgba.a);\n"
    "}\n"
    "technique Draw { pass {\n"
    "    vertex_shader = VSDefault(corner); pixel_shader = PSDraw(corner); } }\n"
    "technique Export { pass {\n"
    "    vertex_shader = VSDefault(corner); pixel_shader = PSExport(corner); } }\n";

bool ring_effect_init(ring_effect *shaders) {
    char *errors = NULL;

    shaders->effect = gs_effect_create(source, "sdv2 ring.effect", &errors);
    if (shaders->effect == NULL) {
        blog(LOG_ERROR, "[sdv2] shaders do not compile: %s", errors != NULL ? errors : "");
        bfree(errors);
        return false;
    }
    shaders->image = gs_effect_get_param_by_name(shaders->effect, "image");
    shaders->is_encoded = gs_effect_get_param_by_name(shaders->effect, "is_encoded");
    shaders->is_grey = gs_effect_get_param_by_name(shaders->effect, "is_grey");
    shaders->is_opaque = gs_effect_get_param_by_name(shaders->effect, "is_opaque");
    shaders->is_premultiplied = gs_effect_get_param_by_name(shaders->effect, "is_premultiplied");
    return true;
}

void ring_effect_free(ring_effect *shaders) {
    gs_effect_destroy(shaders->effect);
    shaders->effect = NULL;
}

static void draw(const ring_effect *shaders, const char *technique, gs_texture_t *texture,
                 uint32_t flip, uint32_t width, uint32_t height) {
    while (gs_effect_loop(shaders->effect, technique))
        gs_draw_sprite(texture, flip, width, height);
}

void ring_effect_draw(const ring_effect *shaders, gs_texture_t *texture, const ring_pixels *pixels,
                      uint32_t width, uint32_t height) {
    /* Divided before it is decoded: only the shader can do it in that order. */
    bool decodes_here = pixels->is_srgb_8 && pixels->alpha == ALPHA_PREMULTIPLIED;
    const bool was_srgb = gs_framebuffer_srgb_enabled();

    gs_effect_set_bool(shaders->is_encoded, pixels->is_encoded || decodes_here);
    gs_effect_set_bool(shaders->is_grey, pixels->is_grey);
    gs_effect_set_bool(shaders->is_opaque, pixels->alpha == ALPHA_IGNORE);
    gs_effect_set_bool(shaders->is_premultiplied, pixels->alpha == ALPHA_PREMULTIPLIED);
    if (pixels->is_srgb_8 && !decodes_here)
        gs_effect_set_texture_srgb(shaders->image, texture);
    else
        gs_effect_set_texture(shaders->image, texture);
    gs_enable_framebuffer_srgb(true);
    gs_blend_state_push();
    gs_blend_function(GS_BLEND_ONE, GS_BLEND_INVSRCALPHA);
    draw(shaders, "Draw", texture, pixels->is_bottom_first ? GS_FLIP_V : 0, width, height);
    gs_blend_state_pop();
    gs_enable_framebuffer_srgb(was_srgb);
}

void ring_effect_export(const ring_effect *shaders, gs_texture_t *texture, alpha_mode alpha,
                        uint32_t width, uint32_t height) {
    const bool was_srgb = gs_framebuffer_srgb_enabled();

    gs_effect_set_bool(shaders->is_premultiplied, alpha == ALPHA_PREMULTIPLIED);
    gs_effect_set_texture_srgb(shaders->image, texture);
    gs_enable_framebuffer_srgb(false); /* the shader encodes */
    gs_blend_state_push();
    gs_blend_function(GS_BLEND_ONE, GS_BLEND_ZERO);
    draw(shaders, "Export", texture, 0, width, height);
    gs_blend_state_pop();
    gs_enable_framebuffer_srgb(was_srgb);
}
