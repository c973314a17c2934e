"""Wall clocks that jump: a small library, loaded before all others, moves the time of day of our processes.

It adds what a file says to the time of day, and leaves the clocks alone by which one waits. So a jump is one
write to the file, for all processes at once.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["Clock", "NoClock"]

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long none, *offset = &none;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("TORTURE_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *there = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
  if (there != MAP_FAILED) offset = there;
  close(file);
}

int clock_gettime(clockid_t id, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, id, now) ? -1 : 0;
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset;
  return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec it;
  if (clock_gettime(CLOCK_REALTIME, &it)) return -1;
  now->tv_sec = it.tv_sec;
  now->tv_usec = it.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *where) {
  struct timespec it;
  clock_gettime(CLOCK_REALTIME, &it);
  if (where) *where = it.tv_sec;
  return it.tv_sec;
}
"""

_TRIAL = "import time; print(time.time())"


class NoClock(Exception):
    """Clocks cannot be moved here; the message says why."""


class Clock:
    """The time of day of processes that were started with `environment`."""

    def __init__(self, folder: Path) -> None:
        if not sys.platform.startswith("linux"):
            raise NoClock("the clocks of processes can be moved on Linux only")
        if (compiler := shutil.which("cc")) is None:
            raise NoClock("there is no C compiler (cc)")
        library, source, self._file = folder / "clock.so", folder / "clock.c", folder / "clock"
        source.write_text(_SOURCE)
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", library, source],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoClock(f"cc failed: {done.stderr.strip()[:200]}")
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "TORTURE_CLOCK": str(self._file)}
        self._try()

    def jump(self, seconds: int) -> None:
        """Move the time of day to so many seconds off the real one."""
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as there:
            there[:8] = seconds.to_bytes(8, sys.byteorder, signed=True)

    def _try(self) -> None:
        self.jump(3600)
        moved, real = self._told(self.environment), self._told({})
        self.jump(0)
        if not 3500 < moved - real < 3700:
            raise NoClock("the library that moves clocks has no effect here")

    def _told(self, environment: dict[str, str]) -> float:
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **environment},
        )
        return float(done.stdout)
