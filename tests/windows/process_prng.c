/* bcryptprimitives.dll, which Rust's standard library asks for and Wine 8 does not have. */

#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL ProcessPrng(PBYTE data, SIZE_T size) {
    return RtlGenRandom(data, (ULONG)size);
}
