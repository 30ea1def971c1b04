/* A Shared Mem Out TOP and a Shared Mem In TOP as the documentation has them, as a Windows program
 * of its own, run under Wine by tests/windows/by_hand.sh:
 *
 *     touch_peer NAME SECONDS
 *
 * It waits for the bridge, 20 s at most. It writes numbered pictures into NAME-in, 60 a second, 640x360 and from the middle on 2560x1440,
 * each pixel of picture N being N, N/256, row from the top, 255. It reads NAME-out at each turn and
 * says at the end how many pictures came, how many of them were new, torn, upside down, and for
 * how long a lock made it wait at most.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>

#define SMALL_ROOM (48 + 640 * 360 * 4)
#define LARGE_ROOM (48 + 2560 * 1440 * 4)

#pragma pack(push, 1)
struct header { uint32_t magic, version; int32_t width, height; float aspect[2]; uint32_t format, gap;
    int64_t data_bytes; int32_t data_offset, tail; };
struct info { uint32_t magic, version; uint8_t supported, gap; uint16_t postfix[32]; uint8_t detach, tail; };
#pragma pack(pop)
_Static_assert(sizeof(struct header) == 48, "version 1");
_Static_assert(sizeof(struct info) == 76, "as compiled by MSVC");

static double worst_wait_ms;
static LARGE_INTEGER ticks_a_second;

static double now_ms(void) {
    LARGE_INTEGER now;
    QueryPerformanceCounter(&now);
    return 1000.0 * now.QuadPart / ticks_a_second.QuadPart;
}

static void lock(HANDLE mutex) {
    double begin = now_ms();
    if (WaitForSingleObject(mutex, 5000) == WAIT_TIMEOUT) printf("FAIL a lock was held for 5 s\n");
    if (now_ms() - begin > worst_wait_ms) worst_wait_ms = now_ms() - begin;
}

static HANDLE mutex_of(const wchar_t *memory) {
    wchar_t name[200];
    swprintf(name, 200, L"%lsMutex", memory);
    return CreateMutexW(NULL, FALSE, name);
}

static void *make(const wchar_t *name, uint32_t size, HANDLE *handle) {
    *handle = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, size, name);
    return MapViewOfFile(*handle, FILE_MAP_ALL_ACCESS, 0, 0, 0);
}

static void fill(struct header *header, int number, int width, int height) {
    *header = (struct header){0xd95ef835, 1, width, height, {1, 1}, 37, 0, (int64_t)width * height * 4, 48, 0};
    uint32_t *row = (uint32_t *)((char *)header + 48);
    for (int y = height - 1; y >= 0; y--, row += width) /* the bottom row first */
        for (int x = 0; x < width; x++) row[x] = (number & 0xffff) | (y & 0xff) << 16 | 0xffu << 24;
}

struct counts { int seen, fresh, torn, upside_down, large, last; };

static void check(const struct header *header, struct counts *counts) {
    const uint32_t *pixels = (const uint32_t *)((const char *)header + header->data_offset);
    int number = pixels[0] & 0xffff;
    counts->seen++;
    if (number == counts->last) return;
    counts->fresh++;
    counts->last = number;
    counts->large += header->width == 2560;
    for (int y = 0; y < header->height; y++)
        for (int x = 0; x < header->width; x += 97) {
            uint32_t pixel = pixels[(size_t)y * header->width + x];
            if ((int)(pixel & 0xffff) != number) { counts->torn++; return; }
            if ((int)(pixel >> 16 & 0xff) != ((header->height - 1 - y) & 0xff)) { counts->upside_down++; return; }
        }
}

int wmain(int argc, wchar_t **argv) {
    if (argc != 3) return 2;
    QueryPerformanceFrequency(&ticks_a_second);
    wchar_t out[100], out_info[140], in[100], in_info[140], grown[140];
    swprintf(out, 100, L"TouchSHM%ls-in", argv[1]);
    swprintf(in, 100, L"TouchSHM%ls-out", argv[1]);
    swprintf(out_info, 140, L"TouchSHM%ls4jhd783h", out);
    swprintf(in_info, 140, L"TouchSHM%ls4jhd783h", in);
    HANDLE out_mutex = mutex_of(out), info_mutex = mutex_of(out_info), in_mutex = mutex_of(in);
    HANDLE in_info_mutex = mutex_of(in_info), data_handle, info_handle;
    struct info *mine = make(out_info, sizeof(struct info), &info_handle);
    *mine = (struct info){.magic = 0x56ed34ba, .version = 2};
    struct header *header = make(out, SMALL_ROOM, &data_handle);
    struct info *theirs = NULL;
    struct header *shown = NULL;
    HANDLE shown_handle = NULL;
    uint16_t postfix[32] = {0};
    struct counts counts = {0};
    for (int tries = 0; !mine->supported && tries < 200; tries++) Sleep(100);
    double end = now_ms() + 1000 * wcstod(argv[2], NULL), middle = (now_ms() + end) / 2;
    for (int number = 1; now_ms() < end; number++) {
        int is_large = now_ms() > middle;
        if (is_large && !mine->postfix[0]) {
            lock(info_mutex);
            UnmapViewOfFile(header);
            CloseHandle(data_handle);
            if (!mine->supported) printf("FAIL nobody said to support the info\n");
            swprintf(grown, 140, L"%lsabcdefghijklmnopqrstuvwxyzabcde", out);
            header = make(grown, LARGE_ROOM, &data_handle);
            memcpy(mine->postfix, L"abcdefghijklmnopqrstuvwxyzabcde", 64);
            ReleaseMutex(info_mutex);
        }
        lock(out_mutex);
        fill(header, number, is_large ? 2560 : 640, is_large ? 1440 : 360);
        ReleaseMutex(out_mutex);
        if (!theirs) {
            HANDLE found = OpenFileMappingW(FILE_MAP_ALL_ACCESS, FALSE, in_info);
            if (found) theirs = MapViewOfFile(found, FILE_MAP_ALL_ACCESS, 0, 0, 0);
            if (theirs && theirs->magic != 0x56ed34ba) { /* still being made */
                UnmapViewOfFile(theirs);
                theirs = NULL;
            }
            if (theirs) {
                lock(in_info_mutex);
                theirs->supported = 1;
                ReleaseMutex(in_info_mutex);
            } else if (found) CloseHandle(found);
        }
        if (theirs && shown && memcmp(theirs->postfix, postfix, 64)) {
            UnmapViewOfFile(shown);
            CloseHandle(shown_handle);
            shown = NULL;
        }
        if (theirs && !shown) {
            memcpy(postfix, theirs->postfix, 64);
            swprintf(grown, 140, L"%ls%ls", in, (wchar_t *)postfix);
            shown_handle = OpenFileMappingW(FILE_MAP_ALL_ACCESS, FALSE, grown);
            if (shown_handle) shown = MapViewOfFile(shown_handle, FILE_MAP_ALL_ACCESS, 0, 0, 0);
        }
        if (shown) {
            lock(in_mutex);
            if (shown->magic == 0xd95ef835) check(shown, &counts);
            ReleaseMutex(in_mutex);
        }
        Sleep(16);
    }
    lock(info_mutex);
    mine->detach = 1;
    ReleaseMutex(info_mutex);
    printf("%d looks, %d pictures, %d of them large, %d torn, %d upside down, longest wait %.1f ms%s\n",
           counts.seen, counts.fresh, counts.large, counts.torn, counts.upside_down, worst_wait_ms,
           theirs && theirs->detach ? ", told to let go" : "");
    return counts.fresh && counts.large && !counts.torn && !counts.upside_down ? 0 : 1;
}
