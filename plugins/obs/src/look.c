/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "look.h"

#include <string.h>

#include "osc.h"

#define NS_PER_MS UINT64_C(1000000)
/* Settings come with every key that is pressed; a prompt is said when the typing rests. */
#define TYPING_RESTS_NS (700 * NS_PER_MS)

bool look_init(look *wanted, obs_data_t *settings) {
    memset(wanted, 0, sizeof *wanted);
    wanted->prompt = bstrdup(obs_data_get_string(settings, "prompt"));
    wanted->preset = bstrdup(obs_data_get_string(settings, "preset"));
    wanted->strength = obs_data_get_double(settings, "strength");
    return pthread_mutex_init(&wanted->mutex, NULL) == 0;
}

void look_free(look *wanted) {
    pthread_mutex_destroy(&wanted->mutex);
    bfree(wanted->prompt);
    bfree(wanted->preset);
}

void look_defaults(obs_data_t *settings) {
    obs_data_set_default_string(settings, "prompt", "");
    obs_data_set_default_string(settings, "preset", "");
    obs_data_set_default_double(settings, "strength", 1.0);
}

void look_properties(obs_properties_t *properties) {
    obs_properties_t *group = obs_properties_create();
    obs_property_t *prompt, *preset, *strength;

    prompt = obs_properties_add_text(group, "prompt", obs_module_text("Prompt"),
                                     OBS_TEXT_DEFAULT);
    obs_property_set_long_description(prompt, obs_module_text("Prompt.Long"));
    preset = obs_properties_add_text(group, "preset", obs_module_text("Preset"),
                                     OBS_TEXT_DEFAULT);
    obs_property_set_long_description(preset, obs_module_text("Preset.Long"));
    strength = obs_properties_add_float_slider(group, "strength", obs_module_text("Strength"), 0.0,
                                               1.0, 0.01);
    obs_property_set_long_description(strength, obs_module_text("Strength.Long"));
    obs_properties_add_group(properties, "look", obs_module_text("Look"), OBS_GROUP_NORMAL, group);
}

static bool replace(char **kept, const char *now) {
    if (strcmp(*kept, now) == 0)
        return false;
    bfree(*kept);
    *kept = bstrdup(now);
    return true;
}

void look_update(look *wanted, obs_data_t *settings) {
    uint64_t now_ns = platform_now_ns();
    double strength = obs_data_get_double(settings, "strength");

    pthread_mutex_lock(&wanted->mutex);
    if (replace(&wanted->prompt, obs_data_get_string(settings, "prompt")))
        wanted->prompt_due_ns = now_ns + TYPING_RESTS_NS;
    if (replace(&wanted->preset, obs_data_get_string(settings, "preset")))
        wanted->preset_due_ns = now_ns + TYPING_RESTS_NS;
    if (strength < wanted->strength || strength > wanted->strength) {
        wanted->strength = strength;
        wanted->strength_due_ns = now_ns;
    }
    pthread_mutex_unlock(&wanted->mutex);
}

static void say_text(const host *to, const char *address, const char *value) {
    char packet[LOOK_MAX_TEXT_BYTES];
    size_t length = value[0] != '\0' ? osc_text(packet, sizeof packet, address, value) : 0;

    if (length > 0)
        platform_send_datagram(to->port, packet, length);
}

static void say_strength(const host *to, double strength) {
    char packet[64];
    size_t length = osc_float(packet, sizeof packet, "/sdv2/output/mix", (float)strength);

    platform_send_datagram(to->port, packet, length);
}

static bool is_due(uint64_t *due_ns, uint64_t now_ns) {
    if (*due_ns == 0 || now_ns < *due_ns)
        return false;
    *due_ns = 0;
    return true;
}

void look_tend(look *wanted, const host *to, bool is_running, uint64_t now_ns) {
    if (!is_running)
        return;
    pthread_mutex_lock(&wanted->mutex);
    /* The preset first: what was changed beside it is meant on top of it. */
    if (is_due(&wanted->preset_due_ns, now_ns))
        say_text(to, "/sdv2/preset/load", wanted->preset);
    if (is_due(&wanted->prompt_due_ns, now_ns))
        say_text(to, "/sdv2/prompt", wanted->prompt);
    if (is_due(&wanted->strength_due_ns, now_ns))
        say_strength(to, wanted->strength);
    pthread_mutex_unlock(&wanted->mutex);
}
