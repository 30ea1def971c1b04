/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sdv2 for OBS: a source that shows what an sdv2-host makes, a filter that feeds one. */
#include <obs-module.h>

#include "attendant.h"
#include "filter.h"
#include "source.h"

OBS_DECLARE_MODULE()
OBS_MODULE_USE_DEFAULT_LOCALE("sdv2", "en-US")

MODULE_EXPORT const char *obs_module_name(void) { return "sdv2 for OBS"; }

MODULE_EXPORT const char *obs_module_description(void) {
    return obs_module_text("Module.Description");
}

bool obs_module_load(void) {
    if (!attendant_start()) {
        blog(LOG_ERROR, "[sdv2] no thread could be started; source and filter are not available");
        return false;
    }
    obs_register_source(&sdv2_source);
    obs_register_source(&sdv2_filter);
    blog(LOG_INFO, "[sdv2] plugin loaded, version %s", PLUGIN_VERSION);
    return true;
}

void obs_module_unload(void) { attendant_stop(); }
