/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A synchronous texture source: measured, it has less delay than an asynchronous one and costs 40 %
 * less. The render thread reads mapped memory and draws; all else is done by the attendant. */
#include "source.h"

#include <util/dstr.h>
#include <util/platform.h>

#include "attendant.h"
#include "card.h"
#include "cost.h"
#include "host-choice.h"
#include "look.h"
#include "screen.h"
#include "setting-list.h"

#define NS_PER_S UINT64_C(1000000000)
#define AWAY_AFTER_NS NS_PER_S /* a host that restarts at once shows no card */
#define FIRST_SIDE_PX 512      /* of a source that never had a frame */

typedef enum away_choice { AWAY_HOLD = 0, AWAY_TRANSPARENT, AWAY_CARD } away_choice;

typedef struct source_data {
    obs_source_t *obs;
    attended attended;
    host_choice choice;
    look look;
    ring_reader reader;
    card card;
    ring_effect shaders;

    /* Settings. */
    _Atomic int alpha;
    _Atomic int away;

    /* The attendant's. */
    uint64_t last_here_ns;
    int told_away; /* -1 = nothing yet */

    /* The render thread's, or of whoever has the graphics context. */
    screen screen;
    bool has_new;
    cost cost;
    uint64_t second_began_ns;
    uint32_t num_this_second;

    /* Said by one thread, read by all. */
    _Atomic bool is_away;
    _Atomic bool had_picture;
    _Atomic uint32_t width;
    _Atomic uint32_t height;
    _Atomic uint32_t fps; /* frames shown in the last whole second */
    _Atomic uint32_t age_ms;
} source_data;

static const setting_list alpha_setting = {
    .key = "alpha",
    .label = "Alpha",
    .values = (const char *const[]){"auto", "ignore", "straight", "premultiplied"},
    .labels = (const char *const[]){"Alpha.Auto", "Alpha.Ignore", "Alpha.Straight",
                                    "Alpha.Premultiplied"},
    .count = 4,
};
static const setting_list away_setting = {
    .key = "away",
    .label = "Away",
    .values = (const char *const[]){"hold", "transparent", "card"},
    .labels = (const char *const[]){"Away.Hold", "Away.Transparent", "Away.Card"},
    .count = 3,
};

/* ---- attendant --------------------------------------------------------------------------- */

/* What is missing or what comes, in one or two lines. */
static void describe(source_data *source, struct dstr *text) {
    char name[STREAM_NAME_BYTES];
    const char *refusal = atomic_load(&source->reader.refusal);
    struct dstr fact = {0};

    host_choice_name(&source->choice, name);
    switch (atomic_load(&source->reader.status)) {
    case RING_LIVE:
        dstr_copy(text, obs_module_text("Status.Live"));
        break;
    case RING_STALLED:
        dstr_copy(text, obs_module_text("Status.Stalled"));
        break;
    default:
        dstr_copy(text, obs_module_text(refusal != NULL ? "Status.Refused" : "Status.Absent"));
    }
    dstr_replace(text, "{host}", name);
    dstr_replace(text, "{reason}", refusal != NULL ? refusal : "");
    dstr_printf(&fact, "%u x %u", atomic_load(&source->width), atomic_load(&source->height));
    dstr_replace(text, "{size}", fact.array);
    dstr_printf(&fact, "%u", atomic_load(&source->fps));
    dstr_replace(text, "{fps}", fact.array);
    dstr_printf(&fact, "%u", atomic_load(&source->age_ms));
    dstr_replace(text, "{age}", fact.array);
    dstr_free(&fact);
}

static void tell_if_changed(source_data *source, bool is_away) {
    struct dstr text = {0};

    if (source->told_away == (int)is_away)
        return;
    source->told_away = (int)is_away;
    describe(source, &text);
    dstr_replace(&text, "\n", " ");
    blog(LOG_INFO, "[sdv2] source '%s': %s", obs_source_get_name(source->obs), text.array);
    dstr_free(&text);
}

static void see_who_is_there(source_data *source, uint64_t now_ns) {
    int status = atomic_load(&source->reader.status);
    bool is_away;
    struct dstr text = {0};

    if (status == RING_LIVE)
        source->last_here_ns = now_ns;
    is_away = now_ns - source->last_here_ns > AWAY_AFTER_NS;
    atomic_store(&source->is_away, is_away);
    if (is_away || atomic_load(&source->had_picture))
        tell_if_changed(source, is_away);
    if (is_away) {
        describe(source, &text);
        card_write(&source->card, text.array, atomic_load(&source->width));
        dstr_free(&text);
    }
}

static void tend(void *data, uint64_t now_ns) {
    source_data *source = data;
    char stream[STREAM_NAME_BYTES] = "";
    bool is_running;
    host chosen;

    host_choice_tend(&source->choice, now_ns);
    is_running = host_choice_get(&source->choice, &chosen);
    if (chosen.name[0] != '\0')
        hosts_stream(chosen.name, "out", stream);
    ring_reader_point(&source->reader, chosen.run_dir, stream);
    ring_reader_tend(&source->reader, now_ns);
    look_tend(&source->look, &chosen, is_running, now_ns);
    see_who_is_there(source, now_ns);
}

/* ---- life -------------------------------------------------------------------------------- */

static void read_settings(source_data *source, obs_data_t *settings) {
    atomic_store(&source->alpha, setting_list_get(&alpha_setting, settings));
    atomic_store(&source->away, setting_list_get(&away_setting, settings));
}

static void *source_create(obs_data_t *settings, obs_source_t *obs) {
    source_data *source = bzalloc(sizeof *source);
    bool has_shaders;

    source->obs = obs;
    obs_enter_graphics();
    has_shaders = ring_effect_init(&source->shaders);
    obs_leave_graphics();
    if (!has_shaders) {
        bfree(source);
        return NULL;
    }
    host_choice_init(&source->choice, settings);
    look_init(&source->look, settings);
    ring_reader_init(&source->reader);
    card_init(&source->card);
    read_settings(source, settings);
    atomic_store(&source->width, (uint32_t)obs_data_get_int(settings, "last_width"));
    atomic_store(&source->height, (uint32_t)obs_data_get_int(settings, "last_height"));
    source->told_away = -1;
    source->last_here_ns = platform_now_ns();
    source->attended.tend = tend;
    source->attended.owner = source;
    attendant_add(&source->attended);
    return source;
}

static void source_destroy(void *data) {
    source_data *source = data;

    attendant_remove(&source->attended);
    blog(LOG_INFO,
         "[sdv2] source '%s': render thread %.3f ms a frame, 99 of 100 below %.2f ms, %llu frames",
         obs_source_get_name(source->obs), cost_mean_ms(&source->cost), cost_p99_ms(&source->cost),
         (unsigned long long)source->cost.num_frames);
    obs_enter_graphics();
    screen_free(&source->screen);
    ring_effect_free(&source->shaders);
    obs_leave_graphics();
    ring_reader_free(&source->reader);
    card_free(&source->card);
    look_free(&source->look);
    host_choice_free(&source->choice);
    bfree(source);
}

static void source_update(void *data, obs_data_t *settings) {
    source_data *source = data;

    read_settings(source, settings);
    host_choice_update(&source->choice, settings);
    look_update(&source->look, settings);
    attendant_wake();
}

/* A scene that is opened while the host is away keeps its layout. */
static void source_save(void *data, obs_data_t *settings) {
    source_data *source = data;

    obs_data_set_int(settings, "last_width", atomic_load(&source->width));
    obs_data_set_int(settings, "last_height", atomic_load(&source->height));
}

/* ---- render thread ----------------------------------------------------------------------- */

static void source_tick(void *data, float seconds) {
    source_data *source = data;
    uint64_t begin_ns;
    sdv2_ring_slot header;

    (void)seconds;
    /* A screenshot renders us on its own thread: who has the graphics context has the reader. */
    obs_enter_graphics();
    begin_ns = os_gettime_ns();
    cost_end_frame(&source->cost);
    ring_reader_switch(&source->reader);
    if (ring_reader_peek(&source->reader, &header)) {
        source->has_new = true;
        atomic_store(&source->width, header.width);
        atomic_store(&source->height, header.height);
    }
    if (begin_ns - source->second_began_ns >= NS_PER_S) {
        atomic_store(&source->fps, source->num_this_second);
        source->num_this_second = 0;
        source->second_began_ns = begin_ns;
    }
    cost_add(&source->cost, begin_ns, os_gettime_ns());
    obs_leave_graphics();
}

static void take_frame(source_data *source) {
    uint64_t now_ns;

    source->has_new = false;
    if (!screen_take(&source->screen, &source->reader))
        return;
    now_ns = platform_now_ns();
    atomic_store(&source->had_picture, true);
    atomic_store(&source->age_ms,
                 (uint32_t)((now_ns - (uint64_t)source->screen.header.publish_ts_ns) / 1000000u));
    ++source->num_this_second;
}

static void source_render(void *data, gs_effect_t *effect) {
    source_data *source = data;
    uint64_t begin_ns = os_gettime_ns();
    uint32_t width = atomic_load(&source->width), height = atomic_load(&source->height);
    int away = atomic_load(&source->away);
    bool has_picture;

    (void)effect; /* OBS_SOURCE_CUSTOM_DRAW */
    if (source->has_new) /* the first of all views that render us in this frame */
        take_frame(source);
    has_picture = source->screen.has_picture;
    if (atomic_load(&source->is_away) && (away == AWAY_CARD || (away == AWAY_HOLD && !has_picture)))
        card_draw(&source->card, width, height);
    else if (has_picture && !(atomic_load(&source->is_away) && away == AWAY_TRANSPARENT))
        screen_draw(&source->screen, &source->shaders, (alpha_choice)atomic_load(&source->alpha),
                    width, height);
    cost_add(&source->cost, begin_ns, os_gettime_ns());
}

static uint32_t source_width(void *data) { return atomic_load(&((source_data *)data)->width); }

static uint32_t source_height(void *data) { return atomic_load(&((source_data *)data)->height); }

/* ---- properties -------------------------------------------------------------------------- */

static void source_defaults(obs_data_t *settings) {
    obs_data_set_default_string(settings, "host", "");
    setting_list_default(&alpha_setting, settings);
    setting_list_default(&away_setting, settings);
    obs_data_set_default_int(settings, "last_width", FIRST_SIDE_PX);
    obs_data_set_default_int(settings, "last_height", FIRST_SIDE_PX);
    look_defaults(settings);
}

static void show_status(source_data *source, obs_properties_t *properties) {
    obs_property_t *line = obs_properties_get(properties, "status");
    struct dstr text = {0};

    describe(source, &text);
    obs_property_set_description(line, text.array);
    obs_property_text_set_info_type(line, atomic_load(&source->reader.status) == RING_LIVE
                                              ? OBS_TEXT_INFO_NORMAL
                                              : OBS_TEXT_INFO_WARNING);
    dstr_free(&text);
}

static bool refresh(obs_properties_t *properties, obs_property_t *button, void *data) {
    (void)button;
    host_choice_refill(properties);
    if (data != NULL)
        show_status(data, properties);
    return true;
}

static obs_properties_t *source_properties(void *data) {
    obs_properties_t *properties = obs_properties_create();

    host_choice_properties(properties, refresh);
    obs_properties_add_text(properties, "status", "", OBS_TEXT_INFO);
    if (data != NULL)
        show_status(data, properties);
    look_properties(properties);
    setting_list_property(&away_setting, properties);
    setting_list_property(&alpha_setting, properties);
    return properties;
}

static const char *source_name(void *type_data) {
    (void)type_data;
    return obs_module_text("Source.Name");
}

struct obs_source_info sdv2_source = {
    .id = "sdv2_source",
    .type = OBS_SOURCE_TYPE_INPUT,
    .output_flags = OBS_SOURCE_VIDEO | OBS_SOURCE_CUSTOM_DRAW | OBS_SOURCE_SRGB,
    .icon_type = OBS_ICON_TYPE_CAMERA,
    .get_name = source_name,
    .create = source_create,
    .destroy = source_destroy,
    .update = source_update,
    .save = source_save,
    .get_defaults = source_defaults,
    .get_properties = source_properties,
    .get_width = source_width,
    .get_height = source_height,
    .video_tick = source_tick,
    .video_render = source_render,
};
