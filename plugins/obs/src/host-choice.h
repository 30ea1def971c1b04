/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which host a source or filter means: the setting `host`, '' = the only or first one running. */
#ifndef SDV2_OBS_HOST_CHOICE_H
#define SDV2_OBS_HOST_CHOICE_H

#include <obs-module.h>
#include <util/threading.h>

#include "hosts.h"

typedef struct host_choice {
    pthread_mutex_t mutex; /* over `wanted` and `chosen`; never taken by the render thread */
    char wanted[STREAM_NAME_BYTES];
    host chosen; /* the last one found, which may be gone by now; "" = none yet */
    bool is_running;
    uint64_t next_look_ns;
    uint64_t last_running_ns;
} host_choice;

bool host_choice_init(host_choice *choice, obs_data_t *settings);
void host_choice_free(host_choice *choice);
void host_choice_update(host_choice *choice, obs_data_t *settings);

/* Attendant: looks who runs, four times a second. Where any will do, the one that was found is kept
 * while it runs and some seconds longer: one that restarts must not lose its picture to another. */
void host_choice_tend(host_choice *choice, uint64_t now_ns);

/* A copy of the host chosen; true while it runs. */
bool host_choice_get(host_choice *choice, host *chosen);

/* The name to show to people: as wanted, else as found, else what '' means. */
void host_choice_name(host_choice *choice, char name[STREAM_NAME_BYTES]);

/* A list of the running ones that takes other names too, and a button to look again. */
void host_choice_properties(obs_properties_t *properties, obs_property_clicked_t refresh);
void host_choice_refill(obs_properties_t *properties);

#endif
