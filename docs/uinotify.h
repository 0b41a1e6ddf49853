/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * ioctls of an inotify descriptor under uinotify.
 */
#ifndef UINOTIFY_H
#define UINOTIFY_H

#include <sys/ioctl.h>
#include <stdint.h>

/* Sets the number from which the next watch descriptor is sought: 1 to 2^31 - 1, by value, else EINVAL.
 * Linux 4.16 and later with CONFIG_CHECKPOINT_RESTORE, and uinotify on every kernel. */
#ifndef INOTIFY_IOC_SETNEXTWD
#define INOTIFY_IOC_SETNEXTWD _IOW('I', 0, int32_t)
#endif

/* Reads that number into an int32_t: 1 for a new instance, and after 2^31 - 1 was given out.
 * uinotify only: Linux answers ENOTTY, which tells the two apart. */
#define UINOTIFY_IOC_GETNEXTWD _IOR('I', 0x80, int32_t)

#endif
