/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A setting that is one of a few words. */
#ifndef SDV2_OBS_SETTING_LIST_H
#define SDV2_OBS_SETTING_LIST_H

#include <obs-module.h>

typedef struct setting_list {
    const char *key;
    const char *label;          /* of the locale files; LABEL.Long is the long description */
    const char *const *values;  /* as they are saved; the first is the default */
    const char *const *labels;  /* of the locale files */
    int count;
} setting_list;

/* The index of the value chosen; the first one also stands for what nobody knows. */
int setting_list_get(const setting_list *list, obs_data_t *settings);
void setting_list_default(const setting_list *list, obs_data_t *settings);
void setting_list_property(const setting_list *list, obs_properties_t *properties);

#endif
