/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "setting-list.h"

#include <string.h>
#include <util/dstr.h>

int setting_list_get(const setting_list *list, obs_data_t *settings) {
    const char *value = obs_data_get_string(settings, list->key);
    int index;

    for (index = list->count - 1; index > 0 && strcmp(value, list->values[index]) != 0; --index)
        ;
    return index;
}

void setting_list_default(const setting_list *list, obs_data_t *settings) {
    obs_data_set_default_string(settings, list->key, list->values[0]);
}

void setting_list_property(const setting_list *list, obs_properties_t *properties) {
    obs_property_t *combo =
        obs_properties_add_list(properties, list->key, obs_module_text(list->label),
                                OBS_COMBO_TYPE_LIST, OBS_COMBO_FORMAT_STRING);
    struct dstr help = {0};
    int index;

    for (index = 0; index < list->count; ++index)
        obs_property_list_add_string(combo, obs_module_text(list->labels[index]),
                                     list->values[index]);
    dstr_printf(&help, "%s.Long", list->label);
    obs_property_set_long_description(combo, obs_module_text(help.array));
    dstr_free(&help);
}
