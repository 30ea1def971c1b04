/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sends its target's picture once per frame of OBS, however many views render it. The render thread
 * copies into mapped memory and never waits for anything else; see ring-writer.h. */
#include "filter.h"

#include <util/dstr.h>

#include "attendant.h"
#include "host-choice.h"
#include "sender.h"
#include "setting-list.h"

#define TOLD_AFTER_NS UINT64_C(1000000000) /* what lasts shorter is nobody's news */
#define MAX_FPS 240
#define NO_HOST (-1)
#define NOTHING_TOLD (-2)

typedef struct filter_data {
    obs_source_t *obs;
    attended attended;
    host_choice choice;
    sender sender;
    _Atomic bool sends_always; /* setting */
    _Atomic bool has_host;     /* the attendant's word */

    /* The attendant's. */
    int status;
    int told_status;
    uint64_t status_since_ns;

    /* The render thread's. */
    gs_texrender_t *off_air; /* one pixel: where a source is rendered that no view shows */
    obs_weak_source_t *kept_showing;
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
    switch (atomic_load(&filter->sender.writer.status)) {
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
    const char *problem = atomic_load(&filter->sender.writer.problem);
    char name[STREAM_NAME_BYTES];
    struct dstr fact = {0};

    host_choice_name(&filter->choice, name);
    dstr_copy(text, obs_module_text(status_text(filter)));
    dstr_replace(text, "{host}", name);
    dstr_replace(text, "{reason}", problem != NULL ? problem : "");
    dstr_printf(&fact, "%u", atomic_load(&filter->sender.writer.owner_pid));
    dstr_replace(text, "{pid}", fact.array);
    dstr_printf(&fact, "%u x %u", atomic_load(&filter->sender.width),
                atomic_load(&filter->sender.height));
    dstr_replace(text, "{size}", fact.array);
    dstr_printf(&fact, "%u", atomic_load(&filter->sender.fps));
    dstr_replace(text, "{fps}", fact.array);
    dstr_free(&fact);
}

static void tell_if_changed(filter_data *filter, uint64_t now_ns) {
    int status = atomic_load(&filter->sender.writer.status);
    bool is_trouble = status == WRITER_TAKEN || status == WRITER_FAILED;
    struct dstr text = {0};

    status = atomic_load(&filter->has_host) ? status : NO_HOST;
    if (status != filter->status) {
        filter->status = status;
        filter->status_since_ns = now_ns;
    }
    if (status == filter->told_status || now_ns - filter->status_since_ns < TOLD_AFTER_NS)
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
    ring_writer_point(&filter->sender.writer, chosen.run_dir, stream);
    ring_writer_tend(&filter->sender.writer, now_ns);
    tell_if_changed(filter, now_ns);
}

/* ---- render thread ----------------------------------------------------------------------- */

static void filter_render(void *data, gs_effect_t *effect) {
    static const enum gs_color_space spaces[] = {GS_CS_SRGB, GS_CS_SRGB_16F, GS_CS_709_EXTENDED};
    filter_data *filter = data;
    obs_source_t *target = obs_filter_get_target(filter->obs);
    obs_source_t *parent = obs_filter_get_parent(filter->obs);

    (void)effect;
    if (target == NULL || parent == NULL) {
        obs_source_skip_video_filter(filter->obs);
        return;
    }
    if (!filter->sender.was_tried && atomic_load(&filter->has_host))
        sender_capture(&filter->sender, target, parent);
    /* What we rendered is drawn again instead of rendering the target twice; but it is 8 bit sRGB,
     * and a picture with more in it must reach the views as it is. */
    if (obs_source_get_color_space(target, 3, spaces) != GS_CS_SRGB ||
        !sender_draw(&filter->sender))
        obs_source_skip_video_filter(filter->obs);
}

/* Before the program is rendered, in every frame: a source that is not in it is rendered here, and
 * that comes to filter_render. */
static void render_off_air(void *data, uint32_t canvas_width, uint32_t canvas_height) {
    filter_data *filter = data;
    obs_source_t *parent = obs_filter_get_parent(filter->obs);
    uint32_t width, height;

    (void)canvas_width;
    (void)canvas_height;
    if (parent == NULL || filter->sender.was_tried || !atomic_load(&filter->sends_always) ||
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

    if (kept != parent || parent == NULL) {
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

    (void)seconds;
    keep_showing(filter, keeps ? obs_filter_get_parent(filter->obs) : NULL);
    /* A screenshot renders us on its own thread: who has the graphics context has the sender. */
    obs_enter_graphics();
    sender_tick(&filter->sender);
    obs_leave_graphics();
}

/* ---- life -------------------------------------------------------------------------------- */

static void read_settings(filter_data *filter, obs_data_t *settings) {
    atomic_store(&filter->sends_always, setting_list_get(&sending_setting, settings) == 0);
    atomic_store(&filter->sender.is_low_load, setting_list_get(&reading_setting, settings) == 1);
    atomic_store(&filter->sender.alpha, setting_list_get(&alpha_setting, settings));
    atomic_store(&filter->sender.fps_limit, (int)obs_data_get_int(settings, "fps_limit"));
}

static void *filter_create(obs_data_t *settings, obs_source_t *obs) {
    filter_data *filter = bzalloc(sizeof *filter);

    filter->obs = obs;
    if (!sender_init(&filter->sender)) {
        bfree(filter);
        return NULL;
    }
    host_choice_init(&filter->choice, settings);
    read_settings(filter, settings);
    filter->status = filter->told_status = NOTHING_TOLD;
    filter->attended.tend = tend;
    filter->attended.owner = filter;
    attendant_add(&filter->attended);
    obs_add_main_render_callback(render_off_air, filter);
    return filter;
}

static void tell_cost(const filter_data *filter) {
    const cost *spent = &filter->sender.cost;
    uint64_t num_frames = spent->num_frames > 0 ? spent->num_frames : 1;

    blog(LOG_INFO,
         "[sdv2] filter '%s': render thread %.3f ms a frame, 99 of 100 below %.2f ms, %llu frames; "
         "%.3f ms of it in the graphics driver",
         obs_source_get_name(filter->obs), cost_mean_ms(spent), cost_p99_ms(spent),
         (unsigned long long)spent->num_frames,
         (double)filter->sender.driver_ns / (double)num_frames / 1e6);
}

static void filter_destroy(void *data) {
    filter_data *filter = data;

    obs_remove_main_render_callback(render_off_air, filter);
    attendant_remove(&filter->attended);
    tell_cost(filter);
    keep_showing(filter, NULL);
    obs_enter_graphics();
    gs_texrender_destroy(filter->off_air);
    obs_leave_graphics();
    sender_free(&filter->sender);
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
    bool is_live = atomic_load(&filter->sender.writer.status) == WRITER_LIVE;
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
