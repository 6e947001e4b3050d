/* Shifts the system clock of a process that preloads this library by the seconds in the file
 * CLOCK_OFFSET_FILE, read at each call. Clocks that measure intervals are unchanged. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("CLOCK_OFFSET_FILE");
    if (result == 0 && clock == CLOCK_REALTIME && path) {
        char text[32] = "";
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || read(file, text, sizeof text - 1) <= 0)
            abort();
        close(file);
        time->tv_sec += atoll(text);
    }
    return result;
}
