/* A wall clock that is ahead by as many seconds as the environment says, for programs that ask libc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *ahead = getenv("CHANCERY_TEST_AHEAD_S");
    if (result == 0 && clock == CLOCK_REALTIME && ahead)
        now->tv_sec += atoll(ahead);
    return result;
}
