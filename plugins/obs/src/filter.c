/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sends its target's picture once per frame of OBS, however many views render it. The render thread
 * copies into mapped memory and never waits for anything else; see ring-writer.h. */
#include "filter.h"

#include <string.h>
#include <util/dstr.h>
#include <util/platform.h>

#include "attendant.h"
#include "capture.h"
#include "cost.h"
#include "host-choice.h"
#include "ring-writer.h"
#include "setting-list.h"

#define NS_PER_S UINT64_C(1000000000)
#define PAUSE_NS (NS_PER_S / 2) /* the host begins a new session after one */
#define MAX_FPS 240

typedef struct filter_data {
    obs_source_t *obs;
    attended attended;
    host_choice choice;
    ring_writer writer;
    ring_effect shaders;

    /* Settings. */
    _Atomic bool sends_always;
    _Atomic bool is_low_load;
    _Atomic int alpha;
    _Atomic int fps_limit; /* 0 = every frame */

    /* The attendant's. */
    int told_status; /* -1 = nothing yet */

    /* The render thread's. */
    capture capture;
    gs_texrender_t *off_air; /* one pixel: where a source is rendered that no view shows */
    obs_weak_source_t *kept_showing;
    bool was_tried; /* in this frame of OBS */
    bool is_captured;
    bool is_beginning; /* the next frame sent is the first of its ring */
    uint64_t next_due_ns;
    uint64_t last_sent_ns;
    uint32_t num_dropped;
    cost cost;
    uint64_t second_began_ns;
    uint32_t num_this_second;

    /* Said by one thread, read by all. */
    _Atomic bool has_host;
    _Atomic uint32_t width;
    _Atomic uint32_t height;
    _Atomic uint32_t fps;
} filter_data;

static const setting_list sending_setting = {
    .key = "sending",
    .label = "Sending",
    .values = (const char *const[]){"always", "shown"},
    .labels = (const char *const[]){"Sending.Always", "Sending.Shown"},
    .count = 2,
};
static const setting_list reading_setting = {
    .key = "reading",
    .label = "Reading",
    .values = (const char *const[]){"low_delay", "low_load"},
    .labels = (const char *const[]){"Reading.LowDelay", "Reading.LowLoad"},
    .count = 2,
};
static const setting_list alpha_setting = { /* in the order of alpha_mode */
    .key = "alpha",
    .label = "SendAlpha",
    .values = (const char *const[]){"ignore", "straight", "premultiplied"},
    .labels = (const char *const[]){"SendAlpha.Ignore", "Alpha.Straight", "Alpha.Premultiplied"},
    .count = 3,
};

/* ---- attendant --------------------------------------------------------------------------- */

static const char *status_text(filter_data *filter) {
    if (!atomic_load(&filter->has_host))
        return "Status.Absent";
    switch (atomic_load(&filter->writer.status)) {
    case WRITER_LIVE:
        return "Sends.Live";
    case WRITER_TAKEN:
        return "Sends.Taken";
    case WRITER_FAILED:
        return "Sends.Failed";
    default:
        return "Sends.Idle";
    }
}

static void describe(filter_data *filter, struct dstr *text) {
    const char *problem = atomic_load(&filter->writer.problem);
    char name[STREAM_NAME_BYTES];
    struct dstr fact = {0};

    host_choice_name(&filter->choice, name);
    dstr_copy(text, obs_module_text(status_text(filter)));
    dstr_replace(text, "{host}", name);
    dstr_replace(text, "{reason}", problem != NULL ? problem : "");
    dstr_printf(&fact, "%u", atomic_load(&filter->writer.owner_pid));
    dstr_replace(text, "{pid}", fact.array);
    dstr_printf(&fact, "%u x %u", atomic_load(&filter->width), atomic_load(&filter->height));
    dstr_replace(text, "{size}", fact.array);
    dstr_printf(&fact, "%u", atomic_load(&filter->fps));
    dstr_replace(text, "{fps}", fact.array);
    dstr_free(&fact);
}

static void tell_if_changed(filter_data *filter) {
    int status = atomic_load(&filter->has_host) ? atomic_load(&filter->writer.status) + 1 : 0;
    bool is_trouble = status == WRITER_TAKEN + 1 || status == WRITER_FAILED + 1;
    struct dstr text = {0};

    if (status == filter->told_status)
        return;
    filter->told_status = status;
    describe(filter, &text);
    dstr_replace(&text, "\n", " ");
    blog(is_trouble ? LOG_WARNING : LOG_INFO, "[sdv2] filter '%s': %s",
         obs_source_get_name(filter->obs), text.array);
    dstr_free(&text);
}

static void tend(void *data, uint64_t now_ns) {
    filter_data *filter = data;
    char stream[STREAM_NAME_BYTES] = "";
    host chosen;

    host_choice_tend(&filter->choice, now_ns);
    atomic_store(&filter->has_host, host_choice_get(&filter->choice, &chosen));
    if (chosen.name[0] != '\0')
        hosts_stream(chosen.name, "in", stream);
    ring_writer_point(&filter->writer, chosen.run_dir, stream);
    ring_writer_tend(&filter->writer, now_ns);
    tell_if_changed(filter);
}

/* ---- render thread ----------------------------------------------------------------------- */

static bool is_due(filter_data *filter, uint64_t now_ns) {
    uint64_t interval_ns, earliest_ns;
    int limit = atomic_load(&filter->fps_limit);

    if (limit <= 0)
        return true;
    interval_ns = NS_PER_S / (uint64_t)limit;
    /* A quarter early is on time: a limit of OBS's own rate must lose nothing to jitter. */
    if (now_ns + interval_ns / 4 < filter->next_due_ns)
        return false;
    earliest_ns = now_ns - interval_ns; /* after a pause the grid begins anew */
    if (filter->next_due_ns < earliest_ns)
        filter->next_due_ns = earliest_ns;
    filter->next_due_ns += interval_ns;
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

static void publish(filter_data *filter, const capture_pixels *pixels, alpha_mode alpha) {
    uint32_t width = filter->capture.width, height = filter->capture.height;
    uint64_t payload_bytes = (uint64_t)width * height * 4, now_ns = platform_now_ns();
    uint8_t *slot = ring_writer_begin(&filter->writer, payload_bytes, now_ns);
    bool begins = filter->is_beginning || now_ns - filter->last_sent_ns > PAUSE_NS;
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
        .dropped_before = filter->num_dropped,
        .capture_ts_ns = (int64_t)pixels->rendered_ns,
    };

    if (slot == NULL) {
        ++filter->num_dropped;
        return;
    }
    copy_rows(slot, pixels, width, height);
    ring_writer_commit(&filter->writer, &header, platform_now_ns());
    filter->is_beginning = false;
    filter->last_sent_ns = now_ns;
    filter->num_dropped = 0;
    ++filter->num_this_second;
    atomic_store(&filter->width, width);
    atomic_store(&filter->height, height);
}

static void send(filter_data *filter) {
    alpha_mode alpha = (alpha_mode)atomic_load(&filter->alpha);
    bool is_low_load = atomic_load(&filter->is_low_load);
    capture_pixels pixels;

    if (!capture_begin_read(&filter->capture, &filter->shaders, alpha, is_low_load,
                            platform_now_ns(), &pixels))
        return;
    publish(filter, &pixels, alpha);
    capture_end_read(&filter->capture, is_low_load);
}

/* Renders and sends the target, the first time in a frame of OBS that anybody renders it. */
static void capture_once(filter_data *filter, obs_source_t *target, obs_source_t *parent) {
    uint32_t width = obs_source_get_base_width(target);
    uint32_t height = obs_source_get_base_height(target);
    uint64_t now_ns, begin_ns;

    filter->was_tried = true;
    now_ns = platform_now_ns();
    if (width == 0 || height == 0 || width > SDV2_RING_MAX_SIDE_PX ||
        height > SDV2_RING_MAX_SIDE_PX || !is_due(filter, now_ns))
        return;
    /* No room yet: this says what is wanted, and the attendant sees to it. */
    if (ring_writer_begin(&filter->writer, (uint64_t)width * height * 4, now_ns) == NULL) {
        ++filter->num_dropped;
        return;
    }
    filter->is_captured = capture_render(&filter->capture, target, parent, width, height);
    begin_ns = os_gettime_ns(); /* what the target costs is not our doing */
    if (filter->is_captured)
        send(filter);
    cost_add(&filter->cost, begin_ns, os_gettime_ns());
}

static void filter_render(void *data, gs_effect_t *effect) {
    static const enum gs_color_space spaces[] = {GS_CS_SRGB, GS_CS_SRGB_16F, GS_CS_709_EXTENDED};
    filter_data *filter = data;
    obs_source_t *target = obs_filter_get_target(filter->obs);
    obs_source_t *parent = obs_filter_get_parent(filter->obs);
    uint64_t begin_ns;

    (void)effect;
    if (target == NULL || parent == NULL) {
        obs_source_skip_video_filter(filter->obs);
        return;
    }
    if (!filter->was_tried && atomic_load(&filter->has_host))
        capture_once(filter, target, parent);
    /* What we rendered is drawn again instead of rendering the target twice; but it is 8 bit sRGB,
     * and a picture with more in it must reach the views as it is. */
    if (!filter->is_captured ||
        obs_source_get_color_space(target, 3, spaces) != GS_CS_SRGB) {
        obs_source_skip_video_filter(filter->obs);
        return;
    }
    begin_ns = os_gettime_ns();
    capture_draw(&filter->capture);
    cost_add(&filter->cost, begin_ns, os_gettime_ns());
}

/* Before the program is rendered, in every frame: a source that is not in it is rendered here, which
 * comes to filter_render. */
static void render_off_air(void *data, uint32_t canvas_width, uint32_t canvas_height) {
    filter_data *filter = data;
    obs_source_t *parent = obs_filter_get_parent(filter->obs);
    uint32_t width, height;

    (void)canvas_width;
    (void)canvas_height;
    if (parent == NULL || filter->was_tried || !atomic_load(&filter->sends_always) ||
        !atomic_load(&filter->has_host) || !obs_source_enabled(filter->obs) ||
        obs_source_active(parent))
        return;
    width = obs_source_get_width(parent);
    height = obs_source_get_height(parent);
    if (width == 0 || height == 0)
        return;
    if (filter->off_air == NULL)
        filter->off_air = gs_texrender_create(GS_RGBA, GS_ZS_NONE);
    gs_texrender_reset(filter->off_air);
    if (!gs_texrender_begin(filter->off_air, 1, 1))
        return;
    gs_ortho(0.0f, (float)width, 0.0f, (float)height, -100.0f, 100.0f);
    obs_source_video_render(parent);
    gs_texrender_end(filter->off_air);
}

/* A source that nobody shows gets no frames: while we send from it, it counts as shown. */
static void keep_showing(filter_data *filter, obs_source_t *parent) {
    obs_source_t *kept = obs_weak_source_get_source(filter->kept_showing);

    if (kept != parent) {
        if (kept != NULL)
            obs_source_dec_showing(kept);
        obs_weak_source_release(filter->kept_showing);
        filter->kept_showing = parent != NULL ? obs_source_get_weak_source(parent) : NULL;
        if (parent != NULL)
            obs_source_inc_showing(parent);
    }
    obs_source_release(kept);
}

static void filter_tick(void *data, float seconds) {
    filter_data *filter = data;
    bool keeps = atomic_load(&filter->sends_always) && obs_source_enabled(filter->obs);
    uint64_t now_ns = os_gettime_ns();

    (void)seconds;
    cost_end_frame(&filter->cost);
    keep_showing(filter, keeps ? obs_filter_get_parent(filter->obs) : NULL);
    if (ring_writer_switch(&filter->writer))
        filter->is_beginning = true;
    filter->was_tried = false;
    filter->is_captured = false;
    if (now_ns - filter->second_began_ns >= NS_PER_S) {
        atomic_store(&filter->fps, filter->num_this_second);
        filter->num_this_second = 0;
        filter->second_began_ns = now_ns;
    }
}

/* ---- life -------------------------------------------------------------------------------- */

static void read_settings(filter_data *filter, obs_data_t *settings) {
    atomic_store(&filter->sends_always, setting_list_get(&sending_setting, settings) == 0);
    atomic_store(&filter->is_low_load, setting_list_get(&reading_setting, settings) == 1);
    atomic_store(&filter->alpha, setting_list_get(&alpha_setting, settings));
    atomic_store(&filter->fps_limit, (int)obs_data_get_int(settings, "fps_limit"));
}

static void *filter_create(obs_data_t *settings, obs_source_t *obs) {
    filter_data *filter = bzalloc(sizeof *filter);
    bool has_shaders;

    filter->obs = obs;
    obs_enter_graphics();
    has_shaders = ring_effect_init(&filter->shaders);
    obs_leave_graphics();
    if (!has_shaders) {
        bfree(filter);
        return NULL;
    }
    host_choice_init(&filter->choice, settings);
    ring_writer_init(&filter->writer);
    read_settings(filter, settings);
    filter->told_status = -1;
    filter->attended.tend = tend;
    filter->attended.owner = filter;
    attendant_add(&filter->attended);
    obs_add_main_render_callback(render_off_air, filter);
    return filter;
}

static void filter_destroy(void *data) {
    filter_data *filter = data;

    obs_remove_main_render_callback(render_off_air, filter);
    attendant_remove(&filter->attended);
    blog(LOG_INFO,
         "[sdv2] filter '%s': render thread %.3f ms a frame, 99 of 100 below %.2f ms, %llu frames",
         obs_source_get_name(filter->obs), cost_mean_ms(&filter->cost), cost_p99_ms(&filter->cost),
         (unsigned long long)filter->cost.num_frames);
    keep_showing(filter, NULL);
    obs_enter_graphics();
    capture_free(&filter->capture);
    gs_texrender_destroy(filter->off_air);
    ring_effect_free(&filter->shaders);
    obs_leave_graphics();
    ring_writer_free(&filter->writer);
    host_choice_free(&filter->choice);
    bfree(filter);
}

static void filter_update(void *data, obs_data_t *settings) {
    filter_data *filter = data;

    read_settings(filter, settings);
    host_choice_update(&filter->choice, settings);
    attendant_wake();
}

/* ---- properties -------------------------------------------------------------------------- */

static void filter_defaults(obs_data_t *settings) {
    obs_data_set_default_string(settings, "host", "");
    setting_list_default(&sending_setting, settings);
    setting_list_default(&reading_setting, settings);
    setting_list_default(&alpha_setting, settings);
    obs_data_set_default_int(settings, "fps_limit", 0);
}

static void show_status(filter_data *filter, obs_properties_t *properties) {
    obs_property_t *line = obs_properties_get(properties, "status");
    bool is_live = atomic_load(&filter->writer.status) == WRITER_LIVE;
    struct dstr text = {0};

    describe(filter, &text);
    obs_property_set_description(line, text.array);
    obs_property_text_set_info_type(line, is_live ? OBS_TEXT_INFO_NORMAL : OBS_TEXT_INFO_WARNING);
    dstr_free(&text);
}

static bool refresh(obs_properties_t *properties, obs_property_t *button, void *data) {
    (void)button;
    host_choice_refill(properties);
    if (data != NULL)
        show_status(data, properties);
    return true;
}

static obs_properties_t *filter_properties(void *data) {
    obs_properties_t *properties = obs_properties_create();
    obs_property_t *limit;

    host_choice_properties(properties, refresh);
    obs_properties_add_text(properties, "status", "", OBS_TEXT_INFO);
    if (data != NULL)
        show_status(data, properties);
    setting_list_property(&sending_setting, properties);
    setting_list_property(&reading_setting, properties);
    limit = obs_properties_add_int(properties, "fps_limit", obs_module_text("FpsLimit"), 0,
                                   MAX_FPS, 1);
    obs_property_set_long_description(limit, obs_module_text("FpsLimit.Long"));
    setting_list_property(&alpha_setting, properties);
    return properties;
}

static const char *filter_name(void *type_data) {
    (void)type_data;
    return obs_module_text("Filter.Name");
}

struct obs_source_info sdv2_filter = {
    .id = "sdv2_filter",
    .type = OBS_SOURCE_TYPE_FILTER,
    .output_flags = OBS_SOURCE_VIDEO | OBS_SOURCE_SRGB,
    .get_name = filter_name,
    .create = filter_create,
    .destroy = filter_destroy,
    .update = filter_update,
    .get_defaults = filter_defaults,
    .get_properties = filter_properties,
    .video_tick = filter_tick,
    .video_render = filter_render,
};
