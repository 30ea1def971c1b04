/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Windows. Compiled with MinGW-w64 by the tests; not run. Paths are UTF-8 outside this file. */
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#endif
#include <winsock2.h>
#include <windows.h>
/* after windows.h */
#include <bcrypt.h>

#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDE_PATH (PLATFORM_PATH_BYTES + 64)
#define NUM_REPLACE_ATTEMPTS 40

static bool widen(const char *path, wchar_t *wide) {
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, WIDE_PATH) > 0;
}

uint64_t platform_now_ns(void) {
    LARGE_INTEGER frequency, count;
    uint64_t whole, rest;

    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&count);
    /* In two parts: count * 10^9 overflows after half an hour at 10 MHz. */
    whole = (uint64_t)count.QuadPart / (uint64_t)frequency.QuadPart;
    rest = (uint64_t)count.QuadPart % (uint64_t)frequency.QuadPart;
    return whole * 1000000000u + rest * 1000000000u / (uint64_t)frequency.QuadPart;
}

uint64_t platform_unix_ns(void) {
    const uint64_t epoch_100ns = UINT64_C(116444736000000000); /* 1601 to 1970 */
    FILETIME now;

    GetSystemTimePreciseAsFileTime(&now);
    return ((((uint64_t)now.dwHighDateTime << 32) | now.dwLowDateTime) - epoch_100ns) * 100u;
}

uint32_t platform_pid(void) { return GetCurrentProcessId(); }

bool platform_random(void *bytes, size_t num_bytes) {
    return BCryptGenRandom(NULL, bytes, (ULONG)num_bytes, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0;
}

/* ---- run directories --------------------------------------------------------------------- */

size_t platform_run_dirs(char dirs[PLATFORM_MAX_RUN_DIRS][PLATFORM_PATH_BYTES]) {
    wchar_t wide[WIDE_PATH];
    char home[PLATFORM_PATH_BYTES - 64];
    DWORD length = GetEnvironmentVariableW(L"USERPROFILE", wide, WIDE_PATH);

    if (length == 0 || length >= WIDE_PATH ||
        WideCharToMultiByte(CP_UTF8, 0, wide, -1, home, sizeof home, NULL, NULL) == 0)
        return 0;
    snprintf(dirs[0], PLATFORM_PATH_BYTES, "%s\\AppData\\Local\\sdv2-host\\run", home);
    snprintf(dirs[1], PLATFORM_PATH_BYTES, "%s\\.sdv2-host\\run", home);
    return 2;
}

bool platform_is_private_dir(const char *path) {
    /* What lies in the user's profile is the user's own by the system's default rights. */
    wchar_t wide[WIDE_PATH];
    DWORD attributes = widen(path, wide) ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;

    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 &&
           (attributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0;
}

/* ---- small files ------------------------------------------------------------------------- */

static HANDLE open_file(const char *path, DWORD rights, DWORD disposition) {
    wchar_t wide[WIDE_PATH];

    if (!widen(path, wide))
        return INVALID_HANDLE_VALUE;
    /* Share everything: the host replaces its files while we read them. */
    return CreateFileW(wide, rights, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                       disposition, FILE_FLAG_OPEN_REPARSE_POINT, NULL);
}

long platform_read_private_file(const char *path, void *content, size_t room) {
    HANDLE file = open_file(path, GENERIC_READ, OPEN_EXISTING);
    LARGE_INTEGER size;
    DWORD got = 0;
    long result = -1;

    if (file == INVALID_HANDLE_VALUE)
        return -1;
    if (GetFileType(file) == FILE_TYPE_DISK && GetFileSizeEx(file, &size) &&
        (uint64_t)size.QuadPart <= room && ReadFile(file, content, (DWORD)room, &got, NULL))
        result = (long)got;
    CloseHandle(file);
    return result;
}

bool platform_write_private_file(const char *path, const void *content, size_t num_bytes) {
    char temporary[PLATFORM_PATH_BYTES + 8];
    wchar_t from[WIDE_PATH], to[WIDE_PATH];
    HANDLE file;
    DWORD wrote = 0;
    bool is_written;
    int attempt;

    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    file = open_file(temporary, GENERIC_WRITE, CREATE_ALWAYS);
    if (file == INVALID_HANDLE_VALUE || !widen(temporary, from) || !widen(path, to)) {
        if (file != INVALID_HANDLE_VALUE)
            CloseHandle(file);
        return false;
    }
    is_written = WriteFile(file, content, (DWORD)num_bytes, &wrote, NULL) && wrote == num_bytes;
    CloseHandle(file);
    if (!is_written) {
        DeleteFileW(from);
        return false;
    }
    /* Windows refuses while a reader has the target open. */
    for (attempt = 0; attempt < NUM_REPLACE_ATTEMPTS; ++attempt) {
        if (MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING))
            return true;
        Sleep(5);
    }
    DeleteFileW(from);
    return false;
}

void platform_remove_file(const char *path) {
    wchar_t wide[WIDE_PATH];
    if (widen(path, wide))
        DeleteFileW(wide);
}

void platform_list_files(const char *dir, const char *suffix,
                         void (*visit)(void *context, const char *name), void *context) {
    char pattern[PLATFORM_PATH_BYTES + 16], name[MAX_PATH * 4];
    wchar_t wide[WIDE_PATH];
    WIN32_FIND_DATAW found;
    HANDLE listing;

    snprintf(pattern, sizeof pattern, "%s\\*%s", dir, suffix);
    if (!widen(pattern, wide))
        return;
    listing = FindFirstFileW(wide, &found);
    if (listing == INVALID_HANDLE_VALUE)
        return;
    do {
        if (WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, sizeof name, NULL, NULL) > 0)
            visit(context, name);
    } while (FindNextFileW(listing, &found));
    FindClose(listing);
}

/* ---- lock: the first byte of the file ------------------------------------------------------ */

struct platform_lock {
    HANDLE file;
    char path[PLATFORM_PATH_BYTES];
};

static bool lock_first_byte(HANDLE file) {
    OVERLAPPED at = {0};
    return LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at);
}

platform_lock *platform_lock_take(const char *path) {
    HANDLE file = open_file(path, GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS);
    platform_lock *lock = NULL;

    if (file == INVALID_HANDLE_VALUE)
        return NULL;
    if (lock_first_byte(file))
        lock = calloc(1, sizeof *lock);
    if (lock == NULL) {
        CloseHandle(file);
        return NULL;
    }
    lock->file = file;
    snprintf(lock->path, sizeof lock->path, "%s", path);
    return lock;
}

void platform_lock_free(platform_lock *lock) {
    if (lock == NULL)
        return;
    CloseHandle(lock->file);
    platform_remove_file(lock->path);
    free(lock);
}

bool platform_lock_is_held(const char *path) {
    HANDLE file = open_file(path, GENERIC_READ | GENERIC_WRITE, OPEN_EXISTING);
    bool is_free;

    if (file == INVALID_HANDLE_VALUE)
        return GetLastError() != ERROR_FILE_NOT_FOUND && GetLastError() != ERROR_PATH_NOT_FOUND;
    is_free = lock_first_byte(file); /* freed with the handle */
    CloseHandle(file);
    return !is_free;
}

/* ---- shared memory: mappings end with their last handle ------------------------------------- */

static bool segment_name(const platform_segment *segment, wchar_t *wide) {
    char name[64];
    snprintf(name, sizeof name, "Local\\%s", segment->name);
    return widen(name, wide);
}

static HANDLE open_backing_file(const platform_segment *segment, DWORD rights, DWORD disposition) {
    char path[PLATFORM_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s\\%s", segment->dir, segment->name);
    return open_file(path, rights, disposition);
}

static HANDLE open_mapping(const platform_segment *segment) {
    wchar_t wide[WIDE_PATH];
    HANDLE file, mapping;

    if (segment->dir == NULL)
        return segment_name(segment, wide) ? OpenFileMappingW(FILE_MAP_READ, FALSE, wide) : NULL;
    file = open_backing_file(segment, GENERIC_READ, OPEN_EXISTING);
    if (file == INVALID_HANDLE_VALUE)
        return NULL;
    mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    CloseHandle(file); /* the mapping keeps it */
    return mapping;
}

const char *platform_attach(const platform_segment *segment, uint64_t max_bytes,
                            platform_mapping *mapping) {
    MEMORY_BASIC_INFORMATION region;

    memset(mapping, 0, sizeof *mapping);
    mapping->handle = open_mapping(segment);
    if (mapping->handle == NULL)
        return "its segment is gone";
    mapping->address = MapViewOfFile(mapping->handle, FILE_MAP_READ, 0, 0, 0);
    if (mapping->address == NULL ||
        VirtualQuery(mapping->address, &region, sizeof region) == 0 ||
        region.RegionSize > max_bytes) {
        platform_unmap(mapping);
        return "its segment cannot be mapped";
    }
    mapping->bytes = region.RegionSize;
    return NULL;
}

static HANDLE create_mapping(const platform_segment *segment, uint64_t bytes) {
    DWORD high = (DWORD)(bytes >> 32), low = (DWORD)bytes;
    wchar_t wide[WIDE_PATH];
    HANDLE file, mapping;

    if (segment->dir == NULL) {
        if (!segment_name(segment, wide))
            return NULL;
        mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, high, low, wide);
        if (mapping != NULL && GetLastError() == ERROR_ALREADY_EXISTS) {
            CloseHandle(mapping);
            mapping = NULL;
        }
        return mapping;
    }
    file = open_backing_file(segment, GENERIC_READ | GENERIC_WRITE, CREATE_NEW);
    if (file == INVALID_HANDLE_VALUE)
        return NULL;
    mapping = CreateFileMappingW(file, NULL, PAGE_READWRITE, high, low, NULL);
    CloseHandle(file);
    return mapping;
}

const char *platform_create(const platform_segment *segment, uint64_t bytes,
                            platform_mapping *mapping) {
    memset(mapping, 0, sizeof *mapping);
    mapping->handle = create_mapping(segment, bytes);
    if (mapping->handle == NULL)
        return "shared memory cannot be made";
    mapping->address = MapViewOfFile(mapping->handle, FILE_MAP_WRITE, 0, 0, (SIZE_T)bytes);
    if (mapping->address == NULL) {
        platform_unmap(mapping);
        platform_unlink(segment);
        return "shared memory is full";
    }
    mapping->bytes = bytes;
    return NULL;
}

void platform_unmap(platform_mapping *mapping) {
    if (mapping->address != NULL)
        UnmapViewOfFile(mapping->address);
    if (mapping->handle != NULL)
        CloseHandle(mapping->handle);
    mapping->address = NULL;
    mapping->handle = NULL;
}

void platform_unlink(const platform_segment *segment) {
    char path[PLATFORM_PATH_BYTES + 64];

    if (segment->dir == NULL)
        return; /* gone with the last handle */
    snprintf(path, sizeof path, "%s\\%s", segment->dir, segment->name);
    platform_remove_file(path);
}

/* ---- network ----------------------------------------------------------------------------- */

bool platform_send_datagram(uint16_t port, const void *bytes, size_t num_bytes) {
    struct sockaddr_in to = {0};
    WSADATA version;
    SOCKET socket_to;
    int sent = SOCKET_ERROR;

    if (WSAStartup(MAKEWORD(2, 2), &version) != 0)
        return false;
    socket_to = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    if (socket_to != INVALID_SOCKET) {
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        sent = sendto(socket_to, bytes, (int)num_bytes, 0, (const struct sockaddr *)&to, sizeof to);
        closesocket(socket_to);
    }
    WSACleanup();
    return sent == (int)num_bytes;
}
