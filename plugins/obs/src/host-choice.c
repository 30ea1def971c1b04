/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host-choice.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define LOOK_INTERVAL_NS (250 * NS_PER_MS)
#define LOYAL_FOR_NS (5000 * NS_PER_MS)

bool host_choice_init(host_choice *choice, obs_data_t *settings) {
    memset(choice, 0, sizeof *choice);
    snprintf(choice->wanted, sizeof choice->wanted, "%s", obs_data_get_string(settings, "host"));
    return pthread_mutex_init(&choice->mutex, NULL) == 0;
}

void host_choice_free(host_choice *choice) { pthread_mutex_destroy(&choice->mutex); }

void host_choice_update(host_choice *choice, obs_data_t *settings) {
    const char *name = obs_data_get_string(settings, "host");

    pthread_mutex_lock(&choice->mutex);
    if (strcmp(choice->wanted, name) != 0) {
        snprintf(choice->wanted, sizeof choice->wanted, "%s", name);
        memset(&choice->chosen, 0, sizeof choice->chosen);
        choice->is_running = false;
        choice->next_look_ns = 0;
    }
    pthread_mutex_unlock(&choice->mutex);
}

void host_choice_tend(host_choice *choice, uint64_t now_ns) {
    char wanted[STREAM_NAME_BYTES], kept[STREAM_NAME_BYTES];
    host found;
    bool is_due, is_loyal, is_running;

    pthread_mutex_lock(&choice->mutex);
    memcpy(wanted, choice->wanted, sizeof wanted);
    memcpy(kept, choice->chosen.name, sizeof kept);
    is_due = now_ns >= choice->next_look_ns;
    is_loyal = kept[0] != '\0' && now_ns - choice->last_running_ns < LOYAL_FOR_NS;
    pthread_mutex_unlock(&choice->mutex);
    if (!is_due)
        return;
    is_running = hosts_find(wanted[0] == '\0' && is_loyal ? kept : wanted, &found);

    pthread_mutex_lock(&choice->mutex);
    choice->next_look_ns = now_ns + LOOK_INTERVAL_NS;
    if (strcmp(choice->wanted, wanted) == 0) { /* else the user was faster */
        choice->is_running = is_running;
        if (is_running) {
            choice->chosen = found;
            choice->last_running_ns = now_ns;
        }
    } else {
        choice->next_look_ns = 0;
    }
    pthread_mutex_unlock(&choice->mutex);
}

bool host_choice_get(host_choice *choice, host *chosen) {
    bool is_running;

    pthread_mutex_lock(&choice->mutex);
    *chosen = choice->chosen;
    is_running = choice->is_running;
    pthread_mutex_unlock(&choice->mutex);
    return is_running;
}

void host_choice_name(host_choice *choice, char name[STREAM_NAME_BYTES]) {
    pthread_mutex_lock(&choice->mutex);
    if (choice->wanted[0] != '\0')
        memcpy(name, choice->wanted, STREAM_NAME_BYTES);
    else if (choice->chosen.name[0] != '\0')
        memcpy(name, choice->chosen.name, STREAM_NAME_BYTES);
    else
        snprintf(name, STREAM_NAME_BYTES, "sdv2");
    pthread_mutex_unlock(&choice->mutex);
}

void host_choice_refill(obs_properties_t *properties) {
    obs_property_t *list = obs_properties_get(properties, "host");
    host *running = bzalloc(HOSTS_MAX * sizeof *running);
    size_t count = hosts_running(running), index;

    obs_property_list_clear(list);
    for (index = 0; index < count; ++index)
        obs_property_list_add_string(list, running[index].name, running[index].name);
    bfree(running);
}

void host_choice_properties(obs_properties_t *properties, obs_property_clicked_t refresh) {
    obs_property_t *list = obs_properties_add_list(properties, "host", obs_module_text("Host"),
                                                   OBS_COMBO_TYPE_EDITABLE,
                                                   OBS_COMBO_FORMAT_STRING);
    obs_property_set_long_description(list, obs_module_text("Host.Long"));
    host_choice_refill(properties);
    obs_properties_add_button(properties, "refresh", obs_module_text("Refresh"), refresh);
}
