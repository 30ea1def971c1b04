/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attendant.h"

#include <util/platform.h>
#include <util/threading.h>

#include "platform.h"

#define INTERVAL_MS 50

/* Per process: OBS loads a module once. */
static struct {
    pthread_t thread;
    pthread_mutex_t mutex; /* over `first`; held while somebody is tended */
    os_event_t *wake;
    attended *first;
    volatile bool is_stopping;
} attendant;

static void *attend(void *unused) {
    attended *one;

    (void)unused;
    os_set_thread_name("sdv2 attendant");
    while (!os_atomic_load_bool(&attendant.is_stopping)) {
        pthread_mutex_lock(&attendant.mutex);
        for (one = attendant.first; one != NULL; one = one->next)
            one->tend(one->owner, platform_now_ns());
        pthread_mutex_unlock(&attendant.mutex);
        os_event_timedwait(attendant.wake, INTERVAL_MS);
    }
    return NULL;
}

bool attendant_start(void) {
    if (pthread_mutex_init(&attendant.mutex, NULL) != 0)
        return false;
    if (os_event_init(&attendant.wake, OS_EVENT_TYPE_AUTO) != 0) {
        pthread_mutex_destroy(&attendant.mutex);
        return false;
    }
    if (pthread_create(&attendant.thread, NULL, attend, NULL) != 0) {
        os_event_destroy(attendant.wake);
        pthread_mutex_destroy(&attendant.mutex);
        return false;
    }
    return true;
}

void attendant_stop(void) {
    os_atomic_set_bool(&attendant.is_stopping, true);
    os_event_signal(attendant.wake);
    pthread_join(attendant.thread, NULL);
    os_event_destroy(attendant.wake);
    pthread_mutex_destroy(&attendant.mutex);
}

void attendant_add(attended *one) {
    pthread_mutex_lock(&attendant.mutex);
    one->next = attendant.first;
    attendant.first = one;
    pthread_mutex_unlock(&attendant.mutex);
    attendant_wake();
}

void attendant_remove(attended *one) {
    attended **link;

    pthread_mutex_lock(&attendant.mutex);
    for (link = &attendant.first; *link != NULL; link = &(*link)->next)
        if (*link == one) {
            *link = one->next;
            break;
        }
    pthread_mutex_unlock(&attendant.mutex);
}

void attendant_wake(void) { os_event_signal(attendant.wake); }
